"""Params that all verbs share: names with their bounds, and the base models.

Apart from the verbs, so that a family of verbs can have a module of its own.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

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
