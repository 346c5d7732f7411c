"""`window.sync`: the gateway names the segments of a request, the daemon answers with the tombstones in force.

    ids, digests, new segments ──reconcile──▶ transitions ──▶ learn from the bill ──▶ pacer ──▶ tombstones in force
                                   │ unknown: asked for; the window stays as it was
                                   └ conflict: stored aside, and left in every request

In shadow the journal says the savings of each collection, and no body is evicted. Tombstones change only with a
collection (I14); a repeated request changes no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ctxgc.adapters.contract import Tombstone
from ctxgc.core.display_texts import SHADOW
from ctxgc.core.errors import BadParams
from ctxgc.core.heap import EVICTED, RESIDENT
from ctxgc.core.pacing.pacer import PacerRules
from ctxgc.core.pacing.regret_budget import PacerRequest, RegretAccount
from ctxgc.core.reconcile import HostList, Transitions, call_digests, reconcile, uncompared_slots
from ctxgc.core.segment import Renderer, conflict_base_id
from ctxgc.daemon.services import Services, run_on_worker
from ctxgc.daemon.sessions.collecting import Conditions, Outcome, carry_out_plan, journal_shadow_plan
from ctxgc.daemon.sessions.elided_results import elided_lines_by_id
from ctxgc.daemon.sessions.eviction_simulation import simulate_eviction
from ctxgc.daemon.sessions.intake import PreparedSegment
from ctxgc.daemon.sessions.pacer_driver import ask_pacer
from ctxgc.daemon.sessions.pacing_state import decode_pacing, encode_pacing
from ctxgc.daemon.sessions.request_ledger import (
    Bill,
    ForwardedRequest,
    RequestLedger,
    UnpricedCollection,
    actual_cost,
)
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.tombstones import tombstone_of
from ctxgc.daemon.sessions.transaction import Transaction
from ctxgc.daemon.sessions.window_update import (
    depart_segments,
    known_session,
    set_uneditable_slots,
    update_window,
    window_places,
)
from ctxgc.daemon.settings import pacer_rules
from ctxgc.daemon.verbs.mutation import publish_collection
from ctxgc.daemon.verbs.window_sync_cache import (
    CacheView,
    amend_last_request,
    is_prompt_uncached,
    note_sent_request,
    sync_plan_reply,
)
from ctxgc.daemon.verbs.window_sync_intake import (
    RequestSegment,
    clock_new_segments,
    conflict_copy,
    conflicting_digests,
    decode_new_segments,
    has_complete_segment,
    new_session_row,
    prepare_with_true_elisions,
    segment_digests,
    sent_digests,
)
from ctxgc.daemon.verbs.window_sync_shadow import count_shadow_shortening
from ctxgc.protocol.wire import EvictedReply, SyncReply, WindowReply, WindowSync
from ctxgc.stash.contract import ActualCost
from ctxgc.tokens.calibration import Calibration


@dataclass(slots=True)
class _Sync:
    """A call of `window.sync`, inside its session's change."""

    services: Services
    session: Session
    params: WindowSync
    tx: Transaction
    ledger: RequestLedger
    pacer: PacerRules
    digests: dict[str, str] = field(default_factory=dict)
    """Digest of the content behind each id, where the client says it or the daemon computed it."""
    uneditable: set[str] = field(default_factory=set)
    """Ids of segments without a span that could be edited in this request."""
    todo: Transitions = field(default_factory=Transitions)
    admitted: int = 0
    aside: int = 0
    outcome: Outcome | None = None
    trigger: str = ""
    predicted_read: int = 0
    """Billed tokens that the request with the collection is predicted to read."""

    @property
    def is_mode_on(self) -> bool:
        """Whether tombstones stand in the session's requests from this request on."""
        return self.params.mode == "on" or (
            self.params.mode is None and self.session.row.rendered_by is Renderer.GATEWAY
        )

    @property
    def is_repeated(self) -> bool:
        """Whether the ledger's last request has the same segments."""
        return self.ledger.last_request is not None and self.ledger.last_request.ids == tuple(self.params.ids)


async def sync(services: Services, params: WindowSync) -> SyncReply:
    """`window.sync`."""
    if params.digests and len(params.digests) != len(params.ids):
        raise BadParams("digests stand beside ids: one for each", field="digests")
    segments = await run_on_worker(services, decode_new_segments, params)
    session = await services.registry.open(new_session_row(services, params))
    pacer = pacer_rules(services.config, params.profile) if params.profile else services.pacer
    async with session.transaction() as tx:
        if session.ledger is None:
            session.ledger, session.account = decode_pacing(session.row.pacing)
        call = _Sync(services, session, params, tx, session.ledger, pacer)
        if params.mode == "off":
            tx.note_time(services.clock())
            _set_mode(call)
            call.ledger.is_off = True
        else:
            _apply_sync(call, await _reconcile_and_prepare_segments(call, segments))
    return await _build_sync_reply(call)


