"""The policies of a study, by name and in the order of its tables: baselines, ctxgc, then the oracles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter_ns

from ctxgc.core.collector import Victim
from ctxgc.core.pacing.pacer import TUNED, PacerRules, tuned_rules
from ctxgc.replay.oracle import oracles
from ctxgc.replay.policies import JustEnough, NoCollection, PlanJustEnough, ShippedPolicy, baselines
from ctxgc.replay.prices import PROFILE_DEFAULT
from ctxgc.replay.script import EpisodeScript
from ctxgc.replay.simulate import Policy, Simulation
from ctxgc.replay.terms import (
    ENTRY_SHORTEN,
    ENTRY_WHOLE,
    ORACLES,
    REFERENCES,
    REFERENCES_ALONE,
    REFERENCES_SHIPPED,
    SHIPPED,
    SHORTEN_ALONE,
    SHORTEN_SHIPPED,
    StudyTerms,
)


def shipped_policy(terms: StudyTerms) -> Policy:
    """ctxgc with the shipped dials of the prices."""
    return ShippedPolicy(SHIPPED, _pacer_rules_of_terms(terms))


def _pacer_rules_of_terms(terms: StudyTerms) -> PacerRules:
    name = terms.profile if terms.profile in TUNED else PROFILE_DEFAULT
    return replace(tuned_rules(name), prices=terms.prices)


def policies_of(terms: StudyTerms) -> list[Policy]:
    """Every policy of a study, ready to play; other policies are left out unless a row refers to them."""
    everyone: list[Policy] = []
    for policy in baselines():
        if isinstance(policy, JustEnough | PlanJustEnough):
            policy.budget_tokens = terms.budget_tokens
        everyone.append(policy)
    everyone.append(shipped_policy(terms))
    if terms.entry != ENTRY_WHOLE:
        everyone += [NoCollection(REFERENCES_ALONE), ShippedPolicy(REFERENCES_SHIPPED, _pacer_rules_of_terms(terms))]
    if terms.entry == ENTRY_SHORTEN:
        everyone += [NoCollection(SHORTEN_ALONE), ShippedPolicy(SHORTEN_SHIPPED, _pacer_rules_of_terms(terms))]
    everyone += oracles(terms.budget_tokens, _pacer_rules_of_terms(terms))
    return [policy for policy in everyone if terms.reports_policy(policy.name) or policy.name in REFERENCES]


def is_oracle(name: str) -> bool:
    """Whether a policy knows the future."""
    return name in ORACLES


def policy_names(entry: str = ENTRY_WHOLE) -> list[str]:
    """The values of `--policy`."""
    return [policy.name for policy in policies_of(StudyTerms(entry=entry))]


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
