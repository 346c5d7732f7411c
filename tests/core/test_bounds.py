"""I12 where it is kept: a table that only grows is cut to its newest entries, whatever is put into it."""

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.bounded_dict import drop_oldest_entries


@given(st.lists(st.integers(0, 60)), st.integers(0, 20))
def test_a_table_holds_at_most_its_bound_and_the_newest_of_what_it_was_told_I12(keys, most):
    table, dropped = {}, []

    for number, key in enumerate(keys):
        fresh = key not in table
        table[key] = number
        gone = drop_oldest_entries(table, most)
        dropped += gone

        assert len(table) <= most
        assert not set(gone) & table.keys()
        assert not gone or fresh, "what is told again grows nothing"
        assert not most or not fresh or next(reversed(table)) == key

    assert set(keys) == table.keys() | set(dropped)
