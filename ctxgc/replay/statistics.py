"""Intervals over sessions: how far a number would move if other sessions of the same kind had been recorded.

Sessions are drawn with replacement, whole: turns of the same session resemble each other and must not count as many
witnesses. The seed is fixed, so that the same sessions give the same interval (I10).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import NamedTuple

SEED = 20_260_701
DRAWS_MAX = 2000
DRAWS_MIN = 200
DRAWN_MAX = 200_000
"""Sessions drawn in all: with thousands of sessions fewer draws are as exact."""
COVERAGE = 0.95
SESSIONS_MIN = 3
"""With fewer sessions there is no telling what others would say."""


class Interval(NamedTuple):
    """A 95 % bootstrap interval."""

    low: float
    high: float


class Ratio(NamedTuple):
    """A ratio of sums: parts and wholes, each given by session."""

    parts: Sequence[float]
    wholes: Sequence[float]


class Bootstrap:
    """The same draws for every number of a report, so that differences between policies are paired."""

    def __init__(self, sessions: int) -> None:
        self.sessions = sessions
        draws = max(min(DRAWS_MAX, DRAWN_MAX // max(sessions, 1)), DRAWS_MIN)
        chance = Random(SEED)  # noqa: S311 - statistics, not secrets.
        everyone = range(sessions)
        self._draws = [chance.choices(everyone, k=sessions) for _ in range(draws if sessions >= SESSIONS_MIN else 0)]

    def ratio_interval(self, parts: Sequence[float], wholes: Sequence[float]) -> Interval | None:
        """Interval of sum(parts) / sum(wholes), each given by session; `None` where there are too few sessions."""
        return _interval_of(ratio for ratio in self._ratios(parts, wholes) if ratio is not None)

    def difference_interval(self, one: Ratio, other: Ratio) -> Interval | None:
        """Interval of one ratio of sums less another, over the same draws; `None` where there are too few sessions."""
        pairs = zip(self._ratios(*one), self._ratios(*other), strict=True)
        return _interval_of(mine - others for mine, others in pairs if mine is not None and others is not None)

    def _ratios(self, parts: Sequence[float], wholes: Sequence[float]) -> Iterator[float | None]:
        """The ratio of each draw; None where a draw's whole is 0."""
        if len(parts) != self.sessions or len(wholes) != self.sessions:
            raise ValueError("one value a session")
        for draw in self._draws:
            whole = sum(map(wholes.__getitem__, draw))
            yield sum(map(parts.__getitem__, draw)) / whole if whole else None


def _interval_of(values: Iterable[float]) -> Interval | None:
    found = sorted(values)
    if not found:
        return None
    tail, last = (1 - COVERAGE) / 2, len(found) - 1
    return Interval(found[round(tail * last)], found[round((1 - tail) * last)])


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle values. Raises `ValueError` for none."""
    if not values:
        raise ValueError("no median of nothing")
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
