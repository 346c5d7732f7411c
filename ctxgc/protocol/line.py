"""The line client: a blocking connection to the daemon that costs a command a few milliseconds.

    socket_path(flag, environment) ──▶ LineClient.connect ──▶ call, call_many ──▶ result | CallFailed

Standard library only, and little of it: every `ctxgc` command imports this module. Starting a daemon that is not there
is `protocol/start.py`; an asyncio client is `protocol/client.py`.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping

SOCKET_PATH_BYTES_MAX = 107
"""`sun_path` of Linux holds 108 with its NUL."""
PIPELINE_MAX = 32
READ_BYTES = 65_536
PEER_CREDENTIALS_BYTES = 12
UNANSWERED = object()


class LineError(Exception):
    """Base of what can go wrong between a command and the daemon."""


class BadSocketPath(LineError):
    """No Unix socket can have this path."""


class Unreachable(LineError):
    """Nothing that we may talk to listens at the path, or it hung up before it answered."""


class TimedOut(LineError):
    """The daemon did not answer in time; a mutation may still have been committed (repeat it with its `op_id`)."""


class CallFailed(LineError):
    """The daemon refused a call: `kind` is the stable word, `number` the JSON-RPC code, `hint` the next step."""

    def __init__(self, kind: str, number: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.number = number
        self.message = message
        self.hint = hint


def socket_path(flag: str, environment: Mapping[str, str]) -> str:
    """Where the daemon listens: the flag, `CTXGC_SOCKET`, the runtime folder, else the state folder.

    Raises BadSocketPath for a path that is longer than the system allows.
    """
    home = environment.get("HOME") or os.path.expanduser("~")
    state_home = environment.get("XDG_STATE_HOME") or os.path.join(home, ".local", "state")
    folder = environment.get("XDG_RUNTIME_DIR") or state_home
    path = flag or environment.get("CTXGC_SOCKET") or os.path.join(folder, "ctxgc", "ctxgc.sock")
    path = os.path.abspath(path)
    size_bytes = len(os.fsencode(path))
    if size_bytes > SOCKET_PATH_BYTES_MAX:
        raise BadSocketPath(
            f"the socket path has {size_bytes} bytes, the system allows {SOCKET_PATH_BYTES_MAX}: {path}; "
            "choose a shorter one with --socket or CTXGC_SOCKET"
        )
    return path


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket, -1 where the system does not tell."""
    if hasattr(socket, "SO_PEERCRED"):
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER_CREDENTIALS_BYTES)
        return int.from_bytes(credentials[4:8], "little")  # struct ucred: pid, uid, gid.
    if hasattr(socket, "LOCAL_PEERCRED"):  # macOS: struct xucred: version, uid, groups.
        return int.from_bytes(connection.getsockopt(0, socket.LOCAL_PEERCRED, 76)[4:8], "little")
    return -1


