"""The encoded content of a segment, as the stash's `body` rows have it. Bodies alone can rebuild every row.

    zstd( length of facts, 4 bytes │ facts, JSON │ skeleton │ piece │ piece │ … )

The facts repeat the segment's session, id and facts, so that a file of which only the body pages can be read is still
a stash.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

import zstandard

from ctxgc.core.segment import (
    Access,
    Kind,
    PathUse,
    Piece,
    Segment,
    SessionKey,
    content_digest,
)
from ctxgc.stash.columns import KINDS, ROLES, STATUSES, STORED_KINDS, encode_json, pack_facts, unpack_facts
from ctxgc.stash.contract import SegmentRow

ZSTD_LEVEL = 3
_LENGTH_BYTES = 4

Transform = Callable[[bytes], bytes]

_DEFAULTS: dict[str, Any] = {
    f.name: f.default
    for f in fields(Segment)
    if f.name in {"wall_s", "tool", "status", "command", "refs", "reply", "has_opaque", "importance", "task", "tags"}
}


class ContentStart(NamedTuple):
    """The fields that a search reads of a segment; of a long segment the start."""

    kind: Kind
    wall_s: float
    skeleton: bytes
    body: tuple[Piece, ...]
    paths: tuple[PathUse, ...]


def make_compressor() -> Transform:
    """A function that compresses; not to be shared between threads."""
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress


def make_decompressor() -> Transform:
    """A function that decompresses; not to be shared between threads. A decompressor costs as much as ten uses."""
    return zstandard.ZstdDecompressor().decompress


def encode_content(row: SegmentRow, compress: Transform) -> bytes:
    """A segment's content, encoded."""
    segment = row.segment
    facts: dict[str, Any] = {
        "key": row.key,
        "seq": row.seq,
        "id": segment.id,
        "kind": STORED_KINDS[segment.kind],
        "role": segment.role,
        "at": [segment.place, segment.born_turn],
        "cut": [len(segment.skeleton), row.pieces],
        "tokens": [row.skeleton_tokens, row.tombstone_tokens],
    }
    facts |= {name: getattr(segment, name) for name, plain in _DEFAULTS.items() if getattr(segment, name) != plain}
    if segment.paths:
        facts["paths"] = segment.paths
    if segment.facts.attempt:
        facts["facts"] = pack_facts(segment.facts)
    if row.redactions:
        facts["redactions"] = row.redactions
    head = encode_json(facts).encode()
    parts = [len(head).to_bytes(_LENGTH_BYTES, "little"), head, segment.skeleton]
    return compress(b"".join([*parts, *(piece.data for piece in segment.body)]))


def decode_content(blob: bytes, decompress: Transform) -> tuple[bytes, tuple[Piece, ...]]:
    """Skeleton and body of an encoded content. Raises `ValueError` for other bytes."""
    _facts, skeleton, body = _decompress_content(blob, decompress)
    return skeleton, body


def decode_row(blob: bytes, decompress: Transform) -> SegmentRow:
    """The whole segment of an encoded content, as first admitted. Raises `ValueError` for other bytes."""
    facts, skeleton, body = _decompress_content(blob, decompress)
    try:
        source, session = facts["key"]
        skeleton_tokens, tombstone_tokens = facts["tokens"]
        return SegmentRow(
            key=SessionKey(source, session),
            seq=facts["seq"],
            segment=_build_segment(facts, skeleton, body),
            digest=content_digest(skeleton, body),
            skeleton_tokens=skeleton_tokens,
            pieces=tuple((name, size, tokens) for name, size, tokens in facts["cut"][1]),
            tombstone_tokens=tombstone_tokens,
            redactions=facts.get("redactions", 0),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an encoded content: {error!r}") from error


def _build_segment(facts: dict[str, Any], skeleton: bytes, body: tuple[Piece, ...]) -> Segment:
    try:
        place, born_turn = facts["at"]
        optional = {name: facts[name] for name in facts.keys() & _DEFAULTS.keys()}
        optional |= {name: tuple(optional[name]) for name in ("refs", "tags") if name in optional}
        if "status" in optional:
            optional["status"] = STATUSES[optional["status"]]
        if "facts" in facts:
            optional["facts"] = unpack_facts(facts["facts"])
        return Segment(
            id=facts["id"],
            kind=KINDS[facts["kind"]],
            role=ROLES[facts["role"]],
            place=place,
            born_turn=born_turn,
            skeleton=skeleton,
            body=body,
            paths=_unpack_paths(facts),
            **optional,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an encoded content: {error!r}") from error


def decode_content_start(blob: bytes, bytes_max: int, decompress: Transform) -> ContentStart:
    """What a search reads of an encoded content; of a long one only about the first `bytes_max` bytes are
    decompressed."""
    if zstandard.frame_content_size(blob) <= bytes_max:
        return _build_content_start(*_decompress_content(blob, decompress))
    try:
        raw = zstandard.ZstdDecompressor().stream_reader(blob).read(bytes_max)
    except zstandard.ZstdError as error:
        raise ValueError(f"not an encoded content: {error}") from error
    facts, skeleton, body = _split_content(raw)
    return _build_content_start(facts, *((skeleton, body) if len(skeleton) == facts["cut"][0] else (b"{}", ())))


def _build_content_start(facts: dict[str, Any], skeleton: bytes, body: tuple[Piece, ...]) -> ContentStart:
    try:
        return ContentStart(KINDS[facts["kind"]], facts.get("wall_s", 0.0), skeleton, body, _unpack_paths(facts))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an encoded content: {error!r}") from error


def _unpack_paths(facts: dict[str, Any]) -> tuple[PathUse, ...]:
    if "paths" not in facts:
        return ()
    return tuple(PathUse(p, Access(a), first, last) for p, a, first, last in facts["paths"])


def _decompress_content(blob: bytes, decompress: Transform) -> tuple[dict[str, Any], bytes, tuple[Piece, ...]]:
    try:
        raw = decompress(blob)
    except (zstandard.ZstdError, TypeError) as error:  # A damaged row may hold anything where its content was.
        raise ValueError(f"not an encoded content: {error}") from error
    facts, skeleton, body = _split_content(raw)
    if [len(skeleton), *(len(piece.data) for piece in body)] != _content_lengths(facts):
        raise ValueError("not an encoded content: the content is shorter than its facts say")
    return facts, skeleton, body


def _split_content(raw: bytes) -> tuple[dict[str, Any], bytes, tuple[Piece, ...]]:
    """The parts of a decompressed content, as far as `raw` goes."""
    start = _LENGTH_BYTES + int.from_bytes(raw[:_LENGTH_BYTES], "little")
    try:
        facts = json.loads(raw[_LENGTH_BYTES:start].decode())  # Of bytes it would guess the encoding.
        skeleton_bytes, *sizes = _content_lengths(facts)
        at = start + skeleton_bytes
        skeleton, body = raw[start:at], []
        for (name, *_), size in zip(facts["cut"][1], sizes, strict=True):
            body.append(Piece(name, raw[at : at + size]))
            at += size
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an encoded content: {error!r}") from error
    return facts, skeleton, tuple(body)


def _content_lengths(facts: dict[str, Any]) -> list[int]:
    skeleton_bytes, pieces = facts["cut"]
    return [skeleton_bytes, *(size for _, size, _ in pieces)]
