"""The regret law: how far behind never collecting a cut may leave a session that ends with the next request.

    1 % · max(1, gains / rewrite), at most 10 %     a cut that pays for itself many times over is let through;
                                                    a marginal cut is not

Measured on recorded sessions: at most 101 % of never collecting at a session's end, 103 % at any turn, faults apart
(docs/decisions/0035). A part of never collecting's cost is in input-token equivalents, as every cost of the account is.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

REGRET_PART_MIN, REGRET_PART_MAX = 0.01, 0.10
"""The regret of a cut that only just pays, and of a cut that pays ten times over."""


def regret_part(gains: float, rewrite: float) -> float:
    """The regret that a cut with these gains and this rewrite may cause, as a part of never collecting's cost."""
    ratio = gains / rewrite if rewrite > 0 else inf
    return min(REGRET_PART_MIN * max(1.0, ratio), REGRET_PART_MAX)


class Slack(NamedTuple):
    """What a session has saved so far, beside what never collecting would have cost."""

    saved_cost: float = inf
    full_cost: float = 0.0

    def cost_max(self, gains: float, rewrite: float) -> float:
        """What a warm cut with these gains may cost beyond what the same request saves by it."""
        return self.saved_cost + regret_part(gains, rewrite) * self.full_cost
