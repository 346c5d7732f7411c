"""`window.sync`: the gateway's word on a session's window, and the daemon's on what is to be out of it.

    ids, new segments ──admit──▶ window exactly as sent ──▶ learn from the bill ──▶ pacer ──▶ tombstones in force
                 │ some unknown
                 ├──▶ asked for; the window stays as it was
                 │ some other than their ids stand for
                 └──▶ stored aside, and left in every request

In shadow all is done but the eviction: the journal says what a collection would have saved. Between collections what
is in force does not change (I14); telling the same again changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field

from ctxgc.adapters.contract import Tombstone
from ctxgc.core.errors import BadParams
from ctxgc.core.heap import EVICTED, OPAQUE, RESIDENT
from ctxgc.core.pacer import PacerRules
from ctxgc.core.prompt_cache import COLD, CacheState
from ctxgc.core.regret_budget import Account, PacerRequest
from ctxgc.core.segment import Kind, SessionKey, digest
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.collecting import SHADOW, Outcome, carried_out, foreseen
from ctxgc.daemon.sessions.intake import Prepared
from ctxgc.daemon.sessions.pacer_driver import decided
from ctxgc.daemon.sessions.request_ledger import Bill, Open, Sent, Wiring, actual_cost, as_if_out
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.transaction import Change
from ctxgc.daemon.sessions.window_update import depart, put_back, rewindow
from ctxgc.daemon.settings import pacer_rules
from ctxgc.daemon.verbs.mutation import Reply, announce, on_worker
from ctxgc.daemon.verbs.sessions import tombstone_of
from ctxgc.daemon.verbs.window_sync_intake import (
    Told,
    aside_of,
    conflicts_of,
    digests_told,
    is_settled,
    on_clock,
    prepared,
    told_in,
)
from ctxgc.protocol.wire import Usage, WindowSync
from ctxgc.stash.contract import ActualCost, SessionRow
from ctxgc.tokens.calibration import Calibration


@dataclass(slots=True)
class _Said:
    """What one call came to, for its reply."""

    unknown: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    admitted: int = 0
    aside: int = 0
    """Of these, what stands under an id that is another's."""
    departed: str = ""
    outcome: Outcome | None = None
    trigger: str = ""


async def sync(services: Services, params: WindowSync) -> Reply:
    """`window.sync`."""
    if params.digests and len(params.digests) != len(params.ids):
        raise BadParams("digests stand beside ids: one for each", field="digests")
    told = await on_worker(services, told_in, params)
    session = await services.registry.open(_row(services, params))
    async with session.changing() as change:
        if params.mode == "off":
            change.hear(services.clock())
            _set_mode(session, change, params)
            session.wiring = session.wiring or Wiring()
            session.wiring.is_off = True
            said = _Said()
        else:
            news = [one for one in told if not is_settled(session, one.segment.id)]
            known = [one for one in told if is_settled(session, one.segment.id)]
            others = await _compare(services, session, params, known)
            if news or others:
                await session.ensure_text()
            clocked = on_clock(session, params.ids, [*told, *others])
            ready = await on_worker(services, prepared, services.intake, clocked)
            fixed = [*params.fixed, *(one.segment.id for one in told if one.is_fixed)]
            aside = {one.segment.id for one in others}
            said = _take(services, session, change, params, ready, fixed, aside)
    return await _reply(services, session, params, said)


def _row(services: Services, params: WindowSync) -> SessionRow:
    source, _, name = params.session.partition(":")
    mode = "wire" if params.mode == "on" else "observe"
    return SessionRow(key=SessionKey(source, name), mode=mode, created_s=services.clock())


# What ids stand for


