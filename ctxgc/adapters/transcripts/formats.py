"""Every transcript format of this build, with its test of a file's first bytes and its parser.

A format is one row of `FORMATS`; the first row whose `is_format` says yes wins, so put the stricter ones first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ctxgc.adapters.contract import Transcript
from ctxgc.adapters.transcripts.claude_code import ClaudeCode
from ctxgc.adapters.transcripts.codex import Codex
from ctxgc.adapters.transcripts.copilot_cli import CopilotCli, is_copilot_cli
from ctxgc.adapters.transcripts.jsonl import inflated_head
from ctxgc.adapters.transcripts.opencode import OpenCode, is_opencode
from ctxgc.adapters.transcripts.pi import Pi, is_pi
from ctxgc.adapters.transcripts.segments_json import (
    SegmentDocument,
    SegmentLines,
    is_segment_document,
    is_segment_lines,
)
from ctxgc.adapters.transcripts.trajectories import (
    MiniSweAgent,
    OpenAiChatDocument,
    SweAgent,
    TauBench,
    is_mini_swe_agent,
    is_openai_chat,
    is_swe_agent,
    is_tau_bench,
)
from ctxgc.adapters.transcripts.wire_documents import (
    AnthropicDocument,
    ResponsesDocument,
    is_anthropic,
    is_responses,
)
from ctxgc.core.errors import BadTranscript

HEAD_BYTES = 2**22
"""How much of a file's beginning `detect` looks at, at most: a first record may be long, and unknown ones many."""

HEAD_LINES_MAX = 10_000


class TranscriptFormat(NamedTuple):
    """A row of the table."""

    name: str
    is_format: Callable[[bytes], bool]
    """Whether plain (decompressed) first bytes are of this format."""
    make: Callable[[], Transcript]


def head_objects(head: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects on the first whole lines; the last one may be cut and is left out."""
    for line in head.split(b"\n")[:HEAD_LINES_MAX]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


_CODEX_TYPES = ("session_meta", "response_item", "event_msg", "turn_context", "compacted", "world_state")
_CODEX_START = re.compile(
    rb'\s*\{\s*"timestamp"\s*:\s*"[^"]*"\s*,\s*"type"\s*:\s*"(?:%s)"' % "|".join(_CODEX_TYPES).encode()
)
_OLD_CODEX_START = re.compile(
    rb'\s*\{\s*"id"\s*:\s*"[0-9a-f-]{36}"\s*,\s*"timestamp"\s*:\s*"[^"]*"\s*,\s*"instructions"\s*:'
)
"""The first line of a rollout from before September 2025."""
_CLAUDE_START = re.compile(rb'\s*\{\s*"(?:parentUuid|leafUuid|isSidechain)"\s*:')


def is_codex(head: bytes) -> bool:
    """Codex rollouts: lines of `{timestamp, type, payload}`; the first, with its instructions, may be long."""
    if _CODEX_START.match(head) or _OLD_CODEX_START.match(head):
        return True
    return any(value.get("type") in _CODEX_TYPES and "payload" in value for value in head_objects(head))


def is_claude_code(head: bytes) -> bool:
    """Claude Code logs: lines with a `type` and a session, parent or leaf of the tree."""
    if _CLAUDE_START.match(head):
        return True
    keys = ("sessionId", "parentUuid", "leafUuid")
    return any(
        isinstance(value.get("type"), str) and any(map(value.__contains__, keys)) for value in head_objects(head)
    )


FORMATS: tuple[TranscriptFormat, ...] = (
    TranscriptFormat("codex", is_codex, Codex),
    TranscriptFormat("claude_code", is_claude_code, ClaudeCode),
    TranscriptFormat("pi", is_pi, Pi),
    TranscriptFormat("copilot_cli", is_copilot_cli, CopilotCli),
    TranscriptFormat("opencode", is_opencode, OpenCode),
    TranscriptFormat("segments", is_segment_lines, SegmentLines),
    TranscriptFormat("segments_document", is_segment_document, SegmentDocument),
    TranscriptFormat("anthropic", is_anthropic, AnthropicDocument),
    TranscriptFormat("openai_responses", is_responses, ResponsesDocument),
    TranscriptFormat("tau_bench", is_tau_bench, TauBench),
    TranscriptFormat("mini_swe_agent", is_mini_swe_agent, MiniSweAgent),
    TranscriptFormat("swe_agent", is_swe_agent, SweAgent),
    TranscriptFormat("openai_chat", is_openai_chat, OpenAiChatDocument),
)

TRANSCRIPT_FORMATS: Mapping[str, Callable[[], Transcript]] = MappingProxyType({row.name: row.make for row in FORMATS})


def detect(head: bytes) -> str | None:
    """The format of a file by its first bytes (`HEAD_BYTES` do; gzip too), or None if no row knows it."""
    plain = inflated_head(head, HEAD_BYTES)
    return next((row.name for row in FORMATS if row.is_format(plain)), None)


def open_transcript(format: str) -> Transcript:
    """A fresh parser of this format. Raises `BadTranscript` for a name that is not in the table."""
    make = TRANSCRIPT_FORMATS.get(format)
    if make is None:
        known = ", ".join(TRANSCRIPT_FORMATS)
        raise BadTranscript(f"no transcript format {format!r}", hint=f"one of: {known}", field="format")
    return make()
