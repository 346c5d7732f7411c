"""The costly part of a `Put`, done before the writer: compressing, splitting into words, and the keys of the text."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from ctxgc.core.text_keys import TEXT_KEYS_VERSION, TextKeys, text_keys
from ctxgc.stash import body_codec, index_text
from ctxgc.stash.contract import Mutation, Put, SegmentRow

KEY_BYTES = 8


class EncodedPut(NamedTuple):
    """A `Put` with the costly part done: the encoded content, the row of the index, the keys of the text."""

    row: SegmentRow
    content: bytes
    entry: index_text.IndexEntry
    keys: TextKeys


def encode_puts(mutations: Sequence[Mutation]) -> list[Mutation | EncodedPut]:
    """Compress every `Put` of a batch and split its words. Pure; for any thread."""
    compress = body_codec.make_compressor()
    return [encode_row(m.row, compress) if isinstance(m, Put) else m for m in mutations]


def encode_row(row: SegmentRow, compress: body_codec.Transform) -> EncodedPut:
    """A row with its content, encoded. Pure."""
    return with_content(row, body_codec.encode_content(row, compress))


def with_content(row: SegmentRow, content: bytes) -> EncodedPut:
    """As `encode_row`, of a row whose content is encoded already."""
    return EncodedPut(row, content, index_text.index_entry(row.segment), text_keys(row.segment))


def text_key_values(rid: int, keys: TextKeys) -> tuple[int, int, bytes, bytes]:
    """The values of the table `text_key`."""
    definitions = struct.pack(f"<{len(keys.definitions)}q", *keys.definitions)
    return rid, TEXT_KEYS_VERSION, keys.likeness, definitions


def unpack_text_keys(likeness: bytes, definitions: bytes) -> TextKeys:
    """The keys in a row of `text_key`."""
    return TextKeys(likeness, struct.unpack(f"<{len(definitions) // KEY_BYTES}q", definitions))
