"""A database thread: a SQLite connection and its thread, which runs the operations in order.

    run(operation) ──▶ aiosqlite's queue ──▶ operation(connection), many statements ──▶ result

A hop to the thread and back costs about 25 µs on an idle machine and 70 on a busy machine, so an operation is a single
function and hop, with any number of statements. aiosqlite's door for many statements in a hop is `executescript`: the
connection takes a function there too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

import aiosqlite

STATEMENTS_DROPPED = 300
"""More than a connection caches."""

T = TypeVar("T")


class ScriptConnection(sqlite3.Connection):
    """A connection whose scripts may be functions: SQLite's own take no parameters and return no rows."""

    def executescript(self, script: Any) -> sqlite3.Cursor:
        """Run a function on this connection, on the thread that the connection lives on."""
        script(self)
        return self.cursor()


class DbThread:
    """Runs operations on its connection's thread, one at a time, in the order of the calls."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, uri: str, configure: Callable[[sqlite3.Connection], None]) -> DbThread:
        """Connect and configure; no connection stays open if either fails."""
        thread = cls(
            await aiosqlite.connect(
                uri, uri=True, isolation_level=None, cached_statements=256, factory=ScriptConnection
            )
        )
        try:
            await thread.run(configure)
        except BaseException:
            await thread.close()
            raise
        return thread

    async def run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """The operation's result. An operation whose caller is cancelled runs to its end all the same."""
        results: list[T] = []
        script: Any = lambda connection: results.append(operation(connection))  # noqa: E731 - a script, for aiosqlite
        await self._connection.executescript(script)
        return results[0]

    async def close(self) -> None:
        """Finish the waiting operations and close the connection."""
        await self._connection.close()


def shrink_memory(db: sqlite3.Connection) -> None:
    """Free the pages and the values of statements that a connection keeps for later."""
    db.execute("PRAGMA shrink_memory")
    for n in range(STATEMENTS_DROPPED):  # A cached statement keeps its last values.
        db.execute(f"SELECT {n}")
