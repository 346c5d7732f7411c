"""Verbs on the heap: plan, collect, why, refs, path, undo, log."""

from __future__ import annotations

from ctxgc.core.collector import Plan
from ctxgc.core.display_texts import tokens_text
from ctxgc.core.errors import NotFound, OverBudget
from ctxgc.core.liveness import newest_naming_root
from ctxgc.core.mark import path_from_root
from ctxgc.core.model_prices import ModelPrice
from ctxgc.core.roots import find_roots
from ctxgc.core.segment import EdgeKind
from ctxgc.daemon.serialize import collection_reply, largest_victims, plan_reply, price_reply
from ctxgc.daemon.services import Services, run_on_worker
from ctxgc.daemon.sessions.collecting import (
    Conditions,
    carry_out_plan,
    choose_collection_to_undo,
    collection_target_tokens,
    plan_collection,
    predict_dry_outcome,
    undo_evictions,
)
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.settings import model_price
from ctxgc.daemon.verbs.mutation import look_at_heap, mutate, publish_collection, requested_session
from ctxgc.daemon.verbs.why import path_steps, read_labels
from ctxgc.protocol.messages import HeapCollect, HeapLog, HeapPath, HeapPlan, HeapUndo, OneSegment
from ctxgc.protocol.replies.heap import (
    CollectionReply,
    LogReply,
    PathReply,
    PlanReply,
    RefReply,
    RefsReply,
)


async def _read_victim_labels(services: Services, session: Session, todo: Plan, limit: int) -> dict[int, str]:
    return await read_labels(services, session, (v.slot for v in largest_victims(todo, limit)))


async def plan(services: Services, params: HeapPlan) -> PlanReply:
    """`heap.plan`."""
    session = await requested_session(services, params)
    target = collection_target_tokens(session, params.budget_tokens, params.unit)
    todo = await look_at_heap(services, session, plan_collection, session, target)
    outcome = predict_dry_outcome(session, todo, services.pacer)
    labels = await _read_victim_labels(services, session, todo, params.limit)
    return plan_reply(session, outcome, labels, unit=params.unit, limit=params.limit, is_dry=True)


async def collect_now(services: Services, params: HeapCollect) -> PlanReply:
    """`heap.collect`."""
    if params.dry_run:
        return await plan(services, params)
    async with mutate(services, "heap.collect", params) as (session, tx):
        target = collection_target_tokens(session, params.budget_tokens, params.unit)
        # Nothing else moves the heap while this change holds the session: others are served meanwhile.
        todo = await run_on_worker(services, plan_collection, session, target)
        if params.must_fit:
            _require_fit(todo)
        labels = await _read_victim_labels(services, session, todo, params.limit)
        outcome = carry_out_plan(session, tx, todo, "asked", Conditions(services.pacer, services.clock()))
        tx.on_commit(lambda: publish_collection(services, session, outcome))
        return tx.keep_reply(plan_reply(session, outcome, labels, unit=params.unit, limit=params.limit, is_dry=False))


def _require_fit(todo: Plan) -> None:
    if todo.protected_by:
        names = ", ".join(f"{name} {tokens_text(tokens)}" for name, tokens in todo.protected_by[:3])
        size = f"{tokens_text(todo.remaining_tokens)} tokens must stay, {tokens_text(todo.target_tokens)} are allowed"
        pins = ", or fewer pins" if any(name == "pinned" for name, _ in todo.protected_by) else ""
        hint = f"a larger budget{pins}; without must_fit every evictable body goes"
        raise OverBudget(f"{size} (raw): {names}", hint=hint)


async def undo_collection(services: Services, params: HeapUndo) -> PlanReply:
    """`heap.undo`."""
    async with mutate(services, "heap.undo", params) as (session, tx):
        number = params.collection
        named = await services.stash.collection(session.key, number) if number else None
        newest = await services.stash.newest_collection_in_force(session.key)
        taken_back = choose_collection_to_undo(session, number, named, newest, force=params.force)
        outcome = undo_evictions(session, tx, taken_back, Conditions(services.pacer, services.clock()))
        tx.on_commit(lambda: publish_collection(services, session, outcome))
        return tx.keep_reply(plan_reply(session, outcome, {}, unit="billed", limit=0, is_dry=False))


async def log(services: Services, params: HeapLog) -> LogReply:
    """`heap.log`."""
    session = await requested_session(services, params)
    price = model_price(services.config, session.row.model)
    if params.collection:
        record = await services.stash.collection(session.key, params.collection)
        if record is None:
            raise NotFound(f"no collection {params.collection} in session {session.key}", hint="`ctxgc log` lists them")
        labels = await read_labels(services, session, (e.seq for e in record.evictions))
        return _log_reply(session, [collection_reply(session, record, price, labels)], price)
    records = await services.stash.collections(session.key, limit=params.limit)
    return _log_reply(session, [collection_reply(session, r, price) for r in records], price)


def _log_reply(session: Session, collections: list[CollectionReply], price: ModelPrice | None) -> LogReply:
    ratio, hidden = round(session.calibration.ratio, 4), session.row.hidden_tokens
    pause = session.trust.pause_reason(session.row.turn)
    return LogReply(str(session.key), collections, ratio, hidden, hidden, price_reply(session, price), pause or None)


async def refs(services: Services, params: OneSegment) -> RefsReply:
    """`heap.refs`."""
    session = await requested_session(services, params)
    heap, slot = session.heap, session.slot(params.id)
    outgoing = list(heap.refs_with_edge_kinds(slot))
    incoming = [
        (other, kind)
        for other in range(slot + 1, len(heap))
        if slot in heap.refs[other]
        for target, kind in heap.refs_with_edge_kinds(other)
        if target == slot
    ]
    labels = await read_labels(services, session, [t for t, _ in outgoing + incoming])

    def ref_replies(pairs: list[tuple[int, int]]) -> list[RefReply]:
        return [RefReply(heap.ids[t], EdgeKind(kind).name.lower(), labels.get(t, "")) for t, kind in pairs]

    return RefsReply(str(session.key), heap.ids[slot], ref_replies(outgoing), ref_replies(incoming))


async def path(services: Services, params: HeapPath) -> PathReply:
    """`heap.path`: by every reference from a named segment; from the roots, by those that are followed."""
    session = await requested_session(services, params)
    heap, goal = session.heap, session.slot(params.id)
    if params.start:
        roots = bytearray(len(heap))
        roots[session.slot(params.start)] = 1
        trail = path_from_root(heap.refs.__getitem__, roots, goal)
    else:
        roots = find_roots(heap, session.reference_index.paths, session.now(), session.rules)
        trail = path_from_root(lambda slot: heap.given.get(slot, ()), roots, goal)
        if not trail and (namer := newest_naming_root(heap, roots, goal)) >= 0:
            trail = [namer, goal]  # Of a root's derived references one hop counts.
    labels = await read_labels(services, session, trail)
    return PathReply(str(session.key), path_steps(session, trail, labels))
