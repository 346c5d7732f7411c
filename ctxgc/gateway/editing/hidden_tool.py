"""The door to a tool that the gateway itself gives a model: the agent sees neither the tool nor its calls.

    request ──may_join──▶ inject ──▶ body with the tool ──▶ upstream ──reply──▶ relay ──▶ the agent's reply
                                                                 ▲                │
                                                                 └─results of the tool's calls

Editor and server know a tool by this module alone. `main` imports the room behind the door when the settings ask for
the tool, and not before.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

from ctxgc.gateway.body.splice_memo import OwnMark
from ctxgc.gateway.editing.request_state import ModelCall
from ctxgc.gateway.identity.agent_session import AgentSession


class ReplyContent(Protocol):
    """The body of a reply, as it comes."""

    def iter_any(self) -> AsyncIterable[bytes]:
        """The parts of the body."""
        ...


class UpstreamReply(Protocol):
    """An upstream's reply, as far as a tool reads it: the HTTP library stays with the server."""

    status: int

    @property
    def headers(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def content_type(self) -> str: ...  # noqa: D102
    @property
    def content_length(self) -> int | None: ...  # noqa: D102
    @property
    def content(self) -> ReplyContent: ...  # noqa: D102

    async def read(self) -> bytes:
        """The whole body."""
        ...

    def close(self) -> None:
        """End the reply's connection."""
        ...


R = TypeVar("R", bound=UpstreamReply)


class Ends(NamedTuple, Generic[R]):
    """Both ends of one request, by which a tool carries the reply."""

    ask: Callable[[bytes], Awaitable[R]]
    """Send a body upstream as the agent's own request was sent."""
    write: Callable[[R, bytes], Awaitable[None]]
    """Pass a part of a reply on to the agent."""
    faults: tuple[type[Exception], ...]
    """Exceptions of the HTTP library by which an end of the connection shows."""


class HiddenRequest(Protocol):
    """One request that carries the tool, until the agent has its reply."""

    @property
    def body(self) -> bytes:
        """The body with the tool."""
        ...

    async def unmark(self, own: OwnMark) -> bytes | None:
        """Take our mark, which the upstream refused, from this body and from each body that `relay` sends.

        The body without the mark; None where the tool cannot be put into the unmarked body, and nothing changes.
        """
        ...

    def can_relay(self, reply: UpstreamReply) -> bool:
        """Whether `relay` can read this reply; else the reply passes as it came."""
        ...

    async def relay(self, reply: R, ends: Ends[R]) -> R:
        """Pass the reply on, asking upstream again where the model calls the tool; the last reply.

        Raises `ConnectionError` where a message that has begun cannot be ended, and what the ends raise.
        """
        ...

    def withdraw(self) -> None:
        """Take the tool from the session: the upstream refused a body with the tool, and took the agent's own."""
        ...


class HiddenTool(Protocol):
    """The tool, for all sessions. Belongs to one loop."""

    name: str
    """The tool's name, for tombstones."""

    def is_in(self, session: AgentSession) -> bool:
        """Whether the session's model has the tool."""
        ...

    def may_join(self, session: AgentSession, wire: str, mode: str) -> bool:
        """Whether the session has the tool, or may get the tool if this request begins the session."""
        ...

    async def inject(self, call: ModelCall, body: bytes) -> HiddenRequest | None:
        """The call with the tool in its body; None where the body cannot carry the tool. Within `wait_s`."""
        ...
