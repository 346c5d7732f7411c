"""A plan over cells that are kept names the victims that a sort of all names, in the same order, after any history."""

from contextlib import ExitStack, suppress
from dataclasses import replace
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core import cells, kept_order
from ctxgc.core.collector import plan, restore_bodies, sweep
from ctxgc.core.heap import DEPARTED, EVICTED, FORGOTTEN, PENDING, RESIDENT, Now, Proof
from ctxgc.core.rules import Rules
from ctxgc.core.segment import Access, EdgeKind, Kind, PathUse
from perf.heaps import session_like
from tests.core.strategies import entries, heaps
from tests.effort import effort

REASONS = ("duplicate", "failed_then_succeeded")
RULES = st.builds(
    Rules,
    recent_turns=st.integers(0, 3),
    file_turns=st.integers(0, 12),
    error_turns=st.integers(0, 8),
    min_gain_tokens=st.sampled_from([0, 50]),
    protect_paths=st.sampled_from([(), (), ("/a*",)]),
    protect_tools=st.sampled_from([(), (), ("Read",)]),
    task=st.sampled_from(["", "", "port"]),
)
SMALL = {"CELL_MAX": 6, "SPARE_CELLS": 1, "FIRST_LOOK": 2, "FIRST_STEP": 1, "FEW_PART": 2, "YOUNG_TURNS": 4}
"""Cells so small that a few bodies fill, split and merge many."""


def plan_by(heap, paths, target, now, rules, *, is_kept):
    """A plan by cells, or by a sort of all."""
    with ExitStack() as patches:
        patches.enter_context(patch.object(kept_order, "CANDIDATES_MIN", 0 if is_kept else 10**9))
        patches.enter_context(patch.object(kept_order, "DEEP_PART", 0))
        for name, value in SMALL.items():
            patches.enter_context(patch.object(cells, name, value))
        return plan(heap, paths, target, now, rules)


class History:
    """A session that lives on, step by step; every step is one that a daemon makes."""

    def __init__(self, made, draw):
        self.heap, self.paths = made
        self.draw = draw
        self.turn = 12
        self.gone = ()

    def step(self):
        name = self.draw(st.sampled_from(STEPS))
        getattr(self, name)(self.draw(st.integers(0, len(self.heap) - 1)) if len(self.heap) else -1)

    def admit(self, _):
        number = len(self.heap)
        entry = replace(self.draw(entries(number)), born_turn=max(self.turn - self.draw(st.integers(0, 3)), 0))
        targets = self.draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []
        slot = self.heap.admit(entry, [(target, EdgeKind.GIVEN) for target in targets])
        self.paths.record_use(PathUse(self.draw(st.sampled_from(["/a.py", "/b.py"])), Access.READ), slot, self.turn)

    def complete(self, slot):
        if slot >= 0 and self.heap.has_flag(slot, PENDING):
            self.heap.complete(slot, replace(self.draw(entries(slot)), flags=0))

    def touch(self, slot):
        if slot >= 0:
            self.heap.touch(slot, self.turn)

    def pin(self, slot):
        if slot >= 0:
            self.heap.set_pinned(slot, self.draw(st.booleans()))

    def weigh(self, slot):
        if slot >= 0:
            self.heap.set_importance(slot, self.draw(st.sampled_from([0.0, 0.5, 1.0])))
            self.heap.raise_namings(slot, self.draw(st.integers(0, 4)))

    def set_parents(self, slot):
        if slot > 0:
            parents = self.draw(st.lists(st.integers(0, slot - 1), max_size=3, unique=True))
            self.heap.set_refs(slot, [(parent, EdgeKind.GIVEN) for parent in parents])

    def prove(self, slot):
        if slot > 0:
            self.heap.record_proof(
                self.draw(st.integers(0, slot - 1)), Proof(self.draw(st.sampled_from(REASONS)), slot)
            )

    def disprove(self, slot):
        self.heap.proofs.pop(slot, None)

    def change_state(self, slot):
        if slot >= 0:
            self.heap.set_state(slot, self.draw(st.sampled_from([RESIDENT, RESIDENT, EVICTED, DEPARTED, FORGOTTEN])))

    def recall(self, _):
        if self.gone:
            restore_bodies(self.heap, self.gone[:1])
            self.heap.grace.grant(self.gone[0], self.turn + 2)

    def undo(self, _):
        restore_bodies(self.heap, self.gone)

    def collect(self, _):
        todo = self.compare()
        sweep(self.heap, todo.victims)
        self.gone = [victim.slot for victim in todo.victims]

    def pass_time(self, _):
        self.turn += self.draw(st.sampled_from([1, 1, 2, 9, 70]))

    def look(self, _):
        self.compare()

    def compare(self):
        target = int(self.heap.resident_tokens * self.draw(st.sampled_from([0.0, 0.3, 0.7, 0.95, 0.999])))
        now, rules = Now(self.turn), self.draw(RULES)
        kept, sorted_ = (
            plan_by(self.heap, self.paths, target, now, rules, is_kept=is_kept) for is_kept in (True, False)
        )
        assert kept == sorted_
        return kept


