"""What every verb does alike: find the session, change it once, answer the same to the same `op_id`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from ctxgc.core.errors import NotFound
from ctxgc.daemon.collecting import SHADOW, Outcome
from ctxgc.daemon.services import Services
from ctxgc.daemon.session import Change, Session
from ctxgc.protocol.messages import MutatingSession, OfSession
from ctxgc.stash.contract import PutOp

Reply = dict[str, Any]
Applied = Callable[[Session, Change], Reply]
"""Changes a session's heap and collects what to commit; must not wait."""


async def session_of(services: Services, params: OfSession) -> Session:
    """The session that the params mean, awake and current."""
    session = await services.registry.named(params.session, params.cwd)
    await session.settled()
    return session


async def session_holding(services: Services, params: OfSession, name: str) -> Session:
    """The session that the params mean; if they name none and it lacks this segment, the only one that has the id.

    Search answers from all sessions, so what it found is found again from anywhere. Raises `NotFound`.
    """
    session: Session | None = None
    try:
        session = await session_of(services, params)
        session.slot(name)
        return session
    except NotFound as unknown:
        keys = [] if params.session else await services.stash.holders(name)
        if not keys and session is None and not params.session:
            hint = "`ctxgc search` finds ids; a part of one is understood with `--session S`"
            raise NotFound(f"no segment {name!r} in any session; {unknown}", hint=hint) from None
        if not keys:
            raise
        if len(keys) > 1:
            some = ", ".join(map(str, keys[:4]))
            raise NotFound(str(unknown), hint=f"`--session S` says which is meant: {some}") from None
    session = await services.registry.get(keys[0])
    await session.settled()
    return session


async def change_session(
    services: Services,
    params: MutatingSession,
    apply: Applied,
    *,
    session: Session | None = None,
    before: Callable[[Session], Awaitable[None]] | None = None,
) -> Any:
    """Run `apply` as one atomic change, once per `op_id`. `before` runs inside the change, and may wait."""
    if session is None:
        session = await session_of(services, params)
    async with session.changing() as change:
        if params.op_id:
            known = await services.stash.op(session.key, params.op_id)
            if known is not None:
                return msgspec.Raw(known)
        if before is not None:
            await before(session)
        reply = apply(session, change)
        if params.op_id:
            change.add(PutOp(session.key, params.op_id, msgspec.json.encode(reply)))
    return reply


async def on_worker(services: Services, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run what is heavy on the processor beside the loop."""
    return await asyncio.get_running_loop().run_in_executor(services.worker, function, *arguments)


def budget_fields(session: Session) -> Reply:
    """What every mutation says it did to the budget."""
    raw = session.heap.resident_tokens
    return {"resident_tokens": raw, "billed_tokens": session.billed(raw)}


def over_budget_hint(session: Session) -> Reply:
    """The next step, if the session is over its budget now."""
    budget = session.row.budget_tokens
    if budget and session.billed(session.heap.resident_tokens) > budget:
        return {"next": "over budget: `ctxgc collect` brings it under"}
    return {}


def announce(services: Services, session: Session, outcome: Outcome) -> None:
    """Count a collection and tell those who subscribed."""
    if not outcome.collection:
        return
    services.counts["collections"] += outcome.trigger != SHADOW
    services.events.publish(
        "collection",
        {
            "session": str(session.key),
            "collection": outcome.collection,
            "trigger": outcome.trigger,
            "evicted": len(outcome.plan.victims),
            "before_tokens": outcome.plan.before_tokens,
            "after_tokens": outcome.plan.remaining_tokens,
        },
    )
