"""The error that a caller hears where SQLite fails, or where a file is no sound database."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ctxgc.core.errors import CtxgcError, ReadOnly, StashDamaged, StorageFailed


def ctxgc_error_of(error: Exception) -> CtxgcError:
    """The error that a caller hears of a failure."""
    if isinstance(error, CtxgcError):
        return error
    if "is full" in str(error):
        return ReadOnly(
            "the disk of the stash is full: nothing was written",
            hint="free some space; writes resume by themselves, and reading goes on",
        )
    if isinstance(error, sqlite3.Error):
        return StorageFailed(
            f"the stash could not commit: {error}", hint="try again; if it persists, run `ctxgc doctor`"
        )
    return StorageFailed(f"the stash cannot hold this: {error}", hint="no segment was written; report the input")


def damage_error(path: Path, detail: str) -> StashDamaged:
    """The error of a damaged file. The file stays unchanged."""
    return StashDamaged(
        f"the stash {path} is damaged: {' '.join(detail.split())}",
        hint="run `ctxgcd --check`, then `ctxgcd --repair`: it keeps a copy and saves every segment it can read",
    )