async def _compare(services: Services, session: Session, params: WindowSync, known: Sequence[Told]) -> list[Told]:
    """Hold what the request's ids stand for against the stash: what was sent now by content, the rest by digest.

    Those of `known` that stand for another content than is stored, each under a name of its own.
    """
    session.wiring = session.wiring or Wiring()
    contents, slot_of = session.wiring.contents, session.heap.slot_of
    differing = await conflicts_of(services, session, known)
    said_of = await on_worker(services, _digests, known) | digests_told(params)
    for id_ in (one.segment.id for one in known):
        contents.compared(slot_of[id_], said_of[id_], is_held=id_ not in differing)
    told = _told_digests(session, params)
    doubtful = contents.doubtful(told)
    for row in await services.stash.rows(session.key, doubtful) if doubtful else ():
        if row.digest.hex() == told[row.seq]:
            contents.compared(row.seq, told[row.seq], is_held=True)
    return [aside_of(one, differing[one.segment.id]) for one in known if one.segment.id in differing]


def _digests(told: Sequence[Told]) -> dict[str, str]:
    return {one.segment.id: digest(one.segment.skeleton, one.segment.body).hex() for one in told}


def _told_digests(session: Session, params: WindowSync) -> dict[int, str]:
    """The digests of exchanges that were told before; the ids of all others are digests of their text themselves."""
    heap = session.heap
    slots = (
        (heap.slot_of[id_], said)
        for id_, said in zip(params.ids, params.digests, strict=False)
        if is_settled(session, id_)
    )
    return {
        slot: said
        for slot, said in slots
        if heap.kind_of(slot) is Kind.EXCHANGE and slot not in session.holdings.redacted
    }


# The window, the bill, the collection


def _take(
    services: Services,
    session: Session,
    change: Change,
    params: WindowSync,
    ready: list[Prepared],
    fixed: list[str],
    aside: Set[str],
) -> _Said:
    """Everything a sync does to a session, inside its change."""
    heap, wiring, fresh = session.heap, session.wiring, len(session.heap)
    assert wiring is not None
    _note_facts(session, change, params)
    told = _told_digests(session, params)
    doubtful = {heap.ids[slot] for slot in wiring.contents.doubtful(told)}
    said = _Said(admitted=sum(session.admit(change, one) for one in ready))
    said_of = digests_told(params) if ready else {}
    for one in ready:
        as_told = said_of.get(one.segment.id, one.digest.hex())
        wiring.contents.compared(heap.slot_of[one.segment.id], as_told, is_held=True)
    others = [heap.slot_of[one.segment.id] for one in ready if one.segment.id in aside]
    depart(session, change, others)
    said.aside = len(others)
    is_repeated = wiring.sent is not None and wiring.sent.ids == tuple(params.ids)
    pacer = pacer_rules(services.config, params.profile) if params.profile else services.pacer
    wiring.is_off, wiring.pacer, wiring.heard_s = False, pacer, services.clock()
    if not is_repeated:
        change.hear(wiring.heard_s)
    if params.usage and not params.usage.is_of_this and not is_repeated:
        _learn(session, change, params.usage, pacer)
    given = {one.segment.id for one in ready}
    known = {id_ for id_ in params.ids if is_settled(session, id_) and id_ not in doubtful}
    said.unknown = [id_ for id_ in params.ids if id_ not in known and id_ not in given]
    if said.unknown or not params.ids:
        return said
    slots = [heap.slot_of[id_] for id_ in dict.fromkeys(params.ids)]
    wiring.fixed.update(heap.slot_of[id_] for id_ in fixed if id_ in heap.slot_of)
    conflicts = wiring.contents.conflicts(told)
    said.conflicts = [heap.ids[slot] for slot in slots if slot in conflicts]
    held = wiring.fixed | session.holdings.redacted | conflicts
    _keep_whole(session, held)
    reason = rewindow(session, change, slots, fresh)
    said.departed = reason.value if reason else ""
    if _is_on(session):
        put_back(session, change, [slot for slot in slots if slot in held])
    if not is_repeated:
        said.outcome = _collect(services, session, change, params, pacer, said)
        wiring.sent = _sent(session, params, slots, said.outcome)
    if params.usage and params.usage.is_of_this:
        _learn(session, change, params.usage, pacer)
    return said


