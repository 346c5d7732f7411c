"""A window in the form of `window.sync`: its parameters, and its segments' JSON records in batches of a line each.

window ──sendable_segments──▶ segments ──record_batches──▶ [[record, …], …, [record, …]]
                                 │                              ahead         with all ids
                                 └──window_sync_params──▶ ids, digests, bill, breakpoints
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import msgspec

from ctxgc.adapters.contract import Tombstone, WireWindow
from ctxgc.adapters.facts.segment_facts import add_facts
from ctxgc.adapters.json_values import encode_json
from ctxgc.adapters.transcripts.segments_json import segment_fields
from ctxgc.core.pacing.price_profiles import profile_by_bills
from ctxgc.core.pacing.provider_cache import BREAKPOINTS_MAX
from ctxgc.core.segment import Segment, Status
from ctxgc.gateway.body.prompt_layout import PromptLayout, sent_cache_fields
from ctxgc.gateway.body.request_body import BodyContents
from ctxgc.gateway.body.splice_memo import EvictedBody
from ctxgc.gateway.editing.request_state import ModelCall, Placement
from ctxgc.gateway.identity.agent_session import Branch, LateEdit, ReplyProgress
from ctxgc.protocol.limits import FRAME_BYTES_DEFAULT

NEW_BYTES_MAX = 2 * 2**20
"""New segments in one sync; further syncs carry more, so that no line is longer than the daemon takes."""
NO_ELISIONS: Mapping[str, Sequence[Any]] = MappingProxyType({})
COMMAND = "ctxgc recall"
"""The way back that the daemon's tombstones name."""
RECORD_BYTES_MAX = FRAME_BYTES_DEFAULT - 2**20
"""One segment in a line. The daemon does not get a longer one (a document of many megabytes): it is never evicted,
and the bill counts its tokens with those of system prompt and tools."""


def sendable_segments(window: WireWindow) -> list[Segment]:
    """Segments that fit into a line each. Only a segment that may be too long is rendered to find out."""
    return [
        segment
        for segment in window.segments
        # A byte of text is six of JSON at most.
        if 6 * (len(segment.skeleton) + sum(len(piece.data) for piece in segment.body)) < RECORD_BYTES_MAX
        or len(_segment_json(segment, window)) < RECORD_BYTES_MAX
    ]


def record_batches(
    window: WireWindow, missing: set[str], project: str, elisions: Mapping[str, Sequence[Any]] = NO_ELISIONS
) -> list[list[msgspec.Raw]]:
    """Records of the missing segments, in window order, in batches that fit into a line each; at least a single batch.

    The last batch, which travels with all the ids, is never long. The records hold the segments' facts, for the daemon
    derives none: `project` resolves their relative paths. `elisions` are the pointers that results went upstream with.
    """
    batches: list[list[msgspec.Raw]] = [[]]
    batch_bytes = 0
    for segment in add_facts(window.segments, project, missing) if missing else ():
        if segment.id not in missing:
            continue
        record = _segment_json(segment, window, elisions.get(segment.id, ()))
        batch_bytes += len(record)
        if batch_bytes > NEW_BYTES_MAX and batches[-1]:
            batches.append([])
            batch_bytes = len(record)
        batches[-1].append(msgspec.Raw(record))
    return [*batches, []] if batch_bytes > NEW_BYTES_MAX else batches


def _segment_json(segment: Segment, window: WireWindow, elisions: Sequence[Any] = ()) -> bytes:
    """A segment's record, with the pieces of its body that stand under a signature, and with its pointers."""
    more: dict[str, Any] = {"elisions": elisions} if elisions else {}
    if fixed := sorted(window.uneditable_piece_names(segment)):
        more["fixed"] = fixed
    record = encode_json(segment_fields(segment) | more)
    if segment.edit_sources and len(record) >= RECORD_BYTES_MAX:  # An edit holds twice what it replaces.
        return _segment_json(replace(segment, edit_sources=()), window, elisions)
    return record


