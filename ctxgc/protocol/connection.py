"""The asyncio client, for programs that build on ctxgc: many calls in flight on a connection, and events.

async with await ctxgc.connect() as client:
    added = await client.call("segment.add", {"session": "mine", "segment": {"kind": "user", "text": "…"}})

call ──▶ request line ──▶ the daemon ──▶ answer, matched by its id ──▶ the caller that waits for it
                                    └──▶ event ──▶ events()
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, cast

import msgspec
from msgspec import UNSET

from ctxgc.protocol.blocking_client import CallFailed, TimedOut, Unreachable
from ctxgc.protocol.codec import LineSplitter, Message, decode_message, encode_request
from ctxgc.protocol.discovery import candidate_sockets
from ctxgc.protocol.limits import DEADLINE_MS_MAX, FRAME_BYTES_DEFAULT, IN_FLIGHT_MAX
from ctxgc.protocol.peer import peer_uid

EVENTS_WAITING_MAX = 1000
ANSWER_BYTES_MAX = 8 * FRAME_BYTES_DEFAULT


class ReceivedEvent(NamedTuple):
    """An event; or a gap, which has the topic `gap` and the numbers `from` and `to` of the missed events."""

    seq: int
    topic: str
    params: dict[str, Any]


class DaemonConnection(asyncio.Protocol):
    """A connection to the daemon. Made by `connect`; belongs to its event loop."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._lines = LineSplitter(ANSWER_BYTES_MAX)
        self._transport: asyncio.Transport
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._in_flight = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._events: asyncio.Queue[ReceivedEvent | None] = asyncio.Queue()
        self._failure: CallFailed | None = None
        self._last_id = 0

    async def __aenter__(self) -> DaemonConnection:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended, on either side: no call succeeds any more."""
        return self._failure is not None

    def close(self) -> None:
        """Hang up; calls that wait fail with Unreachable."""
        self._transport.close()
        self._fail_waiting_calls(Unreachable("the client was closed", ""))

    async def call(self, method: str, params: Any = None, *, timeout_s: float | None = None) -> Any:
        """The result of a call. Any number may run at once; requests beyond the daemon's bound wait.

        Raises CallFailed; among its kinds TimedOut (the daemon is told that the answer is no longer wanted) and
        Unreachable.
        """
        wait_s = timeout_s or self._timeout_s
        try:
            async with asyncio.timeout(wait_s):
                async with self._in_flight:
                    await self._may_write.wait()
                    return await self._send_and_await_answer(method, {} if params is None else params, wait_s)
        except TimeoutError:
            raise TimedOut(f"{method} was not answered within {wait_s:g} s") from None

    async def events(self, topics: Sequence[str], from_seq: int | None = None) -> AsyncIterator[ReceivedEvent]:
        """Subscribe, and give the events in order. A single iteration per client. Raises CallFailed at its end.

        An iteration that does not keep up is cut off by the daemon; go on from `seq + 1` with a new client.
        """
        params = {"topics": list(topics)} | ({} if from_seq is None else {"from_seq": from_seq})
        await self.call("subscribe", params)
        while True:
            event = await self._events.get()
            self._pause_or_resume_reading()
            if event is None:
                raise self._failure or Unreachable("the daemon hung up")
            yield event

    # The loop calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the calls that wait."""
        self._fail_waiting_calls(Unreachable("the daemon hung up"))

    def data_received(self, data: bytes) -> None:
        """Hand every answer to its caller and every event to the iteration."""
        for line in self._lines.feed(data):
            message = decode_message(line)
            if message.method:
                self._queue_event(message)
            elif isinstance(message.id, int):
                self._resolve_answer(message, self._answers.pop(message.id, None))
            elif message.error is not UNSET:
                self._fail_waiting_calls(_failure_of_answer(message))
        if self._lines.is_too_long:
            self._fail_waiting_calls(Unreachable(f"the daemon sent a line of more than {ANSWER_BYTES_MAX} bytes", ""))
            self._transport.abort()

    def pause_writing(self) -> None:
        """Let callers wait: the daemon reads no further."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Let callers go on: the daemon reads again."""
        self._may_write.set()

    async def _send_and_await_answer(self, method: str, params: Any, wait_s: float) -> Any:
        if self._failure is not None:
            raise self._failure
        self._last_id += 1
        id = self._last_id
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        deadline_ms = min(max(1, int(wait_s * 1000)), DEADLINE_MS_MAX)
        line = encode_request(id, method, params, deadline_ms)
        self._answers[id] = answer
        self._transport.write(line)
        try:
            return await answer
        except asyncio.CancelledError:
            if self._answers.pop(id, None) is not None and not self._transport.is_closing():
                self._transport.write(encode_request(UNSET, "$/cancel", {"id": id}))
            raise

    def _resolve_answer(self, message: Message, answer: asyncio.Future[Any] | None) -> None:
        if answer is None or answer.done():
            return
        if message.result is UNSET:
            answer.set_exception(_failure_of_answer(message))
        else:
            answer.set_result(msgspec.json.decode(message.result))

    def _queue_event(self, message: Message) -> None:
        params = msgspec.json.decode(message.params, type=dict[str, Any])
        if message.method == "event.gap":
            event = ReceivedEvent(params.get("to", 0), "gap", params)
        else:
            event = ReceivedEvent(params.pop("seq", 0), params.pop("topic", ""), params)
        self._events.put_nowait(event)
        self._pause_or_resume_reading()

    def _pause_or_resume_reading(self) -> None:
        # The bound of the queue, but for the events of one read. Answers come behind events on the wire: a client that
        # subscribes and then stops iterating stops its own calls too.
        if self._transport.is_closing():
            return
        if self._events.qsize() >= EVENTS_WAITING_MAX:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _fail_waiting_calls(self, failure: CallFailed) -> None:
        self._failure = self._failure or failure
        self._may_write.set()  # The connection is gone: a caller that waits for room would wait in vain.
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(self._failure)
        self._answers.clear()
        self._events.put_nowait(None)


def _failure_of_answer(message: Message) -> CallFailed:
    error = message.error
    if error is UNSET:
        return CallFailed("internal", -32603, "the daemon sent an answer without a result")
    data = error.data
    kind, hint = ("", "") if data is UNSET else (data.kind, data.hint)
    return CallFailed(kind, error.code, error.message, hint)


async def connect(socket: str = "", *, timeout_s: float = 30.0) -> DaemonConnection:
    """Connect to the daemon at `socket`, or where `ctxgc` finds the daemon. Starts none. Raises Unreachable."""
    missing: Unreachable | None = None
    for path in candidate_sockets(socket, os.environ):
        try:
            return await _open_client(path, timeout_s)
        except Unreachable as failure:
            missing = missing or failure
    assert missing is not None
    raise missing


async def _open_client(path: str, timeout_s: float) -> DaemonConnection:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            _, client = await loop.create_unix_connection(lambda: DaemonConnection(timeout_s), path)
    except OSError as error:
        raise Unreachable(f"no daemon at {path}: {error.strerror or error}") from error
    server_uid = peer_uid(client._transport.get_extra_info("socket"))
    if server_uid not in (-1, os.geteuid()):
        client.close()
        raise Unreachable(f"the socket {path} is served by user {server_uid}, not by you", "choose another socket")
    return client
