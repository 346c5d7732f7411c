"""The next collection of a session and its condition: the pacer's state in words and numbers.

    watched, off, asked ── nobody collects it unasked
    limit ── growing ── looking ── cold ── the pacer does, at a request: over the hard limit; not before more has come;
                                           at each one; with the next one, because the cache is gone
    paused ── the pacer waits: bills contradict the model of the cache

Only reads. Tokens are raw unless a name says otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

from ctxgc.config_sections import PacerConfig
from ctxgc.core.display_texts import tokens_text
from ctxgc.core.pacing.pacer import PacerRules, look_due_tokens
from ctxgc.core.segment import Renderer
from ctxgc.daemon.sessions.eviction_simulation import simulate_eviction
from ctxgc.daemon.sessions.pacer_driver import hard_limit_tokens
from ctxgc.daemon.sessions.session import Session
from ctxgc.protocol.replies.sessions import NextCollectionReply

FACTOR_SHOWN_MIN = 1.5
"""From here on the faults of a session are worth a word."""


class NextCollection(NamedTuple):
    """The condition of the next collection."""

    state: str
    words: str
    grown_tokens: int = 0
    """Evictable tokens that have come since the pacer last looked."""
    look_due_tokens: int = 0
    """Evictable tokens that must have come before the pacer looks at a warm window."""
    cold_in_s: float | None = None
    """Seconds until the prompt cache counts as cold, 0 where the cache is cold; `None` where no request is known."""


def gateway_mode(session: Session) -> str:
    """`on`, `shadow` or `off`, as the gateway last served the session; empty before its first request."""
    if session.row.rendered_by is Renderer.GATEWAY:
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


def pacing_status(session: Session, config: PacerConfig, pacer: PacerRules, wall_s: float) -> Pacing:
    """The tokens that left the session's window, and the condition of its next collection."""
    heap, ledger = session.heap, session.ledger
    mode = gateway_mode(session)
    absent = ledger.shadow_victim_slots(heap) if ledger and mode == "shadow" else set()
    freed = sum(heap.freed[slot] for slot in absent) if absent else heap.absent_tokens
    with simulate_eviction(heap, absent):
        waiting = _next_collection(session, config, pacer, mode, wall_s)
    return Pacing(
        gateway=mode,
        freed_tokens=freed,
        cache_hit_rate=ledger.cache_hit_rate if ledger and ledger.prompt_tokens else None,
        next_collection=NextCollectionReply(*waiting, limit_tokens=hard_limit_tokens(session, config)),
    )


def _next_collection(
    session: Session, config: PacerConfig, pacer: PacerRules, mode: str, wall_s: float
) -> NextCollection:
    limit, is_paced = hard_limit_tokens(session, config), mode in ("on", "shadow")
    if mode == "off":
        return NextCollection("off", "nothing is collected: the gateway serves this session in mode off")
    if session.row.rendered_by is Renderer.AGENT and not is_paced:
        return NextCollection("watched", "nothing is collected unasked: ctxgc only watches this session")
    billed = session.billed_window_tokens(session.heap.resident_tokens)
    must_stay = session.billed_window_tokens(session.heap.resident_tokens - session.heap.evictable_tokens)
    if 0 < limit < must_stay:
        words = f"its limit of {tokens_text(limit)} tokens cannot be held: {tokens_text(must_stay)} are protected"
        return NextCollection("limit", f"{words}; `ctxgc limit` sets another")
    if 0 < limit < billed:
        over = f"over its hard limit by {tokens_text(billed - limit)} tokens"
        return NextCollection("limit", f"{over}: collects when enough of it is evictable")
    if is_paced or config.enabled:
        return _next_paced_collection(session, pacer, wall_s)
    if limit:
        return NextCollection("limit", f"collects at its hard limit, in {tokens_text(limit - billed)} tokens")
    return NextCollection("asked", "nothing is collected unasked: `pacer.enabled` is not set")


def _next_paced_collection(session: Session, pacer: PacerRules, wall_s: float) -> NextCollection:
    """The next collection of a session that the value pacer looks after."""
    heap, ledger = session.heap, session.ledger
    prices = (ledger.pacer if ledger and ledger.pacer else pacer).prices
    heard_s = (ledger.last_request_s if ledger else 0.0) or session.row.updated_s
    grown, due = max(heap.evictable_tokens - session.account.asked_tokens, 0), look_due_tokens(heap)
    left_s = max(heard_s + prices.ttl_s - wall_s, 0.0)
    lesson = _lesson_text(session)
    if not left_s:
        gone = "the prompt cache is cold" if prices.ttl_s else "no prompt is cached"
        return NextCollection(
            "cold", f"{gone}: the next request goes without what is not worth its tokens{lesson}", grown, due, 0.0
        )
    cold = f"cold in {_duration_text(left_s)}"
    if pause := session.trust.pause_reason(session.row.turn):
        until = "collects when the cache is cold, at the limit, or where a cut pays for the whole prompt"
        return NextCollection("paused", f"{pause}: {until}; {cold}", grown, due, round(left_s, 1))
    if grown < due:
        words = f"looks again after {tokens_text(due - grown)} more evictable tokens{lesson}; {cold}"
        return NextCollection("growing", words, grown, due, round(left_s, 1))
    debt = -session.account.saved_cost
    why = f", and {tokens_text(round(debt))} input tokens are still to be earned back" if debt >= 1 else ""
    words = f"looks at each request: no cut pays for its rewrite yet, out of what was saved so far{why}{lesson}; {cold}"
    return NextCollection("looking", words, grown, due, round(left_s, 1))


TOOL_CHARS_SHOWN_MAX = 60


def _lesson_text(session: Session) -> str:
    """What the session's faults change, as a clause; empty for a session that faults about as expected."""
    lessons = session.account.lessons
    tool, factor = lessons.strongest_lesson
    if factor < FACTOR_SHOWN_MIN:
        return ""
    whose = f"bodies of {tool[:TOOL_CHARS_SHOWN_MAX]}" if tool and factor > lessons.session.odds_factor else "bodies"
    return f"; {whose} are asked back {factor:.1f} times as often as expected, so fewer leave"


def _duration_text(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
