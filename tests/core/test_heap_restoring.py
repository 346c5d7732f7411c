"""A heap that takes slots by the batch is the heap that admits them one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.heap import KINDS, Heap, HeapEntry
from ctxgc.core.heap_restoring import SlotColumns, restore_slots
from ctxgc.core.segment import Kind
from tests.core.strategies import EDGES, entries

Refs = list[tuple[int, int]]


@st.composite
def histories(draw) -> list[tuple[HeapEntry, Refs]]:
    """Entries, each with its references to older slots."""
    made = []
    for number in range(draw(st.integers(0, 20))):
        targets = draw(st.lists(st.integers(0, number - 1), max_size=4)) if number else []
        made.append((draw(entries(number)), [(target, draw(EDGES)) for target in targets]))
    return made


def columns_of(history: list[tuple[HeapEntry, Refs]]) -> SlotColumns:
    some = [entry for entry, _ in history]
    return SlotColumns(
        ids=[entry.id for entry in some],
        kinds=[KINDS.index(entry.kind) for entry in some],
        states=[entry.state for entry in some],
        flags=[entry.flags for entry in some],
        places=[entry.place for entry in some],
        births=[entry.born_turn for entry in some],
        touched=[entry.touched_turn for entry in some],
        touches=[entry.touches for entry in some],
        skeletons=[entry.skeleton_tokens for entry in some],
        bodies=[entry.body_tokens for entry in some],
        tombstones=[entry.tombstone_tokens for entry in some],
        importances=[entry.importance for entry in some],
        traits=[entry.traits for entry in some],
        namings=[entry.namings for entry in some],
        tools=[entry.tool for entry in some],
        tasks=[entry.task for entry in some],
        refs=[refs for _, refs in history],
    )


def memory_of(heap: Heap) -> dict[str, object]:
    """All that a heap holds, but for the parts that answer by methods, and what equal rows share."""
    apart = {"cells", "window_order", "shared_kinds"}
    held = {name: value for name, value in vars(heap).items() if name not in apart}
    return {**held, "window": list(heap.window())}


@given(histories(), st.data())
def test_a_heap_restored_by_batches_is_the_heap_that_admitted_each_slot(history, data):
    admitted, restored = Heap(), Heap()
    for entry, refs in history:
        admitted.admit(entry, refs)
    at = 0
    while at < len(history):
        size = data.draw(st.integers(1, len(history)))
        if data.draw(st.booleans()):
            assert restore_slots(restored, columns_of(history[at : at + size])) == range(at, len(restored))
        else:
            for entry, refs in history[at : at + size]:
                restored.admit(entry, refs)
        at += size
        restored.check_invariants()

    assert memory_of(restored) == memory_of(admitted)


@pytest.mark.parametrize(
    ("id", "refs"), [("s0", []), ("s2", [(2, 6)]), ("s2", [(-1, 6)])], ids=["known", "itself", "nobody"]
)
def test_a_batch_that_no_heap_admits_changes_nothing(id, refs):
    heap = Heap()
    heap.admit(an_entry("s0"))
    before = memory_of(heap)

    with pytest.raises(ValueError, match=r"slot of the batch|older segments"):
        restore_slots(heap, columns_of([(an_entry("s1"), []), (an_entry(id), refs)]))

    assert memory_of(heap) == before


def an_entry(id: str) -> HeapEntry:
    return HeapEntry(
        id=id, kind=Kind.TOOL_CALL, place=0, born_turn=0, skeleton_tokens=1, body_tokens=9, tombstone_tokens=3
    )