def window_sync_params(
    branch: Branch, call: ModelCall, placement: Placement, sendable: Sequence[Segment], edited: Sequence[str] | None
) -> dict[str, Any]:
    """The parameters of a call's sync but for its new segments and the way back. `edited` None: not decided yet."""
    contents = call.contents
    assert contents is not None
    spans, ids = contents.window.spans, [segment.id for segment in sendable]
    params: dict[str, Any] = {
        "session": branch.session_name,
        "model": contents.model,
        "project": contents.project,
        "parent": branch.parent or call.session.parent,
        "format": call.wire,
        "window_max_tokens": call.session.window_max_tokens,
        "ids": ids,
        "digests": [contents.digests[id_].hex() for id_ in ids],
        "held": ids if contents.obstacle else [id_ for id_ in ids if id_ in contents.cleared],
        "fixed": [s.id for s in sendable if s.id not in spans and s.status is not Status.PENDING],
        "usage": usage_fields(branch.reply),
        # In shadow nothing is edited, so no request need wait for a cold cache.
        "is_cold": placement.is_cold and (placement.waits or placement.mode == "shadow"),
    }
    if edited is not None:
        params["edited"] = edited
    if contents.layout is not None:
        params["cache"] = cache_param_of_sync(branch, call, contents.layout, ids)
        params["was_answered"] = branch.reply is not None and branch.reply.is_answer
        if (was_sent := late_edit_fields(branch)) is not None:
            params["was_sent"] = was_sent
    if contents.profile:
        params["profile"] = profile_by_bills(contents.profile, charges_writes=branch.charges_writes)
    if placement.mode != branch.synced_mode:
        params["mode"] = placement.mode  # Sent when it changes, so that a command may set another mode in between.
    return params


def tombstones_of_answer(contents: BodyContents, answer: Mapping[str, Any]) -> dict[str, EvictedBody]:
    """The tombstones that are in force from this answer on."""
    if answer["mode"] != "on":
        return {}
    # Tombstones name the command; a model with a tool for it is to call the tool.
    way_back = contents.recall_tool or COMMAND
    return {
        id_: EvictedBody(
            Tombstone(tombstone["text"].replace(COMMAND, way_back, 1), tombstone["marker"]), contents.digests[id_]
        )
        for id_, tombstone in answer["evicted"].items()
        if id_ in contents.digests
    }


def late_edit_of_call(call: ModelCall, params: Mapping[str, Any]) -> LateEdit | None:
    """How this call was sent, for the sync that comes next; None where the provider's cache has no breakpoints."""
    contents = call.contents
    if contents is None or contents.layout is None:
        return None
    edit, ids = call.is_sent.value, params["ids"]
    own = edit.own.breakpoint if edit is not None and edit.own is not None else None
    breakpoints, host_breakpoints = (
        sent_cache_fields(contents.layout, contents.window, ids, point)["marks"] for point in (own, None)
    )
    return LateEdit(
        sorted(call.edited_ids), breakpoints, host_breakpoints, (params.get("edited"), params["cache"]["marks"])
    )


def late_edit_fields(branch: Branch) -> dict[str, Any] | None:
    """How the request of the last sync was sent, where that sync said otherwise or could not say."""
    late, reply = branch.late_edit, branch.reply
    if late is None or reply is None:
        return None
    breakpoints = late.host_breakpoints if reply.is_breakpoint_refused else late.breakpoints
    return None if late.synced == (late.ids, breakpoints) else {"edited": late.ids, "marks": breakpoints}


def cache_param_of_sync(branch: Branch, call: ModelCall, layout: PromptLayout, ids: Sequence[str]) -> dict[str, Any]:
    """How the provider's cache sees the request that went upstream."""
    contents = call.contents
    assert contents is not None
    can_mark = call.mode == "on" and not branch.cache.is_barred and 0 < len(layout.breakpoints) < BREAKPOINTS_MAX
    return sent_cache_fields(layout, contents.window, ids, call.own_breakpoint) | {"can_mark": can_mark}


def usage_fields(reply: ReplyProgress | None) -> dict[str, int] | None:
    """The bill of the last reply, if the gateway has read a bill."""
    return dict(reply.usage._asdict()) if reply is not None and reply.usage is not None else None
