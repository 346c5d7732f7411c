"""The standing of a body is the plan's own reason: no statement about a body says more than a plan does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.collector import LIVE_LAST, plan
from ctxgc.core.heap import RESIDENT
from ctxgc.core.liveness import CURRENT, LIVE, NAMED, find_liveness
from ctxgc.core.roots import PINS, ROOTS, find_roots
from ctxgc.core.segment import NAMING_EDGES, EdgeKind
from ctxgc.core.standing import find_standing
from tests.core.strategies import NOW, RULES, heaps
from tests.core.test_mark import reachable

TARGETS = st.integers(0, 20_000)


def standings(heap, paths, now, rules):
    return {
        slot: find_standing(heap, paths, slot, now, rules) for slot in range(len(heap)) if heap.state[slot] == RESIDENT
    }


@given(heaps(), NOW, RULES)
def test_the_rank_of_a_body_is_its_place_in_the_plan_that_takes_everything(made, now, rules):
    heap, paths = made
    order = [victim.slot for victim in plan(heap, paths, -1, now, rules).victims]

    for slot, standing in standings(heap, paths, now, rules).items():
        assert standing.rank == (order.index(slot) + 1 if slot in order else 0)
        assert standing.ranked == (0 if standing.root else len(order))


@given(heaps(), TARGETS, NOW, RULES)
def test_no_plan_contradicts_a_standing(made, target, now, rules):
    heap, paths = made
    every = standings(heap, paths, now, rules)
    victims = plan(heap, paths, target, now, rules).victims

    assert [every[victim.slot].rank for victim in victims] == list(range(1, len(victims) + 1))
    for victim in victims:
        standing = every[victim.slot]
        assert (standing.root, standing.protection) == ("", "") or standing.rank
        assert standing.reason == victim.reason
        assert (standing.proof.by if standing.proof else -1) == victim.by
        assert sum(term.log_odds for term in standing.terms) == pytest.approx(victim.score)
    live = {slot for slot, standing in every.items() if standing.reason == LIVE_LAST}
    if live & {victim.slot for victim in victims}:
        assert {slot for slot, standing in every.items() if standing.rank} - live <= {v.slot for v in victims}


@given(heaps(), NOW, RULES)
def test_a_standing_names_the_root_that_names_the_body_and_a_path_of_what_was_said(made, now, rules):
    heap, paths = made
    roots = find_roots(heap, paths, now, rules)

    for slot, standing in standings(heap, paths, now, rules).items():
        assert standing.root == ROOTS[roots[slot]]
        if standing.namer >= 0:
            assert roots[standing.namer]
            assert any(t == slot and kind in NAMING_EDGES for t, kind in heap.refs_with_edge_kinds(standing.namer))
        if standing.path:
            assert roots[standing.path[0]]
            assert standing.path[-1] == slot
        assert bool(standing.path) == (standing.reason == LIVE_LAST)


@given(heaps(), NOW, RULES)
def test_liveness_is_what_was_said_what_a_root_names_and_what_shows_a_file(made, now, rules):
    heap, paths = made
    roots = find_roots(heap, paths, now, rules)
    said = [[t for t, kind in heap.refs_with_edge_kinds(slot) if kind == EdgeKind.GIVEN] for slot in range(len(heap))]
    live = reachable(said, roots)
    named = set()
    for slot in range(len(heap)):
        targets = {t for t, kind in heap.refs_with_edge_kinds(slot) if kind in NAMING_EDGES}
        live |= targets if roots[slot] == PINS else set()
        named |= targets if roots[slot] else set()

    for slot, bits in enumerate(find_liveness(heap, paths, roots)):
        assert bool(bits & LIVE) == (slot in live) or roots[slot]
        assert bool(bits & NAMED) == (slot in named)
        assert bool(bits & CURRENT) == (slot in paths.current)
