"""Index text: the words that the full-text index has of a segment, made in Python so that every engine indexes alike.

    skeleton, body ──searchable_text──▶ what a person would search ──add_word_parts──▶ and the parts of camelCase words
    session, kind, tool ──tags──▶ index tokens, so that a filter narrows the index scan instead of following it

The index deletes a row only by the exact text that the row was made from: with any change in here `TOKENIZER_VERSION`
must grow, so that stashes rebuild their index.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import chain
from typing import Any

from ctxgc.core.segment import Piece
from ctxgc.core.words import camel_parts, camel_words, composed

TOKENIZER_VERSION = 2

UNREADABLE = frozenset(
    {"type", "id", "tool_use_id", "call_id", "data", "signature", "encrypted_content", "encrypted_index", "media_type"}
)
"""Members of a block that hold no text of anybody."""
DATA_CHARS_MIN = 512
"""A longer string without a space is data, not text."""

INDEX_CHARS_MAX = 2**20
"""The part of a segment's text that is searchable; the whole text is stored."""


def searchable_text(skeleton: bytes, body: Sequence[Piece]) -> str:
    """The searchable text of a segment: short inputs of a call, texts in other blocks, then the body.

    NUL and surrogates are left out.
    """
    parts: list[str] = []
    if len(skeleton) > 2:
        call = json.loads(skeleton)
        if isinstance(call, dict):
            parts += _strings(call.get("input"))
            parts += _readable(call.get("opaque"))
    # UTF-8 takes at most four bytes a character: decoding more than that is never needed.
    parts += [piece.data[: 4 * INDEX_CHARS_MAX].decode("utf-8", "replace") for piece in body]
    text = "\n".join(parts)[:INDEX_CHARS_MAX]
    sound = text if text.isascii() else text.encode("utf-8", "replace").decode()
    return composed(sound.replace("\0", " "))


def add_word_parts(text: str) -> str:
    """The text with the parts of its camelCase words behind it; snake_case and paths any tokenizer splits."""
    humps = camel_words(text)
    if not humps:
        return text
    return text + "\n" + " ".join(chain.from_iterable(camel_parts(word) for word in humps))


def session_tag(sid: int) -> str:
    """The index token of a session. The trailing z keeps the stemmer from shortening the token."""
    return f"s{sid:05d}z"


def kind_tag(kind: str) -> str:
    """The index token of a kind of segment."""
    return f"k{kind}z"


def tool_tag(tool: str) -> str:
    """The index token of a tool; a digest, because a tool's name may hold anything."""
    return f"t{blake2b(tool.encode('utf-8', 'replace'), digest_size=6).hexdigest()}z"


def tags(sid: int, kind: str, tool: str) -> str:
    """All index tokens of a segment: facts that never change while it is indexed."""
    return f"{session_tag(sid)} {kind_tag(kind)}" + (f" {tool_tag(tool)}" if tool else "")


def _readable(value: Any) -> Iterator[str]:
    """What a server or a connector returned inside a block that is no text: every string with words in it."""
    if isinstance(value, str):
        if len(value) < DATA_CHARS_MIN or " " in value or "\n" in value:
            yield value
    elif isinstance(value, list):
        yield from chain.from_iterable(map(_readable, value))
    elif isinstance(value, dict):
        yield from chain.from_iterable(_readable(part) for key, part in value.items() if key not in UNREADABLE)


def _strings(value: Any) -> Iterator[str]:
    """Every string inside a call's input, without the names of its fields and without what moved to the body."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from chain.from_iterable(map(_strings, value))
    elif isinstance(value, dict) and "$piece" not in value:
        yield from chain.from_iterable(map(_strings, value.values()))
