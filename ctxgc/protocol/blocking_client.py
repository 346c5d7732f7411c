"""The blocking client: a connection to the daemon that costs a command a few milliseconds.

    candidate_sockets (`discovery`) ──▶ LineClient ──▶ call, call_many ──▶ result | CallFailed

Standard library only, and little of that: every `ctxgc` command imports this module. The asyncio client is
`protocol/connection.py`; `protocol/spawn.py` starts a daemon where none listens.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping

from ctxgc.protocol.peer import peer_uid
from ctxgc.protocol.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:  # The real constant would cost the import of `typing`.
    from typing import Any

PIPELINE_MAX = 32
READ_BYTES = 65_536
UNANSWERED = object()


class CallFailed(Exception):
    """A call has no result: `kind` is the stable word, `number` the JSON-RPC code, `hint` the next step."""

    def __init__(self, kind: str, number: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.number = number
        self.message = message
        self.hint = hint


class Unreachable(CallFailed):
    """No daemon of this user listens at the path, or the daemon hung up before it answered."""

    def __init__(self, message: str, hint: str = "`ctxgc up` starts the daemon") -> None:
        super().__init__("unreachable", 0, message, hint)


class TimedOut(CallFailed):
    """The daemon did not answer in time; a mutation may still have been committed."""

    def __init__(self, message: str) -> None:
        super().__init__("deadline", 0, message, "try a longer --timeout; `ctxgc doctor` looks into it")


class BadSocketPath(CallFailed):
    """No Unix socket can have this path."""

    def __init__(self, message: str) -> None:
        super().__init__("config", 0, message, "choose a shorter path with --socket or CTXGC_SOCKET")


class LineClient:
    """A connection, opened by the first call; for a single thread. Events between answers are dropped."""

    def __init__(self, path: str, timeout_s: float = 30.0) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._open_socket: socket.socket | None = None
        self._chunks: list[bytes] = []
        self._lines: list[bytes] = []  # Newest first.
        self._last_id = 0

    def connect(self) -> socket.socket:
        """The connection, opened once. Raises Unreachable; also if the socket is another user's."""
        if self._open_socket is None:
            self._open_socket = open_connection(self._path, self._timeout_s)
        return self._open_socket

    def __enter__(self) -> LineClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        if self._open_socket is not None:
            self._open_socket.close()
            self._open_socket = None

    def call(self, method: str, params: Mapping[str, Any] | None = None, timeout_s: float | None = None) -> Any:
        """The result of a call. Raises CallFailed (TimedOut, Unreachable among them); ValueError for NaN."""
        gives_up_at = time.monotonic() + (timeout_s or self._timeout_s)
        id, line = self._number_and_encode_request(method, params or {}, gives_up_at)
        self._send_line(line, gives_up_at)
        while True:
            answer = self._take_next_answer(gives_up_at)
            if answer.get("id") == id or answer.get("id") is None:
                if "result" not in answer:
                    raise _failure_of_answer(answer)
                return answer["result"]

    def call_many(
        self, calls: Iterable[tuple[str, Mapping[str, Any]]], timeout_s: float | None = None
    ) -> Iterator[Any]:
        """Results in the order of `calls`, up to PIPELINE_MAX in flight; a refused call gives its CallFailed.

        `timeout_s` bounds the wait for each result. Raises TimedOut and Unreachable.
        """
        waiting: dict[int, Any] = {}  # By id, in the order sent.
        for method, params in calls:
            gives_up_at = time.monotonic() + (timeout_s or self._timeout_s)
            if len(waiting) >= PIPELINE_MAX:
                yield self._take_oldest_result(waiting, gives_up_at)
            id, line = self._number_and_encode_request(method, params, gives_up_at)
            self._send_while_reading(line, waiting, gives_up_at)
            waiting[id] = UNANSWERED
        while waiting:
            yield self._take_oldest_result(waiting, time.monotonic() + (timeout_s or self._timeout_s))

    def _number_and_encode_request(
        self, method: str, params: Mapping[str, Any], gives_up_at: float
    ) -> tuple[int, bytes]:
        self._last_id += 1
        deadline_ms = max(1, int((gives_up_at - time.monotonic()) * 1000))
        request = {"id": self._last_id, "method": method, "params": params, "deadline_ms": deadline_ms}
        text = json.dumps(request, separators=(",", ":"), allow_nan=False)
        return self._last_id, text.encode() + b"\n"

    def _take_oldest_result(self, waiting: dict[int, Any], gives_up_at: float) -> Any:
        id = next(iter(waiting))
        while waiting[id] is UNANSWERED:
            self._match_answer(self._take_next_answer(gives_up_at), waiting)
        return waiting.pop(id)

    def _match_answer(self, answer: dict[str, Any], waiting: dict[int, Any]) -> None:
        id = answer.get("id")
        if id is None:
            raise _failure_of_answer(answer)  # The error is about the connection, not about one call.
        if isinstance(id, int) and id in waiting:
            waiting[id] = _failure_of_answer(answer) if "error" in answer else answer.get("result")

    def _send_while_reading(self, line: bytes, waiting: dict[int, Any], gives_up_at: float) -> None:
        """Send without waiting for room while answers are due.

        The daemon stops reading a client that does not read: if both sides only wrote, neither would move again.
        """
        connection = self.connect()
        sent = 0
        while UNANSWERED in waiting.values():
            connection.setblocking(False)
            try:
                sent += connection.send(line[sent:])
            except BlockingIOError:
                self._match_answer(self._take_next_answer(gives_up_at), waiting)
            except OSError as error:
                raise Unreachable(f"the daemon hung up: {error.strerror or error}") from error
            if sent == len(line):
                return
        self._send_line(line[sent:], gives_up_at)

    def _send_line(self, line: bytes, gives_up_at: float) -> None:
        connection = self.connect()
        connection.settimeout(_remaining_s(gives_up_at))
        try:
            connection.sendall(line)
        except TimeoutError as error:
            raise TimedOut("the daemon took no request in time") from error
        except OSError as error:
            if not self._lines:
                self._read_refusal()
            if not self._lines:
                raise Unreachable(f"the daemon hung up: {error.strerror or error}") from error

    def _read_refusal(self) -> None:
        # A daemon that refuses a connection sends the reason and closes: that may lie unread behind the failed write.
        try:
            self._read_lines(time.monotonic() + 0.1)
        except CallFailed:
            return

    def _take_next_answer(self, gives_up_at: float) -> dict[str, Any]:
        while True:
            while not self._lines:
                self._read_lines(gives_up_at)
            answer = json.loads(self._lines.pop(), object_hook=Record)
            if isinstance(answer, dict) and "method" not in answer:
                return answer

    def _read_lines(self, gives_up_at: float) -> None:
        connection = self.connect()
        connection.settimeout(_remaining_s(gives_up_at))
        try:
            data = connection.recv(READ_BYTES)
        except TimeoutError as error:
            raise TimedOut("the daemon did not answer in time") from error
        except OSError as error:
            raise Unreachable(f"the daemon hung up: {error.strerror or error}") from error
        if not data:
            raise Unreachable("the daemon hung up before it answered", "run the command again, which starts the daemon")
        head, *rest = data.split(b"\n")
        self._chunks.append(head)
        if rest:
            lines = [b"".join(self._chunks), *rest[:-1]]
            self._chunks = [rest[-1]]
            self._lines = [*reversed(lines), *self._lines]


def _remaining_s(gives_up_at: float) -> float:
    return max(0.001, gives_up_at - time.monotonic())


def _failure_of_answer(answer: dict[str, Any]) -> CallFailed:
    error = answer.get("error")
    if not isinstance(error, dict):
        return CallFailed("internal", -32603, "the daemon sent an answer without a result")
    data = error.get("data") or {}
    return CallFailed(data.get("kind", ""), error.get("code", 0), error.get("message", ""), data.get("hint", ""))


def open_connection(path: str, timeout_s: float) -> socket.socket:
    """A connection to the daemon at `path`. Raises Unreachable; also if the socket is another user's."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(path)
        server_uid = peer_uid(connection)
    except OSError as error:
        connection.close()
        raise Unreachable(f"no daemon at {path}: {error.strerror or error}") from error
    if server_uid not in (-1, os.geteuid()):
        # Clients send transcripts: not to another user who was first to create a socket there.
        connection.close()
        raise Unreachable(f"the socket {path} is served by user {server_uid}, not by you", "choose another --socket")
    return connection
