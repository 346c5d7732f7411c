"""The lines that results in the window show: where a new result's lines stand already.

    new result ──runs of lines that a target shows──▶ Run, …, the other lines stay
                        ▲
    results in the window, without the lines behind their own pointers: no pointer leads to a pointer

Lines are compared whole, but for the line numbers of a reader (`core.numbered_lines`). A run is worth a pointer from
three lines and 220 characters on: shorter runs gave no more on recorded sessions, and runs of eight lines of the same
file a fifth as much.

Cost: O(lines of the new result · candidates). The index is a cache of texts that the stash has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ctxgc.core.numbered_lines import content_of, shift_between, with_shift

RUN_LINES_MIN = 3
RUN_CHARS_MIN = 220
"""A shorter run is not worth the model's second look."""
RESULT_CHARS_MIN = 400
"""A shorter result is an outcome: a test that passes twice is two facts, and both are told."""
CANDIDATES_MAX = 8
"""Places of a run's first lines that are tried, the newest first: blank lines and brackets stand everywhere."""
COMPARED_PER_LINE_MAX = 24
"""Lines compared for each line of a new result, on average: bounds a text that repeats itself."""
LINES_MAX = 100_000
"""Lines that an index holds; the oldest targets leave first."""

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
        self.lines = 0
        """Lines that the index holds."""

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
        contents = [content_of(line) for line in lines]
        runs: list[Run] = []
        budget, at = COMPARED_PER_LINE_MAX * len(lines), 0
        while at + RUN_LINES_MIN <= len(lines) and budget > 0:
            best: Run | None = None
            for target, first in self._candidates(contents, at, is_target):
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
        if target in self._targets or len(text) < RUN_CHARS_MIN:
            return
        lines: list[str | None] = list(text.split("\n"))
        contents = [content_of(line) for line in text.split("\n")]
        for first, count in hidden:
            lines[first : first + count] = [None] * count
        self._targets[target] = lines
        self.lines += len(lines)
        for at in range(len(lines) - RUN_LINES_MIN + 1):
            if None not in lines[at : at + RUN_LINES_MIN]:
                self._places.setdefault(_start_key(contents, at), []).append((target, at))
        while self.lines > LINES_MAX and len(self._targets) > 1:
            self.remove_target(next(iter(self._targets)))

    def lines_of(self, target: str) -> list[str]:
        """The lines of a target; empty where a pointer stands for the line."""
        return [line or "" for line in self._targets[target]]

    def remove_target(self, target: str) -> None:
        """Forget a result. The places of its lines go when a candidate of theirs is looked at."""
        self.lines -= len(self._targets.pop(target, ()))

    def _candidates(self, contents: Sequence[str], at: int, is_target: IsTarget) -> Iterator[tuple[str, int]]:
        places = self._places.get(_start_key(contents, at))
        if places is None:
            return
        tried = 0
        for target, first in reversed(places):
            if target not in self._targets:
                places[:] = [place for place in places if place[0] in self._targets]
            elif is_target(target):
                tried += 1
                yield target, first
            if tried == CANDIDATES_MAX:
                return

    def _longest_run(self, lines: Sequence[str], at: int, target: str, first: int) -> tuple[Run | None, int]:
        """The longest run from here on that the target shows from a line on, and the number of lines compared."""
        old_lines, count, chars = self._targets[target], 0, 0
        shift = shift_between(old_lines[first] or "", lines[at])
        longest = min(len(lines) - at, len(old_lines) - first)
        while count < longest:
            new, old = lines[at + count], old_lines[first + count]
            if old is None or (old if not shift else with_shift(old, shift)) != new:
                break
            chars += len(new) + 1
            count += 1
        if count < RUN_LINES_MIN or chars < RUN_CHARS_MIN:
            return None, count + 1
        return Run(at, count, target, first, shift), count + 1


def _start_key(contents: Sequence[str], at: int) -> int:
    return hash((contents[at], contents[at + 1], contents[at + 2]))
