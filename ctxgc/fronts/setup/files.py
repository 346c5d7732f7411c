"""Files of settings on disk: read whole, and written in a single step."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ctxgc.fronts.cli.context import CommandRefused


def text_digest(text: str) -> str:
    """The digest by which an unchanged file is known."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def read_text(path: Path) -> str | None:
    """The file's text, byte for byte; `None` without a file. Raises `CommandRefused` for an unreadable file."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandRefused(f"{path}: cannot be read: {error}", kind="config") from None


def write_text(path: Path, text: str) -> None:
    """Write the file in a single step with its rights; a link stays a link. Raises `CommandRefused`."""
    target = path.resolve()
    scratch = target.with_name(f".{target.name}.ctxgc-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        rights = target.stat().st_mode & 0o777 if target.exists() else 0o600
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            os.fchmod(file.fileno(), rights)
        os.replace(scratch, target)
    except (OSError, UnicodeEncodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CommandRefused(f"{path}: cannot be written: {why}", kind="config") from None
    finally:
        scratch.unlink(missing_ok=True)


def missing_folders(file: str) -> tuple[str, ...]:
    """The folders above a file that are not there, the innermost first."""
    return tuple(str(folder) for folder in Path(file).resolve().parents if not folder.exists())
