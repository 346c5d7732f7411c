"""What the params of all verbs share: names with their bounds, and the base models.

Apart from the verbs, so that a family of verbs can have a module of its own.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

NAME_CHARS_MAX = 512
Name = Annotated[str, Field(max_length=NAME_CHARS_MAX)]
Ids = Annotated[list[Name], Field(min_length=1, max_length=10_000)]
PATH_CHARS_MAX = 4096
AbsolutePath = Annotated[str, Field(pattern=r"^/[^\x00]*$", max_length=PATH_CHARS_MAX)]
"""The daemon has no working directory of the client's; and no file's name holds NUL."""
Tokens = Annotated[int, Field(ge=0, le=2**40)]
KindName = Literal["system", "user", "assistant", "thinking", "exchange", "attachment", "summary", "plan", "other"]
StateName = Literal["resident", "evicted", "departed", "forgotten"]
Unit = Literal["billed", "raw"]
WireFormatName = Literal["anthropic_messages", "openai_chat", "openai_responses"]


class Params(BaseModel):
    """What every verb's params share: unknown fields are an error, so that a misspelt one is not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Mutating(Params):
    """Params of a verb that changes something."""

    op_id: Annotated[str, Field(max_length=128)] = ""
    """Repeating a mutation with the same `op_id` in the same session answers as the first time, and does nothing.
    With another verb or other params it is a `conflict`."""
    durability: Literal["commit", "async"] = "commit"


class OfSession(Params):
    """Params that name a session."""

    session: Name = ""
    cwd: Annotated[str, Field(max_length=4096)] = ""


class MutatingSession(OfSession, Mutating):
    """Params of a verb that changes one session."""


class Nothing(Params):
    """No params."""
