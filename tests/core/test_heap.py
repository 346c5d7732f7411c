"""The heap keeps its sums and its order through any history."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.heap import DEPARTED, EVICTED, FORGOTTEN, PENDING, PINNED, RESIDENT, Heap, HeapEntry
from ctxgc.core.segment import Kind
from ctxgc.core.window_order import BLOCK_SLOTS, WindowOrder
from tests.core.strategies import entries, heaps


@given(heaps(), st.data())
def test_sums_and_order_hold_after_every_step_of_any_history_I4(made, data):
    heap, _ = made
    for _ in range(data.draw(st.integers(0, 12)) if len(heap) else 0):
        slot = data.draw(st.integers(0, len(heap) - 1))
        step = data.draw(st.sampled_from(["state", "place", "pin", "touch", "complete"]))
        if step == "state":
            heap.set_state(slot, data.draw(st.sampled_from([RESIDENT, EVICTED, DEPARTED, FORGOTTEN])))
        elif step == "place":
            heap.set_place(slot, data.draw(st.integers(-99, 99)))
        elif step == "pin":
            heap.set_pinned(slot, data.draw(st.booleans()))
        elif step == "touch":
            heap.touch(slot, data.draw(st.integers(0, 60)))
        else:
            heap.complete(slot, data.draw(entries(slot)))

        heap.check_invariants()


def test_resident_tokens_count_tombstones_of_what_left_I4():
    heap = Heap()
    heap.admit(an_entry("a", body=100, skeleton=7, tombstone=30))

    heap.set_state(0, EVICTED)

    assert heap.resident_tokens == 37
    assert heap.evictable_tokens == 0


def test_a_completed_call_keeps_its_pin_and_loses_its_pending_flag():
    heap = Heap()
    heap.admit(an_entry("a", flags=PENDING))
    heap.set_pinned(0, True)

    heap.complete(0, an_entry("a", body=50))

    assert heap.flags[0] == PINNED
    assert heap.resident_tokens == 50


def test_an_answer_does_not_sort_the_window_again():
    heap = Heap()
    for number in range(3):
        heap.admit(an_entry(f"s{number}", place=number, flags=PENDING))
    window = heap.window()

    heap.complete(1, an_entry("s1", place=99, body=50))
    heap.admit(an_entry("s3", place=3))

    assert heap.window() is window  # A sort makes a new list.
    assert list(window) == [0, 1, 2, 3]


def test_a_rewind_of_the_last_turns_looks_at_no_place_of_the_turns_before():
    places = CountedPlaces(range(4096))
    order = WindowOrder(places, bytearray(4096), bytes([1] + [0] * 255))
    for slot in range(4096):
        order.append(slot)
    places.looks = 0

    order.unsettle(4000)
    order.unsettle(4090)
    assert list(order.slots()) == list(range(4096))

    assert places.looks <= 200


def test_a_rewind_shares_all_blocks_before_it_and_leaves_the_window_seen_before_alone():
    count = 3 * BLOCK_SLOTS + 9
    state, places = bytearray(count), list(range(count))
    order = WindowOrder(places, state, bytes([1] + [0] * 255))
    for slot in range(count):
        order.append(slot)
    before, seen = order.slots(), list(order.slots())

    for rewound in (*range(count - 3, count), 2 * BLOCK_SLOTS):  # The last turn; and the first slot of a block.
        state[rewound] = 9
        order.unsettle(rewound)
        after = order.slots()

        kept = rewound // BLOCK_SLOTS
        assert all(new is old for new, old in zip(after._blocks[:kept], before._blocks[:kept], strict=True))
        assert list(after) == [slot for slot in range(count) if not state[slot]]
        assert [after[at] for at in range(len(after))] == list(after)
        assert {len(block) for block in after._blocks[:-1]} == {BLOCK_SLOTS}
    state.append(0)
    places.append(count)
    order.append(count)

    assert list(before) == seen
    assert list(order.slots())[-1] == count


class CountedPlaces(list):
    """Places that count how often anybody looks at one."""

    looks = 0

    def __getitem__(self, slot):
        self.looks += 1
        return super().__getitem__(slot)


def test_a_completed_call_stays_where_it_stood_and_keeps_its_references():
    heap = Heap()
    heap.admit(an_entry("old"))
    heap.admit(an_entry("a", flags=PENDING), [(0, 1)])
    heap.admit(an_entry("b"))

    heap.complete(1, an_entry("a", place=99), [(0, 2)])

    assert list(heap.window()) == [0, 1, 2]
    assert list(heap.refs_with_edge_kinds(1)) == [(0, 1), (0, 2)]


def test_a_turn_is_one_use_however_often_it_touches():
    heap = Heap()
    heap.admit(an_entry("a"))

    for turn in (4, 4, 3, 6):
        heap.touch(0, turn)

    assert (heap.touched[0], heap.touches[0]) == (6, 2)


def test_a_reference_to_a_younger_segment_is_a_programming_error():
    heap = Heap()
    heap.admit(an_entry("a"))

    with pytest.raises(ValueError, match="older"):
        heap.admit(an_entry("b"), [(1, 1)])


def an_entry(id_: str, *, body: int = 0, skeleton: int = 0, tombstone: int = 0, flags: int = 0, **more) -> HeapEntry:
    return HeapEntry(
        id=id_,
        kind=more.pop("kind", Kind.TOOL_CALL),
        place=more.pop("place", 0),
        born_turn=more.pop("born", 0),
        skeleton_tokens=skeleton,
        body_tokens=body,
        tombstone_tokens=tombstone,
        flags=flags,
        **more,
    )
