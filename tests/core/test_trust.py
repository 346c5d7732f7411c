"""Trust in the model of the cache: three contradictions pause it, and each further one doubles the pause."""

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.pacing.trust import MISSES_MAX, PAUSE_TURNS, PAUSE_TURNS_MAX, Trust


def contradicted(trust, turn):
    return trust.after_edit(turn, predicted_tokens=5000, read_tokens=3000, rewrite_tokens=8000)


def test_two_contradictions_leave_the_model_at_work_and_the_third_pauses_it():
    twice = contradicted(contradicted(Trust(), 1), 2)

    assert not twice.is_paused(3)
    assert contradicted(twice, 3).is_paused(3 + PAUSE_TURNS - 1)
    assert not contradicted(twice, 3).is_paused(3 + PAUSE_TURNS)


def test_a_bill_that_agrees_makes_trust_whole_again():
    paused = contradicted(contradicted(contradicted(Trust(), 1), 2), 3)

    assert paused.after_edit(40, 5000, 4900, 8000) == Trust()
    assert paused.after_edit(40, 5000, 9000, 8000) == Trust()


@given(st.integers(1, 400))
def test_a_model_that_is_always_wrong_is_tried_ever_more_rarely(turns):
    trust, cuts = Trust(), 0
    for turn in range(turns):
        if not trust.is_paused(turn):
            trust, cuts = contradicted(trust, turn), cuts + 1

    assert trust.pause_turns <= PAUSE_TURNS_MAX
    assert 2 ** max(cuts - MISSES_MAX - 1, 0) * PAUSE_TURNS <= max(turns, PAUSE_TURNS)


def test_a_bill_that_read_not_half_of_the_prediction_pauses_at_once():
    refuted = Trust().after_edit(7, predicted_tokens=5000, read_tokens=2000, rewrite_tokens=8000)

    assert refuted.is_paused(7 + PAUSE_TURNS - 1)
    assert not refuted.is_paused(7 + PAUSE_TURNS)
