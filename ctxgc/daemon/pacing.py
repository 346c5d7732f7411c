"""Pacing: the pacer's decision for one session, taken when something was admitted to it.

A session that is only observed is never collected unasked: its window is another's. A hard limit of the session, or
of the configuration, always holds; the value pacer runs where it is switched on.
"""

from __future__ import annotations

from dataclasses import replace

from ctxgc.config import PacerConfig
from ctxgc.core.pacer import PacerRules, decide
from ctxgc.daemon.collecting import Outcome, carried_out
from ctxgc.daemon.session import Change, Session


def pace(
    session: Session, change: Change, config: PacerConfig, pacer: PacerRules, *, cached_tokens: int, wall_s: float
) -> Outcome | None:
    """Collect now if the pacer says so; the outcome, or None. `cached_tokens` is the window before the admission."""
    limit = session.row.window_max_tokens or config.window_max_tokens
    if session.row.mode == "observe" or not (limit or config.enabled):
        return None
    rules = replace(pacer, window_max_tokens=session.raw_budget(limit, "billed") if limit else 0)
    idle_s = wall_s - session.row.updated_s if session.row.updated_s else 0.0
    decision = decide(
        session.heap,
        session.index.paths,
        session.now(wall_s),
        session.rules,
        rules,
        is_cold=idle_s > rules.prices.ttl_s,
        cached_tokens=cached_tokens,
    )
    if decision is None or (decision.trigger == "value" and not config.enabled):
        return None
    return carried_out(session, change, decision.plan, decision.trigger, rules, wall_s)
