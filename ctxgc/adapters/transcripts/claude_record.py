"""A record of a Claude Code log: the fields in use."""

from __future__ import annotations

from typing import Any

import msgspec

from ctxgc.adapters.transcripts.jsonl import parse_json_object


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
