"""The laws of a collection: I2, I6, I7, I8, I10, and what goes first."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.collector import COLD, CURRENT_COLD, LIVE_LAST, NAMED_COLD, plan, plan_eviction_by_hand, sweep
from ctxgc.core.garbage import REASONS, garbage_proof, garbage_slots
from ctxgc.core.heap import EVICTED, KINDS, PENDING, PINNED, RESIDENT, Heap, Now, Proof
from ctxgc.core.paths import PathIndex
from ctxgc.core.roots import find_roots
from ctxgc.core.rules import Rules
from ctxgc.core.segment import Access, EdgeKind, Kind, PathUse
from tests.core.strategies import NOW, RULES, heaps
from tests.core.test_heap import an_entry

TARGETS = st.integers(0, 20_000)


@given(heaps(), TARGETS, NOW, RULES)
def test_roots_are_never_evicted_I2(made, target, now, rules):
    heap, paths = made
    roots = find_roots(heap, paths, now, rules)

    todo = plan(heap, paths, target, now, rules)

    assert not [victim for victim in todo.victims if roots[victim.slot]]
    assert all(heap.state[victim.slot] == RESIDENT for victim in todo.victims)


@given(heaps(), NOW, RULES)
def test_what_is_proven_among_many_is_what_is_proven_one_by_one(made, now, rules):
    heap, _ = made
    among = bytes(not heap.has_flag(slot, PENDING) and slot % 3 > 0 for slot in range(len(heap)))

    one_by_one = [slot for slot in range(len(heap)) if among[slot] and garbage_proof(heap, slot, now, rules)]

    assert garbage_slots(heap, among, now, rules) == one_by_one


@given(heaps(), TARGETS, NOW, RULES)
def test_a_plan_ends_at_its_target_or_says_what_holds_every_token_above_it_I6(made, target, now, rules):
    heap, paths = made

    todo = plan(heap, paths, target, now, rules)

    assert todo.remaining_tokens == todo.before_tokens - sum(v.freed_tokens for v in todo.victims)
    if todo.remaining_tokens > target:
        assert sum(tokens for _, tokens in todo.protected_by) == todo.remaining_tokens
    else:
        assert todo.protected_by == ()


@given(heaps(), TARGETS, NOW, RULES)
def test_a_collection_never_grows_the_context_and_the_heap_agrees_with_its_plan_I7(made, target, now, rules):
    heap, paths = made
    todo = plan(heap, paths, target, now, rules)

    sweep(heap, todo.victims)

    heap.check_invariants()
    assert heap.resident_tokens == todo.remaining_tokens <= todo.before_tokens
    assert all(victim.freed_tokens >= rules.min_gain_tokens for victim in todo.victims)


@given(heaps(), TARGETS, NOW, RULES)
def test_collecting_twice_changes_nothing_I8(made, target, now, rules):
    heap, paths = made
    sweep(heap, plan(heap, paths, target, now, rules).victims)
    states = bytes(heap.state)

    again = plan(heap, paths, target, now, rules)

    assert again.victims == ()
    assert bytes(heap.state) == states


@given(heaps(), TARGETS, NOW, RULES)
def test_planning_only_reads_I10(made, target, now, rules):
    heap, paths = made
    first = plan(heap, paths, target, now, rules)

    assert plan(heap, paths, target, now, rules) == first
    heap.check_invariants()


def test_every_process_and_hash_seed_makes_the_same_plan_I10():
    program = (
        "import json\n"
        "from perf.heaps import session_like\n"
        "from ctxgc.core.collector import plan\n"
        "from ctxgc.core.heap import Now\n"
        "from ctxgc.core.rules import Rules\n"
        "heap, paths = session_like(600)\n"
        "print(json.dumps(plan(heap, paths, heap.resident_tokens // 3, Now(200), Rules()).victims))\n"
    )
    plans = [
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1", "4711")
    ]

    assert plans[0] == plans[1] == plans[2]
    assert len(json.loads(plans[0])) > 20


def test_garbage_goes_before_anything_cold_however_young():
    heap, paths = a_heap(sizes=[500, 500, 500])
    heap.record_proof(1, Proof("duplicate", 2))

    todo = plan(heap, paths, heap.resident_tokens - 1, Now(9), Rules())

    assert [(victim.slot, victim.reason) for victim in todo.victims] == [(1, "duplicate")]


def test_of_the_cold_the_large_and_old_goes_first_and_of_equals_what_a_root_names_or_shows_a_file_last():
    heap, paths = a_heap(sizes=[500, 500, 900, 500, 20])
    heap.kind[4] = KINDS.index(Kind.USER)
    heap.set_refs(4, [(0, EdgeKind.PATH_LINE)])
    paths.record_use(PathUse("/a.py", Access.READ), 1, 0)

    todo = plan(heap, paths, 120, Now(29), Rules())

    assert [victim.slot for victim in todo.victims] == [2, 3, 0, 1]
    assert [victim.reason for victim in todo.victims] == [COLD, COLD, NAMED_COLD, CURRENT_COLD]


@pytest.mark.parametrize("edge", [EdgeKind.GIVEN, EdgeKind.PATH_SPOKEN])
def test_what_a_pinned_segment_refers_to_goes_after_all_else_and_the_plan_says_so(edge):
    heap, paths = a_heap(sizes=[9000, 100, 500, 20])
    heap.record_proof(0, Proof("duplicate", 2))
    heap.set_refs(3, [(0, edge)])
    heap.set_pinned(3, True)

    todo = plan(heap, paths, 120, Now(9), Rules())

    assert [(victim.slot, victim.reason) for victim in todo.victims] == [(2, COLD), (1, COLD), (0, LIVE_LAST)]
    assert not [v for v in plan(heap, paths, heap.resident_tokens - 400, Now(9), Rules()).victims if v.slot == 0]


def test_what_a_newer_use_replaced_is_not_kept_for_it():
    heap, paths = a_heap(sizes=[500, 500, 20])
    heap.set_refs(2, [(0, EdgeKind.REPLACES)])
    heap.set_pinned(2, True)

    assert plan(heap, paths, heap.resident_tokens - 1, Now(9), Rules()).victims[0].slot == 0


def test_a_proof_falls_when_what_proved_it_was_rewound():
    heap, paths = a_heap(sizes=[500, 500])
    heap.record_proof(0, Proof("superseded_read", 1))
    heap.set_state(1, 2)

    todo = plan(heap, paths, 0, Now(9), Rules())

    assert todo.victims[0].reason == COLD


def test_a_hand_may_evict_what_a_rule_would_keep_but_not_a_pin():
    heap, _paths = a_heap(sizes=[500, 500])
    heap.set_pinned(0, True)

    todo = plan_eviction_by_hand(heap, [0, 1], Rules())

    assert [victim.slot for victim in todo.victims] == [1]
    assert heap.has_flag(0, PINNED)


def test_a_sweep_done_twice_is_a_sweep_done_once():
    heap, paths = a_heap(sizes=[500])
    victims = plan(heap, paths, 0, Now(9), Rules()).victims
    sweep(heap, victims)

    sweep(heap, victims)

    assert heap.state[0] == EVICTED
    heap.check_invariants()


def test_every_reason_for_garbage_is_a_word_of_the_glossary():
    assert all(reason.replace("_", "").isalpha() for reason in REASONS)


def a_heap(sizes: list[int]) -> tuple[Heap, PathIndex]:
    heap = Heap()
    for number, size in enumerate(sizes):
        heap.admit(an_entry(f"s{number}", body=size, tombstone=20, born=0, place=number, kind=Kind.TOOL_CALL))
    return heap, PathIndex()
