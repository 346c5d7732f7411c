"""Lessons of faults: a session that faults more than expected has higher odds, and calms with time."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.pacing.fault_lessons import FADE_TURNS, FaultLessons

SUMS = st.floats(0, 1000)
CHANCES = st.lists(st.floats(0, 1), max_size=6)


@given(SUMS, SUMS, CHANCES)
def test_faults_only_raise_the_chances_and_keep_their_order(expected, observed, chances):
    corrected = FaultLessons(expected, observed).correct(chances)

    assert all(chance <= found + 1e-12 and 0 <= found <= 1 for chance, found in zip(chances, corrected, strict=True))
    order = sorted(range(len(chances)), key=chances.__getitem__)
    assert all(corrected[a] <= corrected[b] + 1e-12 for a, b in itertools.pairwise(order))


@given(SUMS, SUMS)
def test_a_session_that_faults_as_expected_or_less_is_judged_as_before(expected, less):
    assert FaultLessons(expected, min(less, expected)).correct([0.1, 0.5]) == [0.1, 0.5]


@given(SUMS)
def test_each_fault_raises_the_odds_and_each_expected_fault_takes_its_part_back(expected):
    lessons = FaultLessons(expected, expected)

    assert lessons.after_fault().factor > lessons.factor == 1.0
    assert lessons.after_fault().after_collection(1.0).factor == pytest.approx(1.0)


def test_a_body_out_of_two_hundred_is_as_likely_as_not_after_two_hundred_unexpected_faults():
    lessons = FaultLessons()
    for _ in range(199):
        lessons = lessons.after_fault()

    assert lessons.correct([1 / 201]) == [pytest.approx(0.5)]


@given(SUMS, st.integers(0, 300), st.integers(0, 300))
def test_a_fault_counts_half_after_its_time_however_often_the_clock_is_read(observed, first, second):
    lessons = FaultLessons(0.0, observed)

    assert lessons.after_turns(FADE_TURNS).observed == pytest.approx(observed / 2)
    twice, once = lessons.after_turns(first).after_turns(second), lessons.after_turns(first + second)
    assert twice.observed == pytest.approx(once.observed)
