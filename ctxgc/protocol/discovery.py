"""The places of ctxgc's files: the only answer of configuration, daemon and clients to folders, socket and
configuration.

    daemon   lock ─▶ listen ─▶ pid and socket into the lock file ─▶ … ─▶ wiped
    client   the usual socket ──no daemon──▶ read the lock file of the state folder ──▶ the socket that it names

The usual socket lies in `XDG_RUNTIME_DIR`, which cron, su, ssh and sandboxes do not hand on; the state folder is the
same for all of these. A relative path in an XDG variable is ignored, by the XDG base directory specification: else each
command would look for the daemon below its own working directory. Standard library only: every `ctxgc` command imports
this module.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterator, Mapping

from ctxgc.protocol.blocking_client import BadSocketPath

LOCK_NAME = "ctxgcd.lock"
LOCK_BYTES_MAX = 4096
COMMAND_BYTES_MAX = 4096
SOCKET_PATH_BYTES = {"linux": 107, "darwin": 103}
SOCKET_PATH_BYTES_MAX = SOCKET_PATH_BYTES.get(sys.platform, min(SOCKET_PATH_BYTES.values()))
"""`sun_path` of Linux holds 108 bytes with its NUL, that of macOS 104."""


def home_folder(environment: Mapping[str, str]) -> str:
    """The user's home folder: `HOME` if that is an absolute path, else the folder in the user database."""
    path = environment.get("HOME", "")
    if path.startswith("/"):
        return path
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # A container may run under a number that has no entry.
        return "/"


def expand_home(path: str, environment: Mapping[str, str]) -> str:
    """The path with a leading `~` or `~user` replaced by that home folder."""
    if path == "~" or path.startswith("~/"):
        return os.path.join(home_folder(environment), path[2:]) if path[2:] else home_folder(environment)
    return os.path.expanduser(path)


def xdg_state_folder(environment: Mapping[str, str]) -> str:
    """The folder that `XDG_STATE_HOME` names, else `~/.local/state`."""
    return _xdg_folder(environment, "XDG_STATE_HOME") or os.path.join(home_folder(environment), ".local", "state")


def default_state_folder(environment: Mapping[str, str]) -> str:
    """The state folder where none is configured: `ctxgc` in `xdg_state_folder`."""
    return os.path.join(xdg_state_folder(environment), "ctxgc")


def config_file(environment: Mapping[str, str]) -> str:
    """The configuration file, which may be absent: `$XDG_CONFIG_HOME/ctxgc/config.toml`, by default under
    `~/.config`."""
    folder = _xdg_folder(environment, "XDG_CONFIG_HOME") or os.path.join(home_folder(environment), ".config")
    return os.path.join(folder, "ctxgc", "config.toml")


def state_folder(environment: Mapping[str, str]) -> str:
    """The state folder by the environment alone: the configuration file may name another folder, and is not read here.

    A `CTXGC_DAEMON__STATE_DIR` that is no absolute path is ignored: no daemon starts with such a path, and the daemon
    of `:memory:` has its locks in the default folder.
    """
    configured = expand_home(environment.get("CTXGC_DAEMON__STATE_DIR", ""), environment)
    return configured if configured.startswith("/") else default_state_folder(environment)


def socket_path(flag: str, environment: Mapping[str, str]) -> str:
    """The usual socket: the flag, `CTXGC_SOCKET`, the runtime folder, else the state folder.

    Raises BadSocketPath for a path that is longer than the system allows.
    """
    folder = _xdg_folder(environment, "XDG_RUNTIME_DIR") or xdg_state_folder(environment)
    path = flag or environment.get("CTXGC_SOCKET") or os.path.join(folder, "ctxgc", "ctxgc.sock")
    path = os.path.abspath(path)
    size_bytes = len(os.fsencode(path))
    if size_bytes > SOCKET_PATH_BYTES_MAX:
        raise BadSocketPath(f"the socket path has {size_bytes} bytes, {SOCKET_PATH_BYTES_MAX} are allowed: {path}")
    return path


def _xdg_folder(environment: Mapping[str, str], name: str) -> str:
    """The folder that an XDG variable names; empty where the variable is missing, empty or relative."""
    path = environment.get(name, "")
    return path if path.startswith("/") else ""


def write_lock_file(lock: int, socket: str) -> None:
    """Name the daemon's pid and socket in its lock file; an empty `socket` wipes an earlier holder's address."""
    os.ftruncate(lock, 0)
    if socket:
        os.pwrite(lock, os.fsencode(f"{os.getpid()}\n{socket}\n"), 0)


def read_lock_file(folder: str) -> tuple[int, str]:
    """(pid, socket) of the last daemon of this state folder, (0, "") without a daemon; the daemon may be gone."""
    try:
        lock = os.open(os.path.join(folder, LOCK_NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0, ""
    try:
        # A file of another user is not read: clients send transcripts to the socket that it names.
        content = os.read(lock, LOCK_BYTES_MAX) if os.fstat(lock).st_uid == os.geteuid() else b""
    finally:
        os.close(lock)
    pid, _, socket = os.fsdecode(content).partition("\n")
    return (int(pid), socket.removesuffix("\n")) if pid.isdecimal() and socket.startswith("/") else (0, "")


def candidate_sockets(flag: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Sockets at which the daemon may listen: the usual socket, then the socket that the state folder's lock file
    names.

    An explicit socket is the only candidate. Raises BadSocketPath.
    """
    usual = socket_path(flag, environment)
    yield usual
    if not is_socket_explicit(flag, environment):
        _, written = read_lock_file(state_folder(environment))
        if written not in ("", usual):
            yield written


def is_socket_explicit(flag: str, environment: Mapping[str, str]) -> bool:
    """Whether the flag or `CTXGC_SOCKET` names the socket."""
    return bool(flag or environment.get("CTXGC_SOCKET"))


def unreachable_daemon_sentence(environment: Mapping[str, str]) -> str:
    """A sentence about a daemon that holds the state folder and cannot be reached; empty without such a daemon."""
    folder = state_folder(environment)
    pid, written = read_lock_file(folder)
    if not pid or not _is_daemon(pid):
        return ""
    return f"ctxgcd (pid {pid}) has the state folder {folder}, but cannot be reached at its socket {written} from here"


def _is_daemon(pid: int) -> bool:
    """Whether the process is a ctxgc daemon: after a crash the pid may belong to another program."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/cmdline", "rb") as command_line:
            return b"ctxgc" in command_line.read(COMMAND_BYTES_MAX)
    except FileNotFoundError:
        return not os.path.isdir("/proc/self")  # Systems without /proc name no command: the pid alone must do.
    except OSError:
        return False
