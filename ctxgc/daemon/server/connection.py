"""One client's connection: frames in, answers out, and neither without a bound.

    bytes ─Decoder─▶ backlog ──room?──▶ Dispatch ──answer────────▶ one write per read
                        │ no                └──awaitable──▶ task ─▶ a write when it is done
                        └─▶ stop reading until the client has read, or a task has ended

    open ──a refusal that closes, end of input──▶ ending ──nothing in flight──▶ closed

All of a read is parsed, called and answered before anything else runs: no task per request, one write per read.
"""

from __future__ import annotations

import asyncio
import logging
import select
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from socket import socket
from typing import Any, TypeVar, cast

import msgspec
from msgspec import UNSET

from ctxgc.core.errors import (
    BadParams,
    BadRequest,
    Busy,
    CtxgcError,
    DeadlinePassed,
    ForeignPeer,
    ShuttingDown,
    SlowConsumer,
)
from ctxgc.daemon.server.events import Events, Subscription
from ctxgc.daemon.server.rpc import SLOW_S, CallContext, Dispatch, Limits, SlowCall, Slowlog, Traffic
from ctxgc.protocol.codec import Batch, Decoder, Frame, Refusal, Request, append_result, encode_error

CANCEL = "$/cancel"
_log = logging.getLogger("ctxgc.daemon")
T = TypeVar("T")


class _CancelParams(msgspec.Struct):
    id: int | str


