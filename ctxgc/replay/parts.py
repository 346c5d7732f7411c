"""The parts of results that a replay shortened at birth: what a reply shows to have been needed comes back alone.

    a shortened result ──▶ shown text
                       └─▶ parts: pages of the hidden runs, each with its words and lines

A want whose text stands in hidden lines alone is a fault of a part, although the result is resident.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ctxgc.core.entry.shortening import HiddenRun, hidden_note, split_into_pages
from ctxgc.core.heap import RESIDENT, Heap
from ctxgc.core.paths import PathIndex
from ctxgc.core.segment import Access, PathUse
from ctxgc.replay.demand import LINE_WEIGHT, Want, code_words_without_folders, distinctive_lines

NOTE_CHARS_PER_TOKEN = 3
NOTE_CALL = "toolu_" + 24 * "0"
"""A call id of typical length."""


@dataclass(slots=True)
class HiddenPart:
    """A page of a hidden run."""

    first: int
    """Its first line in the result, from 0."""
    lines: int
    tokens: int
    words: frozenset[str]
    quotes: frozenset[str]
    """Lines that an edit may quote."""
    is_back: bool = False

    def has_want_text(self, want: Want) -> bool:
        """Whether the want's text stands here."""
        return want.text in (self.quotes if want.weight == LINE_WEIGHT else self.words)


class ShortenedResults:
    """The shortened results of a window, by slot. Mutable; belongs to a simulation."""

    def __init__(self, heap: Heap) -> None:
        self._heap = heap
        self.parts: dict[int, list[HiddenPart]] = {}
        self._shown: dict[int, tuple[frozenset[str], frozenset[str]]] = {}
        """Words and lines that the result itself shows."""

    def add_result(self, slot: int, text: str, tokens: int, hidden: Sequence[HiddenRun]) -> int:
        """Note what a result leaves out; the tokens saved, notes paid."""
        if not hidden:
            return 0
        lines = text.split("\n")
        share = tokens / (len(text) + 1)
        parts: list[HiddenPart] = []
        shown: list[str] = []
        at = saved = 0
        for run in hidden:
            shown += lines[at : run.first]
            at = run.first + run.lines
            saved += run.tokens - len(hidden_note(run, NOTE_CALL)) // NOTE_CHARS_PER_TOKEN
            shown.append(run.outline)
            for first, count in split_into_pages(run.first, at):
                page = lines[first : first + count]
                body = "\n".join(page)
                words, quotes = frozenset(code_words_without_folders(body)), frozenset(distinctive_lines(body))
                parts.append(HiddenPart(first, len(page), int(share * (len(body) + 1)), words, quotes))
        body = "\n".join([*shown, *lines[at:]])
        self.parts[slot] = parts
        self._shown[slot] = frozenset(code_words_without_folders(body)), frozenset(distinctive_lines(body))
        return saved

    def parts_with_want(self, slot: int, want: Want) -> list[HiddenPart]:
        """The parts that hold a want's text, if no shown line of the slot's result does."""
        parts = self.parts.get(slot)
        if parts is None:
            return []
        words, quotes = self._shown[slot]
        if want.text in (quotes if want.weight == LINE_WEIGHT else words):
            return []
        return [part for part in parts if part.has_want_text(want)]

    def missing_parts(self, slot: int, wants: Sequence[Want]) -> list[HiddenPart]:
        """The fewest parts, greedily, that these wants miss of a slot."""
        missing = [want for want in wants if self.parts_with_want(slot, want)]
        picked: list[HiddenPart] = []
        while missing:
            best = max(
                self.parts[slot], key=lambda part: sum(want.weight for want in missing if part.has_want_text(want))
            )
            picked.append(best)
            missing = [want for want in missing if not best.has_want_text(want)]
        return picked

    def has_hidden_lines_of_read(self, paths: PathIndex, uses: Iterable[PathUse]) -> bool:
        """Whether a new read asks for lines of a file that the newest resident reading of them had left out."""
        if not self.parts:
            return False
        for use in uses:
            holder = paths.newest_slot_with_view(use, len(self._heap)) if use.access is Access.READ else -1
            if holder < 0 or self._heap.state[holder] != RESIDENT:
                continue
            for part in self.parts.get(holder, ()):
                if not part.is_back and part.first < use.last_line and use.first_line <= part.first + part.lines:
                    return True
        return False
