"""Params that all verbs share: names with their bounds, and the base models.

Apart from the verbs, so that a family of verbs can have a module of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from ctxgc.core.errors import BadParams
from ctxgc.core.redact import find_secrets, redact_text
from ctxgc.core.segment import text_bytes

NAME_CHARS_MAX = 512
Name = Annotated[str, Field(max_length=NAME_CHARS_MAX)]
Ids = Annotated[list[Name], Field(min_length=1, max_length=10_000)]
PATH_CHARS_MAX = 4096
AbsolutePath = Annotated[str, Field(pattern=r"^/[^\x00]*$", max_length=PATH_CHARS_MAX)]
"""The daemon has no working directory of the client's; and no file's name holds NUL."""
Tokens = Annotated[int, Field(ge=0, le=2**40)]
Count = Annotated[int, Field(ge=0, le=2**53)]
"""An offset or a number. Beyond 2^53 the JSON parsers of editors lose digits, and beyond 2^63 SQLite takes none."""
WallSeconds = Annotated[float, Field(ge=0, le=253_402_300_799)]
"""A time of the wall clock, up to the year 9999: what a calendar can show."""
FolderPath = Annotated[str, Field(max_length=PATH_CHARS_MAX)]
KindName = Literal[
    "system", "user", "assistant", "thinking", "tool_call", "attachment", "summary", "plan", "other", "exchange"
]
"""A kind of segments. `exchange` is the older name of `tool_call`, taken for one more version."""
RendererName = Literal["agent", "client", "gateway"]
RendererBefore = Literal["observe", "client", "wire"]
"""The older names of renderers, in the param `mode`; taken for one more version."""
RENDERERS: dict[RendererBefore, RendererName] = {"observe": "agent", "client": "client", "wire": "gateway"}
StateName = Literal["resident", "evicted", "departed", "forgotten"]
Unit = Literal["billed", "raw"]
WireFormatName = Literal["anthropic_messages", "openai_chat", "openai_responses"]


class Verbatim(NamedTuple):
    """A param in the caller's own text, and its value."""

    text: bytes
    value: Any


def _require_objects(given: Verbatim) -> bytes:
    if not isinstance(given.value, list) or not all(isinstance(item, dict) for item in given.value):
        raise PydanticCustomError("objects", "input should be a list of objects")
    return given.text


VerbatimObjects = Annotated[
    bytes,
    PlainValidator(_require_objects),
    WithJsonSchema({"type": "array", "items": {"type": "object", "additionalProperties": True}}),
]
"""A list of objects as JSON text: the list goes back to its caller with its numbers, escapes and order of keys (I5).

A field of this type is named in its model's `verbatim`.
"""


class Params(BaseModel):
    """The base of every verb's params: an unknown field is an error, so that a misspelt field is not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    verbatim: ClassVar[frozenset[str]] = frozenset()
    """Fields that keep their JSON text in place of a value."""
    opened: ClassVar[frozenset[str]] = frozenset()
    """Fields that name files to be opened: redaction would name another file."""


class Mutating(Params):
    """Params of a verb that mutates."""

    op_id: Annotated[str, Field(max_length=128)] = ""
    """Repeating a mutation with the same `op_id` in the same session answers as the first time, and does nothing.
    With another verb or other params it is a `conflict`."""
    durability: Literal["commit", "async"] = "commit"


class OfSession(Params):
    """Params that name a session."""

    session: Name = ""
    cwd: FolderPath = ""


class MutatingSession(OfSession, Mutating):
    """Params of a verb on one session with a mutation."""


class NoParams(Params):
    """No params."""


_decode = msgspec.json.Decoder().decode
_decode_texts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


CONTENT = frozenset({"text", "input", "messages", "new", "calls"})
"""Params with content of segments, which intake redacts, or with params of their own."""
QUERY = frozenset({"query"})
"""Params that look for content."""


def redact_params(model: type[Params], values: Any, *, redacts_content: bool = True) -> Any:
    """The params with every name as the stash has it: a credential in an id or a tag reaches no row and no lookup.

    Names are redacted always; the words of a query, where the content that they look for is.
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
