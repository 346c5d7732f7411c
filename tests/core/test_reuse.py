"""The estimate of reuse: what raises it, what lowers it, and that the heap keeps it as the formula says."""

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.heap import KINDS, Heap, Now
from ctxgc.core.pacing.pacer import reuse_chances
from ctxgc.core.reuse import (
    COMMAND,
    EDITS,
    FULL_READ,
    HAS_PATH,
    MENTIONS,
    RANGED_READ,
    SHIPPED,
    FixedFacts,
    fixed_factors,
    fixed_logit,
    ln_turns,
    probability_of_logit,
    trait_bits,
)
from ctxgc.core.segment import Access, Kind, PathUse, Role, Segment
from tests.core.strategies import heaps
from tests.core.test_heap import an_entry


def test_a_body_is_needed_less_the_older_it_is_and_more_if_it_is_reached():
    heap = Heap()
    for number, born in enumerate((90, 10)):
        heap.admit(an_entry(f"s{number}", body=500, born=born))

    fresh, old = reuse_chances(heap, [0, 1], Now(100), [0, 0], ())

    assert 0 < old < fresh < reuse_chances(heap, [0], Now(100), [1, 0], ())[0] < 1
    assert reuse_chances(heap, [0], Now(100), [0, 0], {0})[0] < fresh


def test_the_estimate_is_the_weighted_sum_of_its_terms():
    read, call = FixedFacts(Kind.TOOL_CALL, FULL_READ | HAS_PATH, 1000, 2, 5), FixedFacts(Kind.TOOL_CALL, 0, 1000, 2, 0)
    terms = fixed_factors(read)
    known = sum(weight * term for weight, term in zip(astuple(SHIPPED), terms, strict=False))

    assert fixed_logit(SHIPPED, read, 0.5) == pytest.approx(known)
    assert fixed_logit(SHIPPED, call, 1.0) - fixed_logit(SHIPPED, call, 0.5) == pytest.approx(3.0)


@given(heaps())
def test_the_heap_keeps_every_slot_as_the_formula_says(made):
    heap, _ = made

    for slot in range(len(heap)):
        refs, namings = len(heap.refs[slot]), heap.namings[slot]
        facts = FixedFacts(KINDS[heap.kind[slot]], heap.traits[slot], heap.body[slot], refs, namings)
        expected = fixed_logit(SHIPPED, facts, heap.importance[slot])
        assert heap.logit[slot] == pytest.approx(expected)


@given(st.floats(-1e4, 1e4))
def test_a_probability_is_one_for_any_log_odds(logit):
    assert 0.0 <= probability_of_logit(logit) <= 1.0


def test_turns_beyond_the_table_count_as_the_longest():
    assert ln_turns(0) == ln_turns(1) == 0.0
    assert ln_turns(10**9) == ln_turns(4096)


def test_traits_tell_how_a_file_was_read():
    def traits(*uses: PathUse, command: str = "") -> int:
        return trait_bits(
            Segment(id="x", kind=Kind.TOOL_CALL, role=Role.ASSISTANT, place=0, born_turn=0, paths=uses, command=command)
        )

    assert traits(PathUse("/a", Access.READ)) == FULL_READ | HAS_PATH
    assert traits(PathUse("/a", Access.READ, 3, 9)) == RANGED_READ | HAS_PATH
    assert traits(PathUse("/a", Access.MENTION)) == MENTIONS | HAS_PATH
    assert traits(PathUse("/a", Access.MENTION), PathUse("/b", Access.EDIT)) == EDITS | HAS_PATH
    assert traits(command="ls") == COMMAND
