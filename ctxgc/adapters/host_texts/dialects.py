"""Agents that write in the user's name: a `HostTexts` for each, by the source of the sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from ctxgc.adapters.host_texts.claude_code import ClaudeTexts
from ctxgc.adapters.host_texts.codex import CodexTexts
from ctxgc.adapters.host_texts.opencode import OpenCodeTexts
from ctxgc.adapters.host_texts.wrappers import HostTexts, TextReading, UnknownAgentTexts
from ctxgc.core.segment import Kind

COPILOT_SUMMARY = "Some of the conversation history has been summarized to free up context."
PI_SUMMARY = "The conversation history before this point was compacted into the following summary:"


class SummaryTexts(UnknownAgentTexts):
    """An agent that writes a summary in the user's name, and no other known text."""

    def __init__(self, start: str) -> None:
        self._start = start

    def read_user_text(self, text: str) -> TextReading:
        """See `HostTexts.read_user_text`."""
        return TextReading(Kind.SUMMARY, text) if text.startswith(self._start) else super().read_user_text(text)


DIALECTS: Mapping[str, Callable[[], HostTexts]] = MappingProxyType(
    {
        "claude_code": ClaudeTexts,
        "codex": CodexTexts,
        "opencode": OpenCodeTexts,
        "copilot_cli": partial(SummaryTexts, COPILOT_SUMMARY),
        "pi": partial(SummaryTexts, PI_SUMMARY),
    }
)


def make_host_texts(agent: str) -> HostTexts | None:
    """How this agent writes in the user's name; `None` for an unknown agent."""
    dialect = DIALECTS.get(agent)
    return dialect() if dialect else None
