"""A request's body, read: its window, model and tools, and the obstacle to an edit, if there is an obstacle.

Bytes are read with their places and never written anew. A body that is no JSON object passes unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import NamedTuple

from ctxgc.adapters.contract import WireWindow
from ctxgc.adapters.host_texts.window_head import allows_network, defers_ctxgc_tools, working_folder
from ctxgc.adapters.json_spans import Extent, JsonText, read_json
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.errors import BadTranscript
from ctxgc.core.pacing.price_profiles import openai_profile
from ctxgc.core.pacing.provider_cache import LONG_LIFE_S
from ctxgc.core.segment import Kind, Role, content_digest
from ctxgc.gateway.body.host_edits import call_ids_to_clear, can_edit_beside_host_edits
from ctxgc.gateway.body.prompt_layout import PromptLayout, read_layout
from ctxgc.gateway.body.tool_digest import RECALL_TOOL, find_recall_tool_name, tool_digest
from ctxgc.gateway.metrics import Reason

CACHE_KEY_BYTES_MAX = 512

EDITED_BYTES_MAX = 32 * 2**20
"""A longer body streams through unread."""

HOST_SUMMARIES = "compaction"
"""The name by which a user's policy allows items in which a host, or its server, has summed a session up."""
_OBSTACLE_MEMBERS = (b'"context_management"', b'"previous_response_id"', b'compaction"')
_HOST_SUMMARY = re.compile(rb'"type"\s*:\s*"(?:\w+_)?compaction"')


class BodyContents(NamedTuple):
    """The contents of a body."""

    model: str
    tools: bytes
    """A digest of the tools' names; empty without tools."""
    cache_key: str
    profile: str
    """The price profile of the cache, by the life of the host's last breakpoint; empty for the configured profile."""
    project: str
    """The agent's working folder, if a segment names it as the known agents do."""
    can_recall: bool
    """Whether the agent's shell can reach the daemon's socket, as far as the agent says."""
    recall_tool: str
    """The tool with which the model recalls by itself, if the agent has the MCP server of ctxgc; else empty."""
    obstacle: Reason | None
    """Why nothing more may leave this body, if an obstacle is there."""
    cleared: frozenset[str]
    """Ids of exchanges whose results the host's own orders will clear: they are left to the host."""
    window: WireWindow
    digests: Mapping[str, bytes]
    """Digest of the content under each id: hosts cut results short under the same id, and reuse ids."""
    layout: PromptLayout | None = None
    """Blocks and breakpoints, where the provider's cache has breakpoints."""

    @property
    def shown_digests(self) -> Mapping[str, bytes]:
        """The digests of the contents that the model will see: the host's server clears the others."""
        if not self.cleared:
            return self.digests
        return {id_: digest for id_, digest in self.digests.items() if id_ not in self.cleared}

    @property
    def has_replies(self) -> bool:
        """Whether the model has replied in this window: a window without any reply is a first request, or a side
        call. Words put into the model's mouth at the end of a list are no reply.
        """
        segments = self.window.segments
        last = max((at for at, segment in enumerate(segments) if segment.role is Role.USER), default=0)
        is_answered = any(segment.role is Role.ASSISTANT for segment in segments[:last])
        return is_answered or any(segment.kind is Kind.TOOL_CALL for segment in segments)


def read_body(body: bytes, wire: str, edits_allowed: Set[str], agent: str = "") -> BodyContents:
    """Read a body of a wire format, in an agent's ways. Raises `BadTranscript` for a body of another format."""
    window = WIRE_FORMATS[wire].parse(body, agent)
    contents = read_json(body, lambda text: _read_contents(text, window, edits_allowed))
    return contents._replace(profile=contents.profile or _openai_cache_profile(body, wire, contents.model))


