"""Policies and schedules, each a small named type: the baselines people run today, and ctxgc as shipped.

A policy names victims before a request. The collectors among them call the core's `plan` and `decide`; a baseline says
its rule in a line. Budgets are raw o200k tokens of evictable bodies (the studies' 32 k of estimated tokens are 34 k
raw).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from ctxgc.core.collector import Victim, evictable_mask, plan
from ctxgc.core.garbage import garbage_proof
from ctxgc.core.pacing.pacer import PacerRules
from ctxgc.core.pacing.regret_budget import PacerRequest, RegretAccount, decide_within_allowance
from ctxgc.core.rules import Rules
from ctxgc.core.segment import Kind
from ctxgc.replay.script import EpisodeScript
from ctxgc.replay.simulate import Simulation

BUDGET_TOKENS = 34_000
"""The tight budget of the victims-only comparison."""


def collectable_bodies(run: Simulation) -> list[int]:
    """Resident bodies that a baseline may take: of a kind that goes, all text, seen, larger than their tombstones.

    In window order.
    """
    heap = run.heap
    candidates = evictable_mask(heap, bytes(len(heap)))
    return [slot for slot in heap.window() if candidates[slot] and slot < run.seen_slots and heap.freed[slot] > 0]


def collectable_older_results(run: Simulation, keep: int) -> list[int]:
    """`results` but for those among the newest `keep` exchanges."""
    kept = set([slot for slot in run.heap.window() if run.heap.kind_of(slot) is Kind.TOOL_CALL][-keep:])
    return [slot for slot in collectable_bodies(run) if slot not in kept and run.heap.kind_of(slot) is Kind.TOOL_CALL]


def victims_of_slots(run: Simulation, slots: Iterable[int], reason: str) -> list[Victim]:
    """The slots as victims, for the same reason."""
    heap = run.heap
    return [Victim(slot, reason, -1, heap.freed[slot], 0.0) for slot in slots]


@dataclass(slots=True)
class NoCollection:
    """Never evicts: 100 % by definition."""

    name: str = "none"

    def begin_episode(self, script: EpisodeScript) -> None:
        """No preparation."""

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """None."""
        return ()


Order = Callable[[Simulation, int], float]
"""Ranks a slot: the lowest goes first."""


@dataclass(slots=True)
class JustEnough:
    """Every turn, evict in some order just enough to hold a budget: a naive limit."""

    name: str
    order: Order
    budget_tokens: int = BUDGET_TOKENS

    def begin_episode(self, script: EpisodeScript) -> None:
        """No preparation."""

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """In order, until the bodies fit."""
        heap = run.heap
        over = heap.evictable_tokens - self.budget_tokens
        if over <= 0:
            return ()
        chosen = []
        for slot in sorted(collectable_bodies(run), key=lambda slot: (self.order(run, slot), slot)):
            if over <= 0:
                break
            chosen.append(slot)
            over -= heap.body[slot]
        return victims_of_slots(run, chosen, self.name)


def rank_by_age(run: Simulation, slot: int) -> float:
    """Oldest first: a sliding window."""
    return run.heap.place[slot]


def rank_by_touch(run: Simulation, slot: int) -> float:
    """Least recently used first."""
    return run.heap.touched[slot] * 1e6 + run.heap.born[slot]


def rank_by_density(run: Simulation, slot: int) -> float:
    """Greedy-dual size frequency: uses per token, aged by the turn of the last touch."""
    heap = run.heap
    return heap.touched[slot] + 2000.0 * (1 + heap.touches[slot]) / max(heap.body[slot], 1)


def rank_by_size(run: Simulation, slot: int) -> float:
    """Biggest first."""
    return -run.heap.body[slot]


def rank_at_random(run: Simulation, slot: int) -> float:
    """At random, but the same in every run."""
    name = f"{run.script.name}/{run.turn}/{slot}".encode()
    return int.from_bytes(blake2b(name, digest_size=6).digest(), "little")


@dataclass(slots=True)
class PlanJustEnough:
    """Every turn, the core's own plan to hold the budget: the plan's choice of bodies, apart from the time."""

    name: str = "key_just_enough"
    budget_tokens: int = BUDGET_TOKENS
    rules: Rules = field(default_factory=Rules)

    def begin_episode(self, script: EpisodeScript) -> None:
        """No preparation."""

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """By the core's key, until the bodies fit."""
        over = run.heap.evictable_tokens - self.budget_tokens
        if over <= 0:
            return ()
        return plan(run.heap, run.paths, run.heap.resident_tokens - over, run.now, self.rules).victims


