"""Where the daemon of a state folder listens: it says so in the folder's lock file, for those who look elsewhere.

    daemon   lock ─▶ listen ─▶ written: pid, socket ─▶ … ─▶ wiped        client   usual path ─nobody─▶ read ─▶ that path

The usual path hangs on `XDG_RUNTIME_DIR`, which cron, su, ssh and sandboxes do not hand on; the state folder is the
same for all of them. Standard library only: every `ctxgc` command imports this module.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ctxgc.protocol.blocking_client import socket_path

LOCK_NAME = "ctxgcd.lock"
LOCK_BYTES_MAX = 4096
COMMAND_BYTES_MAX = 4096


def write(lock: int, socket: str) -> None:
    """Say in the lock file that we listen there; an empty `socket` wipes what an earlier holder wrote."""
    os.ftruncate(lock, 0)
    if socket:
        os.pwrite(lock, os.fsencode(f"{os.getpid()}\n{socket}\n"), 0)


def read(folder: str) -> tuple[int, str]:
    """(pid, socket) that the last daemon of this state folder wrote, (0, "") if nothing; it may be gone since."""
    try:
        lock = os.open(os.path.join(folder, LOCK_NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0, ""
    try:
        # Not from a file that another user put there: what we would send to that socket are transcripts.
        said = os.read(lock, LOCK_BYTES_MAX) if os.fstat(lock).st_uid == os.geteuid() else b""
    finally:
        os.close(lock)
    pid, _, socket = os.fsdecode(said).partition("\n")
    return (int(pid), socket.removesuffix("\n")) if pid.isdecimal() and socket.startswith("/") else (0, "")


def state_folder(environment: Mapping[str, str]) -> str:
    """The state folder as the environment says it; one that only the configuration file names is not found."""
    home = environment.get("HOME") or os.path.expanduser("~")
    state_home = environment.get("XDG_STATE_HOME") or os.path.join(home, ".local", "state")
    folder = environment.get("CTXGC_DAEMON__STATE_DIR")
    # A daemon that keeps nothing has its locks in the default folder.
    return folder if folder and folder != ":memory:" else os.path.join(state_home, "ctxgc")


def places(flag: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Paths to look for the daemon at: the usual one, then the one that the daemon of the state folder wrote.

    A path that was asked for is the only one. Raises BadSocketPath.
    """
    usual = socket_path(flag, environment)
    yield usual
    if not is_asked_for(flag, environment):
        _, written = read(state_folder(environment))
        if written not in ("", usual):
            yield written


def is_asked_for(flag: str, environment: Mapping[str, str]) -> bool:
    """Whether somebody named the socket."""
    return bool(flag or environment.get("CTXGC_SOCKET"))


def out_of_reach(environment: Mapping[str, str]) -> str:
    """A sentence about the daemon of the state folder, if it seems to run while nobody reaches it; else empty."""
    folder = state_folder(environment)
    pid, written = read(folder)
    if not pid or not _is_ours(pid):
        return ""
    return f"ctxgcd (pid {pid}) has the state folder {folder}, but cannot be reached at its socket {written} from here"


def _is_ours(pid: int) -> bool:
    """Whether this process is a daemon of ours: after a crash its number may be another's."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/cmdline", "rb") as words:
            return b"ctxgc" in words.read(COMMAND_BYTES_MAX)
    except FileNotFoundError:
        return not os.path.isdir("/proc/self")  # Where the system has no such files, its number must do.
    except OSError:
        return False
