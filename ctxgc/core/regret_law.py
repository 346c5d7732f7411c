"""The regret law: how far behind never collecting a cut may leave a session that ends with the next request.

    one-hour cache            1 % · max(1, gains / rewrite), at most 10 %     a rewrite is dear: a cut that pays for
                                                                              itself many times over is let through,
                                                                              a marginal cut is not
    five minutes, automatic   3 %                                             a rewrite is cheap: the session has
                                                                              earned it back a few turns later

Measured on recorded sessions: at most 101 % of never collecting at a session's end, 103 % at any turn, faults apart.
A part of what never collecting costs is in input-token equivalents, as every cost of the account is.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

REGRET_PART = 0.03
"""The regret where a write costs less than in a one-hour cache."""
REGRET_PART_MIN, REGRET_PART_MAX = 0.01, 0.10
"""The regret in a one-hour cache: of a cut that only just pays, and of a cut that pays ten times over."""
LONG_WRITE_PRICE = 2.0
"""From this price of a cache write on, relative to uncached input, the cache is a one-hour cache."""


def regret_part(write_price: float, gains: float, rewrite: float) -> float:
    """The regret that a cut with these gains and this rewrite may cause, as a part of never collecting's cost."""
    if write_price < LONG_WRITE_PRICE:
        return REGRET_PART
    ratio = gains / rewrite if rewrite > 0 else inf
    return min(REGRET_PART_MIN * max(1.0, ratio), REGRET_PART_MAX)


def regret_part_max(write_price: float) -> float:
    """The regret that no cut at this price exceeds."""
    return REGRET_PART if write_price < LONG_WRITE_PRICE else REGRET_PART_MAX


class Slack(NamedTuple):
    """What a session has saved so far, beside what never collecting would have cost."""

    saved_cost: float = inf
    full_cost: float = 0.0

    def cost_max(self, write_price: float, gains: float, rewrite: float) -> float:
        """What a warm cut with these gains may cost beyond what the same request saves by it."""
        return self.saved_cost + regret_part(write_price, gains, rewrite) * self.full_cost