# The request against the session


async def _reconcile_and_prepare_segments(call: _Sync, segments: Sequence[RequestSegment]) -> list[PreparedSegment]:
    """Compare the request with the session and the stash, and make the new segments ready to be admitted."""
    session, params = call.session, call.params
    known = [one for one in segments if has_complete_segment(session, one.segment.id)]
    differing = await _compare_known_segments(call, known)
    host = HostList(
        places=window_places(params.ids),
        digests=call.digests,
        contents={one.segment.id: one.segment.kind for one in segments},
        is_rendered=call.is_mode_on,
    )
    await _match_digests_with_rows(call, host)
    call.uneditable = {*params.fixed, *(one.segment.id for one in segments if one.is_fixed)}
    _note_uneditable_slots(call)
    call.todo = reconcile(host, known_session(session, call.ledger.uneditable))
    others = [conflict_copy(one, differing[one.segment.id]) for one in known if one.segment.id in call.todo.aside]
    if call.todo.admit or others:
        await session.ensure_word_index()
    clocked = clock_new_segments(session, params.ids, [*segments, *others])
    ready = await prepare_with_true_elisions(call.services, session, clocked, is_on=call.is_mode_on)
    await count_shadow_shortening(call.services, session, ready)
    return ready


def _note_uneditable_slots(call: _Sync) -> None:
    slot_of = call.session.heap.slot_of
    call.ledger.uneditable.update(slot_of[id_] for id_ in call.uneditable if id_ in slot_of)


async def _compare_known_segments(call: _Sync, known: Sequence[RequestSegment]) -> dict[str, bytes]:
    """Compare known segments that came along in full with the stash: ids that differ, with the new content's digest."""
    differing = await conflicting_digests(call.services, call.session, known)
    call.digests = await run_on_worker(call.services, segment_digests, known) | sent_digests(call.params)
    slot_of = call.session.heap.slot_of
    for id_ in (one.segment.id for one in known):
        call.ledger.digests.note_comparison(slot_of[id_], call.digests[id_], is_stored=id_ not in differing)
    return differing


async def _match_digests_with_rows(call: _Sync, host: HostList) -> None:
    """Compare the digests that are new to the ledger with the rows: a session that slept starts with none."""
    known = known_session(call.session)
    digests = call_digests(host, known)
    doubtful = uncompared_slots(digests, known)
    for row in await call.services.stash.rows(call.session.key, sorted(doubtful)) if doubtful else ():
        if row.digest.hex() == digests[row.seq]:
            call.ledger.digests.note_comparison(row.seq, digests[row.seq], is_stored=True)


def _apply_sync(call: _Sync, ready: Sequence[PreparedSegment]) -> None:
    """Change the session: admit segments, update the window, learn from the bill, collect."""
    session, tx, params, ledger = call.session, call.tx, call.params, call.ledger
    slot_of, is_repeated = session.heap.slot_of, call.is_repeated
    _update_session_row(call)
    call.admitted = sum(session.admit(tx, one) for one in ready)
    for one in ready:
        host_digest = call.digests.get(one.segment.id, one.digest.hex())
        ledger.digests.note_comparison(slot_of[one.segment.id], host_digest, is_stored=True)
    aside = [slot_of[one.segment.id] for one in ready if conflict_base_id(one.segment.id) in call.todo.aside]
    depart_segments(session, tx, aside)
    call.aside = len(aside)
    ledger.window_max_tokens, ledger.can_recall = params.window_max_tokens, params.can_recall
    ledger.is_off, ledger.pacer, ledger.last_request_s = False, call.pacer, call.services.clock()
    if not is_repeated:
        tx.note_time(ledger.last_request_s)
    is_of_this = params.usage is not None and params.usage.is_of_this
    if params.was_sent is not None and not is_repeated:
        amend_last_request(session, params.was_sent)
    if not is_of_this and not is_repeated:
        _learn_from_bill(call)
    if not is_repeated and params.ids and not call.todo.unknown:
        ledger.provider.settle_request(was_answered=params.was_answered)
    if call.todo.unknown or not params.ids:
        return
    if is_prompt_uncached(params, ledger):
        call.pacer = ledger.pacer = pacer_rules(call.services.config, "uncached")
    _note_uneditable_slots(call)
    changed = session.indexes.changed = set(call.todo.conflicts)
    set_uneditable_slots(session, ledger.uneditable | session.indexes.redacted | changed)
    update_window(session, tx, call.todo)
    if params.held:
        set_uneditable_slots(session, session.indexes.uneditable | _host_edited_slots(call))
    if not is_repeated:
        _collect_if_due(call)
        ledger.last_request = _build_forwarded_request(call)
    if is_of_this:
        _learn_from_bill(call)
    session.set_row_fields(tx, pacing=encode_pacing(ledger, session.account))