STEPS = [name for name in vars(History) if not name.startswith("_") and name not in ("step", "compare")]
STEPS += ["collect", "look", "admit", "admit"]


@effort(60)
@given(st.one_of(heaps(), st.builds(session_like, st.integers(1, 90), st.integers(0, 999))), st.data())
def test_after_any_history_kept_cells_and_a_sort_of_all_name_the_same_victims_in_the_same_order(made, data):
    history = History(made, data.draw)

    for _ in range(data.draw(st.integers(1, 30))):
        history.step()
        history.heap.check_invariants()

    history.compare()


def test_an_error_whose_proof_begins_to_hold_after_a_plan_is_garbage_in_the_next():
    heap, paths = session_like(60, has_proofs=False)
    slot = next(slot for slot in range(30, 60) if heap.kind_of(slot) is Kind.TOOL_CALL and heap.freed[slot] >= 50)
    heap.record_proof(slot, Proof("failed_then_succeeded", 59))
    target, born = heap.resident_tokens - 1, heap.born[slot]
    rules = Rules(recent_turns=0, file_turns=0, error_turns=4)
    plan_by(heap, paths, 0, Now(born + 2), rules, is_kept=True)

    todo = plan_by(heap, paths, target, Now(born + 9), rules, is_kept=True)

    assert [victim.slot for victim in todo.victims] == [slot]


def test_a_plan_that_finds_the_cells_claimed_sorts_all_and_a_failing_plan_claims_them_no_longer(monkeypatch):
    heap, paths = session_like(60)
    target = heap.resident_tokens * 8 // 10
    expected = plan_by(heap, paths, target, Now(40), Rules(), is_kept=True)
    heap.touch(30, 39)
    stand = len(heap.cells)

    assert heap.cells.try_claim()
    assert plan_by(heap, paths, target, Now(40), Rules(), is_kept=True).victims
    assert len(heap.cells) == stand
    heap.cells.release()

    monkeypatch.setattr("ctxgc.core.collector.rank_first_garbage", lambda *_: 1 / 0)
    with suppress(ZeroDivisionError):
        plan_by(heap, paths, target, Now(40), Rules(), is_kept=True)
    assert expected.victims
    assert heap.cells.try_claim()


def test_a_body_that_joins_a_cell_widens_the_turns_that_bound_it():
    born = [*[70] * 40, 76]
    columns = cells.BodyColumns([float(slot) for slot in range(41)], born, born, [100] * 41)
    kept = cells.Cells(columns)
    kept.slots_outside(bytes([1] * 41))
    kept.add_slots(range(40), 150)

    kept.add_slots([40], 150)

    assert len(kept) == 1
    kept.check_invariants()


def test_a_plan_looks_at_few_bodies_of_a_large_heap_and_at_a_pinned_one_once():
    heap, paths = session_like(9000, has_proofs=False)
    now, target = Now(3001), heap.resident_tokens * 99 // 100
    pinned = [victim.slot for victim in plan(heap, paths, target * 9 // 10, now, Rules()).victims]
    for slot in pinned:
        heap.set_pinned(slot, True)

    looks = [looked_at(heap, paths, target, now) for _ in range(2)]

    assert len(set(pinned) & looks[0]) > 10
    assert not set(pinned) & looks[1]
    assert max(map(len, looks)) <= 1500


def looked_at(heap, paths, target, now):
    """The slots that a plan by cells looks at."""
    looked = set()
    exact_keys = cells.Cells._wanted_keys_and_slots

    def counted(self, slots, *rest):
        looked.update(slots)
        return exact_keys(self, slots, *rest)

    with patch.object(cells.Cells, "_wanted_keys_and_slots", counted):
        assert plan(heap, paths, target, now, Rules()).victims
    return looked
