"""The account: what collecting has saved a session so far, beside what never collecting would have cost it.

    a request is due ──▶ requested: what is absent is not paid for ──▶ slack ──▶ the pacer decides
    it collects      ──▶ collected: the rewrite is paid, the first saving comes in
    a body returns   ──▶ recalled:  a round trip is paid

A warm cut pays now and earns later, and a session may end before it has earned. So no cut is made that would leave the
session, should it end with the next request, more than `REGRET_PART` behind never having collected at all: what a
rewrite costs must have been saved before. Where the cache is cold, a collection pays nothing and needs no leave.
So "never dearer than doing nothing" holds for every session, wherever it ends, but for what its recalls cost and for
the will of a hard limit.

Costs are input-token equivalents in raw tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ctxgc.core.heap import Heap, Now
from ctxgc.core.pacer import (
    FAULT_CALL_TOKENS,
    FAULT_FIXED_TOKENS,
    Chances,
    Decision,
    PacerRules,
    Prices,
    decide,
    is_due,
    reuse_chances,
)
from ctxgc.core.paths import PathIndex
from ctxgc.core.rules import Rules

REGRET_PART = 0.01
"""How far a session may fall behind never collecting, as a part of what that would have cost so far."""


class Account(NamedTuple):
    """What the pacer remembers of a session from one request to the next."""

    full_cost: float = 0.0
    """What the requests so far would have cost, had nothing ever been evicted."""
    saved_cost: float = 0.0
    """How much less they cost; negative: more."""
    asked_tokens: int = 0
    """Evictable tokens when the pacer last looked."""
    turn: int = -1
    """Of the last request."""

    @property
    def slack_cost(self) -> float:
        """What a cut may cost more than the request that it is made in saves by it."""
        return self.saved_cost + REGRET_PART * self.full_cost

    def requested(
        self, prices: Prices, prompt_tokens: int, cached_tokens: int, absent_tokens: int, *, is_cold: bool
    ) -> Account:
        """A request is due: so many tokens are in it, so many of them cached, and so many are not in it."""
        read, write, _ = prices
        saved = absent_tokens * (write if is_cold else read)
        paid = read * cached_tokens + write * (prompt_tokens - cached_tokens)
        return self._replace(full_cost=self.full_cost + paid + saved, saved_cost=self.saved_cost + saved)

    def collected(self, cost: float) -> Account:
        """The request was edited, and costs so much more for it; negative: less."""
        return self._replace(saved_cost=self.saved_cost - cost)

    def recalled(self, prices: Prices, prompt_tokens: int, body_tokens: int) -> Account:
        """A body had to be brought back: the whole prompt read once more, a call, and the body written."""
        read, write, _ = prices
        cost = read * prompt_tokens + FAULT_FIXED_TOKENS + write * (body_tokens + FAULT_CALL_TOKENS)
        return self._replace(saved_cost=self.saved_cost - cost)


def paced(
    heap: Heap,
    paths: PathIndex,
    now: Now,
    rules: Rules,
    pacer: PacerRules,
    account: Account,
    *,
    is_cold: bool,
    cached_tokens: int,
    absent_tokens: int,
    was_cached_tokens: int | None = None,
    chances: Chances = reuse_chances,
) -> tuple[Decision | None, Account]:
    """The pacer's decision before a request, within what the account allows; and the account if it is carried out.

    `absent_tokens` are the evicted bodies that would be in the window otherwise (`Heap.absent_tokens`). Asked again in
    the same turn, it takes the request for the same one.

    `was_cached_tokens`: the request has gone already, with so much of its window cached (0: nothing, not even what
    comes before it), and the decision is for the next one. What the request brought is written by then, so the turn in
    which the window grew is the worst to cut it: there, once enough has grown, every turn is looked at. By the next one
    everything is a turn older, so one recent turn less stays: else each body would go a request later than it should.
    """
    cached = 0 if is_cold else min(cached_tokens, heap.resident_tokens)
    if now.turn > account.turn:
        hidden = pacer.hidden_tokens
        was = cached if was_cached_tokens is None else min(was_cached_tokens, heap.resident_tokens)
        prompt, prefix = heap.resident_tokens + hidden, 0 if is_cold or was_cached_tokens == 0 else was + hidden
        account = account.requested(pacer.prices, prompt, prefix, absent_tokens, is_cold=is_cold)
        account = account._replace(turn=now.turn)
    if was_cached_tokens is not None:
        pacer = replace(pacer, recent_turns=max(pacer.recent_turns - 1, 0))
    grown = heap.evictable_tokens - account.asked_tokens
    decision = decide(
        heap,
        paths,
        now,
        rules,
        pacer,
        is_cold=is_cold,
        cached_tokens=cached,
        grown_tokens=grown,
        slack_cost=account.slack_cost,
        chances=chances,
    )
    if decision:
        victims = decision.plan.victims
        account = account.collected(decision.effects.edit_cost(pacer.prices))
        freed = sum(victim.freed_tokens for victim in victims)
        return decision, account._replace(asked_tokens=heap.evictable_tokens - freed)
    if is_cold or (was_cached_tokens is None and is_due(heap, grown)):
        account = account._replace(asked_tokens=heap.evictable_tokens)
    return None, account
