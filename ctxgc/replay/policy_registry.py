"""The policies of a study, by name and in the order of its tables: baselines, ctxgc, then the oracles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter_ns

from ctxgc.core.collector import Victim
from ctxgc.core.pacer import TUNED, PacerRules, Prices, tuned_rules
from ctxgc.replay.oracle import oracles
from ctxgc.replay.policies import BUDGET_TOKENS, JustEnough, PlanJustEnough, Shipped, baselines
from ctxgc.replay.prices import PRICE_PROFILES, PROFILE_DEFAULT
from ctxgc.replay.session_cache import IDEAL, CacheRules
from ctxgc.replay.simulate import EpisodeScript, Policy, Simulation

NONE, LRU, CLEAR, SHIPPED = "none", "lru", "clear_100k_keep_3", "ctxgc"
REFERENCES = (NONE, LRU, CLEAR, SHIPPED)
"""Always played: costs are relative to the first, faults to the second; the page draws the others' windows."""
WINDOWS = (NONE, CLEAR, SHIPPED)
ORACLES = frozenset(policy.name for policy in oracles())
"""These look ahead: bounds, not policies anyone can run. Their requests are marked as those of ctxgc."""
BILLS = (BILL_TRUE, BILL_IDEAL) = ("true", "ideal")
"""As the provider bills; or as if every beginning of the last request were cached, as no provider does."""
MARKS = (MARK_OWN, MARK_NONE) = ("own", "none")
"""Whether the gateway adds its own cache mark, as it ships."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The fixed terms of a study for every policy and session."""

    profile: str = PROFILE_DEFAULT
    budget_tokens: int = BUDGET_TOKENS
    """Raw tokens of bodies that the just-enough policies may hold."""
    policies: tuple[str, ...] = ()
    """Only these are reported; empty: all."""
    bill: str = BILL_TRUE
    mark: str = MARK_OWN

    @property
    def prices(self) -> Prices:
        """The prices of a prompt."""
        return PRICE_PROFILES[self.profile].prices

    def cache_rules_of(self, policy: str) -> CacheRules:
        """The cache that a policy's requests meet, and whether the requests carry our own mark: only ctxgc's do."""
        if self.bill == BILL_IDEAL:
            return IDEAL
        is_ours = policy == SHIPPED or policy in ORACLES
        return CacheRules(PRICE_PROFILES[self.profile].provider, has_own_mark=is_ours and self.mark == MARK_OWN)

    def is_reported(self, name: str) -> bool:
        """Whether a policy is in the tables."""
        return not self.policies or name in self.policies or name == NONE


def shipped_policy(terms: Terms) -> Policy:
    """ctxgc with the dials that ship for these prices."""
    return Shipped(SHIPPED, _rules_of_terms(terms))


def _rules_of_terms(terms: Terms) -> PacerRules:
    name = terms.profile if terms.profile in TUNED else PROFILE_DEFAULT
    return replace(tuned_rules(name), prices=terms.prices)


def policies_of(terms: Terms) -> list[Policy]:
    """Every policy of a study, ready to play; other policies are left out unless a row refers to them."""
    everyone: list[Policy] = []
    for policy in baselines():
        if isinstance(policy, JustEnough | PlanJustEnough):
            policy.budget_tokens = terms.budget_tokens
        everyone.append(policy)
    everyone.append(shipped_policy(terms))
    everyone += oracles(terms.budget_tokens, _rules_of_terms(terms))
    return [policy for policy in everyone if terms.is_reported(policy.name) or policy.name in REFERENCES]


def is_oracle(name: str) -> bool:
    """Whether a policy knows the future."""
    return name in ORACLES


def policy_names() -> list[str]:
    """The values of `--policy`."""
    return [policy.name for policy in policies_of(Terms())]


@dataclass(slots=True)
class TimedPolicy:
    """A policy under watch: the same victims, and the policy's time."""

    inner: Policy
    name: str
    spent_us: list[float]
    """Microseconds by turn."""

    def begin_episode(self, script: EpisodeScript) -> None:
        """Pass on."""
        self.inner.begin_episode(script)

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """Ask the inner policy for victims, and record the microseconds that the policy took."""
        started_ns = perf_counter_ns()
        found = self.inner.victims(run)
        self.spent_us.append((perf_counter_ns() - started_ns) / 1000)
        return found


def timed_policy(policy: Policy) -> TimedPolicy:
    """Put a policy under watch."""
    return TimedPolicy(policy, policy.name, [])