@dataclass(slots=True)
class ClearOld:
    """When the prompt passes a trigger, clear all results but the last few: a provider's context editing."""

    name: str = "clear_100k_keep_3"
    trigger_tokens: int = 82_000
    """100 k billed tokens in raw ones."""
    keep: int = 3

    def begin_episode(self, script: EpisodeScript) -> None:
        """No preparation."""

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """All but the newest, over the trigger."""
        if run.prompt_tokens <= self.trigger_tokens:
            return ()
        return victims_of_slots(run, collectable_older_results(run, self.keep), self.name)


@dataclass(slots=True)
class ObservationMasking:
    """Observation masking: results older than the last ten go at once, every turn."""

    name: str = "mask_last_10"
    keep: int = 10

    def begin_episode(self, script: EpisodeScript) -> None:
        """No preparation."""

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """All but the newest ten."""
        return victims_of_slots(run, collectable_older_results(run, self.keep), self.name)


@dataclass(slots=True)
class ProvenOnly:
    """Duplicates, superseded reads, purged errors, as soon as they are proven: rules without a ranking."""

    name: str = "rules_only"

    def begin_episode(self, script: EpisodeScript) -> None:
        """No preparation."""

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """Proven garbage."""
        rules = Rules()
        dead = [slot for slot in collectable_bodies(run) if garbage_proof(run.heap, slot, run.now, rules)]
        return victims_of_slots(run, dead, self.name)


@dataclass(slots=True)
class KeyWatermarks:
    """The core's plan on a schedule: down to a floor with a cold cache, and from a ceiling with a warm cache."""

    name: str
    idle_tokens: int = 4_300
    high_tokens: int = 51_000
    low_tokens: int = 17_000
    rules: Rules = field(default_factory=Rules)

    def begin_episode(self, script: EpisodeScript) -> None:
        """No preparation."""

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """By the core's plan, to the level that the moment allows."""
        heap = run.heap
        if run.cache.is_cold and run.step:
            level = self.idle_tokens
        elif self.high_tokens and heap.evictable_tokens > self.high_tokens:
            level = self.low_tokens
        else:
            return ()
        target = heap.resident_tokens - max(heap.evictable_tokens - level, 0)
        return plan(heap, run.paths, target, run.now, self.rules).victims


@dataclass(slots=True)
class ShippedPolicy:
    """ctxgc as shipped: the core's pacer with its default dials, a single account for a session and all its
    episodes."""

    name: str = "ctxgc"
    pacer: PacerRules = field(default_factory=PacerRules)
    rules: Rules = field(default_factory=Rules)
    account: RegretAccount = field(default_factory=RegretAccount)
    _dials: PacerRules = field(default_factory=PacerRules)
    _recalls: int = 0
    _rereads: int = 0

    def begin_episode(self, script: EpisodeScript) -> None:
        """Take the episode's hidden prefix into account; a session's first episode opens a new account."""
        self._dials = replace(self.pacer, hidden_tokens=script.hidden_tokens, rules=self.rules)
        self.account = self.account._replace(asked_tokens=0, turn=-1) if script.number else RegretAccount()
        self._recalls = self._rereads = 0

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """The victims of the core's pacer."""
        for fault in run.tally.worst[self._recalls :]:
            tool = run.heap.tool_name(run.heap.slot_of[fault.segment])
            size = fault.size_tokens
            self.account = self.account.after_recall(self._dials.prices, run.prompt_tokens, size, tool)
        self._recalls = len(run.tally.worst)
        for slot in run.tally.reread_slots[self._rereads :]:
            self.account = self.account.after_reread(run.heap.tool_name(slot))
        self._rereads = len(run.tally.reread_slots)
        request = PacerRequest(run.window_cache, run.absent_tokens)
        decision, self.account = decide_within_allowance(
            run.heap, run.paths, run.now, self._dials, self.account, request
        )
        return decision.plan.victims if decision else ()


def baselines() -> list[
    JustEnough | PlanJustEnough | NoCollection | ClearOld | ObservationMasking | ProvenOnly | KeyWatermarks
]:
    """The baselines that ctxgc is compared with, in the order of the table."""
    return [
        NoCollection(),
        JustEnough("sliding_window", rank_by_age),
        JustEnough("lru", rank_by_touch),
        JustEnough("gdsf", rank_by_density),
        JustEnough("biggest_first", rank_by_size),
        JustEnough("random", rank_at_random),
        PlanJustEnough(),
        ObservationMasking(),
        ClearOld(),
        ProvenOnly(),
        KeyWatermarks("key_idle_4k", high_tokens=0),
        KeyWatermarks("key_idle_4k_hard_48k"),
    ]
