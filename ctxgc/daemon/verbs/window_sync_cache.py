"""The provider's cache in a `window.sync`: the request as sent, and the tokens that the next request will read.

    breakpoints, blocks, edited ids ──note_sent_request──▶ ProviderLedger ──CacheView.of──▶ CacheState ──▶ pacer
                                                                                          └──▶ predicted_read ──▶ reply

A gateway that tells no breakpoints gets the older model: the whole prefix of the request is cached, in the provider's
steps.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from ctxgc.core.collector import Plan
from ctxgc.core.heap import EVICTED, Heap
from ctxgc.core.pacing.prompt_cache import COLD, CacheState
from ctxgc.core.pacing.provider_cache import STEP_TOKENS, Prompt, PromptPlace, Unit
from ctxgc.daemon.sessions.collecting import Outcome
from ctxgc.daemon.sessions.provider_ledger import (
    CacheForecast,
    ProviderLedger,
    SentRequest,
    SentWindow,
    prompt_breakpoints,
    prompt_units_and_window_start,
)
from ctxgc.daemon.sessions.request_ledger import RequestLedger
from ctxgc.daemon.sessions.session import Session
from ctxgc.protocol.wire import SentBefore, SentCache, SyncPlanReply, SyncVictimReply, WindowSync

BREAKPOINT_WIRE = "anthropic_messages"
"""The wire format whose cache has breakpoints; the others' caches share a prefix in steps."""


def note_sent_request(session: Session, params: WindowSync, out: Collection[int]) -> None:
    """Note the request as sent, with the tombstones of these slots."""
    sent, ledger = _sent_cache(params), session.ledger
    if sent is None or ledger is None:
        return
    ledger.provider.switch_model(params.model or session.row.model)
    units, hidden = _request_prompt_units(session, params, sent, out)
    prompt = Prompt(units, prompt_breakpoints(units, sent))
    window = SentWindow(params.ids, params.digests, sent)
    ledger.provider.note_request(SentRequest(prompt, hidden, ledger.last_request_s, window))


def amend_last_request(session: Session, was_sent: SentBefore) -> None:
    """Note how the last request was sent, before its bill is read: its sync came before the gateway's last word."""
    heap, ledger = session.heap, session.ledger
    if ledger is None or ledger.last_request is None:
        return
    last, request = ledger.last_request, ledger.provider.request
    out = frozenset(heap.slot_of[id_] for id_ in was_sent.edited if id_ in heap.slot_of)
    freed = sum(heap.freed[slot] for slot in out)
    ledger.last_request = last._replace(tokens=last.full_tokens - freed, out=out)
    if request is None or request.window is None or not heap.slot_of.keys() >= set(request.window.ids):
        return
    ids, digests, sent = request.window
    sent = sent.model_copy(update={"marks": was_sent.marks, "own_mark": -1})
    units, _ = prompt_units_and_window_start(heap, ids, digests, sent, request.hidden.tokens, out)
    ledger.provider.request = request._replace(prompt=Prompt(units, prompt_breakpoints(units, sent)))


def is_prompt_uncached(params: WindowSync, ledger: RequestLedger) -> bool:
    """Whether nothing of the session is cached: the request has no breakpoints, and the provider caches at breakpoints
    alone."""
    return params.cache is not None and not params.cache.marks and bool(ledger.provider.provider.breakpoints_max)


class CacheView(NamedTuple):
    """The provider's cache for the request that comes next."""

    session: Session
    cache: CacheState
    provider: ProviderLedger | None = None
    foretold: CacheForecast | None = None

    @classmethod
    def from_request(cls, session: Session, params: WindowSync, *, is_on: bool) -> CacheView:
        """The cache once this request is answered. In shadow, bodies that would be out are in every sent request, and
        the view says nothing of the entries of edited requests.
        """
        if params.is_cold:
            return cls(session, COLD)
        sent, ledger = _sent_cache(params), session.ledger
        if is_on and sent is not None and ledger is not None:
            units, hidden = _request_prompt_units(session, params, sent, None)
            foretold = ledger.provider.forecast_cache(sent, units, hidden, ledger.last_request_s)
            if foretold is not None:
                return cls(session, foretold.cache_state, ledger.provider, foretold)
        steps = 1 if params.format == BREAKPOINT_WIRE else STEP_TOKENS
        window_tokens, hidden_tokens = session.heap.resident_tokens, _raw_hidden_tokens(session)
        return cls(session, CacheState(window_tokens, step_tokens=steps, hidden_tokens=hidden_tokens))

    def worst_case(self) -> CacheView:
        """The cache as far as a cut may count on it while bills contradict the model."""
        cache = self.cache.worst_case_for_edit(self.session.heap.resident_tokens, _raw_hidden_tokens(self.session))
        return self._replace(cache=cache)

    def predict_read_tokens(self, plan: Plan) -> int:
        """Billed tokens that the request in which the plan takes hold reads from the cache. O(slots)."""
        if self.cache.is_cold:
            return 0
        tokens = _tokens_before_victims(self.session.heap, {victim.slot for victim in plan.victims})
        if self.foretold is None or self.provider is None:
            return self.session.billed_window_tokens(self.cache.read_tokens(tokens))
        read = self.cache.read_tokens(tokens) + self.foretold.hidden.tokens
        places = [place for place in self.foretold.readable.places if place.tokens <= read]
        return self.provider.billed_tokens_at(self.foretold, places[-1]) if places else 0


def _tokens_before_victims(heap: Heap, victims: Collection[int]) -> int:
    """Tokens of the window in front of the first victim."""
    tokens = 0
    for slot in heap.window():
        if slot in victims:
            break
        tokens += heap.skeleton[slot] + (heap.tombstone if heap.state[slot] == EVICTED else heap.body)[slot]
    return tokens


def _sent_cache(params: WindowSync) -> SentCache | None:
    """The cache's view of the request, where the gateway tells the cache of every segment."""
    sent, count = params.cache, len(params.ids)
    return sent if sent is not None and len(sent.blocks) == count == len(params.digests) else None


def _request_prompt_units(
    session: Session, params: WindowSync, sent: SentCache, out: Collection[int] | None
) -> tuple[tuple[Unit, ...], PromptPlace]:
    return prompt_units_and_window_start(
        session.heap, params.ids, params.digests, sent, _raw_hidden_tokens(session), out
    )


def _raw_hidden_tokens(session: Session) -> int:
    return int(session.row.hidden_tokens / session.calibration.ratio)


def sync_plan_reply(session: Session, outcome: Outcome, trigger: str, predicted_read: int) -> SyncPlanReply:
    """A collection as `window.sync` reports it; `predicted_read`: billed tokens that the next request should read."""
    todo, ids = outcome.plan, session.heap.ids
    return SyncPlanReply(
        collection=outcome.collection,
        trigger=trigger,
        evicted=len(todo.victims),
        freed_tokens=todo.before_tokens - todo.remaining_tokens,
        predicted_cost=outcome.predicted_cost,
        cache_rewrite_tokens=outcome.cache_rewrite_tokens,
        victims=[SyncVictimReply(ids[victim.slot], victim.reason, victim.freed_tokens) for victim in todo.victims],
        predicted_read_tokens=predicted_read,
    )
