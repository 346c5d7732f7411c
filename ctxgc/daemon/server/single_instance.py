"""A single daemon per socket: a safe folder, a lock held for life, and a socket that appears ready or not at all.

    ensure_private_folder ─▶ lock ─held by another─▶ AlreadyRunning (exit 75); if that listens elsewhere,
                               │                     ServedElsewhere (78)
                               └─▶ bind to a temporary name ─▶ chmod 0600 ─▶ listen ─▶ rename onto the final name

The lock is on the folder itself, which nobody removes without the stash in it. The lock file says where its holder
listens; a lock file that was removed is written again (`renew`), and daemons of before lock that file alone.

Only the holder of the lock ever removes or replaces the socket, so a stale socket needs no guessing. A folder that
others could write to is refused and not repaired: the cause is not ours to hide.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat

from ctxgc.protocol import discovery
from ctxgc.protocol.discovery import LOCK_NAME

BACKLOG = 512
EXIT_BUSY = 75
EXIT_CONFIG = 78
FOLDER_MODE = 0o700
SOCKET_MODE = 0o600


class InstanceError(Exception):
    """The daemon cannot start here; `exit_code` says so to scripts."""

    exit_code = EXIT_CONFIG


class UnsafeFolder(InstanceError):
    """Another user could write to the folder, or the path is no plain folder."""


class AlreadyRunning(InstanceError):
    """Another daemon holds the lock."""

    exit_code = EXIT_BUSY


class ServedElsewhere(InstanceError):
    """Another daemon holds the lock and listens at another socket: waiting for ours would be in vain."""


class Instance:
    """The lock on a folder, held until `close` or the end of the process. Its file says where the holder listens."""

    def __init__(self, folder: str, socket_path: str = "") -> None:
        """Create a missing `folder`, check the folder and take the lock, to listen at `socket_path` if known.

        Raises UnsafeFolder, AlreadyRunning, ServedElsewhere.
        """
        self.folder = folder
        self._socket_path = ""
        self._socket_identity = (0, 0)
        self._announced = ""
        ensure_private_folder(folder)
        self._lock = -1
        self._folder_lock = _acquire_folder_lock(folder, socket_path)
        try:
            self._lock = _acquire_file_lock(folder, socket_path)
        except BaseException:
            os.close(self._folder_lock)
            raise
        discovery.write_lock_file(self._lock, "")

    def announce_address(self, path: str) -> None:
        """Write the address `path` of this instance into the lock file."""
        self._announced = path
        discovery.write_lock_file(self._lock, path)

    def renew_lock_file(self) -> None:
        """Write the lock file again where the file is not this instance's own: cleaners of folders mean no harm."""
        if self._lock < 0 or _file_identity(os.path.join(self.folder, LOCK_NAME)) == _file_identity(self._lock):
            return
        try:
            lock = _acquire_file_lock(self.folder, self._announced)
        except InstanceError:  # The folder is gone, or a daemon of before took the file: the stash watches itself.
            return
        os.close(self._lock)
        self._lock = lock
        self.announce_address(self._announced)

    def listen(self, path: str, backlog: int = BACKLOG) -> socket.socket:
        """A listening socket at `path`, in this instance's folder, readable and writable by us alone.

        The old socket is replaced in a single step: a client meets the old socket or the new socket. Raises
        UnsafeFolder where another kind of file is there.
        """
        if os.path.dirname(path) != self.folder:
            raise ValueError(f"{path} is not in the folder that this instance locks")
        # As long as the final name, so that a path within the system's limit stays within it.
        temporary = path[:-1] + ("_" if path.endswith("~") else "~")
        for stale in (path, temporary):
            _refuse_non_socket(stale)
        _remove_file(temporary)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listener.bind(temporary)
            os.chmod(temporary, SOCKET_MODE)
            listener.listen(backlog)
            os.rename(temporary, path)
        except BaseException:
            listener.close()
            _remove_file(temporary)
            raise
        self._socket_path = path
        self._socket_identity = _file_identity(path)
        return listener

    def close(self) -> None:
        """Remove our socket, if the socket is still ours, and let go of the lock. The lock file stays, for the file is
        the lock.
        """
        if self._socket_path and _file_identity(self._socket_path) == self._socket_identity:
            _remove_file(self._socket_path)
        self._socket_path = ""
        if self._lock >= 0:
            discovery.write_lock_file(self._lock, "")
            os.close(self._lock)
            os.close(self._folder_lock)
            self._lock = -1


def _acquire_folder_lock(folder: str, socket_path: str) -> int:
    """A descriptor with the lock on the folder. Raises `AlreadyRunning`, `ServedElsewhere`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise _locked_folder_error(folder, socket_path) from None
    except OSError:  # A file system that locks files alone: the lock file has to do.
        pass
    return descriptor


def _acquire_file_lock(folder: str, socket_path: str) -> int:
    """A descriptor with the lock on the lock file. Raises `InstanceError`."""
    path = os.path.join(folder, LOCK_NAME)
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, SOCKET_MODE)
    except OSError as error:
        raise UnsafeFolder(f"the lock {path} cannot be opened: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(lock).st_mode):
            raise UnsafeFolder(f"{path} is no plain file; remove it")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise _locked_folder_error(folder, socket_path) from None
        raise
    return lock


def _locked_folder_error(folder: str, path: str) -> InstanceError:
    pid, written = discovery.read_lock_file(folder)
    if not written:  # It has only just taken the lock.
        return AlreadyRunning(f"another ctxgcd starts in {folder}")
    if path in ("", written):  # Who names no socket waits for none: it only wants the folder to itself.
        return AlreadyRunning(f"another ctxgcd (pid {pid}) runs in {folder}")
    return ServedElsewhere(
        f"another ctxgcd (pid {pid}) runs in {folder} and listens at {written}: "
        f"`--socket {written}` reaches it, `kill {pid}` ends it"
    )


def ensure_private_folder(folder: str) -> None:
    """Create `folder` as ours alone, or raise UnsafeFolder for an existing folder of other rights."""
    try:
        os.makedirs(os.path.dirname(folder), mode=FOLDER_MODE, exist_ok=True)
        os.mkdir(folder, FOLDER_MODE)
    except FileExistsError:
        pass
    except OSError as error:
        raise UnsafeFolder(f"the folder {folder} cannot be created: {error.strerror}") from error
    file_status = os.lstat(folder)  # Not stat: a link would lead the check elsewhere than the names we use.
    if not stat.S_ISDIR(file_status.st_mode):
        raise UnsafeFolder(f"{folder} is a link or no folder; remove it or choose another")
    if file_status.st_uid != os.geteuid():
        raise UnsafeFolder(f"{folder} belongs to user {file_status.st_uid}, not to you; choose another")
    if file_status.st_mode & 0o077:
        mode = stat.S_IMODE(file_status.st_mode)
        raise UnsafeFolder(
            f"others may enter {folder} (mode {mode:04o}); `chmod 0700 {folder}` if you trust what is in it"
        )


def _refuse_non_socket(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise UnsafeFolder(f"{path} exists and is no socket; remove it or choose another path")


def _file_identity(file: str | int) -> tuple[int, int]:
    """Device and inode of a path, or of a descriptor."""
    try:
        file_status = os.fstat(file) if isinstance(file, int) else os.lstat(file)
    except OSError:
        return (-1, -1)
    return (file_status.st_dev, file_status.st_ino)


def _remove_file(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
