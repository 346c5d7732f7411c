"""The user at the other end of a Unix socket, by the word of the kernel. Standard library only."""

from __future__ import annotations

import socket
import sys

PEER_CREDENTIALS_BYTES = 12
SOL_LOCAL, XUCRED_VERSION, XUCRED_BYTES = 0, 0, 76
"""How macOS tells the peer of a Unix socket: level of the option, and version and size of its answer."""


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket, -1 where the system does not tell."""
    if hasattr(socket, "SO_PEERCRED"):
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER_CREDENTIALS_BYTES)
        return int.from_bytes(credentials[4:8], "little")  # struct ucred: pid, uid, gid.
    if hasattr(socket, "LOCAL_PEERCRED"):  # macOS: struct xucred: version, uid, groups.
        credentials = connection.getsockopt(SOL_LOCAL, socket.LOCAL_PEERCRED, XUCRED_BYTES)
        has_version = len(credentials) >= 8 and int.from_bytes(credentials[:4], sys.byteorder) == XUCRED_VERSION
        return int.from_bytes(credentials[4:8], sys.byteorder) if has_version else -1
    return -1