@dataclass(slots=True)
class Hub:
    """The verbs, bounds, counts and tasks that the connections of one server share."""

    dispatch: Dispatch
    limits: Limits
    events: Events
    serves_uid: int
    credentials: Callable[[socket], int]
    traffic: Traffic = field(default_factory=Traffic)
    slowlog: Slowlog = field(default_factory=Slowlog)
    connections: set[Connection] = field(default_factory=set)
    all_closed: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    is_stopping: bool = False

    def run(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work`, which raises nothing, as a task that `Server.stop` waits for; who calls keeps the bound."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class Connection(asyncio.Protocol):
    """The server's end of one connection; also the `Client` that verbs see."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._decoder = Decoder(hub.limits.frame_bytes_max)
        self._backlog: deque[Frame] = deque()
        self._in_flight: dict[object, CallContext] = {}
        self._transport: asyncio.Transport
        self._received_s = 0.0
        self._is_reading = True
        self._is_ending = False
        self._is_choked = False
        self._subscription: Subscription | None = None
        self._is_pump_due = False
        self._cut_off_timer: asyncio.TimerHandle | None = None
        self._abort_timer: asyncio.TimerHandle | None = None
        self.connection_id = 0
        self.client_uid = -1

    @property
    def is_gone(self) -> bool:
        """Whether the client has closed both ways. A client that only writes no more still reads."""
        if self._transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), 0)
        return bool(poll.poll(0))

    # The loop calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection in, or refuse a stranger or one too many."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its bases.
        hub, traffic = self._hub, self._hub.traffic
        self._transport.set_write_buffer_limits(high=hub.limits.unsent_bytes_max)
        self.client_uid = hub.credentials(transport.get_extra_info("socket"))
        traffic.connections += 1
        traffic.connections_total += 1
        self.connection_id = traffic.connections_total
        hub.connections.add(self)
        hub.all_closed.clear()
        if self.client_uid not in (-1, hub.serves_uid):
            self._refuse(ForeignPeer(f"this socket serves user {hub.serves_uid} alone, not {self.client_uid}"))
        elif traffic.connections > hub.limits.connections_max:
            self._refuse(Busy(f"{hub.limits.connections_max} clients are connected; close one, or try again"))

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection. Requests in flight run to their end: each arrived whole."""
        self._is_ending = True
        self._backlog.clear()
        self.unsubscribe()
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        self._hub.traffic.connections -= 1
        self._hub.connections.discard(self)
        if not self._hub.connections:
            self._hub.all_closed.set()

    def data_received(self, data: bytes) -> None:
        """Parse, call and answer all that came."""
        if self._is_ending:
            return
        # The backlog is empty here but for what one last read brought after reading stopped: one time serves all.
        self._received_s = time.monotonic()
        self._backlog.extend(self._decoder.feed(data))
        self._advance()

    def eof_received(self) -> bool:
        """Answer the requests in flight before closing. An unfinished line is dropped with its connection."""
        self._is_ending = True
        self._end_if_idle()
        return True

    def pause_writing(self) -> None:
        """The client leaves more unread than it may."""
        self._is_choked = True

    def resume_writing(self) -> None:
        """The client has read: go on with the frames that wait."""
        self._is_choked = False
        if self._cut_off_timer is not None:
            self._cut_off_timer.cancel()
            self._cut_off_timer = None
        self._advance()
        self._wake()

    # Calls.

    def _advance(self) -> None:
        """Serve the backlog as far as there is room, and read on only if there is."""
        hub, transport, in_flight = self._hub, self._transport, self._in_flight
        in_flight_max = hub.limits.in_flight_max
        while self._backlog and not self._is_choked and len(in_flight) < in_flight_max:
            # Each round fills the room, so that one which leaves a backlog has choked the transport (and is called
            # again by `resume_writing`), has filled what may be in flight (by the end of a task), or goes on here.
            out = self._serve_some(hub.limits.unsent_bytes_max - transport.get_write_buffer_size())
            if out:
                transport.write(out)
        has_room = not self._is_choked and len(in_flight) < in_flight_max
        if has_room is not self._is_reading:
            self._set_reading(has_room)
        if self._is_ending:
            self._end_if_idle()

    def _serve_some(self, room_bytes: int) -> bytearray:
        """Serve frames until their answers exceed the room or too many are in flight."""
        out = bytearray()
        backlog, in_flight, in_flight_max = self._backlog, self._in_flight, self._hub.limits.in_flight_max
        started_s = time.monotonic()
        while backlog and len(out) <= room_bytes and len(in_flight) < in_flight_max:
            frame = backlog.popleft()
            if type(frame) is Request:
                settling = self._serve(frame, out, started_s)
                if settling is not None:
                    self._hub.run(self._answer_later(settling))
                ended_s = time.monotonic()
                if ended_s - started_s >= SLOW_S:
                    self._note_slow(frame, ended_s - started_s)
                started_s = ended_s
            elif isinstance(frame, Batch):
                self._serve_batch(frame, out)
            elif isinstance(frame, Refusal):
                out += self._error(frame.id, frame.error)
                self._is_ending = self._is_ending or frame.closes
        return out

    def _serve(self, request: Request, out: bytearray, now_s: float) -> Coroutine[Any, Any, bytes] | None:
        """Call the verb. The answer goes to `out`, or the returned coroutine brings it."""
        hub, id = self._hub, request.id
        hub.traffic.requests += 1
        try:
            if id in self._in_flight:
                # Answered under its id it would pass for the answer to the first.
                out += self._error(None, BadRequest(f"the id {id!r} is in flight already; nothing was done"))
                return None
            if hub.is_stopping:
                raise ShuttingDown("the daemon is stopping", hint="connect again in a moment")
            context = CallContext(self)
            if request.deadline_ms is not UNSET:
                context.deadline_s = self._received_s + request.deadline_ms / 1000
                if now_s > context.deadline_s:
                    raise DeadlinePassed("the deadline passed before the request started; nothing was done")
            answer: Any = None
            if request.method == CANCEL:
                self._cancel(request)
            else:
                answer = hub.dispatch.call(request.method, request.params, context)
            if hasattr(answer, "__await__"):
                key = object() if id is UNSET else id
                self._in_flight[key] = context
                return self._finish_call(key, request, answer, now_s)
            if id is not UNSET:
                append_result(out, id, answer)
        except Exception as error:
            line = self._error(id if id is not UNSET else None, _error_to_tell(request.method, error))
            if id is not UNSET:
                out += line
        return None

    async def _finish_call(self, key: object, request: Request, answer: Awaitable[Any], started_s: float) -> bytes:
        """The answer of a waiting call; empty for a notification."""
        out = bytearray()
        try:
            result = await answer
            if request.id is not UNSET:
                append_result(out, request.id, result)
        except Exception as error:
            line = self._error(None if request.id is UNSET else request.id, _error_to_tell(request.method, error))
            out += line if request.id is not UNSET else b""
        finally:
            del self._in_flight[key]
        self._note_slow(request, time.monotonic() - started_s)
        return bytes(out)

    async def _answer_later(self, settling: Coroutine[Any, Any, bytes]) -> None:
        self._write(await settling)
        self._advance()

    def _serve_batch(self, batch: Batch, out: bytearray) -> None:
        """Call every request of an array, in order, and answer them by one array."""
        parts: list[bytes | asyncio.Task[bytes]] = []
        ids: set[object] = set()
        for item in batch.items:
            part = bytearray()
            if isinstance(item, Refusal):
                part += self._error(item.id, item.error)
            elif item.id in ids:
                part += self._error(None, BadRequest(f"the id {item.id!r} is in the batch twice; nothing was done"))
            else:
                if item.id is not UNSET:
                    ids.add(item.id)
                settling = self._serve(item, part, time.monotonic())
                if settling is not None:
                    parts.append(self._hub.run(settling))
            parts.append(bytes(part))
        answers = [part for part in parts if isinstance(part, bytes)]
        if len(answers) == len(parts):
            out += _batch_answer(answers)
        else:
            self._hub.run(self._answer_batch_later(parts))

    async def _answer_batch_later(self, parts: Sequence[bytes | asyncio.Task[bytes]]) -> None:
        self._write(_batch_answer([part if isinstance(part, bytes) else await part for part in parts]))
        self._advance()

    def _cancel(self, request: Request) -> None:
        """Mark the call as cancelled; the verb looks at the mark where the verb can still turn back."""
        id = msgspec.json.decode(request.params, type=_CancelParams).id
        if id in self._in_flight:
            self._in_flight[id].is_cancelled = True

    def _error(self, id: int | str | None, error: CtxgcError) -> bytes:
        self._hub.traffic.errors += 1
        return encode_error(id, error)

    def _note_slow(self, request: Request, seconds: float) -> None:
        if seconds >= SLOW_S:
            number = self._hub.traffic.requests
            self._hub.slowlog.note(SlowCall(seconds, number, request.method, self.connection_id, time.time()))

    # Output, and its end.

    def _write(self, data: bytes | bytearray) -> None:
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _set_reading(self, has_room: bool) -> None:
        if self._is_ending or self._transport.is_closing():
            return
        self._is_reading = has_room
        if has_room:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _refuse(self, error: CtxgcError) -> None:
        """Send the reason and close, after the answers to the requests in flight."""
        self._write(self._error(None, error))
        self._backlog.clear()
        self._is_ending = True
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if not self._in_flight and not self._backlog:
            self.close()

    def close(self) -> None:
        """Close as soon as the client has read its last answers, or has taken too long over them."""
        self._is_ending = True
        self._backlog.clear()
        if not self._transport.is_closing():
            self._transport.close()
            linger_s = self._hub.limits.linger_s
            self._abort_timer = asyncio.get_running_loop().call_later(linger_s, self._transport.abort)

    # Events.

    def subscribe(self, topics: frozenset[str], from_seq: int | None) -> None:
        """Send events of `topics`, after the answer to this call."""
        self._subscription = Subscription(self._hub.events, topics, from_seq)
        self._hub.events.listen(self._wake)
        self._wake()

    def unsubscribe(self) -> None:
        """Send no more events."""
        self._subscription = None
        self._hub.events.unlisten(self._wake)
        if self._cut_off_timer is not None:
            self._cut_off_timer.cancel()
            self._cut_off_timer = None

    def _wake(self) -> None:
        if self._subscription is not None and not self._is_pump_due:
            self._is_pump_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Send what the subscriber has room for; a subscriber without room is given a while, not waited for."""
        self._is_pump_due = False
        if self._subscription is None or not self._subscription.is_behind or self._transport.is_closing():
            return
        if self._is_choked:
            if self._cut_off_timer is None:
                wait_s = self._hub.limits.slow_consumer_s
                self._cut_off_timer = asyncio.get_running_loop().call_later(wait_s, self._cut_off)
            return
        room_bytes = self._hub.limits.unsent_bytes_max - self._transport.get_write_buffer_size()
        self._write(self._subscription.take(max(1, room_bytes)))  # With no room at all it would be woken for ever.
        if self._subscription.is_behind:
            self._wake()

    def _cut_off(self) -> None:
        self.unsubscribe()
        hint = "subscribe again with from_seq to go on where you were"
        self._refuse(SlowConsumer("events were left unread for too long", hint=hint))


def _batch_answer(lines: Sequence[bytes]) -> bytes:
    """The answer to a batch: nothing if there is none to give (all were notifications)."""
    answers = [line.rstrip(b"\n") for line in lines if line]
    return b"[" + b",".join(answers) + b"]\n" if answers else b""


def _error_to_tell(method: str, error: Exception) -> CtxgcError:
    """The error that the client is told: its own, or `internal` for a bug of the daemon."""
    if isinstance(error, CtxgcError):
        return error
    if isinstance(error, RecursionError):
        return BadParams("params are nested too deeply")
    if isinstance(error, msgspec.DecodeError):
        return BadParams(f"bad params: {error}")
    # The message of a foreign exception may quote what was being worked on: a session's text is never logged.
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s failed with %s\n%s", method, type(error).__qualname__, frames)
    return CtxgcError(f"{method} failed inside the daemon", hint="its log says where")
