"""Verbs on the heap: plan, collect, why, refs, path, undo, log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ctxgc.core.collector import Plan
from ctxgc.core.display_texts import tokens_text
from ctxgc.core.errors import NotFound, OverBudget
from ctxgc.core.garbage import garbage_proof
from ctxgc.core.heap import DEPARTED, EVICTED, FORGOTTEN, Proof
from ctxgc.core.mark import path_from_root
from ctxgc.core.model_prices import ModelPrice
from ctxgc.core.roots import ROOTS, find_roots
from ctxgc.core.segment import EdgeKind
from ctxgc.daemon.serialize import collection_reply, labels_by_seq, largest_victims, plan_reply, price_reply
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.collecting import (
    Conditions,
    carry_out_plan,
    choose_undo_target,
    collection_target,
    plan_collection,
    price_plan,
    undo_evictions,
)
from ctxgc.daemon.sessions.elided_results import elided_lines_words
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.settings import model_price
from ctxgc.daemon.verbs.mutation import (
    mutate,
    publish_collection,
    requested_session,
    run_on_worker,
    session_with_segment,
)
from ctxgc.protocol.messages import HeapCollect, HeapLog, HeapPath, HeapPlan, HeapUndo, HeapWhy, OneSegment
from ctxgc.protocol.replies.heap import (
    CollectionReply,
    LogReply,
    PathReply,
    PlanReply,
    RefReply,
    RefsReply,
    StepReply,
    WhyReply,
)

ROOT_REASONS = {
    "system": "it is a system prompt",
    "user": "it is what the user said",
    "pinned": "it is pinned",
    "recent": "the segment is among the newest turns",
    "pending": "the call has no result yet",
    "plan": "it is the newest plan",
    "file": "it is the newest read of a file in use",
    "summary": "it is the newest summary",
    "task": "the segment belongs to the current task",
    "open": "its file is open in front of the user",
    "protected": "the configuration protects it",
    "recalled": "the segment was recalled a moment ago",
    "pointed": "a protected segment shows lines of it by a pointer",
}


async def _read_labels(services: Services, session: Session, slots: Iterable[int]) -> dict[int, str]:
    return labels_by_seq(await services.stash.rows(session.key, sorted(set(slots))))


async def _read_victim_labels(services: Services, session: Session, todo: Plan, limit: int) -> dict[int, str]:
    return await _read_labels(services, session, (v.slot for v in largest_victims(todo, limit)))


async def plan(services: Services, params: HeapPlan) -> PlanReply:
    """`heap.plan`."""
    session = await requested_session(services, params)
    todo = plan_collection(session, collection_target(session, params.budget_tokens, params.unit))
    outcome = price_plan(session, todo, services.pacer)
    labels = await _read_victim_labels(services, session, todo, params.limit)
    return plan_reply(session, outcome, labels, unit=params.unit, limit=params.limit, is_dry=True)


async def collect_now(services: Services, params: HeapCollect) -> PlanReply:
    """`heap.collect`."""
    if params.dry_run:
        return await plan(services, params)
    async with mutate(services, "heap.collect", params) as (session, tx):
        target = collection_target(session, params.budget_tokens, params.unit)
        # Nothing else moves the heap while this change holds the session: others are served meanwhile.
        todo = await run_on_worker(services, plan_collection, session, target)
        if params.must_fit:
            _require_fit(todo)
        labels = await _read_victim_labels(services, session, todo, params.limit)
        outcome = carry_out_plan(session, tx, todo, "asked", Conditions(services.pacer, services.clock()))
        tx.on_commit(lambda: publish_collection(services, session, outcome))
        return tx.answer(plan_reply(session, outcome, labels, unit=params.unit, limit=params.limit, is_dry=False))


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
        newest = await services.stash.standing_collection(session.key)
        taken_back = choose_undo_target(session, number, named, newest, force=params.force)
        outcome = undo_evictions(session, tx, taken_back, Conditions(services.pacer, services.clock()))
        tx.on_commit(lambda: publish_collection(services, session, outcome))
        return tx.answer(plan_reply(session, outcome, {}, unit="billed", limit=0, is_dry=False))


async def log(services: Services, params: HeapLog) -> LogReply:
    """`heap.log`."""
    session = await requested_session(services, params)
    price = model_price(services.config, session.row.model)
    if params.collection:
        record = await services.stash.collection(session.key, params.collection)
        if record is None:
            raise NotFound(f"no collection {params.collection} in session {session.key}", hint="`ctxgc log` lists them")
        labels = await _read_labels(services, session, (e.seq for e in record.evictions))
        return _log_reply(session, [collection_reply(session, record, price, labels)], price)
    records = await services.stash.collections(session.key, limit=params.limit)
    return _log_reply(session, [collection_reply(session, r, price) for r in records], price)


def _log_reply(session: Session, collections: list[CollectionReply], price: ModelPrice | None) -> LogReply:
    ratio, hidden = round(session.calibration.ratio, 4), session.row.hidden_tokens
    pause = session.trust.pause_reason(session.row.turn)
    return LogReply(str(session.key), collections, ratio, hidden, hidden, price_reply(session, price), pause or None)


async def why(services: Services, params: HeapWhy) -> WhyReply:
    """`heap.why`."""
    session = await session_with_segment(services, params, params.id)
    heap, slot = session.heap, session.slot(params.id)
    roots = find_roots(heap, session.index.paths, session.now(), session.rules)
    trail = path_from_root(heap.refs, roots, slot)
    proof = garbage_proof(heap, slot, session.now(), session.rules)
    labels = await _read_labels(services, session, [*trail, slot, *([proof.by] if proof and proof.by >= 0 else [])])
    state = heap.state_of(slot).value
    if heap.state[slot] in (EVICTED, DEPARTED, FORGOTTEN):
        answer = await _verdict_outside(services, session, slot)
    else:
        answer = _verdict_in_window(session, slot, roots, trail, proof, labels)
        if words := elided_lines_words(session, slot):
            answer = answer._replace(explanation=f"{answer.explanation}; {words}")
    return WhyReply(
        session=str(session.key),
        id=heap.ids[slot],
        label=labels.get(slot, ""),
        state=state,
        verdict=answer.verdict,
        root=ROOTS[roots[trail[0]]] if trail else "",
        path=_path_steps(session, trail, labels),
        reason=answer.reason,
        by=answer.by,
        collection=answer.collection,
        wall_s=answer.wall_s,
        explanation=answer.explanation,
        next=answer.next,
    )


class _Verdict(NamedTuple):
    """Why a segment is in the window, or why not."""

    verdict: str
    explanation: str
    reason: str = ""
    by: str = ""
    collection: int = 0
    wall_s: float = 0.0
    next: str | None = None


def _path_steps(session: Session, trail: list[int], labels: dict[int, str]) -> list[StepReply]:
    steps = []
    for at, slot in enumerate(trail):
        edge = next((k for t, k in session.heap.edges_of(trail[at - 1]) if t == slot), 0) if at else 0
        name = EdgeKind(edge).name.lower() if edge else ""
        steps.append(StepReply(session.heap.ids[slot], labels.get(slot, ""), name))
    return steps


def _verdict_in_window(
    session: Session, slot: int, roots: bytearray, trail: list[int], proof: Proof | None, labels: dict[int, str]
) -> _Verdict:
    by = session.heap.ids[proof.by] if proof and proof.by >= 0 else ""
    reason = proof.reason if proof else ""
    if roots[slot]:
        sentence = f"in the window, and kept: {ROOT_REASONS[ROOTS[roots[slot]]]}"
        if proof:
            sentence += f"; the body looks like garbage ({reason}), but a root is never evicted"
        return _Verdict("root", sentence, reason, by)
    if proof:
        cause = f" because of {labels.get(proof.by, by)} ({by})" if by else ""
        sentence = f"in the window, but garbage: {reason.replace('_', ' ')}{cause}; the next collection takes the body"
        return _Verdict("garbage", sentence, reason, by)
    if trail:
        start = labels.get(trail[0], "")
        return _Verdict("reached", f"in the window; reached from {start} ({ROOTS[roots[trail[0]]]}), so it goes last")
    sentence = (
        "in the window, but no kept segment refers to the body: large and old bodies go first when room is needed"
    )
    return _Verdict("unreached", sentence)


async def _verdict_outside(services: Services, session: Session, slot: int) -> _Verdict:
    heap = session.heap
    rows = await services.stash.rows(session.key, [slot])
    state, name = heap.state[slot], heap.ids[slot]
    if state == FORGOTTEN:
        return _Verdict("forgotten", "forgotten at the user's word; only the id is left")
    if state == DEPARTED:
        reason = rows[0].departure.value if rows and rows[0].departure else "host"
        sentence = f"left the window by the host's hand ({reason.replace('_', ' ')}); stored: `ctxgc recall {name}`"
        return _Verdict("departed", sentence, reason)
    number = rows[0].collection if rows else 0
    record = await services.stash.collection(session.key, number)
    entry = next((e for e in record.evictions if e.seq == slot), None) if record else None
    if record is None or entry is None:
        return _Verdict("evicted", f"evicted; `ctxgc recall {name}` brings it back")
    by = heap.ids[entry.by] if entry.by >= 0 else ""
    cause = f" because of {by}" if by else ""
    freed = tokens_text(session.calibration.to_billed(entry.freed_tokens))
    sentence = (
        f"evicted by collection {number} at turn {record.turn}: {entry.reason.replace('_', ' ')}{cause}, "
        f"freed {freed} tokens; `ctxgc recall {name}` brings it back"
    )
    return _Verdict("evicted", sentence, entry.reason, by, number, record.wall_s, next=f"ctxgc recall {name}")


async def refs(services: Services, params: OneSegment) -> RefsReply:
    """`heap.refs`."""
    session = await requested_session(services, params)
    heap, slot = session.heap, session.slot(params.id)
    outgoing = list(heap.edges_of(slot))
    incoming = [
        (other, kind)
        for other in range(slot + 1, len(heap))
        if slot in heap.refs[other]
        for target, kind in heap.edges_of(other)
        if target == slot
    ]
    labels = await _read_labels(services, session, [t for t, _ in outgoing + incoming])

    def ref_replies(pairs: list[tuple[int, int]]) -> list[RefReply]:
        return [RefReply(heap.ids[t], EdgeKind(kind).name.lower(), labels.get(t, "")) for t, kind in pairs]

    return RefsReply(str(session.key), heap.ids[slot], ref_replies(outgoing), ref_replies(incoming))


async def path(services: Services, params: HeapPath) -> PathReply:
    """`heap.path`."""
    session = await requested_session(services, params)
    heap, goal = session.heap, session.slot(params.id)
    if params.start:
        roots = bytearray(len(heap))
        roots[session.slot(params.start)] = 1
    else:
        roots = find_roots(heap, session.index.paths, session.now(), session.rules)
    trail = path_from_root(heap.refs, roots, goal)
    labels = await _read_labels(services, session, trail)
    return PathReply(str(session.key), _path_steps(session, trail, labels))
