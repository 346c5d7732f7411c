"""A secret in a file of the state folder, 0600: made once, and outliving restarts. Standard library only."""

from __future__ import annotations

import os
import stat
from secrets import token_urlsafe

SECRET_BYTES = 24
FILE_BYTES_MAX = 256


def ensure_secret(folder: str, name: str) -> str:
    """The secret of this state folder, made where missing. Raises OSError, also for a file that others can read."""
    if secret := read_secret(folder, name):
        return secret
    os.makedirs(folder, mode=0o700, exist_ok=True)
    scratch, path = os.path.join(folder, f".{name}-{os.getpid()}"), os.path.join(folder, name)
    file = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, token_urlsafe(SECRET_BYTES).encode())
        os.fsync(file)
        os.link(scratch, path)  # Of two processes that make a secret at once, one secret wins for both.
    except FileExistsError:
        pass
    finally:
        os.close(file)
        os.unlink(scratch)
    return read_secret(folder, name)


def read_secret(folder: str, name: str) -> str:
    """The secret of this state folder; empty without a file. Raises OSError, also for a file that others can read."""
    path = os.path.join(folder, name)
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        state = os.fstat(file)
        if state.st_uid != os.geteuid() or stat.S_IMODE(state.st_mode) & 0o077:
            raise PermissionError(1, "this secret is not its user's alone; remove the file", path)
        return os.read(file, FILE_BYTES_MAX).decode("ascii", "replace").strip()
    finally:
        os.close(file)
