"""The simulator: a policy over an episode, billed turn by turn.

    before a request   what joined since is admitted ─▶ the policy names victims ─▶ the core sweeps them
    the request        cost = r · read + w · written + plain, by the provider's cache (`session_cache`)
    after the reply    demand without a resident provider ─▶ faults: recalled at the tail, at the price of a round trip

A fault is a further request: the request says the call, and has the recalled body at the end of its prompt, which from
then on is cached like all bodies. A body that the host itself cleared is out under every policy, and no policy's fault.

The heap, the roots, the proofs of garbage, plan, pacer and sweep are the core's own: the replay plays the shipped code.
Costs are input-token equivalents in raw tokens; relative to no collection they need no unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ctxgc.core.collector import Victim
from ctxgc.core.garbage import GarbageIndex
from ctxgc.core.heap import EVICTED, OPAQUE, PENDING, RESIDENT, Heap, HeapEntry, Now, Proof
from ctxgc.core.heap_entry import heap_entry_of
from ctxgc.core.pacer import FAULT_CALL_TOKENS, Prices
from ctxgc.core.paths import PathIndex
from ctxgc.core.prompt_cache import CacheState
from ctxgc.core.recall_commands import recalled_name
from ctxgc.core.reference import ReferenceIndex
from ctxgc.core.reuse import SHIPPED, ReuseWeights
from ctxgc.core.segment import Access, Kind, PathUse, Segment, parse_address
from ctxgc.replay.demand import THRESHOLD, Demand, EvictionScope, greedy_cover, used_segments
from ctxgc.replay.entry import ReplayedEntry, entering_result
from ctxgc.replay.pauses import cold_steps, request_gaps_s
from ctxgc.replay.session_cache import TRUE, CacheRules, Layout, session_cache
from ctxgc.replay.tally import Fault, Tally
from ctxgc.replay.trace import CountedSegment, Episode

RECALL_GRACE_TURNS = 1
HOST = "host"
"""The reason of a body that the host cleared."""


@dataclass(frozen=True, slots=True)
class SlotAdmission:
    """A segment on its way into a heap: the part that does not depend on a policy, derived once."""

    entry: HeapEntry
    refs: tuple[tuple[int, int], ...]
    proofs: tuple[tuple[int, Proof], ...]
    uses: tuple[PathUse, ...]
    reads: tuple[int, ...]
    """Newest earlier holders of what it reads: an explicit fault if one of them is out."""
    result: str | None = None
    """The text of a call's result where pointers may stand in it."""
    result_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A turn, ready to be simulated."""

    turn: int
    wall_s: float
    before: tuple[SlotAdmission, ...]
    reply: tuple[SlotAdmission, ...]
    cleared: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EpisodeScript:
    """An episode, ready to be simulated under any policy: admissions, and demand by heap slot."""

    name: str
    source: str
    session: str
    number: int
    """Of the episode, from 0 in each session."""
    hidden_tokens: int
    steps: tuple[Step, ...]
    demand: Demand
    slots: tuple[int, ...]
    """Heap slot of each evictable segment of the demand, by its index."""
    uses: tuple[tuple[int, ...], ...]
    """Slots that each turn used, whatever the policy."""
    scope: EvictionScope
    has_references: bool = False
    """Results enter with pointers to the lines that the window shows already; else whole."""


def _recalled_slot(segment: Segment, slot_of: Mapping[str, int]) -> int:
    """The slot that a recorded command brought back. Slots are seqs: a transcript is admitted in its own order."""
    name = recalled_name(segment)
    address = parse_address(name)
    if address:
        return address.seq  # A stash draws the number, so a transcript cannot tell another session's, which are rare.
    return int(name[1:]) if name.startswith("#") else slot_of.get(name, -1)


def script_of(episode: Episode, scope: EvictionScope, demand: Demand) -> EpisodeScript:
    """Derive the part that no policy changes: references, proofs, paths. With a placebo's demand, the placebo's
    script."""
    index = ReferenceIndex()
    garbage = GarbageIndex(index.paths)
    slot_of: dict[str, int] = {}

    def admission(sized: CountedSegment) -> SlotAdmission:
        segment, slot = sized.segment, len(slot_of)
        slot_of[segment.id] = slot
        namings = index.paths.record_naming(slot, segment.paths)[slot]
        refs = index.derive_references(slot, segment, recalled=_recalled_slot(segment, slot_of))
        reads = [index.paths.newest_holder(use, slot) for use in segment.paths if use.access is Access.READ]
        proofs = garbage.find_proofs(slot, segment)
        index.add_facts(slot, segment)
        index.add_text(slot, segment)
        entry = heap_entry_of(
            segment,
            sized.tokens,
            has_evictable_inputs=scope.inputs,
            namings=namings,
        )
        readers = tuple(r for r in reads if r >= 0)
        return SlotAdmission(entry, tuple(refs), tuple(proofs), segment.paths, readers, *entering_result(sized))

    steps = []
    for turn in episode.turns:
        before = tuple(map(admission, turn.before))
        cleared = tuple(slot_of[id_] for id_ in turn.cleared if id_ in slot_of)
        steps.append(Step(turn.number, turn.wall_s, before, tuple(map(admission, turn.reply)), cleared))
    slots = tuple(slot_of[id_] for id_ in demand.ids)
    return EpisodeScript(
        name=episode.name,
        source=episode.source,
        session=episode.session,
        number=episode.number,
        hidden_tokens=episode.hidden_tokens,
        steps=tuple(steps),
        demand=demand,
        slots=slots,
        uses=tuple(tuple(slots[provider] for provider in greedy_cover(wants, None)) for wants in demand.wants),
        scope=scope,
    )


class Policy(Protocol):
    """Names victims before a request. Stateless between episodes: `begin` is called at the start of each."""

    name: str

    def begin_episode(self, script: EpisodeScript) -> None:
        """A new episode starts; only oracles may look into the script."""
        ...

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """The victims before a request."""
        ...


class Simulation:
    """A policy's run on an episode. Policies read the simulation; only `play` writes."""

    def __init__(
        self, script: EpisodeScript, prices: Prices, weights: ReuseWeights = SHIPPED, cache: CacheRules = TRUE
    ) -> None:
        self.script = script
        self.prices = prices
        self.heap = Heap(script.scope.kinds, weights)
        self.paths = PathIndex()
        self.step = 0
        self.turn = 0
        self.seen_slots = 0
        """Slots below this were in the last prompt: the model has seen them."""
        self.cache = session_cache(cache, prices)
        """What the next request finds in the provider's cache, the hidden prefix included."""
        self.left_tokens = 0
        """Skeletons and tombstones that stay where recalled bodies were, beyond what the heap counts."""
        self._cleared_tokens = 0
        """Segments that the host took out: absent under every policy."""
        self._left: dict[int, list[tuple[int, int]]] = {}
        """For each recalled slot the (place, tokens) of what stays at its former places."""
        self._gone: dict[int, tuple[str, int]] = {}
        """Why and when a slot went."""
        self._place = 0
        self._layout: Layout | None = None
        """Where the prompt's pieces end; None: not known since the last edit."""
        self.entry = ReplayedEntry(self.heap) if script.has_references else None
        """None: every result enters whole."""
        self.tally = Tally()

    @property
    def now(self) -> Now:
        """The collector's clock."""
        return Now(self.turn)

    @property
    def prompt_tokens(self) -> int:
        """The next request without evictions."""
        return self.script.hidden_tokens + self.left_tokens + self.heap.resident_tokens

    @property
    def absent_tokens(self) -> int:
        """The prompt's tokens missing by the policy's evictions."""
        return self.heap.absent_tokens - self._cleared_tokens - self.left_tokens

    @property
    def window_cache(self) -> CacheState:
        """The cache in the pacer's view: of the window alone."""
        return self.cache.cache_state(self.layout(), self.prompt_tokens, self.heap.resident_tokens)

    def layout(self) -> Layout:
        """The ends of the pieces of the next request's prompt. O(1) without an edit, then O(window)."""
        if self._layout is None:
            self._layout = Layout(self.script.hidden_tokens)
            if self.cache.is_placed:
                self._append_pieces(self._layout)
        return self._layout

    def _append_pieces(self, layout: Layout) -> None:
        heap = self.heap
        pieces = [(heap.place[slot], slot, -1) for slot in heap.window()]
        pieces += [(place, slot, tokens) for slot, left in self._left.items() for place, tokens in left]
        for _, slot, left_tokens in sorted(pieces) if self._left else pieces:
            if left_tokens >= 0:
                layout.append(left_tokens, self._block_count(slot), 0, is_tombstone=True)
                continue
            cost = heap.cost_of(slot)
            # The heap counts a recalled body's skeleton here; it renders at the slot's first place.
            shown = cost - heap.skeleton[slot] * (slot in self._left)
            is_tombstone = heap.state[slot] == EVICTED and self._gone[slot][0] != HOST
            layout.append(shown, self._block_count(slot), cost, is_tombstone=is_tombstone)

    def _block_count(self, slot: int) -> int:
        """Blocks of a slot: two for a call and its result, else a single block."""
        return 2 if self.heap.kind_of(slot) is Kind.TOOL_CALL else 1

    def admit(self, admission: SlotAdmission) -> None:
        """Put a segment at the end of the window, in the transcript's order."""
        entry: HeapEntry = admission.entry
        proofs: Sequence[tuple[int, Proof]] = admission.proofs
        if self.entry is not None and admission.result is not None:
            entry, proofs = self.entry.enter(admission.result, admission.result_tokens, entry, proofs)
        slot = self.heap.admit(entry, admission.refs)
        self._place += 1
        self.heap.set_place(slot, self._place)
        if self._layout is not None and self.cache.is_placed:
            cost = self.heap.cost_of(slot)
            self._layout.append(cost, self._block_count(slot), cost)
        for old, proof in proofs:
            self.heap.record_proof(old, proof)
        for use in admission.uses:
            self.paths.record_use(use, slot, admission.entry.born_turn)
        if any(self.heap.state[old] == EVICTED and self._gone[old][0] != HOST for old in admission.reads):
            self.tally.explicit_faults += 1

    def is_shown(self, slot: int) -> bool:
        """Whether the window shows a slot's whole body."""
        return self.heap.state[slot] == RESIDENT if self.entry is None else self.entry.is_shown(slot)

    def collect(self, victims: Sequence[Victim]) -> int:
        """Take out the policy's victims; the position of the first edited token, or the whole prompt.

        A body that the model has not seen stays, even if a policy names it: where a transcript skips replies, a clock
        of turns errs.
        """
        heap = self.heap
        gone = {}
        for victim in victims:
            slot = victim.slot
            if not heap.has_evictable_kind(slot) or heap.flags[slot] & (OPAQUE | PENDING):
                raise ValueError(f"{victim.reason} names slot {slot}, a body that never goes")
            if slot < self.seen_slots and heap.state[slot] == RESIDENT:
                gone[slot] = victim.reason
        self.tally.evictions += len(gone)
        self.tally.collections += bool(gone)
        return self._evict(gone)

    def clear_by_host(self, slots: Sequence[int]) -> int:
        """Segments that the host dropped: absent under every policy, charged to none."""
        heap = self.heap
        for slot in slots:
            if heap.state[slot] <= EVICTED and self._gone.get(slot, ("", 0))[0] != HOST:
                self._cleared_tokens += heap.freed[slot]
            self._gone[slot] = (HOST, self.turn)
        return self._evict({slot: HOST for slot in slots if self.heap.state[slot] == RESIDENT})

    def _evict(self, gone: dict[int, str]) -> int:
        """Tokens of the prompt before the first body that goes: the skeleton still renders."""
        heap = self.heap
        if not gone:
            return self.prompt_tokens
        self._layout = None
        for slot, reason in gone.items():
            heap.set_state(slot, EVICTED)
            self._gone[slot] = (reason, self.turn)
        first = min(gone, key=heap.place.__getitem__)
        place = heap.place[first]
        position = self.script.hidden_tokens + heap.skeleton[first] * (first not in self._left)
        for slot in heap.window():
            if slot == first:
                break
            position += heap.cost_of(slot)
        for slot, left in self._left.items():
            position += sum(tokens for at, tokens in left if at < place)
            if heap.place[slot] < place:
                position -= heap.skeleton[slot]
        return position

    def recall(self, slot: int) -> None:
        """Bring a body back at the tail; skeleton and tombstone stay in place."""
        heap = self.heap
        self._layout = None
        left = self._left.setdefault(slot, [])
        # The heap counts a skeleton once, with the body; it renders at the first of the slot's places.
        left.append((heap.place[slot], heap.tombstone[slot] + (0 if left else heap.skeleton[slot])))
        self.left_tokens += heap.tombstone[slot]
        heap.set_state(slot, RESIDENT)
        self._place += 1
        heap.set_place(slot, self._place)
        heap.touch(slot, self.turn)
        heap.grace_until[slot] = self.turn + RECALL_GRACE_TURNS

    def serve_fault(self, slot: int) -> None:
        """Bill and note a fault, and recall; of a resident body the targets of its pointers that are out."""
        if self.entry is not None and self.heap.state[slot] == RESIDENT:
            for target in sorted(self.entry.targets_of(slot)):
                if self.heap.state[target] == EVICTED:
                    self.serve_fault(target)
            return
        heap, size = self.heap, self.heap.body[slot]
        self.tally.faults += 1
        reason, gone_turn = self._gone[slot]
        age = self.turn - heap.born[slot]
        self.tally.worst.append(Fault(self.turn, heap.ids[slot], reason, size, age, gone_turn))
        self.recall(slot)
        billed = self.cache.bill_prompt(self.layout(), self.prompt_tokens)
        # Output is dearer than input: five times, as list prices have it.
        call = 5 * FAULT_CALL_TOKENS
        read, write, _ = self.prices
        self.tally.cost += read * billed.read + call + write * (billed.written + FAULT_CALL_TOKENS) + billed.plain

    def bill_request(self, edited_at: int) -> None:
        """Bill a request, whose prompt was edited from this token on."""
        prompt = self.prompt_tokens
        self.cache.invalidate_from(edited_at)
        billed = self.cache.bill_prompt(self.layout(), prompt)
        read, write, _ = self.prices
        self.tally.cost += read * billed.read + write * billed.written + billed.plain
        self.tally.prompt_tokens += prompt
        self.tally.cached_tokens += billed.read
        self.tally.window.append(prompt)


