"""A function call in both of OpenAI's APIs: its `arguments` are JSON inside a JSON string.

All large inputs of a call share a span, the whole string; the inner JSON is edited in place and quoted again.
"""

from __future__ import annotations

from collections.abc import Mapping

from ctxgc.adapters.contract import INPUT_SPAN
from ctxgc.adapters.json_spans import Extent, JsonText, encode_json_string, read_json, splice_bytes
from ctxgc.adapters.json_values import encode_json
from ctxgc.adapters.skeletons import TEXT_INPUT_PIECE, locate_input_pieces
from ctxgc.adapters.wire.list_builder import ListBuilder
from ctxgc.adapters.wire.rendering import input_as_object
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import text_bytes


def parse_function_call(
    text: JsonText, function: Extent, call_id: str, builder: ListBuilder, *, is_editable: bool = True
) -> None:
    """A call of a function: an object with `name` and `arguments`.

    Arguments that are no JSON are a free text.
    """
    if text.first_byte(function) != b"{":
        return
    fields = text.members(function)
    place = fields.get("arguments")
    arguments = text.string(place)
    if place is not None and text.first_byte(place) != b'"':
        builder.add_call(call_id, text.string(fields.get("name")), text.value(place), None)
        return
    inner = _parse_arguments(arguments)
    value = {} if not arguments.strip() else inner.value(inner.extent) if inner else arguments
    places = {INPUT_SPAN: place} if place is not None and is_editable else {}
    is_text = inner is None and bool(arguments.strip())
    builder.add_call(call_id, text.string(fields.get("name")), value, lambda: places, is_text=is_text)


def _parse_arguments(arguments: str) -> JsonText | None:
    """The arguments as JSON that can be edited in place; `None` for any other arguments."""
    try:
        return read_json(text_bytes(arguments), _require_readable_arguments)
    except BadTranscript:
        return None


def _require_readable_arguments(inner: JsonText) -> JsonText:
    inner.value(inner.extent)
    locate_input_pieces(inner, inner.extent)
    return inner


def edit_arguments(quoted: JsonText, texts: Mapping[str, str]) -> bytes:
    """The arguments with each large input replaced: key order, numbers and white space inside survive."""
    inner = _parse_arguments(quoted.string(quoted.extent))
    if inner is None:
        return encode_json_string(encode_json(input_as_object(texts[TEXT_INPUT_PIECE])).decode())
    places = locate_input_pieces(inner, inner.extent)
    edits = [(extent, encode_json_string(texts[name])) for name, extent in places.items() if name in texts]
    return encode_json_string(splice_bytes(inner.data, edits).decode())