def _note_facts(session: Session, change: Change, params: WindowSync) -> None:
    known = session.row
    if params.model and params.model != known.model:
        session.calibration = Calibration.of(params.model)
    session.set_row(
        change,
        project=known.project if known.forgotten else known.project or params.project,
        model=params.model or known.model,
        parent=params.parent.removeprefix(f"{session.key.source}:") or known.parent,
        parent_segment=params.parent_segment or known.parent_segment,
    )
    _set_mode(session, change, params)


def _set_mode(session: Session, change: Change, params: WindowSync) -> None:
    if params.mode == "on":
        session.set_row(change, mode="wire")
    elif params.mode and session.row.mode == "wire":
        session.set_row(change, mode="observe")


def _keep_whole(session: Session, held: set[int]) -> None:
    """What cannot be out on the wire is opaque to the collector, for as long as that is so."""
    heap, wiring = session.heap, session.wiring
    assert wiring is not None
    for slot in wiring.opaque - held:
        heap.flags[slot] &= ~OPAQUE
    wiring.opaque = {slot for slot in held if slot in wiring.opaque or not heap.is_set(slot, OPAQUE)}
    for slot in wiring.opaque:
        heap.flags[slot] |= OPAQUE


def _is_on(session: Session) -> bool:
    return session.row.mode == "wire"


def _collect(
    services: Services, session: Session, change: Change, params: WindowSync, pacer: PacerRules, said: _Said
) -> Outcome | None:
    """Ask the pacer. In shadow it sees the window as it would be, had every earlier collection been carried out."""
    heap, wiring, wall_s = session.heap, session.wiring, services.clock()
    assert wiring is not None
    is_on = _is_on(session)
    outcome = None
    if wiring.accounts_on is not is_on:  # What shadow would have saved, nobody has.
        session.account, wiring.accounts_on = Account(), is_on
    with as_if_out(heap, [] if is_on else [slot for slot in wiring.shadow if heap.state[slot] == RESIDENT]):
        cache = COLD if params.is_cold else CacheState(heap.resident_tokens)
        request = PacerRequest(cache, heap.absent_tokens, wiring.sent.tokens if wiring.sent else 0)
        decision, session.account = decided(session, services.config.pacer, pacer, request, wall_s)
        if decision is not None:
            said.trigger = decision.trigger
            rules = {"cached_tokens": cache.prefix_tokens}
            if is_on:
                outcome = carried_out(session, change, decision.plan, decision.trigger, pacer, wall_s, **rules)
            else:
                outcome = foreseen(session, change, decision.plan, pacer, wall_s, **rules)
    if outcome is None:
        return None
    victims = frozenset(victim.slot for victim in outcome.plan.victims)
    if is_on:
        wiring.opened.append(Open(outcome.collection, victims, params.is_cold))
    else:
        wiring.shadow |= victims
    change.then(lambda: announce(services, session, outcome))
    return outcome


def _sent(session: Session, params: WindowSync, slots: Sequence[int], outcome: Outcome | None) -> Sent:
    """The request as it was forwarded: with what was in force before, or with what the gateway says it edited."""
    heap = session.heap
    evicted = {slot for slot in slots if heap.state[slot] == EVICTED}
    out = evicted if _is_on(session) else set()
    if params.edited is not None:
        out = {heap.slot_of[id_] for id_ in params.edited if id_ in heap.slot_of}
    elif params.is_cold and outcome is not None and outcome.trigger != SHADOW:
        out = out | {victim.slot for victim in outcome.plan.victims}
    full = heap.resident_tokens + sum(heap.freed[slot] for slot in evicted)
    tokens = full - sum(heap.freed[slot] for slot in out)
    return Sent(tuple(params.ids), full, tokens, frozenset(out))


