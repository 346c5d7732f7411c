"""Blocks that no host or API read here is known to write: kept word for word like any block, and counted.

A format that came by another way than its detection, or a host's new version, shows in this count first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ctxgc.adapters.contract import Event, SegmentAdmitted
from ctxgc.adapters.json_values import as_dict, as_list, as_text
from ctxgc.core.segment import Segment

KNOWN_TYPES = frozenset(
    {"image", "document", "search_result", "container_upload", "image_url", "input_audio", "file", "input_image"}
    | {"input_file", "refusal", "thinking", "redacted_thinking", "server_tool_use", "mcp_tool_use", "tool_reference"}
    | {"item_reference", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "reasoning"}
    | {"compaction", "context_compaction", "compaction_summary", "encrypted_content", "resource", "resource_link"}
    | {"audio", "media", "fallback"}
)  # fmt: skip
KNOWN_ENDINGS = ("_tool_result", "_call", "_call_output")
"""Endings of the types of what servers called and returned."""
KNOWN_PARTS = frozenset({"inlineData", "fileData", "executableCode", "codeExecutionResult"})
"""Members of Google's parts, which have no type."""
NAME_CHARS_MAX = 40


def foreign_block_names(segments: Iterable[Segment]) -> Iterator[str]:
    """A name to count under, for each foreign block of these segments."""
    for segment in segments:
        if segment.has_opaque:
            for block in as_list(as_dict(json.loads(segment.skeleton)).get("opaque")):
                if not is_known_block(block):
                    yield f"block {as_text(as_dict(block).get('type')) or 'untyped'}"[:NAME_CHARS_MAX]


def foreign_block_names_of_events(events: Iterable[Event]) -> Iterator[str]:
    """The same for the segments of a reader's events."""
    return foreign_block_names(event.segment for event in events if isinstance(event, SegmentAdmitted))


def is_known_block(block: Any) -> bool:
    """Whether some host or API read here writes such blocks."""
    members = as_dict(block)
    type_ = as_text(members.get("type"))
    return type_ in KNOWN_TYPES or type_.endswith(KNOWN_ENDINGS) or (not type_ and bool(KNOWN_PARTS & members.keys()))
