"""Shortening in shadow: what it would have saved, and what would have been asked back.

    a new long result ──▶ its hidden runs, as hashes of words and lines, by part
    a later reply ──▶ words and quoted lines that only hidden parts hold ──▶ parts asked back

A reply asks a result back with one quoted line, or two rare words: as a replay has it. Of quoted lines the watched
results alone are known, so that a line which another segment shows too counts as asked back. No text is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from ctxgc.core.bounded_dict import drop_oldest_entries
from ctxgc.core.entry.shortening import HiddenRun, split_into_pages
from ctxgc.core.spoken_words import code_words, quotable_lines

RESULTS_MAX = 64
"""Results that are watched; the oldest leave first."""
WORD_WEIGHT, LINE_WEIGHT, ASKED_WEIGHT = 1, 2, 2


class ShadowCounts(NamedTuple):
    """What shortening would have done in a session."""

    results: int = 0
    saved_tokens: int = 0
    """Raw tokens of the lines left out, less their notes."""
    parts: int = 0
    """Pages of the lines left out."""
    asked_back: int = 0
    """Pages of which a later reply used words or lines that the model would not have seen."""
    asked_back_tokens: int = 0


class WatchedPart(NamedTuple):
    """A page that would have been left out: hashes of its words and lines."""

    keys: frozenset[int]
    tokens: int


@dataclass(slots=True)
class WatchedResult:
    """A result that would have been shortened."""

    shown: frozenset[int]
    """Hashes of the words and lines that would have been shown."""
    parts: list[WatchedPart]
    """Those that no reply has asked for so far."""

    def is_hidden(self, key: int) -> bool:
        """Whether only parts that are still out hold a word or line."""
        return key not in self.shown and any(key in part.keys for part in self.parts)


def watched_result(text: str, runs: Sequence[HiddenRun]) -> WatchedResult:
    """A result as the watch sees it. O(characters)."""
    lines, at = text.split("\n"), 0
    shown: list[str] = []
    parts = []
    for run in runs:
        shown += [*lines[at : run.first], run.outline]
        at = run.first + run.lines
        for first, count in split_into_pages(run.first, at):
            page = "\n".join(lines[first : first + count])
            parts.append(WatchedPart(_word_and_line_hashes(page), run.tokens * count // run.lines))
    return WatchedResult(_word_and_line_hashes("\n".join([*shown, *lines[at:]])), parts)


def _word_and_line_hashes(text: str) -> frozenset[int]:
    return frozenset(map(hash, (*code_words(text), *quotable_lines(text))))


@dataclass(slots=True)
class ShadowedResults:
    """The watched results of a session by id, and the counts. Mutable."""

    counts: ShadowCounts = field(default_factory=ShadowCounts)
    _results: dict[str, WatchedResult] = field(default_factory=dict)

    def add_result(self, id_: str, watched: WatchedResult, saved_tokens: int) -> None:
        """Note a result that would have been shortened."""
        counts = self.counts
        self.counts = counts._replace(
            results=counts.results + 1,
            saved_tokens=counts.saved_tokens + saved_tokens,
            parts=counts.parts + len(watched.parts),
        )
        self._results[id_] = watched
        drop_oldest_entries(self._results, RESULTS_MAX)

    def record_parts_asked_back(
        self, words: Iterable[str], quotes: Iterable[str], holders_of: Callable[[str], Sequence[str]]
    ) -> int:
        """Count the parts that a reply asks back, and take them for shown from now on; how many.

        `holders_of` names the earlier segments that hold a rare word, the newest last.
        """
        wants: dict[str, list[int]] = {}
        weights: dict[str, int] = {}
        told = [(hash(word), holders_of(word), WORD_WEIGHT) for word in words] if self._results else []
        told += [
            (key, self._newest_result_with_line(key), LINE_WEIGHT) for key in map(hash, quotes if self._results else ())
        ]
        for key, holders, weight in told:
            watched = [self._results.get(id_) for id_ in holders]
            if holders and all(one is not None and one.is_hidden(key) for one in watched):
                wants.setdefault(holders[-1], []).append(key)
                weights[holders[-1]] = weights.get(holders[-1], 0) + weight
        asked = [self._record_asked_parts(id_, wants[id_]) for id_, weight in weights.items() if weight >= ASKED_WEIGHT]
        return sum(asked)

    def _newest_result_with_line(self, key: int) -> list[str]:
        """The newest watched result that holds a line, if there is one."""
        holders = (id_ for id_, one in reversed(self._results.items()) if key in one.shown or one.is_hidden(key))
        return list(islice(holders, 1))

    def _record_asked_parts(self, id_: str, keys: Sequence[int]) -> int:
        watched, counts = self._results[id_], self.counts
        asked = [part for part in watched.parts if not part.keys.isdisjoint(keys)]
        watched.parts = [part for part in watched.parts if part.keys.isdisjoint(keys)]
        watched.shown = watched.shown.union(*(part.keys for part in asked))
        self.counts = counts._replace(
            asked_back=counts.asked_back + len(asked),
            asked_back_tokens=counts.asked_back_tokens + sum(part.tokens for part in asked),
        )
        return len(asked)
