"""Reconciliation against a model that keeps a window as a list of ids: whatever hosts send, both agree."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.heap import DEPARTED, EVICTED, FORGOTTEN, PENDING, RESIDENT, Heap, HeapEntry
from ctxgc.core.reconcile import (
    Content,
    HostList,
    KnownSession,
    Stamp,
    Transitions,
    call_digests,
    reconcile,
    session_ids_of_contents,
    uncompared_slots,
)
from ctxgc.core.segment import Departure, Kind, base_id, tool_call_id

IDS = [f"call_{number}" for number in range(6)]
LISTS = st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from("ab")), max_size=6, unique_by=lambda call: call[0])
KINDS = st.sampled_from([Kind.TOOL_CALL, Kind.TOOL_CALL, Kind.SUMMARY])


def entry(id_, *, place=0, state=RESIDENT, flags=0, kind=Kind.TOOL_CALL):
    costs = {"skeleton_tokens": 3, "body_tokens": 50, "tombstone_tokens": 20}
    return HeapEntry(id=id_, kind=kind, place=place, born_turn=0, state=state, flags=flags, **costs)


def heap_of(*entries):
    heap = Heap()
    for one in entries:
        heap.admit(one)
    return heap


def listed(*ids, **fields):
    return HostList(places={id_: at for at, id_ in enumerate(ids)}, **fields)


class Daemon:
    """A session, changed as the daemon changes it: compare, reconcile, admit, carry out."""

    def __init__(self):
        self.heap, self.left_evicted = Heap(), set()
        self.content: dict[str, str] = {}
        self.stored: dict[int, str] = {}
        self.others: dict[int, str] = {}
        self.aside: set[tuple[str, str]] = set()

    def known(self):
        return KnownSession(
            heap=self.heap,
            left_evicted=self.left_evicted,
            stored_digests=self.stored,
            other_digests=self.others,
        )

    def send(self, calls, at_hand, **fields):
        host = HostList(
            places={id_: at * 8 for at, (id_, _) in enumerate(calls)},
            digests=dict(calls),
            contents=dict.fromkeys((id_ for id_, _ in calls if id_ in at_hand), Kind.TOOL_CALL),
            **fields,
        )
        said = call_digests(host, self.known())
        for slot in uncompared_slots(said, self.known()):
            is_same = self.content[self.heap.ids[slot]] == said[slot]
            if is_same or self.heap.ids[slot] in at_hand:  # A difference is only seen in the content.
                (self.stored if is_same else self.others)[slot] = said[slot]
        todo = reconcile(host, self.known())
        self.carry_out(host, todo)
        return host, todo

    def carry_out(self, host, todo):
        for id_ in todo.admit:
            slot = self.heap.admit(entry(id_, place=host.places.get(id_, 10**6)))
            self.content[id_] = self.stored[slot] = host.digests[id_]
        self.aside |= {(id_, host.digests[id_]) for id_ in todo.aside}
        for _, slots in todo.departures:
            self.left_evicted |= {slot for slot in slots if self.heap.state[slot] == EVICTED}
            for slot in slots:
                self.heap.set_state(slot, DEPARTED)
        for slots, state in ((todo.evicted, EVICTED), (todo.resident, RESIDENT)):
            self.left_evicted -= set(slots)
            for slot in slots:
                self.heap.set_state(slot, state)
        for slot, place in todo.moves:
            self.heap.set_place(slot, place)
        self.heap.check_invariants()

    def evict(self, id_):
        slot = self.heap.slot_of.get(id_, -1)
        if slot >= 0 and self.heap.state[slot] == RESIDENT and slot not in self.others:
            self.heap.set_state(slot, EVICTED)
            return True
        return False

    @property
    def window(self):
        return [self.heap.ids[slot] for slot in self.heap.window()]

    @property
    def out(self):
        return {self.heap.ids[slot] for slot in self.heap.window() if self.heap.state[slot] == EVICTED}


@given(st.lists(st.tuples(LISTS, st.sets(st.sampled_from(IDS)), st.sets(st.sampled_from(IDS))), max_size=8))
def test_whatever_lists_come_the_window_is_the_last_whole_one_and_what_was_evicted_stays_so(steps):
    daemon, content, window, evicted = Daemon(), {}, [], set()
    for calls, at_hand, victims in steps:
        _, todo = daemon.send(calls, at_hand)

        known = {id_: digest for id_, digest in calls if id_ in content}
        content |= {id_: digest for id_, digest in calls if id_ in at_hand and id_ not in content}
        differing = {id_ for id_, digest in known.items() if content[id_] != digest}
        if not todo.unknown:
            window = [id_ for id_, _ in calls]
            evicted -= differing
            assert {daemon.heap.ids[slot] for slot in todo.conflicts} == differing
        assert set(todo.unknown) >= {id_ for id_, _ in calls} - content.keys()
        # Contents of a list that lacks some are admitted ahead; the rest of the window stays as it was.
        ahead = set(todo.admit) if todo.unknown else set()
        assert [id_ for id_ in daemon.window if id_ not in ahead] == window
        window = daemon.window
        assert daemon.out == evicted & set(window)
        assert set(todo.aside) == differing & at_hand
        assert daemon.content == content
        evicted |= {id_ for id_ in victims & set(window) if daemon.evict(id_)}


@given(st.lists(st.tuples(LISTS, st.sets(st.sampled_from(IDS))), min_size=1, max_size=6))
def test_a_list_that_was_carried_out_asks_for_nothing_more_than_it_still_lacks(steps):
    daemon = Daemon()
    for calls, victims in steps:
        daemon.send(calls, set(IDS))
        for id_ in victims:
            daemon.evict(id_)

        _, todo = daemon.send(calls, set())

        assert todo == Transitions(conflicts=todo.conflicts)


@given(st.lists(st.tuples(LISTS, st.sets(st.sampled_from(IDS))), min_size=1, max_size=4), LISTS)
def test_an_older_or_shorter_copy_moves_nothing_and_brings_nothing_back(steps, copy):
    daemon = Daemon()
    for calls, victims in steps:
        daemon.send(calls, set(IDS))
        for id_ in victims:
            daemon.evict(id_)
    before = daemon.window, daemon.out, list(daemon.heap.place)

    daemon.send([(id_, daemon.content[id_]) for id_, _ in copy if id_ in daemon.content], set(), **OLD_COPY)

    assert (daemon.window, daemon.out, list(daemon.heap.place)) == before


OLD_COPY = {"is_whole": False, "is_outdated": True, "is_rendered": False}


def test_i1_a_segment_that_stands_for_another_content_is_whole_where_tombstones_are_rendered():
    session = KnownSession(heap=heap_of(entry("a", state=EVICTED)), stored_digests={0: "x"}, other_digests={0: "y"})

    on = reconcile(listed("a", digests={"a": "y"}), session)
    shadow = reconcile(listed("a", digests={"a": "y"}, is_rendered=False), session)
    as_stored = reconcile(listed("a", digests={"a": "x"}), session)

    assert (on.conflicts, on.resident) == ((0,), (0,))
    assert (shadow.conflicts, shadow.resident) == ((0,), ())
    assert as_stored == Transitions()


def test_an_id_whose_digest_nobody_has_compared_is_asked_for_and_the_window_stays():
    session = KnownSession(heap=heap_of(entry("a"), entry("b", place=1)), stored_digests={0: "x"})

    todo = reconcile(listed("a", digests={"a": "new"}), session)

    assert todo == Transitions(unknown=("a",))


def test_only_the_digest_of_an_answered_call_whose_content_the_stash_has_in_full_leaves_a_doubt():
    heap = heap_of(entry("text", kind=Kind.USER), entry("secret"), entry("waits", flags=PENDING), entry("call"))
    session = KnownSession(heap=heap, redacted={1})
    host = listed(*heap.ids, digests=dict.fromkeys(heap.ids, "x"), contents={"waits": Kind.TOOL_CALL})

    assert uncompared_slots(call_digests(host, session), session) == {3}
    assert reconcile(host, session).unknown == ("call",)


def test_a_pending_call_is_asked_for_by_a_whole_list_and_completed_by_its_content():
    session = KnownSession(heap=heap_of(entry("a", flags=PENDING)))

    assert reconcile(listed("a"), session).unknown == ("a",)
    assert reconcile(listed("a", is_whole=False), session).unknown == ()
    assert reconcile(listed("a", contents={"a": Kind.TOOL_CALL}), session).admit == ("a",)


def test_segments_depart_for_a_summary_that_is_new_or_returns_and_else_for_a_rewind():
    heap = heap_of(entry("a"), entry("s", kind=Kind.SUMMARY, state=DEPARTED), entry("t", kind=Kind.SUMMARY))
    session = KnownSession(heap=heap)

    def reason(*ids, **fields):
        ((why, _),) = reconcile(listed(*ids, **fields), session).departures
        return why

    assert reason("s") is Departure.HOST_COMPACTED
    assert reason("new", contents={"new": Kind.SUMMARY}) is Departure.HOST_COMPACTED
    assert reason("t") is Departure.REWOUND
    assert reason("t", contents={"t": Kind.SUMMARY}) is Departure.REWOUND
    assert reason("t", contents={"ahead": Kind.SUMMARY}) is Departure.REWOUND


def test_a_part_of_a_list_moves_what_it_names_and_leaves_all_else():
    heap = heap_of(entry("a"), entry("b", place=1), entry("c", place=2, state=DEPARTED), entry("d", place=3))
    places, departed = {"b": 9, "c": 2, "nobody knows": 4}, dict.fromkeys("ac", Departure.HOST_CLEARED)
    host = HostList(places=places, departed=departed, is_whole=False)

    todo = reconcile(host, KnownSession(heap=heap))

    departures = ((Departure.HOST_CLEARED, (0,)),)
    assert todo == Transitions(unknown=("nobody knows",), departures=departures, resident=(2,), moves=((1, 9),))


def test_a_tombstone_in_the_list_means_that_the_body_is_out_even_where_it_could_not_be_edited():
    heap = heap_of(entry("a"), entry("b", state=EVICTED), entry("c", state=EVICTED))
    session = KnownSession(heap=heap, uneditable={0, 1}, redacted={2})

    todo = reconcile(listed("a", "b", "c", tombstones={"a"}), session)

    assert (todo.evicted, todo.resident) == ((0,), (1, 2))


@given(st.sampled_from([{}, {"tombstones": {"a"}}, OLD_COPY]))
def test_what_was_forgotten_stays_forgotten_whatever_a_list_says(fields):
    session = KnownSession(heap=heap_of(entry("a", state=FORGOTTEN)), uneditable={0})

    todo = reconcile(listed("a", **fields), session)

    assert todo == Transitions()


CALLS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4)), max_size=8)
"""Uses of a call id each, with the number of the content."""


def as_parsed(calls):
    """The n-th use of a call id in a list is named so."""
    uses = Counter()
    for call_id, number in calls:
        uses[call_id] += 1
        yield tool_call_id(call_id, uses[call_id]), number


@given(st.lists(CALLS, min_size=1, max_size=5))
def test_an_id_stands_for_one_content_for_good_and_a_known_content_keeps_its_id(lists):
    heap, content = Heap(), {}
    for calls in lists:
        contents = list(as_parsed(calls))
        asked = [Content(id_, Stamp(bytes([number]), is_redacted=False)) for id_, number in contents]
        stored = {(base_id(id_), number) for id_, number in content.items()}

        ids = session_ids_of_contents(
            asked, heap, lambda slot: Stamp(bytes([content[heap.ids[slot]]]), is_redacted=False)
        )

        assert len(set(ids)) == len(ids)
        first = {}
        for id_, (name, number) in zip(ids, contents, strict=True):
            assert base_id(id_) == base_id(name)
            assert content.setdefault(id_, number) == number
            if (base_id(name), number) not in first:
                first[base_id(name), number] = id_
                assert (id_ in heap.slot_of) == ((base_id(name), number) in stored)
            if id_ not in heap.slot_of:
                heap.admit(entry(id_))


def stamp(byte):
    return Stamp(bytes([byte]), is_redacted=False)


def test_a_pending_call_is_completed_under_its_id_and_only_by_the_call_that_waited():
    heap = heap_of(entry("a", flags=PENDING))
    contents = [Content("a", stamp(2), pending_stamp=stamp(9)), Content("a~2", stamp(3), pending_stamp=stamp(1))]

    assert session_ids_of_contents(contents, heap, lambda _: stamp(1)) == ["a~2", "a"]


def test_a_pending_call_is_completed_by_one_of_two_calls_that_ask_the_same():
    heap = heap_of(entry("a", flags=PENDING))
    contents = [Content("a", stamp(2), pending_stamp=stamp(1)), Content("a~2", stamp(3), pending_stamp=stamp(1))]

    assert session_ids_of_contents(contents, heap, lambda _: stamp(1)) == ["a", "a~2"]


def test_a_content_that_the_session_holds_twice_keeps_the_id_that_its_list_gives_it():
    heap = heap_of(entry("a"), entry("a~2"))

    assert session_ids_of_contents([Content("a~2", stamp(1))], heap, lambda _: stamp(1)) == ["a~2"]


def test_a_forgotten_segment_is_not_recognised_by_the_content_that_it_had():
    heap = heap_of(entry("a", state=FORGOTTEN))

    assert session_ids_of_contents([Content("a~2", stamp(1))], heap, lambda _: stamp(1)) == ["a~2"]


def test_no_content_claims_an_id_of_another_content_where_a_repair_left_a_gap_between_ordinals():
    heap = heap_of(entry("a"), entry("a~3"))

    ids = session_ids_of_contents([Content("a", stamp(5)), Content("a~2", stamp(6))], heap, lambda _: stamp(1))

    assert ids == ["a~2", "a~4"]


def test_a_forgotten_id_is_claimed_by_its_name_and_a_reserved_one_by_nobody():
    heap = heap_of(entry("a", state=FORGOTTEN), entry("b"))

    assert session_ids_of_contents(
        [Content("a", stamp(7)), Content("b", stamp(1))], heap, lambda _: stamp(1), ["b"]
    ) == [
        "a",
        "b~2",
    ]
