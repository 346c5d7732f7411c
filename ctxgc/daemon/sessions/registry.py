"""The sessions that are awake: an LRU of heaps, bounded by the segments in them.

    named ──resolve──▶ key ──awake?──▶ Session
                              │ no: rows of the stash
                              ▼
                            wake, and put the longest unused to sleep

Sleep is free: every fact is in rows. A session that a caller still uses is found again while the object lives, so no
session is ever in memory twice: each session has a single writer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import PurePath
from secrets import randbelow
from weakref import WeakValueDictionary

from ctxgc.core.errors import BadParams, NotFound
from ctxgc.core.segment import SessionKey
from ctxgc.daemon.sessions.frozen_objects import FrozenObjects
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.session_index import SessionSettings
from ctxgc.stash.contract import SessionRow, Stash

NEWEST_LOOKED_AT = 50
"""Sessions looked at where no session is named: the newest session that is no side chain is meant."""


NAMED_MAX = 4
"""Sessions listed in the error about an ambiguous name."""

INDEX_ENTRIES_MAX = 300_000
"""Words and lines in the indexes of all sessions awake, about 150 bytes each."""


def draw_session_number() -> int:
    """A number for the addresses of a new session: nine digits that cannot be guessed from the session's name.

    Numbers may collide, though hardly: among a thousand sessions with a chance of 1 in 2,000.
    """
    return 10**8 + randbelow(9 * 10**8)


class Registry:
    """Sessions by key. A session is awake at most once, so that a session has a single writer."""

    def __init__(
        self, stash: Stash, settings: SessionSettings, clock: Callable[[], float], *, segments_max: int
    ) -> None:
        self.settings = settings
        self._stash = stash
        self._clock = clock
        self._segments_max = segments_max
        self.frozen_objects = FrozenObjects()
        self._awake: OrderedDict[SessionKey, Session] = OrderedDict()
        self._living: WeakValueDictionary[SessionKey, Session] = WeakValueDictionary()
        self._waking: WeakValueDictionary[SessionKey, asyncio.Lock] = WeakValueDictionary()
        """A lock lives for as long as a task holds the lock or waits for it: a key has a single lock."""

    @property
    def awake_sessions(self) -> list[Session]:
        """Sessions in memory, the longest unused first."""
        return list(self._awake.values())

    def adopt_settings(self, settings: SessionSettings) -> None:
        """Give every session new settings: rules at once, the rest when a session wakes or changes."""
        self.settings = settings
        for session in self._living.values():
            session.adopt_settings(settings)

    def peek(self, key: SessionKey) -> Session | None:
        """The session if the session is awake; its place in the LRU does not change."""
        return self._awake.get(key)

    async def resolve(self, name: str, cwd: str = "", source: str = "") -> SessionKey:
        """The session that a name, or a folder's newest session of this source, means. Raises `NotFound`.

        See `protocol.messages`; without a source every source counts.
        """
        if name:
            source, colon, rest = name.partition(":")
            awake = self._awake.get(SessionKey(source, rest)) if colon else None
            if awake is not None and not awake.is_new:  # What was never written does not exist yet.
                return awake.key
            matches = await self._stash.sessions_named(name)
            if len(matches) == 1:
                return matches[0]
            mains = {SessionKey(key.source, key.session.partition("/")[0]) for key in matches}
            if len(mains) == 1 and "/" not in name and await self._stash.session(min(mains)):
                return min(mains)  # A session's own side chains do not make its name ambiguous.
            if matches:
                some = ", ".join([*map(str, matches[:NAMED_MAX]), *["…"] * (len(matches) > NAMED_MAX)])
                raise BadParams(f"{name!r} may mean {some}", hint="give more of the id", field="session")
            raise NotFound(f"no session {name!r}", hint="`ctxgc sessions` lists them", field="session")
        # A command may be run below the folder its agent works in; never does it mean another project's session.
        for folder in (cwd, *map(str, PurePath(cwd).parents)) if cwd else ("",):
            newest = await self._stash.sessions(project=folder, source=source, limit=NEWEST_LOOKED_AT)
            if newest:
                return next((row.key for row in newest if not row.parent), newest[0].key)
        if cwd:
            raise NotFound(f"no session belongs to {cwd}", hint="`--session S` names one; `ctxgc sessions` lists them")
        raise NotFound("there is no session yet", hint="`ctxgc import PATH` reads transcripts")

    async def get(self, key: SessionKey) -> Session:
        """The session, awake. Raises `NotFound`."""
        session = await self._get_or_wake(key, None)
        if session is None:
            raise NotFound(f"no session {str(key)!r}", hint="`ctxgc sessions` lists them", field="session")
        return session

    async def get_by_name(self, name: str, cwd: str = "") -> Session:
        """`resolve` and `get`."""
        return await self.get(await self.resolve(name, cwd))

    async def open(self, row: SessionRow) -> Session:
        """The session of this key; a new session with this row if none exists, written with the first change."""
        session = await self._get_or_wake(row.key, row)
        assert session is not None
        return session

    @asynccontextmanager
    async def keep_asleep(self, key: SessionKey) -> AsyncIterator[bool]:
        """Keep the session of this key from waking meanwhile; yields whether the session is asleep."""
        async with self._waking.setdefault(key, asyncio.Lock()):
            yield key not in self._awake and key not in self._living

    async def _get_or_wake(self, key: SessionKey, new: SessionRow | None) -> Session | None:
        session = self._awake.get(key)
        if session is None:
            async with self._waking.setdefault(key, asyncio.Lock()):
                session = self._living.get(key) or await self._wake_session(key, new)
            if session is None:
                return None
            self._awake[key] = session
            self._put_excess_to_sleep()
        self._awake.move_to_end(key)
        return session

    async def _wake_session(self, key: SessionKey, new: SessionRow | None) -> Session | None:
        row = await self._stash.session(key)
        if row is None and new is None:
            return None
        known = row or replace(new or SessionRow(key=key), number=draw_session_number())
        session = await Session.wake(known, self._stash, self.settings, self._clock, is_new=row is None)
        if session.settings is not self.settings:
            session.adopt_settings(self.settings)  # They changed while the session woke.
        self._living[key] = session
        self.frozen_objects.note_new_segments(len(session.heap))
        return session

    def _put_excess_to_sleep(self) -> None:
        """Make room, now that a session woke. The newest session does not count: the session is in use, and bounded.

        A session may fall asleep in the middle of a change: its writer holds the session, so `_living` has the session
        until then.
        """
        others = list(self._awake.items())[:-1]
        segments = sum(len(session.heap) for _, session in others)
        entries = sum(session.reference_index.entry_count for _, session in others)
        for key, session in others:
            if segments <= self._segments_max and entries <= INDEX_ENTRIES_MAX:
                return
            segments -= len(session.heap)
            entries -= session.reference_index.entry_count
            del self._awake[key]
            self.frozen_objects.note_session_asleep()
