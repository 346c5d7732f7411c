"""The account: the savings of collecting so far in a session, beside the cost of never collecting.

    a request is due   ──▶ after_request: absent tokens are not paid for ──▶ slack ──▶ the pacer decides
    the pacer collects ──▶ after_edit:    the rewrite is paid, the first saving comes in
    a body returns     ──▶ after_recall:  a round trip is paid, and the session's faults are more than before
    an evicted view is read again ──▶ after_reread: half the lesson, and nothing is paid beyond the read

A warm cut pays now and earns later, and a session may end before the cut has earned. So no cut is made that would leave
the session, should the session end with the next request, further behind never having collected than the regret law
allows (`core.pacing.regret_law`): beyond that, earlier savings must cover the rewrite. Where the cache is cold, a
collection pays nothing and needs no leave. The law holds for every session, wherever the session ends, but for the cost
of its recalls and for the will of a hard limit.

Costs are input-token equivalents in raw tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from ctxgc.core.heap import Heap, Now
from ctxgc.core.pacing.fault_lessons import FaultLessons
from ctxgc.core.pacing.pacer import (
    FAULT_CALL_TOKENS,
    FAULT_FIXED_TOKENS,
    Allowance,
    Decision,
    PacerRules,
    decide_collection,
    is_look_due,
)
from ctxgc.core.pacing.price_profiles import Prices
from ctxgc.core.pacing.prompt_cache import CacheState
from ctxgc.core.pacing.regret_law import Slack
from ctxgc.core.paths import PathIndex

NO_FAULTS: Mapping[str, float] = MappingProxyType({})


class RegretAccount(NamedTuple):
    """The pacer's memory of a session between two requests."""

    full_cost: float = 0.0
    """What the requests so far would have cost, had nothing ever been evicted."""
    saved_cost: float = 0.0
    """How much less they cost; negative: more."""
    asked_tokens: int = 0
    """Evictable tokens when the pacer last looked."""
    turn: int = -1
    """Of the last request."""
    lessons: FaultLessons = FaultLessons()
    """What the session's faults say of the estimate, as they still count."""

    @property
    def slack(self) -> Slack:
        """The bound on the cost of the next cut."""
        return Slack(self.saved_cost, self.full_cost, max(self.turn, 0))

    def after_request(
        self, turn: int, prices: Prices, prompt_tokens: int, cached_tokens: int, absent_tokens: int, *, is_cold: bool
    ) -> RegretAccount:
        """The account once a prompt is billed, `cached_tokens` of it cached and `absent_tokens` missing from it."""
        read, write, _ = prices
        saved = absent_tokens * (write if is_cold else read)
        paid = read * cached_tokens + write * (prompt_tokens - cached_tokens)
        lessons = self.lessons.after_turns(max(turn - max(self.turn, 0), 0))
        return RegretAccount(self.full_cost + paid + saved, self.saved_cost + saved, self.asked_tokens, turn, lessons)

    def after_edit(self, cost: float, expected_faults: Mapping[str, float] = NO_FAULTS) -> RegretAccount:
        """The account once the request is edited, and costs so much more for the edit; negative: less.

        Of the bodies that left, the estimate expects so many of each tool to be asked back.
        """
        return self._replace(saved_cost=self.saved_cost - cost, lessons=self.lessons.after_collection(expected_faults))

    def after_recall(self, prices: Prices, prompt_tokens: int, body_tokens: int, tool: str) -> RegretAccount:
        """The account once a body is back: the whole prompt read once more, a call, and the body written."""
        read, write, _ = prices
        cost = read * prompt_tokens + FAULT_FIXED_TOKENS + write * (body_tokens + FAULT_CALL_TOKENS)
        return self.after_command_recall(tool)._replace(saved_cost=self.saved_cost - cost)

    def after_command_recall(self, tool: str) -> RegretAccount:
        """The account once the agent's own command brought a body back: the command has paid the round trip."""
        return self._replace(lessons=self.lessons.after_fault(tool))

    def after_reread(self, tool: str) -> RegretAccount:
        """The account once a host read again what an evicted body of this tool shows: the request would have come."""
        return self._replace(lessons=self.lessons.after_reread(tool))


class PacerRequest(NamedTuple):
    """A request before the pacer: due, or just sent.

    Behind the gateway a request is sent before the pacer is asked, and the decision is for the next request. The
    request has written its new segments by then, so the turn in which a window grew is the worst turn for a cut: there,
    after enough growth, the pacer looks at every turn. By the next request every body is a turn older, so one recent
    turn less stays: else each body would leave a request later than due.
    """

    cache: CacheState
    """The cached prefix of the request that a cut edits."""
    absent_tokens: int
    """Evicted bodies that would be in the window otherwise (`Heap.absent_tokens`)."""
    sent_prefix_tokens: int | None = None
    """Cached part of the window when the request was sent; 0: not even the hidden prefix. None: the request is due."""

    @property
    def is_sent(self) -> bool:
        """Whether a decision takes effect with the next request only."""
        return self.sent_prefix_tokens is not None


def decide_within_allowance(
    heap: Heap, paths: PathIndex, now: Now, pacer: PacerRules, account: RegretAccount, request: PacerRequest
) -> tuple[Decision | None, RegretAccount]:
    """The pacer's decision about a request, within the account's allowance; and the account once the decision is
    carried out.

    Asked again in the same turn, the pacer takes the request for the same request.
    """
    cache = request.cache
    if now.turn > account.turn:
        account = _account_after_request(heap, now, pacer, account, request)
    if request.is_sent:
        pacer = replace(pacer, recent_turns=max(pacer.recent_turns - 1, 0))
    grown = heap.evictable_tokens - account.asked_tokens
    decision = decide_collection(heap, paths, now, pacer, cache, Allowance(grown, account.slack, account.lessons))
    if decision:
        account = account.after_edit(decision.effects.edit_cost(pacer.prices), decision.expected_faults)
        freed = sum(victim.freed_tokens for victim in decision.plan.victims)
        return decision, account._replace(asked_tokens=heap.evictable_tokens - freed)
    if cache.is_cold or (not request.is_sent and is_look_due(heap, grown)):
        account = account._replace(asked_tokens=heap.evictable_tokens)
    return None, account


def _account_after_request(
    heap: Heap, now: Now, pacer: PacerRules, account: RegretAccount, request: PacerRequest
) -> RegretAccount:
    """The account once the unedited request is billed, the hidden prefix with the window."""
    cache, sent, window = request.cache, request.sent_prefix_tokens, heap.resident_tokens
    cached = cache.read_tokens(window) if sent is None else min(sent, window)
    prefix = 0 if cache.is_cold or sent == 0 else cached + pacer.hidden_tokens
    return account.after_request(
        now.turn, pacer.prices, window + pacer.hidden_tokens, prefix, request.absent_tokens, is_cold=cache.is_cold
    )
