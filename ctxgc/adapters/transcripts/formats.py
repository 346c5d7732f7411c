"""Every transcript format of this build, with a test of a file's first bytes and a parser.

A format is a row of `FORMATS`; the first row whose `is_format` says yes wins, so stricter rows stand first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from ctxgc.adapters.contract import Transcript
from ctxgc.adapters.transcripts.claude_code import ClaudeCode
from ctxgc.adapters.transcripts.claude_record import is_claude_code
from ctxgc.adapters.transcripts.claude_stream import ClaudeStream, is_claude_stream
from ctxgc.adapters.transcripts.codex import Codex, is_codex
from ctxgc.adapters.transcripts.codex_document import CodexDocument, is_codex_document
from ctxgc.adapters.transcripts.copilot_cli import CopilotCli, is_copilot_cli
from ctxgc.adapters.transcripts.droid import Droid, is_droid
from ctxgc.adapters.transcripts.gemini_cli import GeminiCli, GeminiCliDocument, is_gemini_document, is_gemini_lines
from ctxgc.adapters.transcripts.jsonl import inflate_head
from ctxgc.adapters.transcripts.opencode import OpenCode, is_opencode
from ctxgc.adapters.transcripts.pi import Pi, is_pi
from ctxgc.adapters.transcripts.qwen_code import QwenCode, is_qwen_code
from ctxgc.adapters.transcripts.segments_json import (
    SegmentDocument,
    SegmentLines,
    is_segment_document,
    is_segment_lines,
)
from ctxgc.adapters.transcripts.trajectories import (
    MiniSweAgent,
    SweAgent,
    TauBench,
    is_mini_swe_agent,
    is_swe_agent,
    is_tau_bench,
)
from ctxgc.adapters.transcripts.wire_documents import (
    AnthropicDocument,
    OpenAiChatDocument,
    ResponsesDocument,
    is_anthropic,
    is_openai_chat,
    is_openai_responses,
)
from ctxgc.core.errors import BadTranscript

NO_RECORD = b"\0\xef\xbb\xbf \t\r\n"
"""Bytes in front of a first record: a byte order mark, or what a crash left."""

HEAD_BYTES = 2**22
"""The most of a file's beginning that `detect_format` reads: a first record may be long, unknown records many."""


class TranscriptFormat(NamedTuple):
    """A row of the table."""

    name: str
    is_format: Callable[[bytes], bool]
    """Whether plain (decompressed) first bytes are of this format."""
    make: Callable[[], Transcript]
    is_guess: bool = False
    """Whether more bytes may show that the file is of a row above: the answer counts once there are no more."""


FORMATS: tuple[TranscriptFormat, ...] = (
    TranscriptFormat("codex", is_codex, Codex),
    TranscriptFormat("codex_document", is_codex_document, CodexDocument),
    TranscriptFormat("qwen_code", is_qwen_code, QwenCode),
    TranscriptFormat("gemini_cli", is_gemini_lines, GeminiCli),
    TranscriptFormat("gemini_cli_document", is_gemini_document, GeminiCliDocument),
    TranscriptFormat("claude_code", is_claude_code, ClaudeCode),
    TranscriptFormat("claude_stream", is_claude_stream, ClaudeStream),
    TranscriptFormat("pi", is_pi, Pi),
    TranscriptFormat("droid", is_droid, Droid),
    TranscriptFormat("copilot_cli", is_copilot_cli, CopilotCli),
    TranscriptFormat("opencode", is_opencode, OpenCode),
    TranscriptFormat("segments", is_segment_lines, SegmentLines),
    TranscriptFormat("segments_document", is_segment_document, SegmentDocument),
    TranscriptFormat("tau_bench", is_tau_bench, TauBench),
    TranscriptFormat("mini_swe_agent", is_mini_swe_agent, MiniSweAgent),
    TranscriptFormat("swe_agent", is_swe_agent, SweAgent),
    TranscriptFormat("anthropic", is_anthropic, AnthropicDocument),
    TranscriptFormat("openai_responses", is_openai_responses, ResponsesDocument),
    TranscriptFormat("openai_chat", is_openai_chat, OpenAiChatDocument, is_guess=True),
)

TRANSCRIPT_FORMATS: Mapping[str, Callable[[], Transcript]] = MappingProxyType({row.name: row.make for row in FORMATS})


def detect_format(head: bytes, *, is_all: bool = True) -> str | None:
    """The format of a file by its first bytes (`HEAD_BYTES` do; gzip too), or `None` for an unknown format.

    If more bytes will come (not `is_all`), a guess is no answer: the first tool call of a list may be far behind.
    """
    plain = inflate_head(head, HEAD_BYTES).lstrip(NO_RECORD)
    if b"\n" not in plain:
        plain = plain.replace(b"\r", b"\n")  # JSON has no raw carriage return in a string.
    found = next((row for row in FORMATS if row.is_format(plain)), None)
    return None if found is None or (found.is_guess and not is_all) else found.name


def make_transcript_parser(format: str) -> Transcript:
    """A fresh parser of this format. Raises `BadTranscript` for a name that is not in the table."""
    make = TRANSCRIPT_FORMATS.get(format)
    if make is None:
        known = ", ".join(TRANSCRIPT_FORMATS)
        raise BadTranscript(f"no transcript format {format!r}", hint=f"one of: {known}", field="format")
    return make()
