"""The params of a call on their way from the socket to their model: decoded, and with every name redacted.

    raw params ──decode──▶ values ──redact_params──▶ values without a credential in a name

A model of `protocol` validates the values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import ValidationError

from ctxgc.core.errors import BadParams
from ctxgc.core.redaction.redact import find_secrets, redact_text
from ctxgc.core.segment import text_bytes
from ctxgc.protocol.params import Params, Verbatim

_decode = msgspec.json.Decoder().decode
_decode_texts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

CONTENT = frozenset({"text", "input", "messages", "new", "calls"})
"""Params with content of segments, which intake redacts, or with params of another verb."""
QUERY = frozenset({"query"})
"""Params with the words of a search."""


def redact_params(model: type[Params], values: Any, *, redacts_content: bool = True) -> Any:
    """The params with every name as the stash has the name: no credential in an id or a tag reaches a row or a lookup.

    Names are redacted always, and the words of a query only where content is redacted too.
    """
    kept = CONTENT | model.opened | (frozenset() if redacts_content else QUERY)
    names: list[str] = []

    def note(name: str) -> str:
        names.append(name)
        return name

    _map_names(values, "", kept, note)
    if not find_secrets(text_bytes("\n".join(names))):
        return values
    return _map_names(values, "", kept, redact_text)


def _map_names(value: Any, field: str, kept: frozenset[str], change: Callable[[str], str]) -> Any:
    if field in kept:
        return value
    if isinstance(value, str):
        # A name after its source reads as the name does alone, or two verbs would know two sessions.
        # What a space follows is no source, but a sentence's or a header's.
        source, colon, name = value.partition(":") if field == "session" else ("", "", "")
        return change(source + colon + change(name)) if colon and name[:1].strip() else change(value)
    if isinstance(value, list):
        return [_map_names(part, field, kept, change) for part in value]
    if isinstance(value, dict):
        return {name: _map_names(part, name, kept, change) for name, part in value.items()}
    return value


def decode_and_redact_params(model: type[Params], raw: bytes, *, redacts_content: bool) -> Any:
    """The params of a request, for their model to validate. Raises `BadParams` for a number out of range.

    The codec has checked that the params are JSON, and skips over numbers: decoding is where a number beyond a finite
    double would become infinite, and in an answer or a row nothing at all.
    """
    try:
        values = _decode(raw or b"{}")
    except (msgspec.DecodeError, RecursionError) as error:
        hint = "a number is a finite double, or an integer of at most 4300 digits"
        raise BadParams(f"a value of the params is out of range: {error}", hint=hint) from None
    if names := model.verbatim & values.keys():
        texts = _decode_texts(raw)
        values |= {name: Verbatim(bytes(texts[name]), values[name]) for name in names}
    return redact_params(model, values, redacts_content=redacts_content)


def first_validation_problem(error: ValidationError) -> str:
    """The first of pydantic's complaints, in a sentence, without the input: the input may be a session's text."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"]) or "params"
    return f"{place}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"
