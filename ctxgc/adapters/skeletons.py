"""Skeletons: the JSON of a segment that always renders, and the large strings that move out of it.

    tool input ──split_input──▶ small input, with {"$piece": NAME} where a large string was   +   pieces
    small input + a string for each name ──join_input──▶ tool input

Every adapter builds its skeletons here, so that transcript and wire give one segment the same digest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ctxgc.adapters.contract import INPUT_PIECE_CHARS_MIN
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Piece, text_bytes

INPUT_DEPTH_MAX = 100
"""A tool's input nested deeper than this is refused: whatever reads it later recurses too."""

TEXT_INPUT_PIECE = "input.text"
"""The piece of an input that is one free text instead of an object."""

_MARK = "$piece"


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and without spaces, in UTF-8; equal values give equal bytes.

    Text with lone surrogates has no UTF-8: such a value is written in ASCII escapes throughout.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def split_input(value: Any) -> tuple[Any, tuple[Piece, ...]]:
    """Move the large strings of a tool's input into pieces named by their path: `input.content`, `input.edits.0.new`.

    Strings shorter than `INPUT_PIECE_CHARS_MIN` stay, and so does one whose name is taken already. An input that
    holds a `$piece` key of its own moves nothing, because the way back could not tell the two apart.
    Raises `BadTranscript` for an input nested deeper than `INPUT_DEPTH_MAX`.
    """
    if isinstance(value, str):
        if len(value) < INPUT_PIECE_CHARS_MIN:
            return value, ()
        return {_MARK: TEXT_INPUT_PIECE}, (Piece(TEXT_INPUT_PIECE, text_bytes(value)),)
    pieces: dict[str, Piece] = {}
    small, is_marked = _split(value, "input", pieces, INPUT_DEPTH_MAX)
    return (value, ()) if is_marked else (small, tuple(pieces.values()))


def _split(value: Any, name: str, pieces: dict[str, Piece], depth_left: int) -> tuple[Any, bool]:
    """The value with its large strings moved to `pieces`, and whether it holds the mark itself."""
    if isinstance(value, str):
        if len(value) < INPUT_PIECE_CHARS_MIN or name in pieces:
            return value, False
        pieces[name] = Piece(name, text_bytes(value))
        return {_MARK: name}, False
    if not isinstance(value, dict | list):
        return value, False
    if not depth_left:
        raise BadTranscript(f"a tool's input is nested deeper than {INPUT_DEPTH_MAX} levels")
    items = value.items() if isinstance(value, dict) else enumerate(value)
    parts = {key: _split(part, f"{name}.{key}", pieces, depth_left - 1) for key, part in items}
    is_marked = any(marked for _, marked in parts.values()) or (isinstance(value, dict) and _MARK in value)
    if isinstance(value, dict):
        return {key: part for key, (part, _) in parts.items()}, is_marked
    return [part for part, _ in parts.values()], is_marked


def join_input(value: Any, texts: Mapping[str, str]) -> Any:
    """The input again, with `texts[NAME]` in place of each `{"$piece": NAME}`; unknown names stay as they are."""
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(name := value.get(_MARK), str) and name in texts:
            return texts[name]
        return {key: join_input(part, texts) for key, part in value.items()}
    if isinstance(value, list):
        return [join_input(part, texts) for part in value]
    return value
