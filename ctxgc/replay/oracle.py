"""Oracles: policies that may look into the script.

belady_size    holds a budget; what is needed latest, times its size, goes first
liveness       a body goes exactly after its last use, or at once if it has none: zero faults
live_cold      the same, at cold moments only
perfect_pacer  the core's pacer with perfect reuse probability: what is left to it is prediction
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace

from ctxgc.core.collector import Victim
from ctxgc.core.heap import Heap, Now
from ctxgc.core.pacing.pacer import PacerRules
from ctxgc.core.rules import Rules
from ctxgc.replay.body_timelines import last_use_steps
from ctxgc.replay.policies import BUDGET_TOKENS, JustEnough, ShippedPolicy, collectable_bodies, victims_of_slots
from ctxgc.replay.script import EpisodeScript
from ctxgc.replay.simulate import Policy, Simulation

NEVER = 10**9
"""Turns to a next use that does not come."""


@dataclass(slots=True)
class BeladySize:
    """Just enough under a budget; furthest next use times size goes first. Strong, not proven best."""

    name: str = "belady_size"
    budget_tokens: int = BUDGET_TOKENS
    _uses: dict[int, list[int]] = field(default_factory=dict)
    """Steps of each slot's uses, latest first: past ones are popped."""

    def begin_episode(self, script: EpisodeScript) -> None:
        """Look up every use."""
        self._uses = {}
        for number in range(len(script.uses) - 1, -1, -1):
            for slot in script.uses[number]:
                self._uses.setdefault(slot, []).append(number)

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """Until the bodies fit."""
        return JustEnough(self.name, self._eviction_rank, self.budget_tokens).victims(run)

    def _eviction_rank(self, run: Simulation, slot: int) -> float:
        ahead = self._uses.get(slot, [])
        while ahead and ahead[-1] < run.step:
            ahead.pop()
        distance = ahead[-1] - run.step + 1 if ahead else NEVER
        return -float(distance * run.heap.body[slot])


@dataclass(slots=True)
class Liveness:
    """Each body goes exactly after its last use. A perfect collector that does not mind the cache."""

    name: str = "liveness"
    is_cold_only: bool = False
    _last_use: dict[int, int] = field(default_factory=dict)

    def begin_episode(self, script: EpisodeScript) -> None:
        """Look up the last uses."""
        self._last_use = last_use_steps(script)

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """Every dead body, once the model has seen the body."""
        if self.is_cold_only and not run.cache.is_cold:
            return ()
        return victims_of_slots(
            run, (slot for slot in collectable_bodies(run) if self._last_use.get(slot, -1) < run.step), self.name
        )


@dataclass(slots=True)
class PerfectPacer:
    """The core's pacer with perfect knowledge of later uses."""

    name: str = "perfect_pacer"
    pacer: PacerRules = field(default_factory=PacerRules)
    rules: Rules = field(default_factory=Rules)
    _inner: ShippedPolicy = field(default_factory=ShippedPolicy)
    _last_use: dict[int, int] = field(default_factory=dict)
    _step: int = 0

    def begin_episode(self, script: EpisodeScript) -> None:
        """Look up the last uses."""
        self._last_use = last_use_steps(script)
        self._inner = ShippedPolicy(self.name, replace(self.pacer, chances=self._perfect_chances), self.rules)
        self._inner.begin_episode(script)

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """The victims of the core's pacer."""
        self._step = run.step
        return self._inner.victims(run)

    def _perfect_chances(
        self, heap: Heap, slots: Sequence[int], now: Now, liveness: Sequence[int], garbage: Container[int]
    ) -> list[float]:
        return [float(self._last_use.get(slot, -1) >= self._step) for slot in slots]


def oracles(budget_tokens: int = BUDGET_TOKENS, pacer: PacerRules | None = None) -> list[Policy]:
    """All of them, in the order of the table."""
    return [
        BeladySize(budget_tokens=budget_tokens),
        Liveness(),
        Liveness("live_cold", is_cold_only=True),
        PerfectPacer(pacer=pacer or PacerRules()),
    ]