def _learn(session: Session, change: Change, usage: Usage, pacer: PacerRules) -> None:
    """Take a bill in: tokens per raw token, the hidden prefix, and what the collections in force came to."""
    wiring = session.wiring
    assert wiring is not None
    sent, before = wiring.sent, wiring.bill
    uncached = usage.input_tokens + usage.cache_creation_tokens
    billed = uncached + usage.cache_read_tokens
    if sent is None or not billed or (before is not None and before.sent is sent):
        return
    wiring.bill = Bill(sent, uncached, billed)
    wiring.prompt_tokens += billed
    wiring.cached_tokens += usage.cache_read_tokens
    if before is not None:
        session.calibration = session.calibration.observed(sent.tokens - before.sent.tokens, billed - before.tokens)
    hidden = session.calibration.hidden(billed, sent.tokens)
    session.set_row(change, ratio=session.calibration.ratio, hidden_tokens=hidden)
    priced = [one for one in wiring.opened if one.victims <= sent.out]
    if before is not None and len(priced) == 1:
        cost = actual_cost(priced[0], before, wiring.bill, session.calibration.ratio, pacer)
        if cost is not None:
            change.add(ActualCost(session.key, priced[0].collection, cost))
    for one in priced:
        wiring.opened.remove(one)


# The reply


async def _reply(services: Services, session: Session, params: WindowSync, said: _Said) -> Reply:
    heap, wiring = session.heap, session.wiring or Wiring()
    mode = "off" if params.mode == "off" else "on" if _is_on(session) else "shadow"
    window = heap.window()
    out = [slot for slot in window if heap.state[slot] == EVICTED] if mode == "on" else []
    gone = out if mode == "on" else [slot for slot in wiring.shadow if heap.state[slot] == RESIDENT]
    reply: Reply = {
        "session": str(session.key),
        "mode": mode,
        "evicted": {},
        "unknown": said.unknown,
        "conflicts": said.conflicts,
        "plan": _plan(said) if said.outcome else None,
        "window": {
            "segments": len(window),
            "resident_tokens": heap.resident_tokens,
            "billed_tokens": session.billed(heap.resident_tokens),
            "freed_tokens": sum(heap.freed[slot] for slot in gone),
            "ratio": round(session.calibration.ratio, 4),
            "cache_hit_rate": wiring.cache_hit_rate,
        },
        "changed": _sentence(said),
    }
    if said.unknown:
        reply["next"] = "send the unknown segments in `new`; until then the window stays as it was"
    elif mode == "shadow":
        reply["next"] = "in shadow: no body leaves a request; `ctxgc log` shows what would have been saved"
    ids = {slot: heap.ids[slot] for slot in out}
    texts = await _tombstones(services, session, wiring, out, can_recall=params.can_recall)
    reply["evicted"] = {ids[slot]: texts[slot]._asdict() for slot in out}
    return reply


def _plan(said: _Said) -> Reply:
    outcome = said.outcome
    assert outcome is not None
    return {
        "collection": outcome.collection,
        "trigger": said.trigger,
        "evicted": len(outcome.plan.victims),
        "freed_tokens": outcome.plan.before_tokens - outcome.plan.remaining_tokens,
        "predicted_cost": outcome.predicted_cost,
        "cache_rewrite_tokens": outcome.cache_rewrite_tokens,
    }


def _sentence(said: _Said) -> str:
    parts = [f"{said.admitted} admitted"]
    if said.aside:
        parts.append(f"{said.aside} of them aside, under names of their own: their ids stand for something else")
    if said.departed:
        parts.append(f"others departed ({said.departed})")
    if said.outcome:
        would = "would have left" if said.outcome.trigger == SHADOW else "left"
        parts.append(f"{len(said.outcome.plan.victims)} {would} the window")
    return ", ".join(parts)


async def _tombstones(
    services: Services, session: Session, wiring: Wiring, slots: Sequence[int], *, can_recall: bool
) -> dict[int, Tombstone]:
    """The tombstones of these slots, each the same for its life (I14): made from the row, which outlives the daemon."""
    missing = [slot for slot in slots if slot not in wiring.tombstones]
    for row in await services.stash.rows(session.key, missing) if missing else ():
        wiring.tombstones[row.seq] = tombstone_of(session, row.seq, row.segment, can_recall=can_recall).text
    return {slot: Tombstone(wiring.tombstones[slot]) for slot in slots}
