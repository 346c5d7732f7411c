"""A study in dollars: the cost of its sessions, real and simulated, at the list prices of their models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ctxgc.core.model_prices import AS_OF, price_of
from ctxgc.replay.terms import NONE, SHIPPED
from ctxgc.replay.trial import TrialResult
from ctxgc.tokens.calibration import prior_ratio


def bill_in_dollars(results: Sequence[TrialResult], scope: str = "all") -> dict[str, Any] | None:
    """The bill of the prompts with the shipped policy and without any, over sessions whose models have a known price.

    Costs are raw tokens: the ratio of the model's family makes billed tokens of them. `None` without a known price.
    """
    usd = {NONE: 0.0, SHIPPED: 0.0}
    sessions = 0
    for result in results:
        price = price_of(result.model)
        if price is None or (scope, SHIPPED) not in result.sums:
            continue
        sessions += 1
        for policy in usd:
            usd[policy] += price.input_dollars(result.sums[scope, policy].cost * prior_ratio(result.model))
    if not sessions:
        return None
    before, after = (round(usd[policy], 2) for policy in (NONE, SHIPPED))
    return {
        "sessions": sessions,
        "without_usd": before,
        "with_usd": after,
        "saved_usd": round(before - after, 2),
        "as_of": AS_OF,
    }
