"""The heap: every segment of a session, a slot each, in columns.

    admit ──▶ resident ──evict──▶ evicted          departed, forgotten: out of the window for good,
                 ▲                   │              unless the host rewinds or an import returns them
                 └──────recall───────┘

A slot is a small integer that counts admissions; references always point to smaller slots, so the graph is acyclic. The
window holds the slots that are resident or evicted, in order of their places; an evicted slot still costs its skeleton
and its tombstone. A single session task owns a heap; the heap never locks, waits or does I/O.

Columns instead of objects: about 150 bytes a slot with its references, where an object takes 400. The property tests
call `check_invariants` after every step.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import log
from operator import ge
from typing import NamedTuple

from ctxgc.core.cells import BodyColumns, Cells
from ctxgc.core.grace import GracePeriods
from ctxgc.core.masks import filter_table
from ctxgc.core.reuse import SHIPPED, FixedFacts, ReuseWeights, fixed_logit
from ctxgc.core.segment import SAID_EDGES, Kind, State
from ctxgc.core.window_order import WindowOrder, WindowSlots

KINDS = tuple(Kind)
REPLY_KINDS = frozenset({Kind.ASSISTANT, Kind.THINKING, Kind.TOOL_CALL, Kind.PLAN})
"""Kinds that an assistant's reply consists of: with them a session's turn moves on."""
STATES = tuple(State)
RESIDENT, EVICTED, DEPARTED, FORGOTTEN = range(4)
assert STATES == (State.RESIDENT, State.EVICTED, State.DEPARTED, State.FORGOTTEN)

PINNED, OPAQUE, PENDING, ERRORED, PLANNING, WORDED = (1 << bit for bit in range(6))

NAMES_MAX = 0xFFFF
"""Tools, and tasks, that a heap tells apart; further references are dropped (I12)."""


IS_INSIDE = filter_table(lambda state: state <= EVICTED)


class Now(NamedTuple):
    """The clock, as an argument: assistant replies seen so far, and Unix time."""

    turn: int
    wall_s: float = 0.0


class PointerEdge(NamedTuple):
    """Lines of a body that an older body shows (`core.entry.elisions`)."""

    target: int
    """The older slot."""
    saved_tokens: int
    """Tokens of the lines less those of the pointer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeapEntry:
    """A heap's record of a segment. Token counts are raw o200k."""

    id: str
    kind: Kind
    place: int
    born_turn: int
    skeleton_tokens: int
    """What renders always; inputs that may not be evicted are counted here."""
    body_tokens: int
    tombstone_tokens: int
    tool: str = ""
    task: str = ""
    flags: int = 0
    traits: int = 0
    namings: int = 0
    """How many earlier segments named the best known of its files (`PathIndex.record_naming`)."""
    importance: float = 0.5
    touched_turn: int = -1
    touches: int = 0
    state: int = RESIDENT
    pointers: tuple[PointerEdge, ...] = ()
    """`body_tokens` counts the body whole; what the pointers save comes off while their targets are in the window."""
    hidden_tokens: int = 0
    """What lines left out at birth save: it comes off for good."""


class Proof(NamedTuple):
    """The proof of a garbage slot: the reason, and the proving slot (-1: the slot itself)."""

    reason: str
    by: int