def _host_edited_slots(call: _Sync) -> set[int]:
    """Resident slots that the host's server edits in this request. The next request releases the slots."""
    heap, protected = call.session.heap, set(call.params.held)
    return {slot for id_, slot in heap.slot_of.items() if id_ in protected and heap.state[slot] == RESIDENT}


# The row, the collection, the bill


def _update_session_row(call: _Sync) -> None:
    session, params, known = call.session, call.params, call.session.row
    if params.model and params.model != known.model:
        session.calibration = Calibration.from_prior(params.model)
    session.set_row_fields(call.tx, model=params.model or known.model)
    if not known.forgotten:
        session.set_row_fields(
            call.tx,
            project=known.project or params.project,
            parent=params.parent.removeprefix(f"{session.key.source}:") or known.parent,
            parent_segment=params.parent_segment or known.parent_segment,
        )
    _set_mode(call)


def _set_mode(call: _Sync) -> None:
    if call.params.mode == "on":
        call.session.set_row_fields(call.tx, rendered_by=Renderer.GATEWAY)
    elif call.params.mode and call.session.row.rendered_by is Renderer.GATEWAY:
        call.session.set_row_fields(call.tx, rendered_by=Renderer.AGENT)


def _collect_if_due(call: _Sync) -> None:
    """Ask the pacer. In shadow the pacer sees the window as if every earlier collection had been carried out."""
    session, ledger, params, is_on = call.session, call.ledger, call.params, call.is_mode_on
    heap, wall_s, is_cold = session.heap, call.services.clock(), params.is_cold
    note_sent_request(session, params, _sent_tombstone_slots(call))
    if ledger.is_account_real is not is_on:  # No account holds the savings of collections in shadow.
        session.account, ledger.is_account_real = RegretAccount(), is_on
    with simulate_eviction(heap, [] if is_on else ledger.shadow_victim_slots(heap)):
        view, is_paused = CacheView.from_request(session, params, is_on=is_on), ledger.trust.is_paused(session.row.turn)
        view = view.worst_case() if is_paused else view
        sent_tokens = ledger.last_request.tokens if ledger.last_request else 0
        request = PacerRequest(view.cache, heap.absent_tokens, sent_tokens)
        decision, session.account = ask_pacer(session, call.services.config.pacer, call.pacer, request, wall_s)
        if decision is None:
            return
        call.trigger = decision.trigger
        conditions = Conditions(call.pacer, wall_s, view.cache)
        call.predicted_read = view.predict_read_tokens(decision.plan)
        if is_on:
            outcome = carry_out_plan(session, call.tx, decision.plan, call.trigger, conditions)
        else:
            outcome = journal_shadow_plan(session, call.tx, decision.plan, conditions)
    victims = frozenset(victim.slot for victim in outcome.plan.victims)
    if is_on:
        rewritten = outcome.cache_rewrite_tokens * session.calibration.ratio
        prediction = call.predicted_read, rewritten, not is_paused
        ledger.unpriced.append(UnpricedCollection(outcome.collection, victims, is_cold, *prediction))
    else:
        ledger.shadow_victims |= victims
    call.outcome = outcome
    call.tx.on_commit(lambda: publish_collection(call.services, session, outcome))


def _build_forwarded_request(call: _Sync) -> ForwardedRequest:
    """The request in the form that the gateway forwarded: with the earlier tombstones, or with those that the gateway
    names.
    """
    heap, params, outcome = call.session.heap, call.params, call.outcome
    evicted = {slot for slot in heap.window() if heap.state[slot] == EVICTED}
    out = _sent_tombstone_slots(call)
    if params.edited is None and params.is_cold and outcome is not None and outcome.trigger != SHADOW:
        out = out | {victim.slot for victim in outcome.plan.victims}
        note_sent_request(call.session, params, out)
    full = heap.resident_tokens + heap.freed_tokens(evicted)
    return ForwardedRequest(tuple(params.ids), full, full - heap.freed_tokens(out), frozenset(out))


def _sent_tombstone_slots(call: _Sync) -> set[int]:
    """Slots with tombstones in the request: the gateway's list, or the earlier tombstones."""
    heap, named = call.session.heap, call.params.edited
    if named is not None:
        return {heap.slot_of[id_] for id_ in named if id_ in heap.slot_of}
    return {slot for slot in heap.window() if heap.state[slot] == EVICTED} if call.is_mode_on else set()


