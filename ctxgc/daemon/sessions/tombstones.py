"""The tombstones of a session's segments."""

from __future__ import annotations

from typing import Any

from ctxgc.adapters.contract import Tombstone
from ctxgc.core.recall_commands import original_slot
from ctxgc.core.segment import Address
from ctxgc.core.tombstone import tombstone_text
from ctxgc.daemon.sessions.session import Session


def tombstone_of(session: Session, seq: int, segment: Any, *, can_recall: bool = True) -> Tombstone:
    """The tombstone of a segment, the same at every rendering (I14). A recalled copy's tombstone names the original."""
    address = Address(session.number, original_slot(session.heap, seq))
    size = session.heap.whole_body_tokens(seq)
    return Tombstone(tombstone_text(segment, address, size, can_recall=can_recall))
