"""Raw tokens and billed tokens: priors, learning, and a budget that is never overrun."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.tokens.calibration import Calibration, prior_ratio

tokens = st.integers(0, 10**7)
ratios = st.floats(0.7, 2.5)


@pytest.mark.parametrize(
    ("model", "ratio"),
    [
        ("gpt-5.5", 1.0),
        ("o3-mini", 1.0),
        ("claude-3-5-sonnet-20241022", 1.18),
        ("claude-opus-4-20250514", 1.18),
        ("claude-haiku-4-5-20251001", 1.18),
        ("anthropic/claude-opus-4.6", 1.18),
        ("us.anthropic.claude-opus-4-7-v1:0", 1.5),
        ("claude-sonnet-5", 1.5),
        ("opus", 1.5),
        ("Qwen3-Coder", 1.03),
        ("deepseek-chat", 1.02),
        ("meta-llama/Llama-3-70b", 0.99),
        ("", 1.2),
    ],
)
def test_a_model_starts_at_the_ratio_of_its_family(model, ratio):
    assert prior_ratio(model) == ratio
    assert Calibration.from_prior(model).ratio == pytest.approx(ratio)


@given(tokens, tokens, ratios)
def test_a_raw_budget_never_overruns_the_billed_one_and_wastes_less_than_a_token(billed, hidden, ratio):
    known = Calibration.from_stored_ratio("", ratio)

    raw = known.raw_budget(billed, hidden)

    assert known.to_billed_tokens(raw) <= max(0, billed - hidden)
    assert known.to_billed_tokens(raw + 2) > billed - hidden


@pytest.mark.parametrize("truth", [0.95, 1.18, 1.4])
def test_learning_from_usage_finds_the_ratio_to_within_two_percent(truth):
    chance = random.Random(7)
    known = Calibration.from_prior("claude-sonnet-5")

    for _ in range(60):
        raw = chance.randint(300, 6000)
        known = known.observe(raw, round(raw * truth * chance.uniform(0.95, 1.05)) + 8)

    assert known.ratio == pytest.approx(truth, rel=0.02)
    assert known.observations == 60


@pytest.mark.parametrize(("raw", "billed"), [(0, 0), (199, 250), (1000, 90_000), (1000, -500), (1000, 10)])
def test_a_step_that_says_nothing_of_the_tokenizer_teaches_nothing(raw, billed):
    known = Calibration.from_prior("gpt-5")

    assert known.observe(raw, billed) is known


@given(st.lists(st.tuples(st.integers(-10, 10**6), st.integers(-10, 10**7)), max_size=50))
def test_no_usage_drives_the_ratio_out_of_the_plausible(steps):
    known = Calibration.from_prior("unheard-of")

    for raw, billed in steps:
        known = known.observe(raw, billed)

    assert 0.7 <= known.ratio <= 2.5


def test_what_a_prompt_is_billed_beyond_its_visible_part_is_hidden():
    known = Calibration.from_prior("gpt-5")

    assert known.unexplained_tokens(20_000, 5_000) == 15_000
    assert known.unexplained_tokens(4_000, 5_000) == 0
