"""Two coefficients from bills alone: they converge, bear noise, and stay within what a tokenizer can be."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctxgc.tokens.calibration import RATIO_MAX, RATIO_MIN, Calibration
from ctxgc.tokens.overhead_calibration import PER_BLOCK_MAX, PRIOR_OVERHEAD_TOKENS, OverheadCalibration

RATIOS, FRAMES = st.floats(0.8, 2.2), st.floats(0.0, 50.0)


def steps_of(seed, count):
    """What an agent's turns add: long results in few blocks, and many small calls."""
    chance = random.Random(seed)
    for _ in range(count):
        is_small = chance.random() < 0.5
        yield (chance.randint(200, 600), chance.randint(4, 30)) if is_small else (chance.randint(900, 6000), 4)


def taught(steps, bill_of):
    known = OverheadCalibration.from_prior("claude-sonnet-4")
    for raw, blocks in steps:
        known = known.observe(raw, blocks, round(bill_of(raw, blocks)))
    return known


@given(RATIOS, FRAMES, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_the_coefficients_converge_on_those_that_made_the_bills(ratio, frame, seed):
    known = taught(steps_of(seed, 300), lambda raw, blocks: ratio * raw + frame * blocks)

    per_raw, per_block = known.coefficients

    assert per_raw == pytest.approx(ratio, rel=0.01)
    assert per_block == pytest.approx(frame, abs=1.0)


@given(RATIOS, FRAMES, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_bills_off_by_a_twentieth_leave_the_coefficients_near(ratio, frame, seed):
    chance = random.Random(seed + 1)
    noisy = lambda raw, blocks: (ratio * raw + frame * blocks) * chance.uniform(0.95, 1.05)  # noqa: E731

    per_raw, per_block = taught(steps_of(seed, 400), noisy).coefficients

    assert per_raw == pytest.approx(ratio, rel=0.05)
    assert per_block == pytest.approx(frame, abs=0.05 * frame + 4.0)


@given(RATIOS, FRAMES, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_turns_of_one_shape_alone_are_foretold_and_never_tear_the_coefficients_apart(ratio, frame, seed):
    chance = random.Random(seed)
    noisy = lambda raw, blocks: (ratio * raw + frame * blocks) * chance.uniform(0.97, 1.03)  # noqa: E731

    known = taught([(2000, 4)] * 300, noisy)
    per_raw, per_block = known.coefficients

    assert known.to_billed_tokens(2000, 4) == pytest.approx(ratio * 2000 + frame * 4, rel=0.03)
    assert per_raw * 2000 == pytest.approx(ratio * 2000 + (frame - per_block) * 4, rel=0.03)


def test_however_long_all_turns_have_one_shape_another_shape_is_foretold_by_the_familys_frame():
    prior = OverheadCalibration.from_prior("claude-sonnet-4")
    ratio, frame = prior.coefficients

    known = taught([(2000, 4)] * 40_000, lambda raw, blocks: ratio * raw + frame * blocks)

    assert known.to_billed_tokens(3000, 120) == pytest.approx(prior.to_billed_tokens(3000, 120), rel=0.02)


@given(st.lists(st.tuples(st.integers(-10, 9000), st.integers(-3, 300), st.integers(-50, 90_000)), max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_bill_takes_a_coefficient_out_of_its_bounds(bills):
    known = OverheadCalibration.from_prior("claude-opus-4-8")
    for bill in bills:
        known = known.observe(*bill)

    per_raw, per_block = known.coefficients

    assert RATIO_MIN <= per_raw <= RATIO_MAX
    assert 0.0 <= per_block <= PER_BLOCK_MAX
    assert known.to_billed_tokens(1000, 3) <= known.to_billed_tokens(1001, 3) <= known.to_billed_tokens(1001, 4)


def test_before_any_bill_the_familys_ratio_and_an_ordinary_frame_hold():
    known = OverheadCalibration.from_prior("gpt-5")

    assert known.coefficients == pytest.approx((1.0, PRIOR_OVERHEAD_TOKENS))
    assert known.unexplained_tokens(9_000, 1_000, 10) == 9_000 - 1_060


def test_a_step_that_cannot_speak_of_the_tokenizer_changes_nothing():
    known = OverheadCalibration.from_prior("gpt-5")

    assert known.observe(150, 3, 170) is known
    assert known.observe(1000, 3, 500) is known
    assert known.observe(1000, 3, 3000) is known


def test_tombstones_and_small_calls_are_foretold_where_one_ratio_fails():
    bill_of = lambda raw, blocks: 1.2 * raw + 12 * blocks  # noqa: E731
    steps = list(steps_of(7, 300))
    two, single = taught(steps, bill_of), Calibration.from_prior("claude-sonnet-4")
    for raw, blocks in steps:
        single = single.observe(raw, round(bill_of(raw, blocks)))
    real = bill_of(3000, 120)

    assert abs(two.to_billed_tokens(3000, 120) - real) < 0.01 * real
    assert abs(single.to_billed_tokens(3000) - real) > 0.1 * real
