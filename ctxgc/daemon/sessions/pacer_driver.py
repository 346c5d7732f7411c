"""The pacer's driver: the pacer's decision for a session, taken when a segment was admitted.

An observed session is never collected unasked: its agent owns its window. A hard limit of the session, or of the
configuration, always holds; the value pacer runs where `pacer.enabled` is set.
"""

from __future__ import annotations

from dataclasses import replace

from ctxgc.config_sections import PacerConfig
from ctxgc.core.pacing.pacer import Decision, PacerRules
from ctxgc.core.pacing.prompt_cache import COLD, CacheState
from ctxgc.core.pacing.regret_budget import PacerRequest, RegretAccount, decide_within_allowance
from ctxgc.core.segment import Renderer
from ctxgc.daemon.sessions.collecting import Conditions, Outcome, carry_out_plan
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.transaction import Transaction
from ctxgc.protocol.limits import NO_LIMIT_TOKENS


def run_pacer(
    session: Session, tx: Transaction, config: PacerConfig, pacer: PacerRules, *, cached_tokens: int, wall_s: float
) -> Outcome | None:
    """Collect now if the pacer says so; the outcome, or `None`. `cached_tokens` is the window before the admission."""
    if session.row.rendered_by is Renderer.AGENT or not (hard_limit_tokens(session, config) or config.enabled):
        return None
    idle_s = wall_s - session.row.updated_s if session.row.updated_s else 0.0
    cache = COLD if idle_s > pacer.prices.ttl_s else CacheState(cached_tokens)
    request = PacerRequest(cache, session.heap.absent_tokens)
    decision, account = ask_pacer(session, config, pacer, request, wall_s)
    if decision is not None and decision.trigger == "value" and not config.enabled:
        return None
    session.account = account
    if decision is None:
        return None
    conditions = Conditions(pacer, wall_s, cache)
    return carry_out_plan(session, tx, decision.plan, decision.trigger, conditions)


def ask_pacer(
    session: Session, config: PacerConfig, pacer: PacerRules, request: PacerRequest, wall_s: float
) -> tuple[Decision | None, RegretAccount]:
    """The pacer's decision about a request, and the account once the decision is carried out. Only reads."""
    limit = hard_limit_tokens(session, config)
    pacer = replace(
        pacer,
        window_max_tokens=session.raw_budget(limit, "billed") if limit else 0,
        hidden_tokens=int(session.row.hidden_tokens / session.calibration.ratio),
        rules=session.rules,
    )
    heap, paths, now = session.heap, session.reference_index.paths, session.now(wall_s)
    return decide_within_allowance(heap, paths, now, pacer, session.account, request)


def hard_limit_tokens(session: Session, config: PacerConfig) -> int:
    """The hard limit on the window in billed tokens: the session's, the run's, or the configured limit; 0: no limit."""
    of_run = session.ledger.window_max_tokens if session.ledger else 0
    size = session.row.window_max_tokens or of_run or config.window_max_tokens
    return size if size < NO_LIMIT_TOKENS else 0
