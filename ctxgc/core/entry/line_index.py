"""The lines that results in the window show: where a new result's lines stand already.

    new result ──runs of lines that a target shows──▶ Run, …, the other lines stay
                        ▲
    results in the window, without the lines behind their own pointers: no pointer leads to a pointer

Lines are compared whole, but for the line numbers of a reader (`core.numbered_lines`). A run is worth a pointer
from three lines and 220 characters on: shorter runs gave no more on recorded sessions, and runs of eight lines of the
same file a fifth as much.

Cost: O(lines of the new result · candidates). The index is a cache of texts that the stash has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from ctxgc.core.numbered_lines import line_content, shift_between, shift_number

RUN_LINES_MIN = 3
RUN_CHARS_MIN = 220
"""A shorter run is not worth the model's second look."""
RESULT_CHARS_MIN = 400
"""A shorter result is an outcome: a test that passes twice is two facts, and both are told."""
CANDIDATES_MAX = 8
"""Places of a run's first lines that are tried, the newest first: blank lines and brackets stand everywhere."""
COMPARED_PER_LINE_MAX = 24
"""Lines compared for each line of a new result, on average: bounds a text that repeats itself."""
RUNS_MAX = 200
"""Pointers in one result: each is told in every answer about the session."""
LINES_MAX = 100_000
"""Lines that an index holds; the oldest targets leave first."""
CHARS_MAX = 16 * 2**20
"""Characters of those lines."""

IsTarget = Callable[[str], bool]


class Run(NamedTuple):
    """A run of lines of a new result that a target shows. Lines are counted from 0."""

    first: int
    lines: int
    target: str
    target_first: int
    shift: int


class LineIndex:
    """The lines that the results of one session show literally. Mutable; a cache."""

    def __init__(self) -> None:
        self._targets: dict[str, list[str | None]] = {}
        """Lines of each target; None for a line behind a pointer."""
        self._places: dict[int, list[tuple[str, int]]] = {}
        """(target, line) of three lines that begin there, by the hash of their contents."""
        self._keys: dict[str, list[int]] = {}
        """The hashes of each target's places."""
        self.lines = 0
        """Lines that the index holds."""
        self.chars = 0
        """Characters of those lines."""

    def __contains__(self, target: str) -> bool:
        return target in self._targets

    def find_runs(self, text: str, is_target: IsTarget) -> list[Run]:
        """The runs of a new result that targets show, in order; runs do not overlap.

        `is_target` says whether the window shows a target as the new result is sent. O(lines · candidates), bounded by
        `COMPARED_PER_LINE_MAX`.
        """
        if len(text) < RESULT_CHARS_MIN:
            return []
        lines = text.split("\n")
        contents = [line_content(line) for line in lines]
        runs: list[Run] = []
        budget, at = COMPARED_PER_LINE_MAX * len(lines), 0
        while at + RUN_LINES_MIN <= len(lines) and budget > 0 and len(runs) < RUNS_MAX:
            best: Run | None = None
            places = self._places.get(_start_key(contents, at), ())
            budget -= len(places)
            for target, first in _candidate_places(places, is_target):
                run, compared = self._longest_run(lines, at, target, first)
                budget -= compared
                if run is not None and (best is None or run.lines > best.lines):
                    best = run
            if best is None:
                at += 1
                continue
            runs.append(best)
            at += best.lines
        return runs

    def add_target(self, target: str, text: str, hidden: Sequence[tuple[int, int]] = ()) -> None:
        """Record the lines of a result in the window, but for its hidden runs (first line, lines). O(lines).

        A target that is known already stays as it is.
        """
        written = text.split("\n")
        if target in self._targets or len(text) < RUN_CHARS_MIN or len(written) < RUN_LINES_MIN:
            return
        lines: list[str | None] = list(written)
        contents = [line_content(line) for line in written]
        for first, count in hidden:
            lines[first : first + count] = [None] * len(lines[first : first + count])
        self._targets[target] = lines
        self.lines += len(lines)
        self.chars += _count_chars(lines)
        keys: Counter[int] = Counter()
        for at in range(len(lines) - RUN_LINES_MIN + 1):
            key = _start_key(contents, at)
            # Of a text that repeats itself the first places have the longest runs.
            if None not in lines[at : at + RUN_LINES_MIN] and keys[key] < CANDIDATES_MAX:
                self._places.setdefault(key, []).append((target, at))
                keys[key] += 1
        self._keys[target] = [*keys]
        while (self.lines > LINES_MAX or self.chars > CHARS_MAX) and len(self._targets) > 1:
            self.remove_target(next(iter(self._targets)))

    def lines_of(self, target: str) -> Sequence[str | None]:
        """The lines of a target; None where a pointer stands for the line."""
        return self._targets[target]

    def remove_target(self, target: str) -> None:
        """Forget a result. O(its lines · places of the same lines)."""
        lines = self._targets.pop(target, [])
        self.lines -= len(lines)
        self.chars -= _count_chars(lines)
        for key in self._keys.pop(target, ()):
            kept = [place for place in self._places[key] if place[0] != target]
            if kept:
                self._places[key] = kept
            else:
                del self._places[key]

    def _longest_run(self, lines: Sequence[str], at: int, target: str, first: int) -> tuple[Run | None, int]:
        """The longest run from here on that the target shows from a line on, and the number of lines compared."""
        old_lines, count, chars = self._targets[target], 0, 0
        shift = shift_between(old_lines[first] or "", lines[at])
        longest = min(len(lines) - at, len(old_lines) - first)
        while count < longest:
            new, old = lines[at + count], old_lines[first + count]
            if old is None or (old if not shift else shift_number(old, shift)) != new:
                break
            chars += len(new) + 1
            count += 1
        if count < RUN_LINES_MIN or chars < RUN_CHARS_MIN:
            return None, count + 1
        return Run(at, count, target, first, shift), count + 1


def _candidate_places(places: Sequence[tuple[str, int]], is_target: IsTarget) -> Iterator[tuple[str, int]]:
    return islice((place for place in reversed(places) if is_target(place[0])), CANDIDATES_MAX)


def _count_chars(lines: Sequence[str | None]) -> int:
    return sum(len(line or "") for line in lines)


def _start_key(contents: Sequence[str], at: int) -> int:
    return hash((contents[at], contents[at + 1], contents[at + 2]))
