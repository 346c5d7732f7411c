"""By which ids a session knows the contents of a list.

    segments ──stamped──▶ digests ──named──▶ the id under which each content is known, or the next that is free

In a list an id is no more than a name: a host edits a result, or counts its uses of a call id anew after it drops some.
In a session it stands for one content for good, because tombstones, pins and people refer to it (I1, I9).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from ctxgc.adapters.window_builder import as_asked
from ctxgc.core.heap import FORGOTTEN, PENDING
from ctxgc.core.segment import Kind, Segment, Status, base_id, digest, exchange_id
from ctxgc.daemon.sessions.intake import Intake
from ctxgc.daemon.sessions.session import Session

NOTHING: Mapping[str, str] = MappingProxyType({})


class Stamp(NamedTuple):
    """What a content is known by. A redacted one is not the one that holds the mark itself."""

    digest: bytes
    is_redacted: bool


def stamp_of(intake: Intake, segment: Segment) -> Stamp:
    """The stamp of a segment, as the session's own segments have theirs."""
    kept, redactions = intake.redacted(segment)
    return Stamp(digest(kept.skeleton, kept.body), bool(redactions))


def stamped(intake: Intake, segments: Sequence[Segment]) -> list[Stamp]:
    """A stamp for each. Heavy: for the worker thread."""
    return [stamp_of(intake, segment) for segment in segments]


def named(
    session: Session,
    intake: Intake,
    segments: Sequence[Segment],
    stamps: Sequence[Stamp],
    stood_for: Mapping[str, str] = NOTHING,
) -> list[Segment]:
    """The segments under the session's own ids, each id once.

    An exchange whose call waits in the session for its result completes that one. What was forgotten is known by its
    id alone, and what comes under this id is taken for it. `stood_for` says for which of the session's segments a
    tombstone stands, by its id in the list.
    """
    bases = dict.fromkeys(base_id(id_) for id_ in [*(one.id for one in segments), *stood_for.values()])
    uses = {base: _Uses(session, intake, base) for base in bases}
    for id_ in stood_for.values():
        uses[base_id(id_)].spare(id_)
    return [
        replace(one, id=stood_for.get(one.id) or uses[base_id(one.id)].take(one, stamp))
        for one, stamp in zip(segments, stamps, strict=True)
    ]


class _Uses:
    """All uses of one id in a session, in order: `ID`, `ID~2`, …; each is taken once."""

    def __init__(self, session: Session, intake: Intake, base: str) -> None:
        self._session = session
        self._intake = intake
        self._base = base
        self._next = 1
        self._by_content: dict[Stamp, list[str]] = {}
        self._noted: set[str] = set()
        self._forgotten: set[str] = set()
        self._has_pending = False
        while (id_ := exchange_id(base, self._next)) in session.heap.slot_of:
            self._note(id_)
            self._next += 1

    def _note_own(self, id_: str) -> None:
        if id_ not in self._noted and id_ in self._session.heap.slot_of:
            self._note(id_)

    def _note(self, id_: str) -> None:
        session = self._session
        slot = session.heap.slot_of[id_]
        self._noted.add(id_)
        if session.heap.state[slot] == FORGOTTEN:
            self._forgotten.add(id_)
            return
        self._has_pending |= session.heap.is_set(slot, PENDING)
        stamp = Stamp(session.holdings.digest_of(slot), slot in session.holdings.redacted)
        self._by_content.setdefault(stamp, []).append(id_)

    def spare(self, id_: str) -> None:
        """Never take this one."""
        self._note_own(id_)
        for known in self._by_content.values():
            if id_ in known:
                known.remove(id_)

    def take(self, segment: Segment, stamp: Stamp) -> str:
        """The id of this content."""
        id_ = segment.id
        self._note_own(id_)
        known = self._by_content.get(stamp)
        if not known and self._has_pending and segment.kind is Kind.EXCHANGE and segment.status is not Status.PENDING:
            known = self._by_content.get(stamp_of(self._intake, as_asked(segment)))
        if known:
            return known.pop(known.index(id_) if id_ in known else 0)
        if id_ in self._forgotten:
            self._forgotten.remove(id_)
            return id_
        return self._fresh(id_)

    def _fresh(self, id_: str) -> str:
        while id_ in self._noted:
            id_ = exchange_id(self._base, self._next)
            self._next += 1
        self._noted.add(id_)
        return id_
