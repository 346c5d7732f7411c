"""The service's side of systemd: three environment variables and a datagram.

    LISTEN_FDS ──▶ sockets that are listening already        NOTIFY_SOCKET ◀── READY=1, WATCHDOG=1, STOPPING=1

Where systemd did not start the daemon, every function here has no effect, so the caller need not ask. Source:
sd_listen_fds(3), sd_notify(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from ctxgc.core.errors import Incompatible

FIRST_FD = 3
"""After standard input, output and error."""

NOTIFY_WAIT_S = 1.0
"""Sent from the event loop: a manager that does not read may cost one message, not the daemon."""


def inherited_sockets(env: Mapping[str, str]) -> list[socket.socket]:
    """The sockets that systemd listens on for the daemon, which never binds, renames or unlinks these sockets.

    Empty where systemd passes no socket, or passes sockets to another process. A socket that is no listening Unix
    stream socket raises `Incompatible`: the daemon is never reached over a network.
    """
    count = env.get("LISTEN_FDS", "")
    if env.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return []
    sockets = [socket.socket(fileno=FIRST_FD + n) for n in range(int(count))]
    for taken in sockets:
        is_unix_stream = (taken.family, taken.type) == (socket.AF_UNIX, socket.SOCK_STREAM)
        if not is_unix_stream or not taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise Incompatible(
                f"systemd passed fd {taken.fileno()}, which is not a listening Unix stream socket",
                hint="ctxgcd.socket needs one ListenStream= with a path, and Accept=no",
            )
        taken.set_inheritable(False)
        taken.setblocking(False)
    return sockets


def sd_notify(state: str, env: Mapping[str, str]) -> bool:
    """Send a state, such as `READY=1`; whether the state was handed over. Raises no error: the service matters more."""
    address = env.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(NOTIFY_WAIT_S)
            channel.sendto(state.encode(), address)
    except OSError:
        return False
    return True


def watchdog_interval_s(env: Mapping[str, str]) -> float | None:
    """Seconds between two `WATCHDOG=1`: half of systemd's limit. `None` without a watchdog."""
    allowed_us = env.get("WATCHDOG_USEC", "")
    if (
        not allowed_us.isdecimal()
        or int(allowed_us) == 0
        or env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid())
    ):
        return None
    return int(allowed_us) / 2_000_000
