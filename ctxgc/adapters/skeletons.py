"""A call's input and result as skeleton and pieces, and the way back.

tool input ──split_input──▶ small input, {"$piece": NAME} where a large string was, and the pieces
           ──locate_input_pieces──▶ where each piece lies in the request
small input and a string for each name ──join_input──▶ tool input
skeleton and pieces ──call_input──▶ tool input
result ──split_result──▶ what it adds to the skeleton, and one piece
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ctxgc.adapters.contract import INPUT_PIECE_CHARS_MIN, RESULT_PIECE
from ctxgc.adapters.json_spans import Extent, JsonText
from ctxgc.adapters.json_values import as_dict, block_text
from ctxgc.core.segment import Piece, Segment, text_bytes

SKELETON_DEPTH_MAX = 100
"""A call or block nested deeper than this is refused: whatever reads it later recurses too."""

TEXT_INPUT_PIECE = "input.text"
"""The piece of an input that is one string instead of an object."""

PIECE_NAME_BYTES_MAX = 512

Places = dict[str, Extent]
"""Where each piece of an input lies, by its name."""


def split_input(value: object) -> tuple[object, tuple[Piece, ...]]:
    """Move long strings of a tool's input to the body: (the rest, pieces).

    A piece is named by its path, `input.KEY` or `input.edits.0.old_string`; a plain string as input, `input.text`. An
    input with a `$piece` key of its own stays whole: a placeholder would be ambiguous.
    """
    pieces: dict[str, Piece] = {}
    if isinstance(value, str):
        if len(value) < INPUT_PIECE_CHARS_MIN:
            return value, ()
        return {"$piece": TEXT_INPUT_PIECE}, (Piece(TEXT_INPUT_PIECE, text_bytes(value)),)
    try:
        kept = _split_value(value, "input", pieces)
    except (_AmbiguousInput, RecursionError):
        return value, ()
    if not all(is_valid_piece_name(name) for name in pieces):
        return value, ()
    return kept, tuple(pieces.values())


def split_result(content: object) -> tuple[dict[str, object], bytes]:
    """A tool's result as (members for the skeleton, the piece `result`).

    A list of blocks joins its texts; `result_blocks` then holds, in order, the byte length of each text and null
    for each block of `opaque`, so that the list can be built again.
    """
    if content is None:
        return {}, b""
    if isinstance(content, str):
        return {}, text_bytes(content)
    if not isinstance(content, list):
        return {"opaque": [content], "result_blocks": [None]}, b""
    texts: list[bytes] = []
    opaque: list[object] = []
    lengths: list[int | None] = []
    for block in content:
        text = block_text(block)
        if text is None:
            opaque.append(block)
            lengths.append(None)
        else:
            texts.append(text_bytes(text))
            lengths.append(len(texts[-1]))
    extra: dict[str, object] = {"result_blocks": lengths}
    if opaque:
        extra["opaque"] = opaque
    return extra, b"".join(texts)


def count_further_texts(skeleton: bytes) -> int:
    """How many texts of a result stand behind the first: on the wire a marker takes the place of each."""
    if b'"result_blocks"' not in skeleton:
        return 0
    lengths = as_dict(json.loads(skeleton)).get("result_blocks")
    return max(sum(map(bool, lengths)) - 1, 0) if isinstance(lengths, list) else 0


def result_texts(segment: Segment) -> tuple[str, ...]:
    """The texts of a call's result that are not empty, in order: a host may send several."""
    data = next((piece.data for piece in segment.body if piece.name == RESULT_PIECE), None)
    if data is None:
        return ()
    lengths: object = None
    if b'"result_blocks"' in segment.skeleton:
        lengths = as_dict(json.loads(segment.skeleton)).get("result_blocks")
    found, at = [], 0
    for length in lengths if isinstance(lengths, list) else [len(data)]:
        if isinstance(length, int) and length:
            found.append(Piece(RESULT_PIECE, data[at : at + length]).text)
            at += length
    return tuple(found)


def locate_input_pieces(
    text: JsonText, extent: Extent, name: str = "input", depth_left: int = SKELETON_DEPTH_MAX
) -> Places:
    """Where the large strings of an input lie, by the names that `split_input` gives their pieces."""
    first = text.first_byte(extent)
    if first == b'"' and len(text.string(extent)) >= INPUT_PIECE_CHARS_MIN:
        return {TEXT_INPUT_PIECE if name == "input" else name: extent}
    if first not in (b"{", b"[") or not depth_left:
        return {}
    places: Places = {}
    parts = text.members(extent).items() if first == b"{" else enumerate(text.elements(extent))
    for key, part in parts:
        # JSON is never shorter than the string it holds. A name given twice belongs to the first, as in the cut.
        if part.end - part.start >= INPUT_PIECE_CHARS_MIN:
            places = locate_input_pieces(text, part, f"{name}.{key}", depth_left - 1) | places
    return places


def join_input(value: Any, texts: Mapping[str, str]) -> Any:
    """The input again, with `texts[NAME]` in place of each `{"$piece": NAME}`; unknown names stay."""
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(name := value.get("$piece"), str) and name in texts:
            return texts[name]
        return {key: join_input(part, texts) for key, part in value.items()}
    if isinstance(value, list):
        return [join_input(part, texts) for part in value]
    return value


def exceeds_depth(value: Any, levels: int) -> bool:
    """Whether a JSON value nests deeper than this."""
    if not isinstance(value, dict | list):
        return False
    parts = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(exceeds_depth(part, levels - 1) for part in parts)


def is_valid_piece_name(name: str) -> bool:
    """Keys come from a model: a piece's name must be short and have a UTF-8 form."""
    return len(name.encode("utf-8", "surrogatepass")) <= PIECE_NAME_BYTES_MAX and name == name.encode(
        "utf-8", "ignore"
    ).decode("utf-8")


class _AmbiguousInput(Exception):
    """The input has a `$piece` key of its own."""


def _split_value(value: object, name: str, pieces: dict[str, Piece]) -> object:
    if isinstance(value, str):
        if len(value) < INPUT_PIECE_CHARS_MIN or name in pieces:
            return value
        pieces[name] = Piece(name, text_bytes(value))
        return {"$piece": name}
    if isinstance(value, dict):
        if "$piece" in value:
            raise _AmbiguousInput
        return {key: _split_value(item, f"{name}.{key}", pieces) for key, item in value.items()}
    if isinstance(value, list):
        return [_split_value(item, f"{name}.{at}", pieces) for at, item in enumerate(value)]
    return value


def call_input(skeleton: bytes, body: Iterable[Piece]) -> Any:
    """The input of a tool call, its long strings from the body in place."""
    return join_input(as_dict(json.loads(skeleton)).get("input"), {piece.name: piece.text for piece in body})


def short_inputs(skeleton: bytes) -> Iterator[tuple[str, str]]:
    """The short strings of a tool call's input, which are in the skeleton: (`input.KEY`, text)."""
    waiting = [("input", as_dict(json.loads(skeleton)).get("input"))]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, dict) and "$piece" not in value:
            waiting += [(f"{name}.{key}", part) for key, part in reversed(value.items())]
        elif isinstance(value, list):
            waiting += [(f"{name}.{at}", part) for at, part in reversed(list(enumerate(value)))]
