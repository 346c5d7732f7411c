"""The objects of sessions, out of sight of Python's own collector, which would stop every request to walk over them.

    wake, import ──many segments──▶ freeze          sessions fell asleep ──▶ a quiet daemon ──▶ thaw, collect, freeze

A full collection of Python walks over every object of every heap: 60 ms at a hundred thousand segments, 0.9 s at a
million, in the middle of whatever request made the last object. Heaps and indexes hold no cycles, so there is nothing
to find in them. A frozen object is freed as ever by its last reference; only a cycle that was frozen stays until the
daemon is quiet.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FREEZE_SEGMENTS = 2_000
"""Segments that came to memory since the last freeze: with fewer a full collection takes less than two milliseconds."""
QUIET_S = 30.0
"""A daemon without a request for so long is quiet."""


YOUNG_OBJECTS_MAX = 10_000
"""Objects that came during a pause: a collection over so many takes a millisecond."""
_pauses = 0


@contextmanager
def pause_python_gc() -> Iterator[None]:
    """Keep Python's collector from walking over the rows of a waking session, again and again as they come in.

    For seconds: cycles that others leave meanwhile wait. Nested and side by side; enter and leave on the loop's thread.
    """
    global _pauses
    _pauses += 1
    gc.disable()
    try:
        yield
    finally:
        _pauses -= 1
        if not _pauses:
            if gc.get_count()[0] > YOUNG_OBJECTS_MAX:
                gc.freeze()  # Else the first collection after the pause walks over all that came meanwhile.
            gc.enable()


class FrozenObjects:
    """Counts segments that come to memory and leave memory, and freezes and thaws by them."""

    def __init__(self) -> None:
        self._made = 0
        self._has_dropped = asyncio.Event()

    def note_new_segments(self, segments: int) -> None:
        """So many segments came to memory. O(1), a freeze included."""
        self._made += segments
        if self._made >= FREEZE_SEGMENTS:
            self._made = 0
            gc.freeze()

    def note_session_asleep(self) -> None:
        """A session fell asleep: a cycle around the session may be left."""
        self._has_dropped.set()

    async def run_python_gc_when_quiet(self, requests: Callable[[], int], quiet_s: float = QUIET_S) -> None:
        """Collect after sessions fell asleep, once no request came for a while; until cancelled.

        `requests` is the count of requests so far. A busy daemon is left alone: what waits is bounded by what slept.
        """
        while True:
            await self._has_dropped.wait()
            before = requests()
            await asyncio.sleep(quiet_s)
            if requests() == before:
                self._has_dropped.clear()
                run_full_python_gc()


def run_full_python_gc() -> None:
    """A full collection over frozen objects too; what is left is frozen again. O(objects): for a quiet daemon."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
