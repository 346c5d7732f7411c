"""The regret law: how far behind never collecting a cut may leave a session that ends with the next request.

    1 % · max(1, gains / rewrite · min(1, turn / 80)), at most 10 %

A cut that pays for itself many times over is let through; a marginal cut is not, and a cut of a young session is
neither: the gains count on turns to come, and a session of few turns has few to come more often than not.

Measured on recorded sessions of eight agents: at most 101 % of never collecting at a session's end, 103 % at any turn,
faults apart (docs/decisions/0035). A part of never collecting's cost is in input-token equivalents, as every
cost of the account is.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

REGRET_PART_MIN, REGRET_PART_MAX = 0.01, 0.10
"""The regret of a cut that only just pays, and of a cut that pays ten times over."""
SETTLED_TURNS = 80
"""From this turn on the gains of a cut count whole: a session lives as long again as it has lived, half the time."""


def regret_part(gains: float, rewrite: float, turn: int) -> float:
    """The regret that a cut with these gains and this rewrite may cause, as a part of never collecting's cost."""
    ratio = gains / rewrite * min(1.0, turn / SETTLED_TURNS) if rewrite > 0 else inf
    return min(REGRET_PART_MIN * max(1.0, ratio), REGRET_PART_MAX)


class Slack(NamedTuple):
    """A session's savings so far, beside the cost of never collecting."""

    saved_cost: float = inf
    full_cost: float = 0.0
    turn: int = 0

    def cost_max(self, gains: float, rewrite: float) -> float:
        """The most that a warm cut with such gains may cost beyond the saving in the same request."""
        return self.saved_cost + regret_part(gains, rewrite, self.turn) * self.full_cost