def simulate_policy(
    script: EpisodeScript,
    policy: Policy,
    prices: Prices,
    *,
    cache: CacheRules = TRUE,
    weights: ReuseWeights = SHIPPED,
    threshold: int = THRESHOLD,
) -> Tally:
    """Simulate a policy on an episode. Deterministic; O(turns · the policy's cost).

    `threshold` is the uncovered weight that makes a fault: at 1 a single rare word does.
    """
    run = Simulation(script, prices, weights, cache)
    policy.begin_episode(script)
    waits = zip(script.steps, request_gaps_s(script.steps), cold_steps(script.steps, prices), strict=True)
    for number, (step, gap_s, is_cold) in enumerate(waits):
        run.step, run.turn = number, step.turn
        for admission in step.before:
            run.admit(admission)
        run.cache.advance_clock(gap_s, is_cold=is_cold)
        edited_at = run.clear_by_host(step.cleared)
        if run.cache.is_placed:
            # A prefix cache hears of the host's edit with the request, as the pacers did that it was first built for.
            run.cache.invalidate_from(edited_at)
        run.bill_request(min(edited_at, run.collect(policy.victims(run))))
        _apply_demand(run, number, threshold)
        run.tally.costs.append(run.tally.cost)
        run.seen_slots = len(run.heap)
        for admission in step.reply:
            run.admit(admission)
    run.tally.turns = len(script.steps)
    return run.tally


def _apply_demand(run: Simulation, number: int, threshold: int) -> None:
    """The reply's needs: uses touch, faults recall."""
    script, heap = run.script, run.heap
    slots, wants = script.slots, script.demand.wants[number]
    if not wants:
        return
    missing = greedy_cover(wants, lambda provider: run.is_shown(slots[provider]), threshold)
    for provider in set(used_segments(wants)).difference(missing):
        heap.touch(slots[provider], run.turn)
    for provider in missing:
        run.serve_fault(slots[provider])
    run.tally.uses += len(script.uses[number])
