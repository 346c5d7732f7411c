"""Index text: what the full-text index holds of a segment, made in Python so that every engine indexes alike.

    segment ──searchable_fields──▶ what a person would search, field by field
            ──index_entry────────▶ lexemes for the columns text, input, path, label; and tags
    session, kind, tool ──index_tags──▶ index tokens, so that a filter narrows the index scan instead of following it

The index deletes a row only by the exact lexemes that the row was made from: with any change in here
`TOKENIZER_VERSION` must grow, so that stashes rebuild their index. Another stemmer's version does the same by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple

from ctxgc.core.block_texts import texts_in_blocks
from ctxgc.core.frame import blank_frames
from ctxgc.core.search.lexemes import STEMMER_VERSION, extra_index_words, lexemes, normalize_nfc, normalize_word, stem
from ctxgc.core.segment import Kind, Segment
from ctxgc.stash.body_codec import ContentStart

INDEX_VERSION = 6
TOKENIZER_VERSION = INDEX_VERSION * 10**9 + sum(
    part * 1000**place for place, part in enumerate(reversed(STEMMER_VERSION))
)

TURN_KINDS = frozenset({Kind.USER, Kind.ASSISTANT, Kind.THINKING})
"""Kinds of segments that are a person's or a model's words."""

INDEX_CHARS_MAX = 2**20
"""The part of a segment's text that is searchable; the whole text is stored."""


INPUT_CHARS_MAX = 2_000
"""The part of a call's input that counts as the field `input`; the rest counts as text."""
PATHS_MAX, PATH_PARTS = 8, 2
"""The paths of a segment that are a field, each by its last parts."""

_SPEAKER = re.compile(r"\s*([^\W\d_][\w.'-]{0,30}):\s")


class Searchable(NamedTuple):
    """The texts that a person would search of a segment, field by field, readable."""

    text: str
    input: str = ""
    paths: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    """Lexemes: the day, month and year of the segment, and of a turn that begins `Name:` the name with the colon."""


class IndexEntry(NamedTuple):
    """A row of the index without its tags: lexemes with spaces between them, column by column."""

    text: str
    input: str
    path: str
    label: str


def searchable_fields(segment: Segment | ContentStart) -> Searchable:
    """The searchable fields of a segment, without NUL and surrogates.

    Frames are left out: a text that was brought back is found where it is from.
    """
    inputs: list[str] = []
    parts: list[str] = []
    if len(segment.skeleton) > 2:
        call = json.loads(segment.skeleton)
        if isinstance(call, dict):
            inputs += _strings_in_input(call.get("input"))
            parts += texts_in_blocks(call.get("opaque"))
    # UTF-8 takes at most four bytes a character: decoding more than that is never needed.
    parts += [piece.data[: 4 * INDEX_CHARS_MAX].decode("utf-8", "replace") for piece in segment.body]
    given = _normalize_text("\n".join(inputs))
    if len(given) > INPUT_CHARS_MAX:
        parts.append(given[INPUT_CHARS_MAX:])
    text = _normalize_text(blank_frames("\n".join(parts)[:INDEX_CHARS_MAX]))
    paths = tuple(
        "/".join(_normalize_text(use.path).rstrip("/").split("/")[-PATH_PARTS:]) for use in segment.paths[:PATHS_MAX]
    )
    return Searchable(
        text, given[:INPUT_CHARS_MAX], tuple(dict.fromkeys(paths)), tuple(_speaker_and_date_lexemes(segment, text))
    )


def index_entry(segment: Segment) -> IndexEntry:
    """The row of the index for a segment."""
    fields = searchable_fields(segment)
    path = "\n".join(fields.paths)
    return IndexEntry(
        " ".join([*lexemes(fields.text), *extra_index_words(fields.text)]),
        " ".join([*lexemes(fields.input), *extra_index_words(fields.input)]),
        " ".join([*lexemes(path), *extra_index_words(path)]),
        " ".join(fields.label),
    )


def can_stand_in_path_field(typed: str) -> bool:
    """Whether a typed word may stand in the field `path`, which has the last parts of paths."""
    return typed.strip("/").count("/") < PATH_PARTS


def speaker_lexeme(word: str) -> str:
    """The lexeme of a name that begins a turn, from the lexeme of the name."""
    return f"{word}:"


def _speaker_and_date_lexemes(segment: Segment | ContentStart, text: str) -> Iterator[str]:
    if segment.kind in TURN_KINDS and (match := _SPEAKER.match(text)):
        yield speaker_lexeme(stem(normalize_word(match[1])))
    if 0 < segment.wall_s < 2**33:
        day = datetime.fromtimestamp(segment.wall_s, UTC)
        yield from (str(day.day), stem(_MONTHS[day.month - 1]), str(day.year))


_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)


def _normalize_text(text: str) -> str:
    """The text as every engine takes it, with composed characters."""
    sound = text if text.isascii() else text.encode("utf-8", "replace").decode()
    return normalize_nfc(sound.replace("\0", " "))


def session_tag(sid: int) -> str:
    """The index token of a session."""
    return f"s{sid:05d}z"


def kind_tag(kind: str) -> str:
    """The index token of a kind of segment."""
    return f"k{kind}z"


def tool_tag(tool: str) -> str:
    """The index token of a tool in any case; a digest, because a tool's name may hold anything."""
    name = tool.casefold().encode("utf-8", "replace")
    return f"t{blake2b(name, digest_size=6).hexdigest()}z"


def index_tags(sid: int, kind: str, tool: str) -> str:
    """All index tokens of a segment: facts that never change while it is indexed."""
    return f"{session_tag(sid)} {kind_tag(kind)}" + (f" {tool_tag(tool)}" if tool else "")


def _strings_in_input(value: Any) -> Iterator[str]:
    """Every string inside a call's input, without the names of its fields and without the pieces of the body."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from chain.from_iterable(map(_strings_in_input, value))
    elif isinstance(value, dict) and "$piece" not in value:
        yield from chain.from_iterable(map(_strings_in_input, value.values()))
