"""A client's connection: lines in, answers out, both bounded.

    bytes ─Decoder─▶ backlog ──room?──▶ Dispatch ──answer────────▶ one write per read
                        │ no                └──awaitable──▶ task ─▶ a write when it is done
                        └─▶ stop reading until the client has read, or a task has ended

    open ──a refusal that closes, end of input──▶ ending ──nothing in flight──▶ closed

All lines of a read are parsed, called and answered before other work runs: no task per request, one write per read.
"""

from __future__ import annotations

import asyncio
import math
import select
import time
from collections import deque
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, cast

import msgspec
from msgspec import UNSET

from ctxgc.core.errors import BadRequest, Busy, CtxgcError, DeadlinePassed, ForeignPeer, ShuttingDown, SlowConsumer
from ctxgc.daemon.events import Subscription
from ctxgc.daemon.rpc import SLOW_S, CallContext, SlowCall
from ctxgc.daemon.server.hub import Hub
from ctxgc.daemon.server.refusals import error_for_client
from ctxgc.protocol.codec import Batch, ClientLine, Decoder, Refusal, Request, append_result, encode_error, join_answers

CANCEL = "$/cancel"


class _CancelParams(msgspec.Struct):
    id: int | str


class Connection(asyncio.Protocol):
    """The server's end of one connection; also the `Client` that verbs see."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._decoder = Decoder(hub.limits.frame_bytes_max)
        self._backlog: deque[ClientLine] = deque()
        self._in_flight: dict[object, CallContext] = {}
        self._transport: asyncio.Transport
        self._received_s = 0.0
        self._is_reading = True
        self._is_ending = False
        self._in_flight_bytes = 0
        self._long_replies = 0
        self._batches = 0
        self.choked_s = math.inf
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
        """Take the connection in, or refuse a stranger or a connection too many."""
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
            self.refuse(ForeignPeer(f"this socket serves user {hub.serves_uid} alone, not {self.client_uid}"))
        elif hub.is_full and (surplus := hub.add_operator(self)) is not None:
            surplus.refuse(self._connection_limit_error())

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection. Requests in flight run to their end: each arrived whole."""
        self._is_ending = True
        self._backlog.clear()
        self.unsubscribe()
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        self._hub.traffic.connections -= 1
        self._hub.connections.discard(self)
        if self in self._hub.operators:
            self._hub.operators.remove(self)
        if not self._hub.connections:
            self._hub.all_closed.set()

    def data_received(self, data: bytes) -> None:
        """Parse, call and answer all that came."""
        if self._is_ending:
            return
        # The backlog is empty here but for what one last read brought after reading stopped: one time serves all.
        self._received_s = time.monotonic()
        self._backlog.extend(self._decoder.feed(data))
        self._serve_backlog()

    def eof_received(self) -> bool:
        """Answer the requests in flight before closing. An unfinished line is dropped with its connection."""
        self._is_ending = True
        self._close_if_idle()
        return True

    def pause_writing(self) -> None:
        """The client leaves more unread than the bound."""
        self.choked_s = time.monotonic()

    def resume_writing(self) -> None:
        """The client has read: go on with the lines that wait."""
        self.choked_s = math.inf
        if self._cut_off_timer is not None:
            self._cut_off_timer.cancel()
            self._cut_off_timer = None
        self._serve_backlog()
        self._schedule_event_sending()

    # Calls.

    def _serve_backlog(self) -> None:
        """Serve the backlog as far as there is room, and read on only if there is."""
        hub, transport = self._hub, self._transport
        while self._backlog and self._can_start_request():
            # Each round fills the room, so that one which leaves a backlog has choked the transport (and is called
            # again by `resume_writing`), has filled what may be in flight (by the end of a task), or goes on here.
            out = self._serve_lines(hub.limits.unsent_bytes_max - transport.get_write_buffer_size())
            self._write(out)
        has_room = self._can_start_request()
        if has_room is not self._is_reading:
            self._set_reading(has_room)
        if self._is_ending:
            self._close_if_idle()

    def _can_start_request(self) -> bool:
        """Whether another request may start: the client reads, and no bound of what is in flight is met."""
        limits = self._hub.limits
        return (
            not self._is_choked
            and len(self._in_flight) < limits.in_flight_max
            and self._in_flight_bytes < limits.in_flight_bytes_max
            and self._long_replies < limits.long_replies_max
        )

    def _serve_lines(self, room_bytes: int) -> bytearray:
        """Serve lines until their answers exceed the room or too many are in flight."""
        out = bytearray()
        backlog = self._backlog
        started_s = time.monotonic()
        while backlog and len(out) <= room_bytes and self._can_start_request():
            line = backlog.popleft()
            if type(line) is Request:
                settling = self._serve_request(line, out, started_s)
                if settling is not None:
                    self._hub.run_task(self._write_awaited_answer(settling))
                ended_s = time.monotonic()
                if ended_s - started_s >= SLOW_S:
                    self._note_call_if_slow(line, ended_s - started_s)
                started_s = ended_s
            elif isinstance(line, Batch):
                self._serve_batch(line, out)
            elif isinstance(line, Refusal):
                out += self._answer_error(line.id, line.error)
                self._is_ending = self._is_ending or line.closes
        return out

    def _serve_request(self, request: Request, out: bytearray, now_s: float) -> Coroutine[Any, Any, bytes] | None:
        """Call the verb. The answer goes to `out`, or comes from the returned coroutine."""
        hub, id = self._hub, request.id
        hub.traffic.requests += 1
        try:
            if id in self._in_flight:
                # Answered under its id it would pass for the answer to the first.
                out += self._answer_error(None, BadRequest(f"the id {id!r} is in flight already; no call was made"))
                return None
            if hub.is_stopping:
                raise ShuttingDown("the daemon is stopping", hint="connect again in a moment")
            if hub.is_full and self in hub.operators and not hub.dispatch.is_for_operators(request.method):
                raise self._connection_limit_error()
            context = CallContext(self)
            if request.deadline_ms is not UNSET:
                context.deadline_s = self._received_s + request.deadline_ms / 1000
                if now_s > context.deadline_s:
                    raise DeadlinePassed("the deadline passed before the request started; nothing was done")
            answer: Any = None
            if request.method == CANCEL:
                self._cancel_call(request)
            else:
                answer = hub.dispatch.call(request.method, request.params, context)
            if hasattr(answer, "__await__"):
                key = object() if id is UNSET else id
                self._in_flight[key] = context
                self._in_flight_bytes += memoryview(request.params).nbytes
                self._long_replies += hub.dispatch.has_long_reply(request.method)
                return self._finish_call(key, request, answer, now_s)
            if id is not UNSET:
                append_result(out, id, answer)
        except Exception as error:
            line = self._answer_error(None if id is UNSET else id, error_for_client(request.method, error))
            out += b"" if id is UNSET else line
        return None

    async def _finish_call(self, key: object, request: Request, answer: Awaitable[Any], started_s: float) -> bytes:
        """The answer of a waiting call; empty for a notification."""
        out = bytearray()
        try:
            result = await self._hub.await_reply(request.method, answer)
            if request.id is not UNSET:
                append_result(out, request.id, result)
        except Exception as error:
            id = None if request.id is UNSET else request.id
            line = self._answer_error(id, error_for_client(request.method, error))
            out += line if request.id is not UNSET else b""
        finally:
            del self._in_flight[key]
            self._in_flight_bytes -= memoryview(request.params).nbytes
            self._long_replies -= self._hub.dispatch.has_long_reply(request.method)
        self._note_call_if_slow(request, time.monotonic() - started_s)
        return bytes(out)

    async def _write_awaited_answer(self, settling: Coroutine[Any, Any, bytes]) -> None:
        self._write(await settling)
        self._serve_backlog()

    def _serve_batch(self, batch: Batch, out: bytearray) -> None:
        """Call every request in order, from the first long reply on one after another; answer them by one array."""
        rest, ids = deque(batch.items), set[object]()
        parts: list[bytes | asyncio.Task[bytes]] = []
        while rest and not self._is_long_reply_item(rest[0]):
            parts.append(self._serve_batch_item(rest.popleft(), ids))
        answers = [part for part in parts if isinstance(part, bytes)]
        if len(answers) == len(parts) and not rest:
            out += join_answers(answers)
        else:
            self._batches += 1
            self._hub.run_task(self._finish_batch(parts, rest, ids))

    def _is_long_reply_item(self, item: Request | Refusal) -> bool:
        return isinstance(item, Request) and self._hub.dispatch.has_long_reply(item.method)

    def _serve_batch_item(self, item: Request | Refusal, ids: set[object]) -> bytes | asyncio.Task[bytes]:
        if isinstance(item, Refusal):
            return self._answer_error(item.id, item.error)
        if item.id in ids:
            return self._answer_error(None, BadRequest(f"the id {item.id!r} is in the batch twice; no call was made"))
        if item.id is not UNSET:
            ids.add(item.id)
        part = bytearray()
        settling = self._serve_request(item, part, time.monotonic())
        return bytes(part) if settling is None else self._hub.run_task(settling)

    async def _finish_batch(
        self, parts: list[bytes | asyncio.Task[bytes]], rest: Sequence[Request | Refusal], ids: set[object]
    ) -> None:
        limit = self._hub.limits.batch_reply_bytes_max
        size = 0
        for item in rest:
            if size > limit and isinstance(item, Request) and self._is_long_reply_item(item):
                busy = Busy(f"the answers of this batch are {limit} bytes long already", hint="send the rest apart")
                part = b"" if item.id is UNSET else self._answer_error(item.id, busy)
            else:
                settling = self._serve_batch_item(item, ids)
                part = settling if isinstance(settling, bytes) else await settling
            size += len(part)
            parts.append(part)
        answer = join_answers([part if isinstance(part, bytes) else await part for part in parts])
        self._batches -= 1
        self._write(answer)
        self._serve_backlog()

    def _cancel_call(self, request: Request) -> None:
        """Flag the call as cancelled; the verb looks at the flag where the verb can still turn back."""
        id = msgspec.json.decode(request.params, type=_CancelParams).id
        if id in self._in_flight:
            self._in_flight[id].is_cancelled = True

    def _answer_error(self, id: int | str | None, error: CtxgcError) -> bytes:
        self._hub.traffic.errors += 1
        return encode_error(id, error)

    def _note_call_if_slow(self, request: Request, seconds: float) -> None:
        if seconds >= SLOW_S:
            number = self._hub.traffic.requests
            self._hub.slowlog.note_call(SlowCall(seconds, number, request.method, self.connection_id, time.time()))

    # Output, and its end.

    def _write(self, data: bytes | bytearray) -> None:
        if data and not self._transport.is_closing():
            self._transport.write(data)
            if self._is_choked:
                self._hub.cut_off_stalled_clients()

    def _set_reading(self, has_room: bool) -> None:
        if self._is_ending or self._transport.is_closing():
            return
        self._is_reading = has_room
        if has_room:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def refuse(self, error: CtxgcError) -> None:
        """As `HubConnection.refuse`."""
        self._write(self._answer_error(None, error))
        self._backlog.clear()
        self._is_ending = True
        self._close_if_idle()

    def _connection_limit_error(self) -> Busy:
        limit = self._hub.limits.connections_max
        hint = "close one, or try again; `ctxgc status` and `ctxgc down` work all the same"
        return Busy(f"{limit} clients are connected, and there is no room for one more", hint=hint)

    def _close_if_idle(self) -> None:
        if self.is_idle:
            self.close()

    @property
    def is_idle(self) -> bool:
        """As `HubConnection.is_idle`."""
        return not self._in_flight and not self._backlog and not self._batches

    @property
    def unsent_bytes(self) -> int:
        """As `HubConnection.unsent_bytes`."""
        return self._transport.get_write_buffer_size()

    @property
    def _is_choked(self) -> bool:
        return self.choked_s != math.inf

    def abort(self) -> None:
        """As `HubConnection.abort`."""
        self._is_ending = True
        self._backlog.clear()
        self._hub.traffic.errors += 1
        self._transport.abort()

    def close(self) -> None:
        """As `HubConnection.close`."""
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
        self._hub.events.add_listener(self._schedule_event_sending)
        self._schedule_event_sending()

    def unsubscribe(self) -> None:
        """Send no more events."""
        self._subscription = None
        self._hub.events.remove_listener(self._schedule_event_sending)
        if self._cut_off_timer is not None:
            self._cut_off_timer.cancel()
            self._cut_off_timer = None

    def _schedule_event_sending(self) -> None:
        if self._subscription is not None and not self._is_pump_due:
            self._is_pump_due = True
            asyncio.get_running_loop().call_soon(self._send_events)

    def _send_events(self) -> None:
        """Send as much as the subscriber has room for; a subscriber without room is given a while, not waited for."""
        self._is_pump_due = False
        if self._subscription is None or not self._subscription.is_behind or self._transport.is_closing():
            return
        if self._is_choked:
            if self._cut_off_timer is None:
                wait_s = self._hub.limits.slow_consumer_s
                self._cut_off_timer = asyncio.get_running_loop().call_later(wait_s, self._cut_off_subscriber)
            return
        room_bytes = self._hub.limits.unsent_bytes_max - self._transport.get_write_buffer_size()
        self._write(self._subscription.take_lines(max(1, room_bytes)))  # With no room it would be woken for ever.
        if self._subscription.is_behind:
            self._schedule_event_sending()

    def _cut_off_subscriber(self) -> None:
        self.unsubscribe()
        hint = "subscribe again with from_seq to go on where you were"
        self.refuse(SlowConsumer("events were left unread for too long", hint=hint))
