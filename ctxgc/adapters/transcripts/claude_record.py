"""A record of a Claude Code log: the fields in use, and how a file of such records is known."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ctxgc.adapters.json_values import as_dict
from ctxgc.adapters.transcripts.jsonl import head_objects, parse_json_object

BOOKKEEPING = frozenset(
    {"summary", "file-history-snapshot", "file-history-delta", "last-prompt", "mode", "permission-mode",
     "queue-operation", "pr-link", "ai-title", "custom-title", "agent-name", "progress", "system.local_command",
     "atis-latch", "tag"}
)  # fmt: skip
"""Types of records that hold no part of a conversation."""

_START = re.compile(rb'\s*\{\s*"(?:parentUuid|leafUuid|isSidechain)"\s*:')
_NOTES = frozenset(kind for kind in BOOKKEEPING if "-" in kind)
"""Types that no other host writes, though a log may hold nothing else, and no session's name."""
_SPOKEN = ("user", "assistant")


class ClaudeRecord(msgspec.Struct):
    """The fields in use; all other fields are skipped while decoding. A field may hold any JSON value."""

    type: Any = None
    subtype: Any = None
    uuid: Any = None
    parentUuid: Any = msgspec.UNSET
    sessionId: Any = None
    timestamp: Any = None
    cwd: Any = None
    isSidechain: Any = None
    agentId: Any = None
    isMeta: Any = None
    isCompactSummary: Any = None
    isVisibleInTranscriptOnly: Any = None
    isApiErrorMessage: Any = None
    message: Any = None
    attachment: Any = None
    compactMetadata: Any = None
    microcompactMetadata: Any = None
    aiTitle: Any = None
    customTitle: Any = None


_FIELDS = frozenset(ClaudeRecord.__struct_fields__)
_DECODER = msgspec.json.Decoder(ClaudeRecord)


def decode_record(line: bytes) -> ClaudeRecord | None:
    """The record on a line; `None` if the line is no JSON object."""
    try:
        return _DECODER.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # The standard library takes what msgspec refuses: lone surrogates, NaN.
        found = parse_json_object(line)
        if found is None:
            return None
        return ClaudeRecord(**{key: value for key, value in found.items() if key in _FIELDS})


def is_claude_code(head: bytes) -> bool:
    """Claude Code logs: lines with a `type` and a session, parent or leaf of the tree."""
    if _START.match(head):
        return True
    keys = ("sessionId", "parentUuid", "leafUuid")
    return any(
        isinstance(value.get("type"), str)
        and (value["type"] in _NOTES or any(map(value.__contains__, keys)))
        and (value["type"] not in _SPOKEN or "content" in as_dict(value.get("message")))
        for value in head_objects(head)
    )
