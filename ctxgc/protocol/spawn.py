"""Start a daemon where none listens: once, for any number of commands at the same moment.

    connect ──daemon──▶ done
       └──none──▶ lock ─▶ connect again ─▶ start ctxgcd, detached ─▶ connect until the daemon answers

Standard library only, and few modules: every `ctxgc` command that talks to the daemon imports this module.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Sequence

from ctxgc.protocol.blocking_client import CallFailed, Unreachable, open_connection

DAEMON = (sys.executable, "-m", "ctxgc.daemon.main")
START_S = 10.0
WAIT_S_MIN = 0.02
WAIT_S_MAX = 5.0
EXIT_BUSY = 75
"""Exit code of the loser of a race: another daemon holds the socket."""
EXIT_CONFIG = 78
"""Exit code of a daemon that cannot use its configuration, or a folder named there."""
CONFIG_HINT = "mend the cause, then run the command again, which starts the daemon"
LOG_NAME = "ctxgcd.log"
NO_THREAD_CACHES = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""Chunks that glibc keeps for a thread are not overwritten as they are freed: a daemon's memory has none of them."""
LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
START_LOCK_NAME = "start.lock"
LAST_WORDS_BYTES_MAX = 2000


def ensure_daemon(
    path: str, *, arguments: Sequence[str] = (), command: Sequence[str] = DAEMON, start_s: float = START_S
) -> bool:
    """Make sure that a daemon listens at `path`: start a daemon with `arguments` if none does. True for a fresh start.

    The lock is for the clients: twenty commands without a daemon start a single daemon. Raises Unreachable if the
    listener is not ours or no daemon came up within `start_s`, CallFailed `config` for a bad configuration or folder;
    the message ends with the last line of the daemon's log.
    """
    if _is_listening(path):
        return False
    folder = os.path.dirname(path)
    gives_up_at = time.monotonic() + start_s
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        lock = os.open(os.path.join(folder, START_LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        hint = "choose another with --socket or CTXGC_SOCKET"
        raise CallFailed("config", 0, f"no socket can be made in {folder}: {error.strerror}", hint) from error
    try:
        _acquire_lock(lock, gives_up_at)
        if _is_listening(path):  # The command that held the lock before may have started the daemon.
            return False
        _wait_for_daemon(path, _spawn_daemon(path, arguments, command), gives_up_at)
    finally:
        os.close(lock)
    return True


def _is_listening(path: str) -> bool:
    try:
        open_connection(path, START_S).close()
    except Unreachable as error:
        if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            return False
        raise
    return True


def _acquire_lock(lock: int, gives_up_at: float) -> None:
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > gives_up_at:
                raise Unreachable("another command is starting the daemon and makes no progress") from None
            time.sleep(WAIT_S_MIN)


def _spawn_daemon(path: str, arguments: Sequence[str], command: Sequence[str]) -> int:
    """Start a daemon that outlives the command; the pid. The output goes to a new `ctxgcd.log` beside the socket.

    `posix_spawn` and not `subprocess`, whose import would cost every command a third of its time.
    """
    log_path = os.path.join(os.path.dirname(path), LOG_NAME)
    files = (
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log_path, LOG_FLAGS, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    )
    words = [*command, "--socket", path, *arguments]
    return os.posix_spawn(words[0], words, NO_THREAD_CACHES | os.environ, file_actions=files, setsid=True)


def _wait_for_daemon(path: str, pid: int, gives_up_at: float) -> None:
    wait_s = WAIT_S_MIN
    is_running = True
    while not _is_listening(path):
        if is_running:
            exited_pid, status = os.waitpid(pid, os.WNOHANG)
            is_running = exited_pid == 0
            # The loser of a race exits with EXIT_BUSY; then the winner's socket is about to appear.
            code = 0 if is_running else os.waitstatus_to_exitcode(status)
            if code == EXIT_CONFIG:
                raise CallFailed("config", 0, f"the daemon did not start: {_last_log_line(path)}", CONFIG_HINT)
            if code not in (0, EXIT_BUSY):
                raise Unreachable(f"the daemon did not start: {_last_log_line(path)}", "`ctxgc doctor` looks into it")
        if time.monotonic() + wait_s > gives_up_at:
            raise Unreachable(f"the daemon did not come up in time: {_last_log_line(path)}")
        time.sleep(wait_s)
        wait_s = min(wait_s * 1.5, WAIT_S_MAX)


def _last_log_line(path: str) -> str:
    log_path = os.path.join(os.path.dirname(path), LOG_NAME)
    with open(log_path, "rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - LAST_WORDS_BYTES_MAX))
        lines = log.read().decode("utf-8", "replace").splitlines()
    lines = [line for line in lines if line[:1] not in ("", " ")] or lines  # A hint stands indented under its error.
    return lines[-1] if lines else f"it said nothing (see {log_path})"
