"""`tx`: mutations of a session, all or none."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from pydantic import ValidationError

from ctxgc.core.errors import BadParams
from ctxgc.daemon.rpc_params import first_validation_problem, redact_params
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.client_segments import build_segments
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.transaction import Transaction
from ctxgc.daemon.verbs.mutation import mutate, writable_session
from ctxgc.daemon.verbs.segments import (
    apply_add,
    apply_pins,
    apply_refs,
    apply_tags,
    apply_touch,
    prepare_client_segments,
)
from ctxgc.daemon.verbs.sessions import apply_settings
from ctxgc.protocol.messages import VERBS, NewSegment, SegmentAdd, Tx
from ctxgc.protocol.params import MutatingSession, Params
from ctxgc.protocol.replies.daemon import TxReply
from ctxgc.protocol.replies.reply import Reply

SIMPLE: dict[str, Callable[[Session, Transaction, Any], Reply]] = {
    "segment.pin": lambda session, tx, params: apply_pins(session, tx, params.ids, is_pinned=True),
    "segment.unpin": lambda session, tx, params: apply_pins(session, tx, params.ids, is_pinned=False),
    "segment.touch": apply_touch,
    "segment.tag": apply_tags,
    "segment.ref": apply_refs,
    "session.set": apply_settings,
}
ADDING = ("segment.add", "segment.add_many")
OUTER = frozenset(MutatingSession.model_fields)
"""Params that a tx gives once for all of its calls. A call that named a session itself would be applied to another."""


async def transact(services: Services, params: Tx) -> TxReply:
    """`tx`: validate every call, then apply all calls in order as a single change. A refused call refuses all."""
    calls = [_validate_call(number, call) for number, call in enumerate(params.calls)]
    is_adding = any(method in ADDING for method, _ in calls)
    written = await writable_session(services, params) if is_adding else None
    async with mutate(services, "tx", params, written) as (session, tx):
        # Ids given twice in one tx would be numbered alike if each call were named by itself.
        items = [item for method, sub in calls if method in ADDING for item in _segments_to_add(sub)]
        ready = iter(await prepare_client_segments(services, session, build_segments(session, items, services.clock())))
        replies: list[Reply] = []
        for method, sub in calls:
            if method in ADDING:
                added = _segments_to_add(sub)
                replies.append(apply_add(session, tx, added, list(islice(ready, len(added)))))
            else:
                replies.append(SIMPLE[method](session, tx, sub))
        return tx.keep_reply(TxReply(str(session.key), replies, changed=f"{len(replies)} calls applied as one"))


def _segments_to_add(sub: Any) -> list[NewSegment]:
    return [sub.segment] if isinstance(sub, SegmentAdd) else list(sub.segments)


def _validate_call(number: int, call: dict[str, Any]) -> tuple[str, Params]:
    method = call.get("method")
    if not isinstance(method, str) or method not in (*SIMPLE, *ADDING):
        methods = ", ".join((*ADDING, *SIMPLE))
        raise BadParams(f"call {number}: {method!r} cannot be in a tx", hint=f"one of: {methods}", field="calls")
    try:
        model = VERBS[method].params
        sub = model.model_validate(redact_params(model, call.get("params", {})))
    except ValidationError as error:
        hint = f"`rpc.discover` shows what {method} takes"
        raise BadParams(f"call {number}: {first_validation_problem(error)}", field="calls", hint=hint) from None
    if outer := sub.model_fields_set & OUTER:
        hint = "give the param beside `calls`: the param holds for all calls"
        raise BadParams(f"call {number}: {min(outer)} is not a call's own in a tx", field="calls", hint=hint)
    return method, sub