def edit_obstacle(body: bytes, edits_allowed: Set[str], start: int = 0) -> Reason | None:
    """Why no body may leave this request, if an obstacle is there. A body without any sign of an obstacle is not
    parsed.

    The bytes up to `start` are known to have no sign of an obstacle.
    """
    if all(body.find(member, start) < 0 for member in _OBSTACLE_MEMBERS):
        return None
    try:
        return read_json(body, lambda text: _server_obstacle(text, text.members(text.extent), edits_allowed))
    except BadTranscript:
        return Reason.NOT_UNDERSTOOD


def _read_contents(text: JsonText, window: WireWindow, edits_allowed: Set[str]) -> BodyContents:
    fields = text.members(text.extent) if text.first_byte(text.extent) == b"{" else {}
    layout = read_layout(text, fields, window)
    tools = _extent_bytes(text, _tools_extent(text, fields))
    management = text.value(fields["context_management"]) if "context_management" in fields else None
    return BodyContents(
        model=text.string(fields.get("model"))[:200],
        tools=tool_digest(tools),
        cache_key=text.string(fields.get("prompt_cache_key")),
        profile="cache_1h" if layout is not None and layout.last_breakpoint_life_s >= LONG_LIFE_S else "",
        project=working_folder(window.segments),
        can_recall=allows_network(window.segments),
        recall_tool=find_recall_tool_name(tools) or (RECALL_TOOL if defers_ctxgc_tools(window.segments) else ""),
        obstacle=_server_obstacle(text, fields, edits_allowed),
        cleared=call_ids_to_clear(management, window.segments, len(text.data), edits_allowed),
        window=window,
        digests={segment.id: content_digest(segment.skeleton, segment.body) for segment in window.segments},
        layout=layout,
    )


def _tools_extent(text: JsonText, fields: dict[str, Extent]) -> Extent | None:
    """The tools of a request. Codex sends the tools as the first item of its list, so that Codex can add tools
    later."""
    items = fields.get("input")
    if "tools" in fields or items is None or text.first_byte(items) != b"[":
        return fields.get("tools")
    first = next(iter(text.elements(items)), None)
    item = text.members(first) if first is not None and text.first_byte(first) == b"{" else {}
    return item.get("tools") if text.string(item.get("type")) == "additional_tools" else None


def _server_obstacle(text: JsonText, fields: dict[str, Extent], edits_allowed: Set[str]) -> Reason | None:
    """The obstacle of a server that edits the window too, or that alone holds a part of the window."""
    management = fields.get("context_management")
    if management is not None and not can_edit_beside_host_edits(text.value(management), edits_allowed):
        return Reason.CONTEXT_MANAGEMENT
    if (previous := fields.get("previous_response_id")) is not None and text.value(previous) is not None:
        return Reason.PREVIOUS_RESPONSE
    # In Anthropic's list what stands before such a block has left the prompt unseen; Responses takes it off the list.
    is_summed_up = (
        "messages" in fields
        and HOST_SUMMARIES not in edits_allowed
        and b'compaction"' in text.data
        and _HOST_SUMMARY.search(text.data)
    )
    return Reason.HOST_SUMMARY if is_summed_up else None


def _extent_bytes(text: JsonText, extent: Extent | None) -> bytes:
    return text.data[extent.start : extent.end] if extent else b""


def _openai_cache_profile(body: bytes, wire: str, model: str) -> str:
    """The price profile of an API with a cache of its own: OpenAI's, where the body has no breakpoint for another
    cache."""
    return openai_profile(model) if wire.startswith("openai") and b'"cache_control"' not in body else ""


def find_cache_key(body: bytes) -> str:
    """The value of the last `prompt_cache_key` in a body; garbled, and so no id, where the key is not plain text."""
    at = body.rfind(b'"prompt_cache_key"')
    rest = body[at + 18 : at + 18 + CACHE_KEY_BYTES_MAX].lstrip(b" \t\r\n:") if at >= 0 else b""
    value = rest[1:].partition(b'"')[0] if rest[:1] == b'"' else b""
    return value.decode("ascii", "replace")
