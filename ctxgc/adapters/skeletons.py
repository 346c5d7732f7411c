"""The way back from a skeleton: where its large inputs lie in a request, and the input made whole again.

tool input ──cut_input──▶ small input, {"$piece": NAME} where a large string was, and the pieces   (assembly.py)
           ──place_strings──▶ where each piece lies in the request
small input and a string for each name ──join_input──▶ tool input
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctxgc.adapters.contract import INPUT_PIECE_CHARS_MIN
from ctxgc.adapters.wire.json_spans import Extent, JsonText

SKELETON_DEPTH_MAX = 100
"""A call or block nested deeper than this is refused: whatever reads it later recurses too."""

TEXT_INPUT_PIECE = "input.text"
"""The piece of an input that is one string instead of an object."""

PIECE_NAME_BYTES_MAX = 512

Places = dict[str, Extent]
"""Where each piece of an input lies, by its name."""


def place_strings(text: JsonText, extent: Extent, name: str = "input", depth_left: int = SKELETON_DEPTH_MAX) -> Places:
    """Where the large strings of an input lie, by the names that `cut_input` gives their pieces."""
    first = text.first(extent)
    if first == b'"' and len(text.string(extent)) >= INPUT_PIECE_CHARS_MIN:
        return {TEXT_INPUT_PIECE if name == "input" else name: extent}
    if first not in (b"{", b"[") or not depth_left:
        return {}
    found: Places = {}
    parts = text.members(extent).items() if first == b"{" else enumerate(text.elements(extent))
    for key, part in parts:
        # JSON is never shorter than the string it holds. A name given twice belongs to the first, as in the cut.
        if part.end - part.start >= INPUT_PIECE_CHARS_MIN:
            found = place_strings(text, part, f"{name}.{key}", depth_left - 1) | found
    return found


def join_input(value: Any, texts: Mapping[str, str]) -> Any:
    """The input again, with `texts[NAME]` in place of each `{"$piece": NAME}`; unknown names stay as they are."""
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(name := value.get("$piece"), str) and name in texts:
            return texts[name]
        return {key: join_input(part, texts) for key, part in value.items()}
    if isinstance(value, list):
        return [join_input(part, texts) for part in value]
    return value


def is_deeper(value: Any, levels: int) -> bool:
    """Whether a JSON value nests deeper than this."""
    if not isinstance(value, dict | list):
        return False
    parts = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(is_deeper(part, levels - 1) for part in parts)


def is_piece_name(name: str) -> bool:
    """Keys come from a model: a piece's name must be short and have a UTF-8 form."""
    return len(name.encode("utf-8", "surrogatepass")) <= PIECE_NAME_BYTES_MAX and name == name.encode(
        "utf-8", "ignore"
    ).decode("utf-8")
