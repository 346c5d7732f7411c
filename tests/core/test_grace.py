"""Grace periods: the slots in force are those whose longest grant lasts, in whatever order grants came."""

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.grace import NEVER, GracePeriods

GRANTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)))


@given(GRANTS, st.integers(0, 10))
def test_the_slots_in_force_are_those_whose_longest_grant_lasts(grants, turn):
    periods = GracePeriods()
    for slot, last_turn in grants:
        periods.grant(slot, last_turn)

    known = {}
    for slot, last_turn in grants:
        known[slot] = max(last_turn, known.get(slot, NEVER))
    assert sorted(periods.in_force(turn)) == sorted(slot for slot, last in known.items() if last >= turn)
    assert all(periods.last_turn(slot) == known.get(slot, NEVER) for slot in range(6))


def test_a_root_of_a_session_that_recalled_for_weeks_costs_no_look_at_ended_periods():
    periods = GracePeriods()
    for slot in range(1000):
        periods.grant(slot, slot)

    assert list(periods.in_force(998)) == [998, 999]