class Heap:
    """Columns over the slots of a session, and the sums that budgets are held against.

    `resident_tokens` is the window's cost: skeletons of all slots, resident bodies, tombstones of evicted slots (I4).
    `evictable_tokens` counts resident bodies of `evictable_kinds` only, `absent_tokens` what evicted bodies would add.
    """

    def __init__(
        self,
        evictable_kinds: Iterable[Kind] = (Kind.TOOL_CALL, Kind.ATTACHMENT, Kind.THINKING),
        weights: ReuseWeights = SHIPPED,
    ) -> None:
        self.weights = weights
        self.evictable_kinds = frozenset(evictable_kinds)
        self.evictable_kind_table = filter_table(lambda code: code < len(KINDS) and KINDS[code] in self.evictable_kinds)
        """1 for the kinds whose bodies may go at all."""
        self.ids: list[str] = []
        self.slot_of: dict[str, int] = {}
        self.kind = bytearray()
        self.state = bytearray()
        self.flags = bytearray()
        self.place = array("q")
        self.born = array("i")
        self.born_peak = array("i")
        """Youngest birth up to and with each slot, or later: a search for the young may stop where it is old."""
        self.touched = array("i")
        self.touches = array("i")
        self.skeleton = array("i")
        self.body = array("i")
        self.tombstone = array("i")
        self.freed = array("i")
        """Body less tombstone: what evicting takes out of the window; below zero where the tombstone is larger."""
        self.importance = array("f")
        self.traits = bytearray()
        self.namings = array("i")
        self.logit = array("d")
        """The part of the log-odds of reuse that time does not change (`core.reuse`)."""
        self.key = array("d")
        """The same per token that evicting the body frees, in logarithms: the lower, the sooner it goes."""
        self.refs: list[tuple[int, ...]] = []
        self.ref_kinds: list[bytes] = []
        """Kind of each reference; equal rows share one object."""
        self.given: dict[int, tuple[int, ...]] = {}
        """The targets of each slot's references that a client said: the mark follows them."""
        self.tool = array("H")
        self.task = array("H")
        self.tools: list[str] = [""]
        self.tasks: list[str] = [""]
        self._names: dict[str, int] = {"t:": 0, "k:": 0}
        self.shared_kinds: dict[bytes, bytes] = {}
        self.proofs: dict[int, Proof] = {}
        self.pointers: dict[int, tuple[PointerEdge, ...]] = {}
        """The pointers of each slot whose body shows lines of older slots by pointers alone."""
        self.hidden: dict[int, int] = {}
        """Tokens that bodies save by lines left out at birth."""
        self.holders: dict[int, list[int]] = {}
        """The slots whose pointers lead to each slot."""
        self.grace = GracePeriods()
        self.last_turn = 0
        self.resident_tokens = self.evictable_tokens = self.absent_tokens = 0
        self.window_order = WindowOrder(self.place, self.state, IS_INSIDE)
        self.cells = Cells(BodyColumns(self.key, self.born, self.touched, self.freed))
        """The order of eviction, where plans want it kept. A slot drops out before what ranks it changes."""

    def __len__(self) -> int:
        return len(self.ids)

    def admit(self, entry: HeapEntry, refs: Iterable[tuple[int, int]] = ()) -> int:
        """Append a slot and return it. `refs` are (older slot, edge kind). O(references)."""
        if entry.id in self.slot_of:
            raise ValueError(f"slot of {entry.id!r} exists: complete it instead")
        slot = len(self.ids)
        self.ids.append(entry.id)
        self.slot_of[entry.id] = slot
        for column in (self.kind, self.flags, self.traits):
            column.append(0)
        self.state.append(FORGOTTEN)  # Costs nothing until _fill_slot sets what it is.
        self.born_peak.append(self.born_peak[-1] if slot else entry.born_turn)
        counts = (self.skeleton, self.body, self.tombstone, self.freed, self.namings, self.tool, self.task)
        for numbers in (self.place, self.born, self.touched, self.touches, *counts):
            numbers.append(0)
        for values in (self.importance, self.logit, self.key):
            values.append(0.0)  # `_fill_slot` sets what they are.
        self.refs.append(())
        self.ref_kinds.append(b"")
        self._fill_slot(slot, entry, refs)
        if entry.state <= EVICTED:
            self.window_order.append(slot)
        return slot

    def complete(self, slot: int, entry: HeapEntry, refs: Iterable[tuple[int, int]] = ()) -> None:
        """Replace a pending slot's content. Place, birth, importance, task, state, pin, touches and references stay."""
        entry = replace(
            entry,
            place=self.place[slot],
            born_turn=self.born[slot],
            importance=self.importance[slot],
            task=self.tasks[self.task[slot]],
            touched_turn=self.touched[slot],
            touches=self.touches[slot],
            flags=entry.flags | self.flags[slot] & PINNED,
            state=self.state[slot],
        )
        self._add_to_sums(slot, -1)
        self._fill_slot(slot, entry, [*self.refs_with_edge_kinds(slot), *refs])

    def _fill_slot(self, slot: int, entry: HeapEntry, refs: Iterable[tuple[int, int]]) -> None:
        self.kind[slot] = KINDS.index(entry.kind)
        self.flags[slot], self.traits[slot], self.namings[slot] = entry.flags, entry.traits, entry.namings
        self.place[slot], self.born[slot] = entry.place, entry.born_turn
        self.touched[slot] = max(entry.touched_turn, entry.born_turn)
        self.touches[slot], self.skeleton[slot] = entry.touches, entry.skeleton_tokens
        self.body[slot] = entry.body_tokens - self._link_pointers(slot, entry.pointers) - entry.hidden_tokens
        self.hidden |= {slot: entry.hidden_tokens} if entry.hidden_tokens else {}
        self.tombstone[slot], self.importance[slot] = entry.tombstone_tokens, entry.importance
        self.freed[slot] = self.body[slot] - entry.tombstone_tokens
        self.tool[slot] = self.intern_name("t:", entry.tool, self.tools)
        self.task[slot] = self.intern_name("k:", entry.task, self.tasks)
        self.last_turn = max(self.last_turn, self.touched[slot])
        for later in range(slot, len(self.ids)):
            if self.born_peak[later] >= entry.born_turn:
                break
            self.born_peak[later] = entry.born_turn
        self.set_refs(slot, refs)
        self.state[slot] = entry.state
        self._add_to_sums(slot, 1)

    def _link_pointers(self, slot: int, pointers: tuple[PointerEdge, ...]) -> int:
        """Note a new slot's pointers; the tokens that those save whose targets are in the window."""
        if not pointers:
            return 0
        if any(not 0 <= edge.target < slot for edge in pointers):
            raise ValueError("a pointer leads to an older segment only")
        self.pointers[slot] = pointers
        for target in {edge.target for edge in pointers}:
            self.holders.setdefault(target, []).append(slot)
        return sum(edge.saved_tokens for edge in pointers if self.state[edge.target] <= EVICTED)

    def _resize_holders(self, target: int, sign: int) -> None:
        """A target enters the window or leaves it: each holder shows fewer lines itself, or all of its lines."""
        for holder in self.holders.get(target, ()):
            saved = sum(edge.saved_tokens for edge in self.pointers[holder] if edge.target == target)
            self._add_to_sums(holder, -1)
            self.body[holder] -= sign * saved
            self.freed[holder] -= sign * saved
            self._add_to_sums(holder, 1)
            self._score_slot(holder)

    def intern_name(self, prefix: str, name: str, names: list[str]) -> int:
        """The number of a tool's name (`t:`) or a task's (`k:`) in these names; 0 for a name past the bound."""
        if prefix + name not in self._names and len(names) <= NAMES_MAX:
            self._names[prefix + name] = len(names)
            names.append(name)
        return self._names.get(prefix + name, 0)

    def _score_slot(self, slot: int) -> None:
        logit = fixed_logit(self.weights, self.fixed_reuse_facts(slot), self.importance[slot])
        self.logit[slot] = logit
        self.cells.drop_slot(slot)
        self.key[slot] = logit - log(max(self.freed[slot], 1))

    def fixed_reuse_facts(self, slot: int) -> FixedFacts:
        """The facts of a slot that the estimate of reuse rests on."""
        kind, refs = KINDS[self.kind[slot]], len(self.refs[slot])
        return FixedFacts(kind, self.traits[slot], self.body[slot], refs, self.namings[slot])

    def set_refs(self, slot: int, refs: Iterable[tuple[int, int]]) -> None:
        """Replace a slot's references. Targets must be older slots."""
        pairs = list(dict.fromkeys(refs))
        if any(not 0 <= target < slot for target, _ in pairs):
            raise ValueError("a segment refers to older segments only")
        # The slot numbers held by slot_of are reused, so that an edge costs a pointer and no integer of its own.
        self.refs[slot] = tuple(self.slot_of[self.ids[target]] for target, _ in pairs)
        kinds = bytes(kind for _, kind in pairs)
        self.given.pop(slot, None)
        if given := tuple(target for target, kind in pairs if kind in SAID_EDGES):
            self.given[slot] = given
        self.ref_kinds[slot] = self.shared_kinds.setdefault(kinds, kinds)
        self._score_slot(slot)

    def has_evictable_kind(self, slot: int) -> bool:
        """Whether bodies of the slot's kind are evicted at all."""
        return bool(self.evictable_kind_table[self.kind[slot]])

    def cost_of(self, slot: int) -> int:
        """The slot's cost in the window now, in raw tokens; 0 outside of the window."""
        if self.state[slot] > EVICTED:
            return 0
        return self.skeleton[slot] + (self.body[slot] if self.state[slot] == RESIDENT else self.tombstone[slot])

    def whole_body_tokens(self, slot: int) -> int:
        """Tokens of a slot's body as its host sent the body: a tombstone names this size, whatever its pointers do."""
        edges = (edge for edge in self.pointers.get(slot, ()) if self.state[edge.target] <= EVICTED)
        return self.body[slot] + sum(edge.saved_tokens for edge in edges) + self.hidden.get(slot, 0)

    def _add_to_sums(self, slot: int, sign: int) -> None:
        self.resident_tokens += sign * self.cost_of(slot)
        if self.state[slot] == RESIDENT:
            self.evictable_tokens += sign * self.body[slot] * self.evictable_kind_table[self.kind[slot]]
        elif self.state[slot] == EVICTED:
            self.absent_tokens += sign * self.freed[slot]

    def set_state(self, slot: int, state: int) -> None:
        """Move a slot to a state; the sums follow. O(1)."""
        self.cells.drop_slot(slot)
        self._add_to_sums(slot, -1)
        was_inside, is_inside = self.state[slot] <= EVICTED, state <= EVICTED
        self.state[slot] = state
        self._add_to_sums(slot, 1)
        if was_inside != is_inside:
            self.window_order.unsettle(slot)
            self._resize_holders(slot, 1 if is_inside else -1)

    def set_place(self, slot: int, place: int) -> None:
        """Move a slot in the window."""
        self.window_order.unsettle(slot)
        self.place[slot] = place
        self.window_order.unsettle(slot)

    def freed_tokens(self, slots: Iterable[int]) -> int:
        """Tokens that evicting these slots frees, tombstones paid."""
        return sum(self.freed[slot] for slot in slots)

    def set_pinned(self, slot: int, is_pinned: bool) -> None:
        """Pin or unpin; a second pin changes nothing."""
        self.flags[slot] = self.flags[slot] | PINNED if is_pinned else self.flags[slot] & ~PINNED

    def set_importance(self, slot: int, importance: float) -> None:
        """Worth that the estimate does not see: 0 to 1."""
        self.importance[slot] = importance
        self._score_slot(slot)

    def raise_namings(self, slot: int, namings: int) -> None:
        """Raise the slot's count of earlier segments that named a file of the slot (`PathIndex.record_naming`)."""
        if namings > self.namings[slot]:
            self.namings[slot] = namings
            self._score_slot(slot)

    def set_task(self, slot: int, task: str) -> None:
        """Put the slot into a task."""
        self.task[slot] = self.intern_name("k:", task, self.tasks)

    def touch(self, slot: int, turn: int) -> None:
        """An observed use; a turn counts once, as in the stash. O(1)."""
        self.cells.drop_slot(slot)
        self.touches[slot] += turn > self.touched[slot]
        self.touched[slot] = max(self.touched[slot], turn)
        self.last_turn = max(self.last_turn, turn)

    def record_proof(self, slot: int, proof: Proof) -> bool:
        """Remember a proof; the first one stands. True if it is new."""
        self.cells.drop_slot(slot)
        return self.proofs.setdefault(slot, proof) is proof

    def window(self) -> WindowSlots:
        """Slots of the window in order. O(1) without a move since the last call, then a sort of what moved."""
        return self.window_order.slots()

    def has_flag(self, slot: int, flag: int) -> bool:
        """Whether a flag bit is set."""
        return bool(self.flags[slot] & flag)

    def tool_name(self, slot: int) -> str:
        """The name of a slot's tool; empty for a slot of no tool call."""
        return self.tools[self.tool[slot]]

    def kind_of(self, slot: int) -> Kind:
        """The slot's kind."""
        return KINDS[self.kind[slot]]

    def state_of(self, slot: int) -> State:
        """The slot's state."""
        return STATES[self.state[slot]]

    def refs_with_edge_kinds(self, slot: int) -> Iterator[tuple[int, int]]:
        """(older slot, edge kind) of a slot's references."""
        return zip(self.refs[slot], self.ref_kinds[slot], strict=True)

    def check_invariants(self) -> None:
        """Raise `AssertionError` unless every invariant of the heap holds. O(n); for tests."""
        n = len(self.ids)
        assert list(self.born_peak) == sorted(self.born_peak)
        assert all(map(ge, self.born_peak, self.born))
        assert all(self.freed[slot] == self.body[slot] - self.tombstone[slot] for slot in range(n))
        columns = (self.kind, self.state, self.flags, self.place, self.born, self.touched, self.touches, self.skeleton)
        counts = (self.body, self.tombstone, self.freed, self.traits, self.namings)
        worth = (self.importance, self.logit, self.key, self.refs, self.ref_kinds, self.tool, self.task)
        assert all(len(column) == n for column in (*columns, *counts, *worth))
        assert self.slot_of == {id_: slot for slot, id_ in enumerate(self.ids)}
        assert self.resident_tokens == sum(map(self.cost_of, range(n))), "I4"
        assert self.absent_tokens == sum(self.freed[s] for s in range(n) if self.state[s] == EVICTED), "I4"
        bodies = (self.body[s] for s in range(n) if self.state[s] == RESIDENT and self.has_evictable_kind(s))
        assert self.evictable_tokens == sum(bodies), "I4"
        assert all(target < slot for slot in range(n) for target in self.refs[slot])
        led = {(edge.target, slot) for slot, edges in self.pointers.items() for edge in edges}
        assert led == {(target, slot) for target, holders in self.holders.items() for slot in holders}
        assert all(target < slot for target, slot in led)
        assert all(len(a) == len(b) for a, b in zip(self.refs, self.ref_kinds, strict=True))
        order = self.window()
        self.cells.check_invariants()
        assert sorted(order) == [s for s in range(n) if self.state[s] <= EVICTED]
        assert all((self.place[a], a) < (self.place[b], b) for a, b in pairwise(order))
