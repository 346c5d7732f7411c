"""A replay in dollars: by hand, and only where a model's price is known."""

import pytest

from ctxgc.replay.money import bill_in_dollars
from ctxgc.replay.terms import NONE, SHIPPED
from ctxgc.replay.trial import Sums, TrialResult


def result(model, without, with_policy):
    sums = {("all", NONE): Sums(cost=without), ("all", SHIPPED): Sums(cost=with_policy)}
    return TrialResult("codex", "s", sums=sums, model=model)


def test_the_bill_is_that_of_billed_tokens_at_each_sessions_own_price_and_unknown_models_are_left_out():
    results = [result("gpt-4o", 1e6, 4e5), result("gpt-6.2-sol", 1e6, 1e6), result("unheard-of", 1e9, 1.0)]

    money = bill_in_dollars(results)

    assert (money["sessions"], money["without_usd"], money["with_usd"]) == (2, 4.5, 3.0)
    assert money["saved_usd"] == pytest.approx(1.5)


def test_without_a_known_price_a_replay_speaks_of_no_money():
    assert bill_in_dollars([result("unheard-of", 1e6, 1.0)]) is None
    assert bill_in_dollars([]) is None