def _learn_from_bill(call: _Sync) -> None:
    """Learn from a bill: tokens per raw token, the hidden prefix, and the actual cost of a collection."""
    session, ledger, usage = call.session, call.ledger, call.params.usage
    request, before = ledger.last_request, ledger.bill
    if usage is None or request is None or (before is not None and before.request is request):
        return
    uncached = usage.input_tokens + usage.cache_creation_tokens
    billed = uncached + usage.cache_read_tokens
    if not billed:
        return
    ledger.bill = Bill(request, uncached, billed)
    ledger.provider.apply_bill(usage.cache_read_tokens, usage.cache_creation_tokens, usage.input_tokens)
    ledger.prompt_tokens += billed
    ledger.cached_tokens += usage.cache_read_tokens
    if before is not None:
        session.calibration = session.calibration.observe(
            request.tokens - before.request.tokens, billed - before.tokens
        )
    hidden = session.calibration.unexplained_tokens(billed, request.tokens)
    session.set_row_fields(call.tx, ratio=session.calibration.ratio, hidden_tokens=hidden)
    priced = [one for one in ledger.unpriced if one.victims <= request.out]
    if len(priced) == 1:
        _charge_misprediction(call, priced[0], usage.cache_read_tokens)
    if before is not None and len(priced) == 1:
        cost = actual_cost(priced[0], before, ledger.bill, session.calibration.ratio, call.pacer)
        if cost is not None:
            call.tx.add(ActualCost(session.key, priced[0].collection, cost))
    for one in priced:
        ledger.unpriced.remove(one)


def _charge_misprediction(call: _Sync, cut: UnpricedCollection, read_tokens: int) -> None:
    """Hold the bill of an editing request against its prediction; the account bears what the ledger says was lost."""
    session, (read, write, _) = call.session, call.pacer.prices
    lost = call.ledger.learn_trust(cut, read_tokens, session.row.turn)
    if lost:
        session.account = session.account.after_edit((write - read) * lost / session.calibration.ratio)


async def _build_sync_reply(call: _Sync) -> SyncReply:
    session, heap, ledger, unknown = call.session, call.session.heap, call.ledger, call.todo.unknown
    mode = "off" if call.params.mode == "off" else "on" if call.is_mode_on else "shadow"
    window, hint = heap.window(), None
    out = [slot for slot in window if heap.state[slot] == EVICTED] if mode == "on" else []
    if unknown:
        hint = "send the unknown segments in `new`; until then the window stays as it was"
    elif mode == "shadow":
        hint = "in shadow: no body leaves a request; `ctxgc log` shows what would have been saved"
    summary = WindowReply(
        segments=len(window),
        resident_tokens=heap.resident_tokens,
        billed_tokens=session.billed_window_tokens(heap.resident_tokens),
        freed_tokens=heap.freed_tokens(out if mode == "on" else ledger.shadow_victim_slots(heap)),
        ratio=round(session.calibration.ratio, 4),
        cache_hit_rate=ledger.cache_hit_rate,
    )
    # Ids and lines are read before the wait for rows: the reply is of one moment.
    ids, conflicts = {slot: heap.ids[slot] for slot in out}, [heap.ids[slot] for slot in call.todo.conflicts]
    elided = elided_lines_by_id(session, can_recall=call.params.can_recall) if mode == "on" else {}
    texts = await _tombstones_of_slots(call, out)
    return SyncReply(
        session=str(session.key),
        mode=mode,
        evicted={ids[slot]: EvictedReply(*texts[slot]) for slot in out},
        unknown=list(unknown),
        conflicts=conflicts,
        plan=sync_plan_reply(session, call.outcome, call.trigger, call.predicted_read) if call.outcome else None,
        window=summary,
        changed=_sync_sentence(call),
        elided=elided or None,
        next=hint,
    )


def _sync_sentence(call: _Sync) -> str:
    parts = [f"{call.admitted} admitted"]
    if call.aside:
        parts.append(f"{call.aside} of them aside, under ids of their own: the ids they came under stand for others")
    parts += [f"others departed ({reason.value})" for reason, _ in call.todo.departures]
    if call.outcome:
        would = "would have left" if call.outcome.trigger == SHADOW else "left"
        parts.append(f"{len(call.outcome.plan.victims)} {would} the window")
    return ", ".join(parts)


async def _tombstones_of_slots(call: _Sync, slots: Sequence[int]) -> dict[int, Tombstone]:
    """The tombstones of slots, each made from its row, so that a restart does not change its text (I14)."""
    session, texts = call.session, call.ledger.tombstones
    missing = [slot for slot in slots if slot not in texts]
    for row in await call.services.stash.rows(session.key, missing) if missing else ():
        texts[row.seq] = tombstone_of(session, row.seq, row.segment, can_recall=call.params.can_recall).text
    return {slot: Tombstone(texts[slot]) for slot in slots}
