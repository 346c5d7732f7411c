"""What a session's journal says of its collections: what they saved, and which victims were asked back."""

from __future__ import annotations

from collections.abc import Sequence

from ctxgc.core.display_texts import SHADOW
from ctxgc.core.heap import EVICTED
from ctxgc.core.segment import Renderer
from ctxgc.daemon.sessions.session import Session
from ctxgc.stash.contract import Collection


def asked_back_after_turns(session: Session, record: Collection) -> dict[int, int]:
    """For each victim of a collection in force that was asked back since, how many turns later, by seq."""
    if record.undone_by or record.undoes or record.trigger == SHADOW:
        return {}
    heap, is_gateways = session.heap, session.row.rendered_by is Renderer.GATEWAY
    turns = {each.seq: session.indexes.recalled_turn(each.seq) - record.turn for each in record.evictions}
    # A recall puts a body back where the daemon renders: one that is out was recalled in that turn before it left.
    return {
        seq: after
        for seq, after in turns.items()
        if after > 0 or (after == 0 and (is_gateways or heap.state[seq] != EVICTED))
    }


def saved_input_tokens(journal: Sequence[Collection]) -> float:
    """What the collections of a journal have saved, in raw input-token equivalents: as billed, else as predicted.

    A collection that was undone, and the undoing itself, save nothing.
    """
    undone = {record.undoes for record in journal}
    counted = [record for record in journal if record.id not in undone and not record.undoes]
    return -sum(record.predicted_cost if record.actual_cost is None else record.actual_cost for record in counted)
