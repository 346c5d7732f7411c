"""What a session's next collection waits for, and why: the pacer's state in words and numbers.

    watched, off, asked ── nobody collects it unasked
    limit ── growing ── looking ── cold ── the pacer does, at a request: over the hard limit; not before more has come;
                                           at each one; with the next one, because the cache is gone

Only reads. Tokens are raw unless they say otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

from ctxgc.config import PacerConfig
from ctxgc.core.pacer import PacerRules, due_tokens
from ctxgc.core.tombstone import size_label
from ctxgc.daemon.sessions.pacer_driver import limit_of
from ctxgc.daemon.sessions.request_ledger import simulate_eviction
from ctxgc.daemon.sessions.session import Session
from ctxgc.protocol.replies.sessions import NextCollectionReply


class Waiting(NamedTuple):
    """What the next collection waits for."""

    state: str
    words: str
    grown_tokens: int = 0
    """That may go and have come since the pacer last looked."""
    due_tokens: int = 0
    """So many must have come before a warm window is looked at."""
    cold_in_s: float | None = None
    """Seconds until the prompt cache counts as cold, 0 if it does; None where no request was told of."""


def gateway_mode(session: Session) -> str:
    """`on`, `shadow` or `off` as the gateway was last heard to serve it; empty if it was not since the session woke."""
    if session.row.mode == "wire":
        return "on"
    if session.ledger is None:
        return ""
    return "off" if session.ledger.is_off else "shadow"


class Pacing(NamedTuple):
    """The part of a session's reply that is about collections and the gateway; see `ShowReply`."""

    gateway: str
    freed_tokens: int
    cache_hit_rate: float | None
    next_collection: NextCollectionReply


def pacing_of(session: Session, config: PacerConfig, pacer: PacerRules, wall_s: float) -> Pacing:
    """What left the session's window, and what its next collection waits for."""
    heap, ledger = session.heap, session.ledger
    mode = gateway_mode(session)
    absent = ledger.shadow_slots(heap) if ledger and mode == "shadow" else set()
    freed = sum(heap.freed[slot] for slot in absent) if absent else heap.absent_tokens
    with simulate_eviction(heap, absent):
        waiting = _waiting(session, config, pacer, mode, wall_s)
    return Pacing(
        gateway=mode,
        freed_tokens=freed,
        cache_hit_rate=ledger.cache_hit_rate if ledger and ledger.prompt_tokens else None,
        next_collection=NextCollectionReply(*waiting, limit_tokens=limit_of(session, config)),
    )


def _waiting(session: Session, config: PacerConfig, pacer: PacerRules, mode: str, wall_s: float) -> Waiting:
    limit, is_paced = limit_of(session, config), mode in ("on", "shadow")
    if mode == "off":
        return Waiting("off", "nothing is collected: the gateway serves this session in mode off")
    if session.row.mode == "observe" and not is_paced:
        return Waiting("watched", "nothing is collected unasked: ctxgc only watches this session")
    billed = session.billed(session.heap.resident_tokens)
    if 0 < limit < billed:
        over = f"over its hard limit by {size_label(billed - limit)} tokens"
        return Waiting("limit", f"{over}: collects when enough of it may go")
    if is_paced or config.enabled:
        return _paced(session, pacer, wall_s)
    if limit:
        return Waiting("limit", f"collects at its hard limit, in {size_label(limit - billed)} tokens")
    return Waiting("asked", "nothing is collected unasked: `pacer.enabled` is not set")


def _paced(session: Session, pacer: PacerRules, wall_s: float) -> Waiting:
    """Of a session that the value pacer looks after."""
    heap, ledger = session.heap, session.ledger
    prices = (ledger.pacer if ledger and ledger.pacer else pacer).prices
    heard_s = (ledger.last_request_s if ledger else 0.0) or session.row.updated_s
    grown, due = max(heap.evictable_tokens - session.account.asked_tokens, 0), due_tokens(heap)
    left_s = max(heard_s + prices.ttl_s - wall_s, 0.0)
    if not left_s:
        gone = "the prompt cache is cold" if prices.ttl_s else "no prompt is cached"
        return Waiting("cold", f"{gone}: the next request goes without what is not worth its tokens", grown, due, 0.0)
    cold = f"cold in {_span(left_s)}"
    if grown < due:
        words = f"looks again after {size_label(due - grown)} more tokens that may go; {cold}"
        return Waiting("growing", words, grown, due, round(left_s, 1))
    debt = -session.account.saved_cost
    why = f", and {size_label(round(debt))} input tokens are still to be earned back" if debt >= 1 else ""
    words = f"looks at each request: no cut pays for its rewrite yet, out of what was saved so far{why}; {cold}"
    return Waiting("looking", words, grown, due, round(left_s, 1))


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
