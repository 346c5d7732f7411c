"""The fixed terms of a study: the names of policies, the way of billing, and the marks of requests."""

from __future__ import annotations

from dataclasses import dataclass

from ctxgc.core.entry.shortening import birth_price
from ctxgc.core.pacing.pacer import TUNED
from ctxgc.core.pacing.price_profiles import Prices
from ctxgc.replay.entry import EntryRules
from ctxgc.replay.oracle import oracles
from ctxgc.replay.policies import BUDGET_TOKENS
from ctxgc.replay.prices import PRICE_PROFILES, PROFILE_DEFAULT
from ctxgc.replay.session_cache import IDEAL, CacheRules

NONE, LRU, CLEAR, SHIPPED = "none", "lru", "clear_100k_keep_3", "ctxgc"
REFERENCES = (NONE, LRU, CLEAR, SHIPPED)
"""Always played: costs are relative to the first, faults to the second; the page draws the others' windows."""
WINDOWS = (NONE, CLEAR, SHIPPED)
ORACLES = frozenset(policy.name for policy in oracles())
"""These look ahead: bounds, not policies anyone can run. Their requests are marked as those of ctxgc."""
BILLS = (BILL_TRUE, BILL_IDEAL) = ("true", "ideal")
"""As the provider bills; or as if every beginning of the last request were cached, as no provider does."""
ENTRY_KINDS = (ENTRY_WHOLE, ENTRY_REFERENCES, ENTRY_SHORTEN) = ("whole", "references", "shorten")
"""How results enter the window: as the host sent them; or with pointers to the lines that the window shows already; or
with pointers, and long results shortened."""
REFERENCES_ALONE, REFERENCES_SHIPPED = "references", "ctxgc_references"
"""Pointers without a collection, and ctxgc with pointers."""
SHORTEN_ALONE, SHORTEN_SHIPPED = "shorten", "ctxgc_shorten"
"""Shortening without pointers and without a collection, and ctxgc with both."""
MARKS = (MARK_OWN, MARK_NONE) = ("own", "none")
"""Whether the gateway adds its own cache mark, as it ships."""


@dataclass(frozen=True, slots=True)
class StudyTerms:
    """The fixed terms of a study for every policy and session."""

    profile: str = PROFILE_DEFAULT
    budget_tokens: int = BUDGET_TOKENS
    """Raw tokens of bodies that the just-enough policies may hold."""
    policies: tuple[str, ...] = ()
    """Only these are reported; empty: all."""
    bill: str = BILL_TRUE
    mark: str = MARK_OWN
    entry: str = ENTRY_WHOLE

    @property
    def prices(self) -> Prices:
        """The prices of a prompt."""
        return PRICE_PROFILES[self.profile].prices

    def cache_rules_of(self, policy: str) -> CacheRules:
        """The cache that a policy's requests meet, and whether the requests carry our own mark: only ctxgc's do."""
        if self.bill == BILL_IDEAL:
            return IDEAL
        is_ours = policy in (SHIPPED, REFERENCES_SHIPPED, SHORTEN_SHIPPED) or policy in ORACLES
        return CacheRules(PRICE_PROFILES[self.profile].provider, has_own_mark=is_ours and self.mark == MARK_OWN)

    def entry_rules_of(self, policy: str) -> EntryRules:
        """How results enter under a policy."""
        profile = self.profile if self.profile in TUNED else PROFILE_DEFAULT
        is_shortened = policy in (SHORTEN_ALONE, SHORTEN_SHIPPED)
        return EntryRules(
            has_references=policy in (REFERENCES_ALONE, REFERENCES_SHIPPED, SHORTEN_SHIPPED),
            birth_price=birth_price(self.prices, profile) if is_shortened else None,
        )

    def reports_policy(self, name: str) -> bool:
        """Whether a policy is in the tables."""
        return not self.policies or name in self.policies or name == NONE
