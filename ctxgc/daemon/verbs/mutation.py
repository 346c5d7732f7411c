"""Steps that verbs share: find the session, change the session once, answer the same to the same `op_id`, make room
for other calls on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, TypeVar, TypeVarTuple

import msgspec

from ctxgc.core.display_texts import SHADOW
from ctxgc.core.errors import BadParams, Conflict, NotFound
from ctxgc.core.redaction.redact import redact
from ctxgc.core.segment import Renderer, SessionKey, parse_address
from ctxgc.daemon.services import Services, run_on_worker
from ctxgc.daemon.sessions.collecting import Outcome
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.transaction import Transaction
from ctxgc.protocol.agents import CLIENT
from ctxgc.protocol.params import Mutating, MutatingSession, OfSession
from ctxgc.stash.contract import Op, PutOp, SessionRow

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")

SAME_HOLDERS_MAX = 8
"""Sessions that are compared where a name stands in several."""
BESIDE_SLOTS_MIN = 20_000
"""From so many slots on, a plan takes longer than another call should wait."""
NOT_OF_THE_CALL = {"op_id", "durability", "session", "cwd"}


async def requested_session(services: Services, params: OfSession) -> Session:
    """The session that the params mean, awake and current."""
    session = await services.registry.get_by_name(params.session, params.cwd)
    await session.ensure_current()
    return session


async def writable_session(services: Services, params: OfSession) -> Session:
    """The session that a client's text goes into: the session that the params name, or the newest client's session.

    An observed session is a mirror of its agent's, written by its own feed alone. Raises `Conflict` for a mirror.
    """
    key = await services.registry.resolve(params.session, params.cwd, source="" if params.session else CLIENT)
    session = await services.registry.get(key)
    refuse_observed_session(session)
    await session.ensure_current()
    return session


def refuse_observed_session(session: Session) -> None:
    """Raise `Conflict` for a session that another program renders: a client's text has no place there."""
    if session.key.source != CLIENT and session.row.rendered_by is not Renderer.CLIENT:
        raise Conflict(
            f"{session.key} is a mirror of another program's session: only that program writes into it",
            hint="`session.open` opens a session of your own; `ctxgc add` without `--session` does",
            field="session",
        )


async def session_with_segment(
    services: Services,
    params: OfSession,
    name: str,
    scope: Literal["any", "session"] = "any",
    *,
    is_read: bool = False,
) -> Session:
    """The session that the params mean; without a named session, and without the segment in theirs, the only holder.

    Search answers from all sessions, so a hit is found again from any folder. An address names its own session: the
    session of a working directory is never asked for an address. In the scope of a session only this session and its
    sub-agents are asked, whichever session the address names. Where the content is only read, any holder of the same
    content will do. Raises `NotFound`.
    """
    address = parse_address(name)
    session: Session | None = None
    try:
        if address is not None and not params.session:
            raise NotFound(f"no segment {name!r} in this stash", hint="`ctxgc search WORDS` finds existing segments")
        session = await requested_session(services, params)
        session.slot(name)
        return session
    except NotFound as unknown:
        if address is not None:
            keys = await services.stash.sessions_numbered(address.number)
            if scope == "session":
                keys = [key for key in keys if session is not None and is_same_family(key, session.key)]
        else:
            keys = [] if params.session else await services.stash.sessions_with_segment(name)
        if not keys and session is None and not params.session and address is None:
            hint = "`ctxgc search` finds ids; a part of one is understood with `--session S`"
            raise NotFound(f"no segment {name!r} in any session; {unknown}", hint=hint) from None
        if not keys:
            raise
        if len(keys) > 1 and not (is_read and await _is_same_content_in_all(services, keys, name)):
            some = ", ".join(map(str, keys[:4]))
            raise NotFound(str(unknown), hint=f"`--session S` says which is meant: {some}") from None
    session = await services.registry.get(keys[0])
    await session.ensure_current()
    return session


def require_project(row: SessionRow, project: str, name: str) -> None:
    """Raise `NotFound` for a segment of another project than the project asked for."""
    if project and row.project != project:
        raise NotFound(f"no segment {name!r} in project {project}", hint="`ctxgc search WORDS` finds existing segments")


async def _is_same_content_in_all(services: Services, keys: Sequence[SessionKey], name: str) -> bool:
    """Whether the same content stands under a name in all of these sessions: a fork has the calls of its origin.

    Any of them can then give what the name means.
    """
    if len(keys) > SAME_HOLDERS_MAX:
        return False
    digests = set()
    for key in keys:
        holder = await services.registry.get(key)
        await holder.ensure_current()
        digests.add(holder.indexes.digest_of(holder.slot(name)))
    return len(digests) == 1


def is_same_family(one: SessionKey, other: SessionKey) -> bool:
    """Whether both are the same session of an agent, or sub-agents in it."""
    root = one.session.partition("/")[0]  # Empty where a folder names the session.
    return one == other or (bool(root) and one.source == other.source and root == other.session.partition("/")[0])


