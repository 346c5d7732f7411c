"""Prices of models: the right row or none."""

import pytest

from ctxgc.core.model_prices import MODEL_PRICES, ModelPrice, price_of


@pytest.mark.parametrize(
    ("model", "row"),
    [
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("claude-opus-5-5[1m]", "claude-opus-5-5"),
        ("claude-sonnet-4-6", "claude-sonnet-4"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
        ("openai/gpt-5.1", "gpt-5.1"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
    ],
)
def test_a_snapshot_a_window_size_and_a_sellers_prefix_do_not_change_a_models_price(model, row):
    assert price_of(model) == MODEL_PRICES[row]


@pytest.mark.parametrize("model", ["", "gpt-7", "gpt-5-image", "claude-opus-6", "my-gpt-5", "gpt-5.1-codex-max"])
def test_no_price_is_guessed_for_a_model_without_a_row(model):
    assert price_of(model) is None


def test_a_price_of_the_users_own_comes_before_the_list():
    own = {"gpt-5.1": ModelPrice(7.0, 8.0, ""), "local": ModelPrice(0.5, 1.0, "")}

    assert price_of("gpt-5.1-2025-11-13", own) == own["gpt-5.1"]
    assert price_of("local", own) == own["local"]
    assert price_of("gpt-5", own) == MODEL_PRICES["gpt-5"]


def test_dollars_are_those_of_a_million_tokens():
    assert ModelPrice(5.0, 25.0).input_dollars(200_000) == 1.0
