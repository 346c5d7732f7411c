"""The sections of a session's working set: slots, and lines of their segments.

    heap ──choose_working_set──▶ slots ──SectionMaker, beside the loop──▶ sections, the most needed first

Standing instructions go by reference: the host loads their text itself. A file under edit is shown from the disk if it
is as the session left it, else the session's own last change is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import or_

from ctxgc.adapters.facts.working_set import open_plan_items, written_lines
from ctxgc.adapters.skeletons import call_input
from ctxgc.core.display_texts import compact_tokens_text
from ctxgc.core.excerpts import ExcerptSource, Section, cut_long_line, data_lines_in_range, lines_of_source
from ctxgc.core.frame import HEAD
from ctxgc.core.heap import ERRORED, FORGOTTEN, KINDS, PENDING, PINNED, PLANNING, Heap
from ctxgc.core.line_ranges import LineRange, ranges_around_lines, split_pieces_into_lines
from ctxgc.core.masks import filter_table
from ctxgc.core.redaction.redact import redact
from ctxgc.core.segment import Kind
from ctxgc.daemon.project_files import read_unchanged_file
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.verbs.excerpts import StoredSegment, excerpt_origin_in_session, excerpt_source

INSTRUCTIONS, REQUEST, PIN = "standing instructions", "last request", "pinned"
PLAN, FILE, DECISION, ERROR = "open plan items", "file under edit", "last decision", "last error"
SHARES = {REQUEST: 0.15, PLAN: 0.2, ERROR: 0.15, FILE: 0.35, DECISION: 0.3, PIN: 0.3, INSTRUCTIONS: 0.1}
"""By section, in order of need: the part of the budget that the section takes at most while others wait."""
SEGMENTS_MAX = {REQUEST: 1, PLAN: 8, ERROR: 1, FILE: 6, DECISION: 3, PIN: 8, INSTRUCTIONS: 12}
"""By section: the number of segments, or of files."""
FRAME_ORDER = (INSTRUCTIONS, PIN, REQUEST, PLAN, FILE, DECISION, ERROR)
"""The order of the frame: what the agent needs first is nearest to its next words."""
FIRST_CHARS = 80
"""Shown of the first line of a standing instruction."""
HEAD_OF_FILE = LineRange(1, 10)
"""Shown of a file whose change is not known by its text."""
DECISION_TOKENS_MIN = 12
"""A shorter reply (`Let me look.`) decides nothing."""


@dataclass(slots=True)
class WorkingSet:
    """Slots that a session goes on from, by section, the newest first; and each changed file with its last change."""

    slots: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in SHARES})
    files: dict[str, int] = field(default_factory=dict)


def choose_working_set(session: Session) -> WorkingSet:
    """The newest slots of each section. O(slots) at C speed, and O(paths)."""
    heap, chosen = session.heap, WorkingSet()
    for name, slots in chosen.slots.items():
        newest = (slot for slot in _newest_candidates(heap, name) if _section_name_of_slot(heap, slot) == name)
        slots += islice(newest, SEGMENTS_MAX[name])
    # A plan tool's later call replaces the earlier one.
    chosen.slots[PLAN] = list({heap.tool[slot]: slot for slot in reversed(chosen.slots[PLAN])}.values())
    histories = session.reference_index.paths.histories.items()
    changes = sorted(((h.last_change, path) for path, h in histories if h.last_change >= 0), reverse=True)
    kept = [(path, slot) for slot, path in changes if heap.state[slot] != FORGOTTEN]
    chosen.files = dict(kept[: SEGMENTS_MAX[FILE]])
    return chosen


def _newest_candidates(heap: Heap, name: str) -> Iterator[int]:
    """The slots that may belong to a section, the newest first."""
    kinds, flags = _KINDS_OF.get(name, _NONE), _FLAGS_OF.get(name, _NONE)
    mask = bytes(map(or_, heap.kind.translate(kinds), heap.flags.translate(flags)))
    slot = mask.rfind(1)
    while slot >= 0:
        yield slot
        slot = mask.rfind(1, 0, slot)


def _kind_table(kind: Kind) -> bytes:
    return filter_table(KINDS.index(kind).__eq__)


def _flag_table(flag: int) -> bytes:
    return filter_table(lambda flags: bool(flags & flag))


_NONE = bytes(256)
_KINDS_OF = {
    REQUEST: _kind_table(Kind.USER),
    INSTRUCTIONS: _kind_table(Kind.SYSTEM),
    DECISION: _kind_table(Kind.ASSISTANT),
    PLAN: _kind_table(Kind.PLAN),
}
_FLAGS_OF = {PIN: _flag_table(PINNED), PLAN: _flag_table(PLANNING), ERROR: _flag_table(ERRORED)}


def _section_name_of_slot(heap: Heap, slot: int) -> str:
    kind, flags = heap.kind_of(slot), heap.flags[slot]
    if heap.state[slot] == FORGOTTEN or flags & PENDING:
        return ""
    if flags & PINNED:
        return PIN
    if kind is Kind.PLAN or (flags & PLANNING and not flags & ERRORED):
        return PLAN
    if flags & ERRORED:  # A failure that a later success makes garbage is no news.
        return "" if slot in heap.proofs else ERROR
    if kind is Kind.ASSISTANT:
        return DECISION if heap.body[slot] >= DECISION_TOKENS_MIN else ""
    return {Kind.USER: REQUEST, Kind.SYSTEM: INSTRUCTIONS}.get(kind, "")


class SectionMaker:
    """Makes sections out of contents and files. Reads the disk: for another thread than the loop's."""

    def __init__(
        self, project: str, stored: Mapping[int, StoredSegment], moments: Mapping[int, float], *, redacts: bool
    ) -> None:
        self.origins: dict[int, StoredSegment | None] = {}
        """The segment behind each source, by the source's key."""
        self.has_older_file = False
        """Whether a file is shown as the session wrote it: the file changed since, or cannot be read."""
        self._project = project
        self._stored = stored
        self._moments = moments
        """By slot of a change: when the session went on from the change."""
        self._redacts = redacts

    def make_sections(self, chosen: WorkingSet) -> list[Section]:
        """All sections that have lines, the most needed first."""
        sections: list[Section] = []
        for name in SHARES:
            stored = [self._stored[slot] for slot in chosen.slots[name] if slot in self._stored]
            if name == INSTRUCTIONS:
                sections += self._make_instructions_sections(stored)
            elif name == FILE:
                files = [(path, self._stored[slot]) for path, slot in chosen.files.items() if slot in self._stored]
                sections += [self._make_file_section(path, one, SHARES[FILE] / len(files)) for path, one in files]
            else:
                sections += [self._make_segment_section(name, one, SHARES[name] / len(stored)) for one in stored]
        return [section for section in sections if section.lines]

    def _build_section(self, name: str, source: ExcerptSource, share: float) -> Section:
        lines = list(map(cut_long_line, lines_of_source(source)))
        return Section(source, lines[::-1] if name == ERROR else lines, share)

    def _add_origin(self, stored: StoredSegment | None) -> int:
        key = len(self.origins)
        self.origins[key] = stored
        return key

    def _make_segment_section(self, name: str, stored: StoredSegment, share: float) -> Section:
        source = excerpt_source(
            self._add_origin(stored), name, stored, _order_key(name, stored), excerpt_origin_in_session(stored)
        )
        if name == PLAN:
            source = replace(source, lines=self._plan_lines(stored))
        elif name == ERROR:
            # The end of the result tells most, not the call's inputs behind it.
            source = replace(source, lines=split_pieces_into_lines(piece.text for piece in stored.content[1]))
        return self._build_section(name, source, share)

    def _plan_lines(self, stored: StoredSegment) -> list[str]:
        if stored.row.segment.kind is Kind.PLAN:
            return split_pieces_into_lines(piece.text for piece in stored.content[1])
        return open_plan_items(call_input(*stored.content))

    def _make_instructions_sections(self, stored: Sequence[StoredSegment]) -> list[Section]:
        lines: dict[bytes, str] = {}
        for one in stored:
            tokens = sum(tokens for _, _, tokens in one.row.pieces)
            address, _, what = excerpt_origin_in_session(one)
            texts = split_pieces_into_lines(piece.text for piece in one.content[1])
            if any(HEAD in text for text in texts):
                continue  # An earlier working set, which a hook gave: no instruction, and older than this one.
            # An instruction without a file has no name but its first words.
            first = "" if one.row.segment.paths else next(filter(str.strip, texts), "")[:FIRST_CHARS]
            name = f"{what}, {compact_tokens_text(tokens)} tokens"
            lines.setdefault(one.row.digest, f"{address} {name}: {first}" if first else f"{address} {name}")
        facts = ("by reference", "`ctxgc recall ADDRESS` brings one back")
        source = ExcerptSource(
            key=self._add_origin(None), title=INSTRUCTIONS, facts=facts, lines=list(lines.values()), order=(0,)
        )
        return [self._build_section(INSTRUCTIONS, source, SHARES[INSTRUCTIONS])]

    def _make_file_section(self, path: str, stored: StoredSegment, share: float) -> Section:
        """The lines of a file around its last change, from the disk; else the lines that the change put in."""
        added = written_lines(call_input(*stored.content), path) if stored.row.segment.kind is Kind.TOOL_CALL else []
        turn = stored.row.segment.born_turn
        name = path.removeprefix(self._project.rstrip("/") + "/") if self._project else path
        data = read_unchanged_file(path, self._project, self._moments.get(stored.row.seq, 0.0))
        if data is None:
            self.has_older_file = True
            lines, state = added, f"as turn {turn} wrote it; the file may have changed since"
        else:
            text = (redact(data)[0] if self._redacts else data).decode("utf-8", "replace")
            lines, state = split_pieces_into_lines([text]), f"from the disk, unchanged since turn {turn}"
        facts = (excerpt_origin_in_session(stored)[0], name, state)
        source = ExcerptSource(
            key=self._add_origin(stored), title=FILE, facts=facts, lines=lines, order=_order_key(FILE, stored)
        )
        if data is None:
            return self._build_section(FILE, source, share)
        ranges = ranges_around_lines(lines, added) or [HEAD_OF_FILE]
        return Section(
            source, [cut_long_line(line) for span in ranges for line in data_lines_in_range(lines, span)], share
        )


def _order_key(name: str, stored: StoredSegment) -> tuple[float, ...]:
    return (FRAME_ORDER.index(name), stored.row.seq)
