"""What a request's body says beside its list: model, tools, and whatever forbids that we edit it.

Read with places, never re-serialised. A body that is not an object of JSON is not ours to touch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from hashlib import blake2b
from typing import Any, NamedTuple

from ctxgc.adapters.contract import WireWindow
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.adapters.wire.json_spans import Extent, JsonText, read_json
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Kind, digest
from ctxgc.gateway.metrics import Reason

EDITED_BYTES_MAX = 32 * 2**20
"""A longer body streams through and is not looked at."""

SUMMARIES = "compaction"
"""What a user's policy calls the items in which a host, or its server, has summed a session up."""
_MARKS = (b'"context_management"', b'"previous_response_id"', b'compaction"')
_HOST_SUMMARY = re.compile(rb'"type"\s*:\s*"(?:\w+_)?compaction"')
_FOLDER = re.compile(r"^[ \t-]*(?:Primary w|W)orking directory: *(/[^\n]*[^\s])|<cwd>(/[^<\n]+)</cwd>", re.M)
_NETWORK = re.compile(r"\bNetwork access is (\w+)|<network_access>(\w+)</network_access>")
FOLDER_CHARS_MAX = 4096
FOLDER_SEGMENTS_MAX = 12
"""An agent says where it works, and what it may do, before it begins to."""
_ONE_HOUR = re.compile(rb'"ttl"\s*:\s*"1h"')


class Asked(NamedTuple):
    """A body, read."""

    model: str
    tools: bytes
    """A digest of the tools, empty without any."""
    cache_key: str
    profile: str
    """How its cache is billed, where the body says so."""
    project: str
    """Where the agent works, if it says so as the agents that we know do."""
    can_recall: bool
    """Whether its shell reaches the daemon's socket, as far as its agent says."""
    forbids: Reason | None
    """Why this body must not be edited, if so."""
    window: WireWindow
    digests: Mapping[str, bytes]
    """What each id stands for here: hosts cut results short under the same id, and reuse ids."""


def read_body(body: bytes, wire: str, edits_allowed: Set[str], agent: str = "") -> Asked:
    """Read a body of this wire format, as this agent writes it. Raises `BadTranscript` for one that is not of it."""
    window = WIRE_FORMATS[wire].parse(body, agent)
    return read_json(body, lambda text: _read(text, window, edits_allowed))


def forbidden(body: bytes, edits_allowed: Set[str]) -> Reason | None:
    """Why this body must not be edited, if so; without parsing it where it has no mark of that."""
    if not any(mark in body for mark in _MARKS):
        return None
    try:
        return read_json(body, lambda text: _forbids(text, text.members(text.extent), edits_allowed))
    except BadTranscript:
        return Reason.NOT_UNDERSTOOD


def _read(text: JsonText, window: WireWindow, edits_allowed: Set[str]) -> Asked:
    fields = text.members(text.extent) if text.first(text.extent) == b"{" else {}
    tools = _bytes(text, _tools(text, fields))
    return Asked(
        model=text.string(fields.get("model"))[:200],
        tools=blake2b(tools, digest_size=8).digest() if tools.strip(b"[] \r\n\t") else b"",
        cache_key=text.string(fields.get("prompt_cache_key")),
        profile="cache_1h" if b'"1h"' in text.data and _ONE_HOUR.search(text.data) else "",
        project=_project(window),
        can_recall=_can_recall(window),
        forbids=_forbids(text, fields, edits_allowed),
        window=window,
        digests={segment.id: digest(segment.skeleton, segment.body) for segment in window.segments},
    )


def _project(window: WireWindow) -> str:
    for segment in window.segments[:FOLDER_SEGMENTS_MAX]:
        for piece in segment.body if segment.kind in (Kind.SYSTEM, Kind.ATTACHMENT) else ():
            if found := _FOLDER.search(piece.text):
                return (found[1] or found[2])[:FOLDER_CHARS_MAX]
    return ""


def _can_recall(window: WireWindow) -> bool:
    """By what Codex first told its model of its sandbox, which forbids sockets of every kind where it forbids the net.

    Not by what it says of this turn: a tombstone stays as it was rendered (I14), and the beginning of a list stays too.
    """
    for segment in window.segments[:FOLDER_SEGMENTS_MAX]:
        for piece in segment.body if segment.kind in (Kind.SYSTEM, Kind.ATTACHMENT) else ():
            if found := _NETWORK.search(piece.text):
                return (found[1] or found[2]) != "restricted"
    return True


def _tools(text: JsonText, fields: dict[str, Extent]) -> Extent | None:
    """The tools of a request. Codex has sent them as the first item of its list since it can add some later."""
    items = fields.get("input")
    if "tools" in fields or items is None or text.first(items) != b"[":
        return fields.get("tools")
    first = next(iter(text.elements(items)), None)
    item = text.members(first) if first is not None and text.first(first) == b"{" else {}
    return item.get("tools") if text.string(item.get("type")) == "additional_tools" else None


def _forbids(text: JsonText, fields: dict[str, Extent], edits_allowed: Set[str]) -> Reason | None:
    """Another hand edits this window too, or only a part of it is here: what we would take out may be counted on."""
    if (managed := fields.get("context_management")) is not None and not _is_allowed(
        text.value(managed), edits_allowed
    ):
        return Reason.CONTEXT_MANAGEMENT
    if (previous := fields.get("previous_response_id")) is not None and text.value(previous) is not None:
        return Reason.PREVIOUS_RESPONSE
    is_summed_up = SUMMARIES not in edits_allowed and b'compaction"' in text.data and _HOST_SUMMARY.search(text.data)
    return Reason.HOST_SUMMARY if is_summed_up else None


def _is_allowed(managed: Any, edits_allowed: Set[str]) -> bool:
    if not managed:
        return True
    edits = managed.get("edits") if isinstance(managed, dict) else None
    return bool(edits) and isinstance(edits, list) and all(_takes_nothing(edit, edits_allowed) for edit in edits)


def _takes_nothing(edit: Any, edits_allowed: Set[str]) -> bool:
    """Whether an edit takes nothing away, as Claude Code's standing order to clear no thinking, or was allowed."""
    if not isinstance(edit, dict) or not isinstance(name := edit.get("type"), str):
        return False
    return name in edits_allowed or (name.startswith("clear_thinking_") and edit.get("keep") == "all")


def _bytes(text: JsonText, extent: Extent | None) -> bytes:
    return text.data[extent.start : extent.end] if extent else b""
