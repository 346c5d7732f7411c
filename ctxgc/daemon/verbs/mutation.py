"""What every verb does alike: find the session, change it once, answer the same to the same `op_id`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any

import msgspec

from ctxgc.core.errors import Conflict, NotFound
from ctxgc.core.redact import redact
from ctxgc.core.segment import address_in
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.collecting import SHADOW, Outcome
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.transaction import Change
from ctxgc.protocol.messages import Mutating, MutatingSession, OfSession
from ctxgc.stash.contract import Op, PutOp

Reply = dict[str, Any]
NOT_OF_THE_CALL = {"op_id", "durability", "session", "cwd"}

Applied = Callable[[Session, Change], Reply]
"""Changes a session's heap and collects what to commit; must not wait."""


async def session_of(services: Services, params: OfSession) -> Session:
    """The session that the params mean, awake and current."""
    session = await services.registry.named(params.session, params.cwd)
    await session.settled()
    return session


async def session_holding(services: Services, params: OfSession, name: str) -> Session:
    """The session that the params mean; if they name none and it lacks this segment, the only one that has the id.

    Search answers from all sessions, so what it found is found again from anywhere. An address says its session itself:
    the session of a working directory is never asked for it. Raises `NotFound`.
    """
    address = address_in(name)
    session: Session | None = None
    try:
        if address is not None and not params.session:
            raise NotFound(f"no segment {name!r} in this stash", hint="`ctxgc search WORDS` finds what is")
        session = await session_of(services, params)
        session.slot(name)
        return session
    except NotFound as unknown:
        if address is not None:
            keys = await services.stash.sessions_numbered(address.number)
        else:
            keys = [] if params.session else await services.stash.sessions_with_segment(name)
        if not keys and session is None and not params.session and address is None:
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
    verb: str,
    params: Mutating,
    apply: Applied,
    *,
    session: Session | None = None,
    before: Callable[[Session], Awaitable[None]] | None = None,
) -> Any:
    """Run `apply` as one atomic change, once per `op_id`. `before` runs inside the change, and may wait.

    Raises `Conflict` for an `op_id` that named another call: its reply would be an answer to something else.
    """
    if session is None:
        assert isinstance(params, MutatingSession)
        session = await session_of(services, params)
    call = await on_worker(services, call_digest, verb, params) if params.op_id else b""
    async with session.changing() as change:
        if params.op_id:
            known = await services.stash.op(session.key, params.op_id)
            if known is not None and known.call not in (b"", call):
                hint = "give every mutation an op_id of its own; the same one repeats the same call"
                raise Conflict(f"op_id {params.op_id!r} named another call before", hint=hint, field="op_id")
            if known is not None:
                return msgspec.Raw(known.reply)
        if before is not None:
            await before(session)
        reply = apply(session, change)
        if params.op_id:
            change.add(PutOp(session.key, params.op_id, Op(msgspec.json.encode(reply), call)))
    return reply


def call_digest(verb: str, params: Mutating) -> bytes:
    """What tells a call from another one with the same `op_id`: all but how it is sent, and how its session is named.

    Members of objects in any order: a client that encodes anew may change it. Secrets are taken out before, for the
    digest of one can be guessed at. Heavy where the text is long.
    """
    said = msgspec.json.decode(params.model_dump_json(exclude=NOT_OF_THE_CALL))
    bare, _ = redact(msgspec.json.encode([verb, said], order="sorted"))
    return blake2b(bare, digest_size=16).digest()


async def on_worker(services: Services, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run what is heavy on the processor beside the loop."""
    return await asyncio.get_running_loop().run_in_executor(services.worker, function, *arguments)


async def in_step() -> None:
    """Let whoever came in the same round of the loop do the last step too, before anyone goes on to the next.

    One step for many in a row finds its code and tables in the processor's caches: fifty clients' adds cost a seventh
    less than one after the other, each from end to end.
    """
    await asyncio.sleep(0)


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
