"""The line client: a blocking connection to the daemon that costs a command a few milliseconds.

    socket_path(flag, environment) ──▶ ensure_daemon ──▶ LineClient ──▶ call, call_many ──▶ result | CallFailed

    ensure_daemon:  connect ──there──▶ done
                       └─not there─▶ lock ─▶ connect again ─▶ start ctxgcd, detached ─▶ connect until it answers

Standard library only, and little of it: every `ctxgc` command imports this module. The asyncio client is
`protocol/client.py`.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ctxgc.protocol.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:  # The real constant would cost the import of `typing`.
    from typing import Any

SOCKET_PATH_BYTES_MAX = 107
"""`sun_path` of Linux holds 108 with its NUL."""
PIPELINE_MAX = 32
READ_BYTES = 65_536
PEER_CREDENTIALS_BYTES = 12
UNANSWERED = object()

DAEMON = (sys.executable, "-m", "ctxgc.daemon.main")
START_S = 10.0
WAIT_S_MIN = 0.02
WAIT_S_MAX = 5.0
EXIT_BUSY = 75
"""Another daemon holds the socket: what the loser of a race exits with."""
EXIT_CONFIG = 78
"""The daemon cannot use its configuration, or a folder it names."""
CONFIG_HINT = "put that right, then run the command again: it starts the daemon"
LOG_NAME = "ctxgcd.log"
LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
LOCK_NAME = "start.lock"
LAST_WORDS_BYTES_MAX = 2000


class CallFailed(Exception):
    """A call has no result: `kind` is the stable word, `number` the JSON-RPC code, `hint` the next step."""

    def __init__(self, kind: str, number: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.number = number
        self.message = message
        self.hint = hint


class Unreachable(CallFailed):
    """Nothing that we may talk to listens at the path, or it hung up before it answered."""

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
        raise BadSocketPath(f"the socket path has {size_bytes} bytes, {SOCKET_PATH_BYTES_MAX} are allowed: {path}")
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
    """One connection, opened by the first call; one thread. Events between answers are dropped."""

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
            self._open_socket = _connection(self._path, self._timeout_s)
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
        """The result of one call. Raises CallFailed (TimedOut, Unreachable among them); ValueError for NaN."""
        gives_up_at = time.monotonic() + (timeout_s or self._timeout_s)
        id, line = self._request(method, params or {}, gives_up_at)
        self._send(line, gives_up_at)
        while True:
            answer = self._next_answer(gives_up_at)
            if answer.get("id") == id or answer.get("id") is None:
                if "result" not in answer:
                    raise _failure(answer)
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
                yield self._oldest(waiting, gives_up_at)
            id, line = self._request(method, params, gives_up_at)
            self._send_while_answers_come(line, waiting, gives_up_at)
            waiting[id] = UNANSWERED
        while waiting:
            yield self._oldest(waiting, time.monotonic() + (timeout_s or self._timeout_s))

    def _request(self, method: str, params: Mapping[str, Any], gives_up_at: float) -> tuple[int, bytes]:
        self._last_id += 1
        deadline_ms = max(1, int((gives_up_at - time.monotonic()) * 1000))
        request = {"id": self._last_id, "method": method, "params": params, "deadline_ms": deadline_ms}
        text = json.dumps(request, separators=(",", ":"), allow_nan=False)
        return self._last_id, text.encode() + b"\n"

    def _oldest(self, waiting: dict[int, Any], gives_up_at: float) -> Any:
        id = next(iter(waiting))
        while waiting[id] is UNANSWERED:
            self._take(self._next_answer(gives_up_at), waiting)
        return waiting.pop(id)

    def _take(self, answer: dict[str, Any], waiting: dict[int, Any]) -> None:
        id = answer.get("id")
        if id is None:
            raise _failure(answer)  # The daemon speaks of the connection, not of one call.
        if isinstance(id, int) and id in waiting:
            waiting[id] = _failure(answer) if "error" in answer else answer.get("result")

    def _send_while_answers_come(self, line: bytes, waiting: dict[int, Any], gives_up_at: float) -> None:
        """Send without waiting for room while answers are due.

        A daemon stops reading a client that does not read: if both sides only wrote, neither would move again.
        """
        connection = self.connect()
        sent = 0
        while UNANSWERED in waiting.values():
            connection.setblocking(False)
            try:
                sent += connection.send(line[sent:])
            except BlockingIOError:
                self._take(self._next_answer(gives_up_at), waiting)
            except OSError as error:
                raise Unreachable(f"the daemon hung up: {error.strerror or error}") from error
            if sent == len(line):
                return
        self._send(line[sent:], gives_up_at)

    def _send(self, line: bytes, gives_up_at: float) -> None:
        connection = self.connect()
        connection.settimeout(_left_s(gives_up_at))
        try:
            connection.sendall(line)
        except TimeoutError as error:
            raise TimedOut("the daemon took no request in time") from error
        except OSError as error:
            if not self._lines:
                self._read_rest()
            if not self._lines:
                raise Unreachable(f"the daemon hung up: {error.strerror or error}") from error

    def _read_rest(self) -> None:
        # A daemon that refuses a connection says why and closes; the reason may lie unread behind our failed write.
        try:
            self._read_some(time.monotonic() + 0.1)
        except CallFailed:
            return

    def _next_answer(self, gives_up_at: float) -> dict[str, Any]:
        while True:
            while not self._lines:
                self._read_some(gives_up_at)
            answer = json.loads(self._lines.pop(), object_hook=Record)
            if isinstance(answer, dict) and "method" not in answer:
                return answer

    def _read_some(self, gives_up_at: float) -> None:
        connection = self.connect()
        connection.settimeout(_left_s(gives_up_at))
        try:
            data = connection.recv(READ_BYTES)
        except TimeoutError as error:
            raise TimedOut("the daemon did not answer in time") from error
        except OSError as error:
            raise Unreachable(f"the daemon hung up: {error.strerror or error}") from error
        if not data:
            raise Unreachable("the daemon hung up before it answered", "run the command again: it starts the daemon")
        head, *rest = data.split(b"\n")
        self._chunks.append(head)
        if rest:
            lines = [b"".join(self._chunks), *rest[:-1]]
            self._chunks = [rest[-1]]
            self._lines = [*reversed(lines), *self._lines]


def _left_s(gives_up_at: float) -> float:
    return max(0.001, gives_up_at - time.monotonic())


def _failure(answer: dict[str, Any]) -> CallFailed:
    error = answer.get("error")
    if not isinstance(error, dict):
        return CallFailed("internal", -32603, "the daemon sent an answer that is none")
    data = error.get("data") or {}
    return CallFailed(data.get("kind", ""), error.get("code", 0), error.get("message", ""), data.get("hint", ""))


def _connection(path: str, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(path)
        server_uid = peer_uid(connection)
    except OSError as error:
        connection.close()
        raise Unreachable(f"no daemon at {path}: {error.strerror or error}") from error
    if server_uid not in (-1, os.geteuid()):
        # What we would send are transcripts: not to whoever was first to create a socket there.
        connection.close()
        raise Unreachable(f"the socket {path} is served by user {server_uid}, not by you", "choose another --socket")
    return connection


def ensure_daemon(
    path: str, *, arguments: Sequence[str] = (), command: Sequence[str] = DAEMON, start_s: float = START_S
) -> bool:
    """Make sure that a daemon listens at `path`: start one with `arguments` if none does. True if it was started.

    The lock is for the clients: twenty commands that find no daemon start one. Raises Unreachable if what listens is
    not ours or none came up within `start_s`, CallFailed `config` if its configuration or folder will not do; the
    message ends with what it said.
    """
    if _listens(path):
        return False
    folder = os.path.dirname(path)
    gives_up_at = time.monotonic() + start_s
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        lock = os.open(os.path.join(folder, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        hint = "choose another with --socket or CTXGC_SOCKET"
        raise CallFailed("config", 0, f"no socket can be made in {folder}: {error.strerror}", hint) from error
    try:
        _lock_until(lock, gives_up_at)
        if _listens(path):  # Whoever held the lock before us may have started it.
            return False
        _wait_for(path, _spawn(path, arguments, command), gives_up_at)
    finally:
        os.close(lock)
    return True


def _listens(path: str) -> bool:
    try:
        _connection(path, START_S).close()
    except Unreachable as error:
        if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            return False
        raise
    return True


def _lock_until(lock: int, gives_up_at: float) -> None:
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > gives_up_at:
                raise Unreachable("another command is starting the daemon and does not get on with it") from None
            time.sleep(WAIT_S_MIN)


def _spawn(path: str, arguments: Sequence[str], command: Sequence[str]) -> int:
    """Start a daemon that outlives us; its pid. What it says goes to `ctxgcd.log` beside the socket, begun anew.

    `posix_spawn` and not `subprocess`, whose import would cost every command a third of its time.
    """
    log_path = os.path.join(os.path.dirname(path), LOG_NAME)
    files = (
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log_path, LOG_FLAGS, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    )
    words = [*command, "--socket", path, *arguments]
    return os.posix_spawn(words[0], words, os.environ, file_actions=files, setsid=True)


def _wait_for(path: str, pid: int, gives_up_at: float) -> None:
    wait_s = WAIT_S_MIN
    is_running = True
    while not _listens(path):
        if is_running:
            exited_pid, status = os.waitpid(pid, os.WNOHANG)
            is_running = exited_pid == 0
            # The loser of a race says so by EXIT_BUSY; then the winner's socket is about to appear.
            code = 0 if is_running else os.waitstatus_to_exitcode(status)
            if code == EXIT_CONFIG:
                raise CallFailed("config", 0, f"the daemon did not start: {_last_words(path)}", CONFIG_HINT)
            if code not in (0, EXIT_BUSY):
                raise Unreachable(f"the daemon did not start: {_last_words(path)}", "`ctxgc doctor` looks into it")
        if time.monotonic() + wait_s > gives_up_at:
            raise Unreachable(f"the daemon did not come up in time: {_last_words(path)}")
        time.sleep(wait_s)
        wait_s = min(wait_s * 1.5, WAIT_S_MAX)


def _last_words(path: str) -> str:
    log_path = os.path.join(os.path.dirname(path), LOG_NAME)
    with open(log_path, "rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - LAST_WORDS_BYTES_MAX))
        lines = log.read().decode("utf-8", "replace").splitlines()
    lines = [line for line in lines if line[:1] not in ("", " ")] or lines  # A hint stands indented under its error.
    return lines[-1] if lines else f"it said nothing (see {log_path})"
