"""Terms of many turns at once are those of each turn."""

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.reuse import ln_turns
from ctxgc.core.turn_terms import turn_terms


@given(st.floats(-3, 3), st.integers(0, 9000), st.integers(0, 9000))
def test_the_terms_of_many_turns_are_the_weighted_logarithms_of_each(weight, turn, last):
    assert turn_terms(weight, turn, last) == [weight * ln_turns(turn - then) for then in range(last + 1)]