class LineClient:
    """One connection, one thread. Events that arrive between answers are dropped: use `protocol/client.py` for them."""

    def __init__(self, connection: socket.socket, timeout_s: float) -> None:
        self._socket = connection
        self._timeout_s = timeout_s
        self._chunks: list[bytes] = []
        self._lines: list[bytes] = []
        self._last_id = 0

    @classmethod
    def connect(cls, path: str, timeout_s: float = 30.0) -> LineClient:
        """Connect to the daemon at `path`. Raises Unreachable; also if the socket is another user's."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            connection.connect(path)
            owner_uid = peer_uid(connection)
        except OSError as error:
            connection.close()
            raise Unreachable(f"no daemon at {path}: {error.strerror or error}; start it with `ctxgc up`") from error
        if owner_uid not in (-1, os.geteuid()):
            # What we would send are transcripts: not to whoever was first to create a socket there.
            connection.close()
            raise Unreachable(f"the socket {path} is served by user {owner_uid}, not by you")
        return cls(connection, timeout_s)

    def __enter__(self) -> LineClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def call(self, method: str, params: Mapping[str, object] | None = None, timeout_s: float | None = None) -> object:
        """The result of one call. Raises CallFailed, TimedOut, Unreachable; ValueError for NaN in params."""
        gives_up_at = time.monotonic() + (timeout_s or self._timeout_s)
        id, line = self._request(method, params or {}, gives_up_at)
        self._send(line, gives_up_at)
        while True:
            answer = self._next_answer(gives_up_at)
            if answer.get("id") == id or answer.get("id") is None:
                return _result(answer)

    def call_many(
        self, calls: Iterable[tuple[str, Mapping[str, object]]], timeout_s: float | None = None
    ) -> Iterator[object]:
        """Results in the order of `calls`, up to PIPELINE_MAX in flight; a refused call gives its CallFailed.

        `timeout_s` bounds the wait for each result. Raises TimedOut and Unreachable.
        """
        waiting: dict[int, object] = {}  # By id, in the order sent.
        for method, params in calls:
            gives_up_at = time.monotonic() + (timeout_s or self._timeout_s)
            if len(waiting) >= PIPELINE_MAX:
                yield self._oldest(waiting, gives_up_at)
            id, line = self._request(method, params, gives_up_at)
            self._send_while_answers_come(line, waiting, gives_up_at)
            waiting[id] = UNANSWERED
        while waiting:
            yield self._oldest(waiting, time.monotonic() + (timeout_s or self._timeout_s))

    def _request(self, method: str, params: Mapping[str, object], gives_up_at: float) -> tuple[int, bytes]:
        self._last_id += 1
        deadline_ms = max(1, int((gives_up_at - time.monotonic()) * 1000))
        request = {"id": self._last_id, "method": method, "params": params, "deadline_ms": deadline_ms}
        text = json.dumps(request, separators=(",", ":"), allow_nan=False)
        return self._last_id, text.encode() + b"\n"

    def _oldest(self, waiting: dict[int, object], gives_up_at: float) -> object:
        id = next(iter(waiting))
        while waiting[id] is UNANSWERED:
            self._take(self._next_answer(gives_up_at), waiting)
        return waiting.pop(id)

    def _take(self, answer: dict[str, object], waiting: dict[int, object]) -> None:
        id = answer.get("id")
        if id is None:
            raise _failure(answer)  # The daemon speaks of the connection, not of one call.
        if isinstance(id, int) and id in waiting:
            waiting[id] = _failure(answer) if "error" in answer else answer.get("result")

    def _send_while_answers_come(self, line: bytes, waiting: dict[int, object], gives_up_at: float) -> None:
        """Send without waiting for room while answers are due.

        A daemon stops reading a client that does not read: if both sides only wrote, neither would move again.
        """
        sent = 0
        while UNANSWERED in waiting.values():
            self._socket.setblocking(False)
            try:
                sent += self._socket.send(line[sent:])
            except BlockingIOError:
                self._take(self._next_answer(gives_up_at), waiting)
            except OSError as error:
                raise Unreachable(f"the daemon hung up: {error.strerror or error}") from error
            if sent == len(line):
                return
        self._send(line[sent:], gives_up_at)

    def _send(self, line: bytes, gives_up_at: float) -> None:
        self._socket.settimeout(_left_s(gives_up_at))
        try:
            self._socket.sendall(line)
        except TimeoutError as error:
            raise TimedOut("the daemon took no request in time; `ctxgc doctor` looks into it") from error
        except OSError as error:
            if not self._lines:
                self._read_rest()
            if not self._lines:
                raise Unreachable(f"the daemon hung up: {error.strerror or error}") from error

    def _read_rest(self) -> None:
        # A daemon that refuses a connection says why and closes; the reason may lie unread behind our failed write.
        try:
            self._read_some(time.monotonic() + 0.1)
        except LineError:
            return

    def _next_answer(self, gives_up_at: float) -> dict[str, object]:
        while True:
            while not self._lines:
                self._read_some(gives_up_at)
            answer = json.loads(self._lines.pop())
            if isinstance(answer, dict) and "method" not in answer:
                return answer

    def _read_some(self, gives_up_at: float) -> None:
        self._socket.settimeout(_left_s(gives_up_at))
        try:
            data = self._socket.recv(READ_BYTES)
        except TimeoutError as error:
            raise TimedOut("the daemon did not answer in time; try a longer --timeout") from error
        except OSError as error:
            raise Unreachable(f"the daemon hung up: {error.strerror or error}") from error
        if not data:
            raise Unreachable("the daemon hung up before it answered; `ctxgc status` says whether it is back")
        head, *rest = data.split(b"\n")
        self._chunks.append(head)
        if rest:
            lines = [b"".join(self._chunks), *rest[:-1]]
            self._chunks = [rest[-1]]
            self._lines = [*reversed(lines), *self._lines]


def _left_s(gives_up_at: float) -> float:
    return max(0.001, gives_up_at - time.monotonic())


def _failure(answer: dict[str, object]) -> CallFailed:
    error = answer.get("error")
    if not isinstance(error, dict):
        return CallFailed("internal", -32603, "the daemon sent an answer that is none")
    data = error.get("data") or {}
    return CallFailed(data.get("kind", ""), error.get("code", 0), error.get("message", ""), data.get("hint", ""))


def _result(answer: dict[str, object]) -> object:
    if "error" in answer or "result" not in answer:
        raise _failure(answer)
    return answer["result"]
