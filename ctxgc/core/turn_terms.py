"""The terms of a key that move with time, by turn: a weight times the logarithm of the turns since."""

from __future__ import annotations

from functools import lru_cache

from ctxgc.core.reuse import LOGS, LOGS_LAST

WEIGHTS_MAX = 16
"""Weights whose tables are kept, 130 kB each: a daemon has two, a fit has many."""


def turn_terms(weight: float, turn: int, last: int) -> list[float]:
    """`weight * ln_turns(turn - then)` for each `then` from 0 to `last`: slices of a table that was made once."""
    falling = _falling_terms(weight)
    longest = [falling[0]] * (turn - LOGS_LAST)
    return (longest + falling[LOGS_LAST - min(turn, LOGS_LAST) :] + [falling[-1]] * (last - turn))[: last + 1]


@lru_cache(WEIGHTS_MAX)
def _falling_terms(weight: float) -> list[float]:
    """The weighted logarithms of all ages, the longest first."""
    return [weight * log for log in reversed(LOGS)]
