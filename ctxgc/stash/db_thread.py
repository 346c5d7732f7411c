"""A lane: one SQLite connection and its thread. A whole operation is one function, and so one hop (57 µs)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

import aiosqlite

T = TypeVar("T")


class DbThread:
    """Runs functions on its connection's thread, one at a time, in the order they were asked for."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, uri: str, configure: Callable[[sqlite3.Connection], None]) -> DbThread:
        """Connect and configure; nothing stays open if either fails."""
        lane = cls(await aiosqlite.connect(uri, uri=True, isolation_level=None, cached_statements=256))
        try:
            await lane.run(configure)
        except BaseException:
            await lane.close()
            raise
        return lane

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """The function's result. If the caller is cancelled the function runs to its end all the same."""
        # aiosqlite's public methods are one hop a statement; this is the call that they are made of.
        return await self._connection._execute(function, self._connection._conn)  # type: ignore[no-untyped-call,no-any-return]

    async def close(self) -> None:
        """Finish what was asked for and close."""
        await self._connection.close()
