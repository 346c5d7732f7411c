"""Running gateways: each keeps a locked file in the state folder, with pid and address.

    gateway   write, lock, name `gateway-PID.lock` ─▶ … ─▶ remove     command   a locked file: its gateway runs

The lock ends with its process, in any way of ending, so `--stop` never hits a stranger with the same pid. Where
containers or hosts share the folder, each file names its pid space, and commands in other spaces ignore the file. The
folder is the daemon's, because that folder is the same for every command; see `protocol/discovery.py`. A gateway may be
on any port, and there may be several. Standard library only: `ctxgc status` imports this module.
"""

from __future__ import annotations

import fcntl
import os

NAME_PREFIX, NAME_SUFFIX = "gateway-", ".lock"
FILE_BYTES_MAX = 4096


class GatewayProcess:
    """A gateway that runs."""

    __slots__ = ("path", "pid", "since_s", "space", "url")

    def __init__(self, path: str, pid: int, url: str, space: str, since_s: float) -> None:
        self.path = path
        self.pid = pid
        self.url = url
        self.space = space
        """The space of `pid`; see `pid_space`."""
        self.since_s = since_s
        """When the gateway began to serve, as Unix time."""


def pid_space() -> str:
    """The space in which a pid names a single process: this boot of this host, and its pid namespace if there is a
    namespace.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return os.uname().nodename


def create_pidfile(folder: str, url: str) -> int:
    """Lock a file that names this process and its address; the file's descriptor, to be kept open. Raises OSError."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for path in _pidfile_paths(folder):
        if _gateway_of_pidfile(path) is None:  # Its gateway was killed.
            _remove_file(path)
    scratch, path = (os.path.join(folder, f"{dot}{NAME_PREFIX}{os.getpid()}{NAME_SUFFIX}") for dot in (".", ""))
    lock = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        # The name comes last: a command that finds the file finds it locked.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(lock, os.fsencode(f"{os.getpid()}\n{url}\n{pid_space()}\n"))
        os.rename(scratch, path)
    except BaseException:
        os.close(lock)
        _remove_file(scratch)
        raise
    return lock


def remove_pidfile(folder: str, lock: int) -> None:
    """Remove the file of this process, and the lock."""
    _remove_file(os.path.join(folder, f"{NAME_PREFIX}{os.getpid()}{NAME_SUFFIX}"))
    os.close(lock)


def running_gateways(folder: str) -> list[GatewayProcess]:
    """Gateways that serve here now, the oldest first; none where the folder cannot be read."""
    space = pid_space()
    found = [
        gateway
        for gateway in map(_gateway_of_pidfile, _pidfile_paths(folder))
        if gateway is not None and gateway.space == space
    ]
    return sorted(found, key=lambda gateway: gateway.since_s)


def is_gateway_running(gateway: GatewayProcess) -> bool:
    """Whether the gateway serves still."""
    return _gateway_of_pidfile(gateway.path) is not None


def _pidfile_paths(folder: str) -> list[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names if name.startswith(NAME_PREFIX) and name.endswith(NAME_SUFFIX)]


def _gateway_of_pidfile(path: str) -> GatewayProcess | None:
    """The gateway that locks the file; `None` without a gateway, or for a file of another user."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        state = os.fstat(lock)
        if state.st_uid != os.geteuid():
            return None
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid, url, space, *_ = [*os.fsdecode(os.read(lock, FILE_BYTES_MAX)).split("\n"), "", ""]
        return GatewayProcess(path, int(pid), url, space, state.st_mtime) if pid.isdecimal() else None
    except OSError:
        return None
    finally:
        os.close(lock)
    return None


def _remove_file(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
