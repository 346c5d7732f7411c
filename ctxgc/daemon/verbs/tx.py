"""`tx`: mutations of one session, all or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from ctxgc.core.errors import BadParams
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.client_segments import segments_of
from ctxgc.daemon.sessions.intake import Prepared
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.transaction import Change
from ctxgc.daemon.verbs.mutation import Reply, change_session
from ctxgc.daemon.verbs.segments import apply_added, pinning, prepared_for, referring, tagging, touching
from ctxgc.daemon.verbs.sessions import setting
from ctxgc.protocol.messages import VERBS, MutatingSession, NewSegment, Params, SegmentAdd, Tx

SIMPLE: dict[str, Callable[[Any], Callable[[Session, Change], Reply]]] = {
    "segment.pin": lambda params: pinning(params.ids, is_pinned=True),
    "segment.unpin": lambda params: pinning(params.ids, is_pinned=False),
    "segment.touch": lambda params: touching(params.ids),
    "segment.tag": tagging,
    "segment.ref": referring,
    "session.set": setting,
}
ADDING = ("segment.add", "segment.add_many")
OUTER = frozenset(MutatingSession.model_fields)
"""What a tx says once for all of its calls. A call that named another session would be applied to the wrong one."""


async def tx(services: Services, params: Tx) -> Any:
    """Validate every call, then apply them in order as one change. A call that is refused refuses all."""
    calls = [_validated(number, call) for number, call in enumerate(params.calls)]
    prepared: list[list[Prepared]] = []

    async def before(session: Session) -> None:
        # Ids given twice in one tx would be numbered alike if each call were named by itself.
        items = [item for method, sub in calls if method in ADDING for item in _items(sub)]
        ready = await prepared_for(services, session, segments_of(session, items, services.clock()))
        at = 0
        for method, sub in calls:
            count = len(_items(sub)) if method in ADDING else 0
            prepared.append(ready[at : at + count])
            at += count

    def apply(session: Session, change: Change) -> Reply:
        replies = []
        for (method, sub), ready in zip(calls, prepared, strict=True):
            if method in ADDING:
                replies.append(apply_added(session, change, _items(sub), ready))
            else:
                replies.append(SIMPLE[method](sub)(session, change))
        return {
            "session": str(session.key),
            "results": replies,
            "changed": f"{len(replies)} calls applied as one",
        }

    return await change_session(services, "tx", params, apply, before=before)


def _items(sub: Any) -> list[NewSegment]:
    return [sub.segment] if isinstance(sub, SegmentAdd) else list(sub.segments)


def _validated(number: int, call: dict[str, Any]) -> tuple[str, Params]:
    method = call.get("method")
    if not isinstance(method, str) or method not in (*SIMPLE, *ADDING):
        known = ", ".join((*ADDING, *SIMPLE))
        raise BadParams(f"call {number}: {method!r} cannot be in a tx", hint=f"one of: {known}", field="calls")
    try:
        sub = VERBS[method].params.model_validate(call.get("params", {}))
    except ValidationError as error:
        hint = f"`rpc.discover` shows what {method} takes"
        raise BadParams(f"call {number}: {first_fault(error)}", field="calls", hint=hint) from None
    if outer := sub.model_fields_set & OUTER:
        hint = "give it beside `calls`: it holds for all of them"
        raise BadParams(f"call {number}: {min(outer)} is not a call's own in a tx", field="calls", hint=hint)
    return method, sub


def first_fault(error: ValidationError) -> str:
    """The first of pydantic's complaints, in a sentence, without the input: it may be a session's text."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"]) or "params"
    return f"{place}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"
