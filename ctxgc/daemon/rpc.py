"""The seam between socket and verbs: the arguments of a verb's call, and the answers that a verb may give.

    Connection ──method, raw params, CallContext──▶ Dispatch.call ──▶ answer | awaitable answer | CtxgcError

A verb that only looks at memory answers at once and its reply leaves with the others of the same read. A verb that
waits for disk or counts tokens returns an awaitable; the connection runs the awaitable as a task, within its bound.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec
from msgspec import Raw

from ctxgc.protocol.limits import (
    ALL_UNSENT_BYTES_MAX,
    BATCH_REPLY_BYTES_MAX,
    FRAME_BYTES_DEFAULT,
    IN_FLIGHT_BYTES_MAX,
    IN_FLIGHT_MAX,
    LONG_REPLIES_MAX,
    OPERATORS_MAX,
    UNSENT_BYTES_MAX,
)

SLOW_S = 0.010
SLOWLOG_MAX = 128


class Caller(Protocol):
    """The connection, as far as a verb may see it."""

    connection_id: int
    client_uid: int

    @property
    def is_gone(self) -> bool:
        """Whether nobody is left to read an answer."""

    def subscribe(self, topics: frozenset[str], from_seq: int | None) -> None:
        """Send events of `topics` from `from_seq`, or from now; replaces an earlier subscription."""

    def unsubscribe(self) -> None:
        """Send no more events."""


class CallContext(msgspec.Struct):
    """The caller of a verb and the deadline of its answer. A Struct, because every request makes an instance."""

    client: Caller
    deadline_s: float = math.inf
    """On the clock of `time.monotonic`."""
    is_cancelled: bool = False

    @property
    def connection_id(self) -> int:
        """Counts up from 1 with every connection."""
        return self.client.connection_id

    @property
    def client_uid(self) -> int:
        """The user of the client's process."""
        return self.client.client_uid

    @property
    def is_answer_wanted(self) -> bool:
        """Whether somebody waits for the answer."""
        return not (self.is_cancelled or self.client.is_gone)

    def subscribe(self, topics: frozenset[str], from_seq: int | None = None) -> None:
        """As `Caller.subscribe`."""
        self.client.subscribe(topics, from_seq)

    def unsubscribe(self) -> None:
        """As `Caller.unsubscribe`."""
        self.client.unsubscribe()


class Dispatch(Protocol):
    """The verbs, as the server calls them for each request."""

    def call(self, method: str, params: Raw, context: CallContext) -> Any:
        """Answer a call.

        `params` is a JSON object: well-formed UTF-8 without NaN or lone surrogates, but not validated, and its numbers
        may be out of range; `bytes(params)` is its text. The answer is `bytes` or `msgspec.Raw` (JSON already), any
        value that msgspec encodes, or an awaitable of such a value. Calls of a connection are made in the order of
        their sending.

        Raises CtxgcError, which the client gets unchanged; any other error is a bug, answered as `internal` and logged
        without its message, because the message may quote a session's text.
        """

    def has_long_reply(self, method: str) -> bool:
        """Whether the reply may be as long as a line: only a few such calls of a connection run at once."""

    def is_for_operators(self, method: str) -> bool:
        """Whether the verb looks after the daemon, and is served where there are too many clients."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of the server (I12)."""

    frame_bytes_max: int = FRAME_BYTES_DEFAULT
    in_flight_max: int = IN_FLIGHT_MAX
    """Per connection; a batch that starts below the bound may exceed the bound by its own length."""
    in_flight_bytes_max: int = IN_FLIGHT_BYTES_MAX
    """Per connection, of requests; a single request may exceed the bound."""
    long_replies_max: int = LONG_REPLIES_MAX
    unsent_bytes_max: int = UNSENT_BYTES_MAX
    """Per connection; the answers to `long_replies_max` calls may exceed the bound."""
    batch_reply_bytes_max: int = BATCH_REPLY_BYTES_MAX
    all_unsent_bytes_max: int = ALL_UNSENT_BYTES_MAX
    unread_s_max: float = 2.0
    """How long a client may leave answers unread while all clients together are over their bound."""
    connections_max: int = 512
    operators_max: int = OPERATORS_MAX
    slow_consumer_s: float = 10.0
    """How long a subscriber may leave events waiting behind unread output."""
    linger_s: float = 5.0
    """How long the client of a closing connection may take to read its last answers."""
    stop_s: float = 10.0
    """How long `stop` waits for requests in flight."""


@dataclass(slots=True)
class Traffic:
    """Counts since the start; `connections` counts the open connections."""

    connections: int = 0
    connections_total: int = 0
    requests: int = 0
    errors: int = 0


class SlowCall(NamedTuple):
    """A slow request, without params: params hold a session's text."""

    seconds: float
    number: int
    """Tells equal durations apart: the requests served before it."""
    method: str
    connection_id: int
    at_s: float
    """Wall clock of its end."""


class ServerCounts(Protocol):
    """The server, as far as a verb may see it."""

    limits: Limits

    @property
    def traffic(self) -> Traffic:
        """Counts of connections, requests and errors."""

    def slowest_calls(self) -> list[SlowCall]:
        """The slowest requests since the start, slowest first."""


class Slowlog:
    """The slowest requests since the start."""

    def __init__(self, calls_max: int = SLOWLOG_MAX) -> None:
        self._calls_max = calls_max
        self._heap: list[SlowCall] = []

    def note_call(self, call: SlowCall) -> None:
        """Keep `call` if the call is among the slowest. O(log calls)."""
        if len(self._heap) < self._calls_max:
            heapq.heappush(self._heap, call)
        else:
            heapq.heappushpop(self._heap, call)

    def slowest_calls(self) -> list[SlowCall]:
        """The calls in the log, slowest first."""
        return sorted(self._heap, reverse=True)
