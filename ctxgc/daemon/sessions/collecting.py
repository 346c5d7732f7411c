"""Collections of a session: plan, commit, sweep, in this order and no other; and their undoing.

All functions here run inside a session's change: the journal and the evictions are a single transaction, and the heap
is swept only when the commit is durable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ctxgc.core.collector import Plan, hand_eviction_refusal_reason, plan, plan_eviction_by_hand, restore_bodies, sweep
from ctxgc.core.display_texts import SHADOW
from ctxgc.core.errors import Conflict, NotFound
from ctxgc.core.heap import EVICTED, RESIDENT
from ctxgc.core.pacing.effects import effects_of_eviction, effects_of_return
from ctxgc.core.pacing.pacer import PacerRules
from ctxgc.core.pacing.price_profiles import Prices
from ctxgc.core.pacing.prompt_cache import WARM, CacheState
from ctxgc.core.segment import Renderer, State
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.transaction import Transaction
from ctxgc.stash.contract import Collection, Eviction, PutCollection, SetRecalled, SetState, Touch

DEFAULT_BUDGET_PART = 3
"""A session without a budget is collected to a third of its resident tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A plan, made or carried out, with its predicted cost. `collection` is 0 for a plan that was not carried out."""

    plan: Plan
    trigger: str
    collection: int
    predicted_cost: float
    cache_rewrite_tokens: int


def collection_target_tokens(session: Session, budget_tokens: int | None, unit: str) -> int:
    """The raw target of a collection: the caller's budget, else the session's, else a third of the window."""
    if budget_tokens is not None:
        return session.raw_budget(budget_tokens, unit)
    if session.row.budget_tokens:
        return session.raw_budget(session.row.budget_tokens, "billed")
    return session.heap.resident_tokens // DEFAULT_BUDGET_PART


class Conditions(NamedTuple):
    """The prices, the cache and the moment of a collection."""

    pacer: PacerRules
    wall_s: float
    cache: CacheState = WARM


def plan_collection(session: Session, target_tokens: int) -> Plan:
    """The plan of a collection to this target, as of now. Only reads."""
    return plan(session.heap, session.reference_index.paths, target_tokens, session.now(), session.rules)


def predict_dry_outcome(session: Session, todo: Plan, pacer: PacerRules) -> Outcome:
    """A plan with its predicted effect on the bill."""
    return _predict_outcome(session, todo, "asked", 0, Conditions(pacer, 0.0))


def carry_out_plan(session: Session, tx: Transaction, todo: Plan, trigger: str, conditions: Conditions) -> Outcome:
    """Put a plan into the change: journal and states to commit, and the sweep for when the commit is durable."""
    if not todo.victims:
        return _predict_outcome(session, todo, trigger, 0, conditions)
    outcome = _predict_outcome(session, todo, trigger, session.last_collection + 1, conditions)
    _add_journal_record(session, tx, outcome, conditions.wall_s)
    tx.on_commit(lambda: sweep(session.heap, todo.victims))
    return outcome


def journal_shadow_plan(session: Session, tx: Transaction, todo: Plan, conditions: Conditions) -> Outcome:
    """Put a plan into the journal alone: a session in shadow keeps every body."""
    outcome = _predict_outcome(session, todo, SHADOW, session.last_collection + 1, conditions)
    _add_journal_record(session, tx, outcome, conditions.wall_s)
    return outcome


def _add_journal_record(session: Session, tx: Transaction, outcome: Outcome, wall_s: float) -> None:
    todo = outcome.plan
    evictions = tuple(
        Eviction(seq=v.slot, reason=v.reason, by=v.by, freed_tokens=v.freed_tokens, score=round(v.score, 3))
        for v in todo.victims
    )
    record = Collection(
        id=outcome.collection,
        wall_s=wall_s,
        turn=session.row.turn,
        trigger=outcome.trigger,
        target_tokens=todo.target_tokens,
        before_tokens=todo.before_tokens,
        after_tokens=todo.remaining_tokens,
        evictions=evictions,
        protected_by=todo.protected_by,
        predicted_cost=outcome.predicted_cost,
    )
    tx.add(PutCollection(session.key, record, is_carried_out=outcome.trigger != SHADOW))
    session.last_collection = outcome.collection


def evict_by_hand(session: Session, tx: Transaction, slots: Sequence[int], conditions: Conditions) -> Outcome:
    """Evict the bodies of these slots. Raises `Conflict` if no body can be evicted, with the reason of the first."""
    todo = plan_eviction_by_hand(session.heap, slots, session.rules)
    if not todo.victims:
        slot = slots[0]
        why = hand_eviction_refusal_reason(session.heap, slot, session.rules)
        hint = "`ctxgc unpin` takes the pin back" if why == "pinned" else "`ctxgc why` says more"
        raise Conflict(f"segment {session.heap.ids[slot]!r} cannot be evicted: it is {why}", hint=hint)
    return carry_out_plan(session, tx, todo, "evicted_by_hand", conditions)


def choose_collection_to_undo(
    session: Session, number: int, named: Collection | None, newest: Collection | None, *, force: bool
) -> Collection:
    """The collection to take back: `named`, the collection of this number, or for 0 the `newest` that stands.

    Both are read inside the change: another undo may have been under way. Raises `NotFound`, `Conflict`.
    """
    found = named if number else newest
    if found is None:
        what = f"no collection {number}" if number else "no collection to undo"
        raise NotFound(f"{what} in session {session.key}", hint="`ctxgc log` lists them")
    if found.trigger == SHADOW:
        raise Conflict(f"collection {found.id} took nothing out", hint="in shadow the journal says what would leave")
    if found.undoes:
        raise Conflict(f"collection {found.id} was an undo itself", hint="collect again instead")
    if found.undone_by:
        raise Conflict(
            f"collection {found.id} was taken back by {found.undone_by}",
            hint="`ctxgc log` lists the standing collections",
        )
    if newest is not None and newest.id != found.id and not force:
        raise Conflict(
            f"collection {newest.id} ran after {found.id}",
            hint="undo the later collection first, or force: a body that both evicted comes back only once",
        )
    return found


def undo_evictions(session: Session, tx: Transaction, taken_back: Collection, conditions: Conditions) -> Outcome:
    """Bring back the bodies of a collection that are still out. An undo is a collection too, since an undo edits the
    prefix.
    """
    heap = session.heap
    back = [e.seq for e in taken_back.evictions if heap.state[e.seq] == EVICTED]
    before = heap.resident_tokens
    effects = effects_of_return(heap, back)
    grown = -effects.uncached_freed
    todo = Plan(target_tokens=before + grown, before_tokens=before, remaining_tokens=before + grown)
    number = session.last_collection + 1
    outcome = Outcome(
        plan=todo,
        trigger="undo",
        collection=number,
        predicted_cost=effects.predicted_cost(conditions.pacer.prices, conditions.pacer.horizon_turns),
        cache_rewrite_tokens=effects.rewritten,
    )
    record = Collection(
        id=number,
        wall_s=conditions.wall_s,
        turn=session.row.turn,
        trigger=outcome.trigger,
        target_tokens=todo.target_tokens,
        before_tokens=before,
        after_tokens=todo.remaining_tokens,
        predicted_cost=outcome.predicted_cost,
        undoes=taken_back.id,
    )
    tx.add(PutCollection(session.key, record, restores=back))
    if back and session.row.rendered_by is Renderer.GATEWAY:
        # Nobody asks for the next collection there: what comes back stays for as long as what is recalled does.
        tx.add(SetRecalled(session.key, back, session.row.turn))
        for slot in back:
            session.indexes.grant_grace(slot, session.row.turn)
    session.last_collection = number
    tx.on_commit(lambda: restore_bodies(heap, back))
    return outcome


def recall_slots(session: Session, tx: Transaction, slots: Sequence[int], prices: Prices) -> int:
    """Note a page fault on each slot, and put the slots back in a window that the daemon renders.

    On the wire a recalled text goes to the tail, in the reply; its old place keeps the tombstone, or the cache breaks.
    Returns the number of slots that were out of the window.
    """
    heap = session.heap
    out = [slot for slot in slots if heap.state[slot] == EVICTED]
    note_recalls(session, tx, {slot: heap.body[slot] for slot in slots}, prices)
    if out and session.row.rendered_by is not Renderer.GATEWAY:
        tx.add(SetState(session.key, out, State.RESIDENT))
        for slot in out:
            heap.set_state(slot, RESIDENT)
    return len(out)


def note_recalls(session: Session, tx: Transaction, tokens: Mapping[int, int], prices: Prices) -> int:
    """Note the recall of these slots, of so many tokens each: touched now, and safe for a while.

    A page fault on each slot that is out of the window, and stays out. Returns the number of page faults.
    """
    heap, turn, slots = session.heap, session.row.turn, list(tokens)
    out = [slot for slot in slots if heap.state[slot] == EVICTED]
    tx.add(Touch(session.key, [(slot, turn) for slot in slots]), SetRecalled(session.key, slots, turn))
    for slot in out:
        session.account = session.account.after_recall(prices, heap.resident_tokens, tokens[slot], heap.tool_name(slot))
    for slot in slots:
        heap.touch(slot, turn)
        session.indexes.grant_grace(slot, turn)
    session.set_row_fields(tx, faults=session.row.faults + len(out))
    return len(out)


def _predict_outcome(session: Session, todo: Plan, trigger: str, number: int, conditions: Conditions) -> Outcome:
    effects = effects_of_eviction(session.heap, todo.victims, conditions.cache)
    return Outcome(
        plan=todo,
        trigger=trigger,
        collection=number,
        predicted_cost=effects.predicted_cost(conditions.pacer.prices, conditions.pacer.horizon_turns),
        cache_rewrite_tokens=effects.rewritten,
    )
