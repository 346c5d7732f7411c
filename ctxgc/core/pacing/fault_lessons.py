"""Lessons of faults: a session whose bodies are asked back more often than expected is cut less, until it calms.

    a collection ──▶ faults that the estimate expects      a recall, a read of an evicted view ──▶ faults observed
    odds of a body = the estimate's odds · (observed + TRUSTED) / (expected + TRUSTED), never less than the estimate's

Both sums fade. A session that asks back all bodies raises the odds with each fault, until no body is worth evicting;
a session that faults as expected is cut as before.

Source: a Poisson rate with a gamma prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

TRUSTED = 1.0
"""The weight of the estimate, in faults: with none expected, so many observed double the odds."""
FADE_TURNS = 120
"""Turns after which half of a fault counts no more."""


class FaultLessons(NamedTuple):
    """A session's faults."""

    expected: float = 0.0
    observed: float = 0.0

    @property
    def factor(self) -> float:
        """What the odds of reuse are multiplied by, at least 1."""
        return max((self.observed + TRUSTED) / (self.expected + TRUSTED), 1.0)

    def after_turns(self, turns: int) -> FaultLessons:
        """The lessons so many turns later."""
        fade = 0.5 ** (turns / FADE_TURNS)
        return FaultLessons(self.expected * fade, self.observed * fade)

    def after_collection(self, expected: float) -> FaultLessons:
        """The lessons once bodies left of which the estimate expects so many to be asked back."""
        return FaultLessons(self.expected + expected, self.observed)

    def after_fault(self) -> FaultLessons:
        """The lessons once a body was asked back."""
        return FaultLessons(self.expected, self.observed + 1)

    def correct(self, chances: Sequence[float]) -> Sequence[float]:
        """The chances of reuse by the session's own odds."""
        factor = self.factor
        if factor == 1.0:
            return chances
        return [factor * chance / (1.0 + (factor - 1.0) * chance) for chance in chances]
