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

from collections.abc import Sequence
from typing import Protocol

from ctxgc.core.collector import Victim
from ctxgc.core.heap import EVICTED, OPAQUE, PENDING, RESIDENT, Heap, HeapEntry, Now, Proof
from ctxgc.core.pacing.pacer import FAULT_CALL_TOKENS
from ctxgc.core.pacing.price_profiles import Prices
from ctxgc.core.pacing.prompt_cache import CacheState
from ctxgc.core.paths import PathIndex
from ctxgc.core.reuse import SHIPPED, ReuseWeights
from ctxgc.core.segment import Kind
from ctxgc.replay.demand import THRESHOLD, Want, greedy_cover, used_segments
from ctxgc.replay.entry import WHOLE, EnteringResult, ReplayedEntry
from ctxgc.replay.pauses import cold_step_flags, request_gaps_s
from ctxgc.replay.script import EpisodeScript, SlotAdmission
from ctxgc.replay.session_cache import TRUE, CacheRules, Layout, session_cache
from ctxgc.replay.tally import Fault, Tally

RECALL_GRACE_TURNS = 1
HOST = "host"
"""The reason of a body that the host cleared."""


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
    """A policy's run on an episode. Policies read the simulation; only `play_simulation` writes."""

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
        self._parts: list[tuple[int, int, int]] = []
        """The (place, slot, tokens) of parts that came back."""
        self._gone: dict[int, tuple[str, int]] = {}
        """Why and when a slot went."""
        self._part_step = -1
        """The step whose reply last asked for parts."""
        self._place = 0
        self._layout: Layout | None = None
        """Where the prompt's pieces end; None: not known since the last edit."""
        self.entry = ReplayedEntry(self.heap, script.entry) if script.entry != WHOLE else None
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
        pieces += self._parts
        parts = {place for place, _, _ in self._parts}
        for place, slot, left_tokens in sorted(pieces) if self._left or parts else pieces:
            if left_tokens >= 0:
                layout.append_piece(left_tokens, self._block_count(slot), 0, is_tombstone=place not in parts)
                continue
            cost = heap.cost_of(slot)
            # The heap counts a recalled body's skeleton here; it renders at the slot's first place.
            shown = cost - heap.skeleton[slot] * (slot in self._left)
            is_tombstone = heap.state[slot] == EVICTED and self._gone[slot][0] != HOST
            layout.append_piece(shown, self._block_count(slot), cost, is_tombstone=is_tombstone)

    def _block_count(self, slot: int) -> int:
        """Blocks of a slot: two for a call and its result, else a single block."""
        return 2 if self.heap.kind_of(slot) is Kind.TOOL_CALL else 1

    def admit(self, admission: SlotAdmission) -> None:
        """Put a segment at the end of the window, in the transcript's order."""
        entry: HeapEntry = admission.entry
        proofs: Sequence[tuple[int, Proof]] = admission.proofs
        if self.entry is not None and admission.result is not None:
            result = EnteringResult(admission.result, admission.result_tokens, admission.birth)
            entry, proofs = self.entry.enter(result, entry, proofs)
        slot = self.heap.admit(entry, admission.refs)
        self._place += 1
        self.heap.set_place(slot, self._place)
        if self._layout is not None and self.cache.is_placed:
            cost = self.heap.cost_of(slot)
            self._layout.append_piece(cost, self._block_count(slot), cost)
        for old, proof in proofs:
            self.heap.record_proof(old, proof)
        is_read_again = self.entry is not None and self.entry.shortened.has_hidden_lines_of_read(
            self.paths, admission.uses
        )
        for use in admission.uses:
            self.paths.record_use(use, slot, admission.entry.born_turn)
        evicted_view = next(filter(self.is_evicted, admission.views), -1)
        if evicted_view >= 0:
            self.tally.view_faults += 1
            self.tally.reread_slots.append(evicted_view)
        if any(map(self.is_evicted, admission.reads)):
            self.tally.explicit_faults += 1
        elif is_read_again:
            self.tally.explicit_part_faults += 1

    def is_evicted(self, slot: int) -> bool:
        """Whether the policy's hand, not the host's, took a slot's body."""
        return self.heap.state[slot] == EVICTED and self._gone[slot][0] != HOST

    def is_shown(self, slot: int) -> bool:
        """Whether the window shows a slot's whole body."""
        return self.heap.state[slot] == RESIDENT if self.entry is None else self.entry.is_shown(slot)

    def shows_want(self, want: Want, slot: int) -> bool:
        """Whether the window shows a want's text in a slot's body, or in a part of the body that came back."""
        parts = () if self.entry is None else self.entry.shortened.parts_with_want(slot, want)
        return any(part.is_back for part in parts) if parts else self.is_shown(slot)

    def serve_wants(self, slot: int, wants: Sequence[Want]) -> None:
        """Bring back what these wants miss of a slot: its body, and of lines left out at birth the parts alone."""
        parts = [] if self.entry is None else self.entry.shortened.missing_parts(slot, wants)
        is_whole = self.entry is None or not all(self.entry.shortened.parts_with_want(slot, want) for want in wants)
        if is_whole:
            self.serve_fault(slot)
        for part in parts:
            part.is_back = True
            self._serve_part_fault(slot, part.tokens)

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
        return self._evict_bodies(gone)

    def clear_by_host(self, slots: Sequence[int]) -> int:
        """Segments that the host dropped: absent under every policy, charged to none, and no view of any line."""
        heap = self.heap
        if slots:
            self.paths.set_slots_outside(slots, is_outside=True)
        for slot in slots:
            if heap.state[slot] <= EVICTED and self._gone.get(slot, ("", 0))[0] != HOST:
                self._cleared_tokens += heap.freed[slot]
            self._gone[slot] = (HOST, self.turn)
        return self._evict_bodies({slot: HOST for slot in slots if self.heap.state[slot] == RESIDENT})

    def _evict_bodies(self, gone: dict[int, str]) -> int:
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
        position += sum(tokens for at, _, tokens in self._parts if at < place)
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
        heap.grace.grant(slot, self.turn + RECALL_GRACE_TURNS)

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
        self._bill_recall()

    def _serve_part_fault(self, slot: int, tokens: int) -> None:
        """Bill and note a fault of lines that a result left out, which come back alone at the tail.

        The parts that a reply needs are asked for at once: calls of one reply, and one further request.
        """
        self.tally.faults += 1
        self.tally.part_faults += 1
        self._place += 1
        self._parts.append((self._place, slot, tokens))
        self.left_tokens += tokens
        self._layout = None
        self._bill_recall(is_further_request=self._part_step != self.step)
        self._part_step = self.step

    def _bill_recall(self, *, is_further_request: bool = True) -> None:
        billed = self.cache.bill_prompt(self.layout(), self.prompt_tokens)
        # Output is dearer than input: five times, as list prices have it.
        call = 5 * FAULT_CALL_TOKENS
        read, write, _ = self.prices
        again = read * billed.read if is_further_request else 0.0
        self.tally.cost += again + call + write * (billed.written + FAULT_CALL_TOKENS) + billed.plain

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
    return play_simulation(Simulation(script, prices, weights, cache), policy, threshold)


def play_simulation(run: Simulation, policy: Policy, threshold: int = THRESHOLD) -> Tally:
    """Play a fresh simulation to its end under a policy."""
    script, prices = run.script, run.prices
    policy.begin_episode(script)
    waits = zip(script.steps, request_gaps_s(script.steps), cold_step_flags(script.steps, prices), strict=True)
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
    unserved = [want for want in wants if not any(run.shows_want(want, slots[provider]) for provider in want.providers)]
    missing = greedy_cover(unserved, None, threshold)
    for provider in set(used_segments(wants)).difference(missing):
        heap.touch(slots[provider], run.turn)
    for provider in missing:
        own = [want for want in unserved if provider in want.providers]
        unserved = [want for want in unserved if provider not in want.providers]
        run.serve_wants(slots[provider], own)
    run.tally.uses += len(script.uses[number])
