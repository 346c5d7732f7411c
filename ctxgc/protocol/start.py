"""Starting the daemon from a client: connect, or start one and wait for its socket.

    connect ──there──▶ LineClient
       └─not there─▶ lock ─▶ connect again ─▶ start ctxgcd, detached ─▶ connect until it answers

The lock is held by one client at a time, so that twenty commands that find no daemon start one. Apart from `line.py`
because it needs `subprocess`, which a command that finds its daemon must not pay for.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ctxgc.protocol.line import LineClient, Unreachable

DAEMON = (sys.executable, "-m", "ctxgc.daemon.main")
START_S = 10.0
WAIT_S_MIN = 0.02
WAIT_S_MAX = 5.0
EXIT_BUSY = 75
"""Another daemon holds the socket: what the loser of a race exits with."""
LOG_NAME = "ctxgcd.log"
LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
LOCK_NAME = "start.lock"
REASON_BYTES_MAX = 2000


class StartFailed(Unreachable):
    """The daemon was started and did not come up; the message ends with what it said."""


def connect_or_start(
    path: str,
    timeout_s: float = 30.0,
    *,
    arguments: Sequence[str] = (),
    command: Sequence[str] = DAEMON,
    start_s: float = START_S,
) -> LineClient:
    """Connect to the daemon at `path`; if none is there, start one with `arguments` and connect to that.

    Raises Unreachable if a daemon is there but not ours, StartFailed if none came up within `start_s`.
    """
    client = _connected(path, timeout_s)
    if client is not None:
        return client
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    gives_up_at = time.monotonic() + start_s
    with _starting(folder, gives_up_at):
        client = _connected(path, timeout_s)  # Whoever held the lock before us may have started it.
        if client is not None:
            return client
        daemon = spawn(path, arguments, command)
        return _wait(path, daemon, timeout_s, gives_up_at)


def spawn(path: str, arguments: Sequence[str] = (), command: Sequence[str] = DAEMON) -> subprocess.Popen[bytes]:
    """Start a daemon for `path` that outlives us. What it says goes to `ctxgcd.log` beside the socket, begun anew."""
    log = os.open(os.path.join(os.path.dirname(path), LOG_NAME), LOG_FLAGS, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 - the command is ours, its arguments are the user's own.
            [*command, "--socket", path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(log)


def _connected(path: str, timeout_s: float) -> LineClient | None:
    try:
        return LineClient.connect(path, timeout_s)
    except Unreachable as error:
        if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            return None
        raise


@contextmanager
def _starting(folder: str, gives_up_at: float) -> Iterator[None]:
    """Hold the lock of those who start a daemon in `folder`; wait for whoever holds it."""
    lock = os.open(os.path.join(folder, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > gives_up_at:
                    raise StartFailed("another command is starting the daemon and does not get on with it") from None
                time.sleep(WAIT_S_MIN)
        yield
    finally:
        os.close(lock)


def _wait(path: str, daemon: subprocess.Popen[bytes], timeout_s: float, gives_up_at: float) -> LineClient:
    wait_s = WAIT_S_MIN
    while True:
        client = _connected(path, timeout_s)
        if client is not None:
            daemon.returncode = daemon.returncode or 0  # It is to outlive us: no warning that it still runs.
            return client
        exit_code = daemon.poll()
        if exit_code not in (None, 0, EXIT_BUSY):
            raise StartFailed(f"the daemon exited with {exit_code} at once: {_last_words(path)}")
        if time.monotonic() + wait_s > gives_up_at:
            raise StartFailed(f"the daemon did not come up in time: {_last_words(path)}")
        time.sleep(wait_s)
        wait_s = min(wait_s * 1.5, WAIT_S_MAX)


def _last_words(path: str) -> str:
    log_path = os.path.join(os.path.dirname(path), LOG_NAME)
    with open(log_path, "rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - REASON_BYTES_MAX))
        lines = log.read().decode("utf-8", "replace").splitlines()
    return lines[-1] if lines else f"it said nothing (see {log_path})"
