"""The lines that each session's window shows, for results that no request has carried yet.

    resident results ──bring_index_up_to_date──▶ LineIndex ──find_pointer_elisions──▶ the pointers of a new result

An index is a cache of texts that the stash has: made when a session's first new result asks, grown with the session,
dropped with the sessions that asked least recently. Belongs to the daemon's loop; lines are compared on the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cachetools import LRUCache

from ctxgc.adapters.contract import RESULT_PIECE
from ctxgc.core.bounded_dict import drop_oldest_entries
from ctxgc.core.entry import line_index
from ctxgc.core.entry.elisions import Elision, pointer_text, run_lines_text, run_places
from ctxgc.core.entry.line_index import LineIndex, Run
from ctxgc.core.entry.shortening import subject_of
from ctxgc.core.heap import KINDS, OPAQUE, PENDING, RESIDENT
from ctxgc.core.segment import Kind, Piece, Segment, SessionKey
from ctxgc.core.tombstone import segment_label
from ctxgc.daemon.sessions.content_cache import ContentCache
from ctxgc.daemon.sessions.session import Session
from ctxgc.stash.contract import Stash

LINES_MAX = 400_000
"""Lines of all sessions' indexes together."""
CHARS_MAX = 64 * 2**20
"""Characters of those lines."""
LABEL_BYTES_MAX = 60
"""Of a target's label in a pointer."""
LABELS_MAX = line_index.LINES_MAX // line_index.RUN_LINES_MIN
"""Of a session: no index has more targets, and the oldest targets leave an index first, as the oldest labels do."""
RUN_TOKENS_MIN = 40
"""A body of fewer tokens has no run that is worth a pointer."""
WORTH_NUMERATOR, WORTH_DENOMINATOR = 3, 2
"""A run is worth a pointer of two thirds of its tokens, or fewer."""
_TOOL_CALL = KINDS.index(Kind.TOOL_CALL)


class NewResult(NamedTuple):
    """A result that no request has carried yet: its segment, and the text."""

    segment: Segment
    texts: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of its texts, joined."""
        return "".join(self.texts)


@dataclass(slots=True)
class SessionLines:
    """The index of one session, and how far the index has come. Mutable."""

    index: LineIndex = field(default_factory=LineIndex)
    labels: dict[str, str] = field(default_factory=dict)
    """The label of each target."""
    seen: int = 0
    """Slots below are in the index, but for those that wait."""
    shortened: set[str] = field(default_factory=set)
    """What the calls asked for whose results leave lines out: asked for again, it enters whole."""
    waiting: set[int] = field(default_factory=set)
    """Calls without a result so far."""
    expected: set[str] = field(default_factory=set)
    """Results that a request was to bring: until the session has them they may come otherwise, or not at all."""


class EntryIndexes:
    """The index of each session that asked lately."""

    def __init__(self, stash: Stash, contents: ContentCache) -> None:
        self._stash = stash
        self._contents = contents
        self._lines: LRUCache[SessionKey, SessionLines] = LRUCache(64)

    def drop_all(self) -> None:
        """Empty the indexes: an erased text must stand in none of them."""
        self._lines.clear()

    async def bring_index_up_to_date(self, session: Session) -> SessionLines:
        """The index of a session's resident results, those admitted since the last call included.

        O(text of the new results); the first call of a session reads every resident result.
        """
        lines = self._lines.get(session.key)
        if lines is None:
            lines = self._lines[session.key] = SessionLines()
        heap = session.heap
        due = sorted({*range(lines.seen, len(heap)), *lines.waiting})
        lines.waiting = {slot for slot in due if heap.has_flag(slot, PENDING)}
        lines.seen = len(heap)
        due = [slot for slot in due if slot not in lines.waiting and can_be_target(session, heap.ids[slot])]
        for id_ in lines.expected.intersection(heap.ids[slot] for slot in due):
            lines.expected.discard(id_)
            lines.index.remove_target(id_)
        due = [slot for slot in due if heap.body[slot] >= RUN_TOKENS_MIN and heap.ids[slot] not in lines.index]
        if due:
            rows = await self._stash.rows(session.key, due)
            bodies = await self._contents.get(session.key, due)
            for row in rows:
                text = result_text(bodies[row.seq][1]) if row.seq in bodies else None
                if text is not None:
                    add_result(lines, row.segment, text, row.elisions)
        self._drop_oldest_indexes(lines)
        return lines

    def _drop_oldest_indexes(self, current: SessionLines) -> None:
        while len(self._lines) > 1 and self._is_full():
            _, dropped = self._lines.popitem()
            if dropped is current:
                return

    def _is_full(self) -> bool:
        indexes = [lines.index for lines in self._lines.values()]
        return sum(one.lines for one in indexes) > LINES_MAX or sum(one.chars for one in indexes) > CHARS_MAX


def can_be_target(session: Session, id_: str) -> bool:
    """Whether the window shows a result that pointers may lead to."""
    heap = session.heap
    slot = heap.slot_of.get(id_)
    if slot is None or heap.state[slot] != RESIDENT or heap.kind[slot] != _TOOL_CALL:
        return False
    if slot in session.indexes.changed:
        return False
    return not heap.has_flag(slot, PENDING | OPAQUE) and slot not in session.indexes.redacted


def result_text(body: Sequence[Piece]) -> str | None:
    """The text of a call's result; None without a result."""
    return next((piece.text for piece in body if piece.name == RESULT_PIECE), None)


def add_result(lines: SessionLines, segment: Segment, text: str, elisions: Sequence[Elision]) -> None:
    """Record a result in the window, but for the lines behind its pointers."""
    lines.index.remove_target(segment.id)
    lines.index.add_target(segment.id, text, [(elision.first, elision.lines) for elision in elisions])
    lines.labels.pop(segment.id, None)
    if segment.id in lines.index:
        lines.labels[segment.id] = segment_label(segment, LABEL_BYTES_MAX)
        drop_oldest_entries(lines.labels, LABELS_MAX)
    if any(not elision.target for elision in elisions):
        lines.shortened.add(subject_of(segment))


def find_pointer_elisions(
    lines: SessionLines,
    result: NewResult,
    is_shown: Callable[[str], bool],
    calls_above: Callable[[str], int],
    count: Callable[[str], int],
) -> tuple[Elision, ...]:
    """The pointers of a new result: runs that the window shows, where a pointer is much shorter. Heavy."""
    own = result.text.split("\n")
    found = []
    runs = lines.index.find_runs(result.text, is_shown)
    for run, place in zip(runs, run_places(result.texts, [(one.first, one.lines) for one in runs]), strict=True):
        if place is None:
            continue
        note = _pointer_text_for_run(lines, run, own, calls_above(run.target))
        run_tokens = count("\n".join(own[run.first : run.first + run.lines]))
        note_tokens = count(note)
        if WORTH_DENOMINATOR * run_tokens >= WORTH_NUMERATOR * note_tokens:
            found.append(Elision(*run, run_tokens - note_tokens, note))
    return tuple(found)


def _pointer_text_for_run(lines: SessionLines, run: Run, own: Sequence[str], calls_above: int) -> str:
    shown = lines.index.lines_of(run.target)
    there = run_lines_text(shown, run.target_first, run.lines)
    return pointer_text(run_lines_text(own, run.first, run.lines), there, lines.labels[run.target], calls_above)