class RepeatedCall(Exception):
    """The first reply of a known `op_id`, on the way out of a verb whose body must not run again."""

    def __init__(self, reply: bytes) -> None:
        super().__init__()
        self.reply = reply
        """JSON."""


@asynccontextmanager
async def mutate(
    services: Services, verb: str, params: Mutating, session: Session | None = None
) -> AsyncIterator[tuple[Session, Transaction]]:
    """An atomic change of a session, once per `op_id`; the verb's reply goes through `Transaction.answer`.

        async with mutate(services, "segment.pin", params) as (session, tx):
            …                                    plan: the session is held, others are served meanwhile
            return tx.answer(reply)              commit, then sweep: on leaving

    The session is the params' session, unless the caller gives a session. Raises `RepeatedCall` for a known `op_id`,
    and `Conflict` where the `op_id` named another call, whose reply would be a wrong answer.
    """
    if session is None:
        assert isinstance(params, MutatingSession)
        session = await requested_session(services, params)
    call = await run_on_worker(services, call_digest, verb, params) if params.op_id else b""
    async with session.transaction() as tx:
        if params.op_id:
            op = await services.stash.remembered_op(session.key, params.op_id)
            if op is not None and op.call not in (b"", call):
                hint = "give every mutation an op_id of its own; the same one repeats the same call"
                raise Conflict(f"op_id {params.op_id!r} named another call before", hint=hint, field="op_id")
            if op is not None:
                raise RepeatedCall(op.reply)
        yield session, tx
        if params.op_id:
            assert tx.reply is not None, f"{verb} changed a session and gave no answer to keep"
            tx.add(PutOp(session.key, params.op_id, Op(msgspec.json.encode(tx.reply), call)))


async def await_idempotent_reply(reply: Awaitable[Any]) -> Any:
    """The reply of a mutation with an `op_id`: a repeated mutation answers as the first time."""
    try:
        return await reply
    except RepeatedCall as known:
        return msgspec.Raw(known.reply)


def call_digest(verb: str, params: Mutating) -> bytes:
    """The digest that tells calls with the same `op_id` apart: of all params but those of sending and naming.

    The order of an object's members does not count: a client that encodes a call anew may change the order. Secrets are
    taken out before, for the digest of a secret can be guessed at. Heavy where the text is long. Raises `BadParams`.
    """
    # Without pydantic's warnings, which quote a value: a session's text is never logged.
    try:
        text = params.model_dump_json(exclude=NOT_OF_THE_CALL, warnings=False)
    except ValueError:  # Pydantic writes fewer levels than the codec reads.
        raise BadParams("params are nested too deeply", hint="flatten them; without op_id more levels fit") from None
    fields = msgspec.json.decode(text)
    bare, _ = redact(msgspec.json.encode([verb, fields], order="sorted"))
    return blake2b(bare, digest_size=16).digest()


async def look_at_heap(
    services: Services, session: Session, look: Callable[[*_Arguments], _Result], *arguments: *_Arguments
) -> _Result:
    """Run a look at a session's whole heap: at once where the heap is small, else beside the loop, and no change of
    the session begins meanwhile."""
    if len(session.heap) < BESIDE_SLOTS_MIN:
        return look(*arguments)
    async with session.hold():
        return await run_on_worker(services, look, *arguments)


async def yield_to_other_calls() -> None:
    """Let other calls of the same round of the loop do their last step too, before any call goes on to the next step.

    The same step for many calls in a row finds its code and tables in the processor's caches: fifty clients' adds cost
    a seventh less than call after call, each from end to end.
    """
    await asyncio.sleep(0)


class WindowCost(NamedTuple):
    """A window's tokens after a mutation: raw, and in the model's own."""

    resident_tokens: int
    billed_tokens: int


def count_window_tokens(session: Session) -> WindowCost:
    """The window's tokens now, a part of every mutation's reply."""
    raw = session.heap.resident_tokens
    return WindowCost(raw, session.billed_window_tokens(raw))


def over_budget_hint(session: Session) -> str | None:
    """The next step, if the session is over its budget now."""
    budget = session.row.budget_tokens
    if budget and session.billed_window_tokens(session.heap.resident_tokens) > budget:
        return "over budget: `ctxgc collect` brings it under"
    return None


def publish_collection(services: Services, session: Session, outcome: Outcome) -> None:
    """Count a collection and publish the collection to the subscribers."""
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


def publish_faults(services: Services, session: Session, slots: Sequence[int], faults: int) -> None:
    """Count page faults and publish them to the subscribers."""
    if not faults:
        return
    services.counts["faults"] += faults
    ids = [session.heap.ids[slot] for slot in slots]
    services.events.publish("fault", {"session": str(session.key), "ids": ids})
