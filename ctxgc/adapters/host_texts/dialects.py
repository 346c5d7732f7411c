"""Agents that write in the user's name: a `HostTexts` for each, by the source of the sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ctxgc.adapters.host_texts.claude_code import ClaudeTexts
from ctxgc.adapters.host_texts.codex import CodexTexts
from ctxgc.adapters.host_texts.opencode import OpenCodeTexts
from ctxgc.adapters.host_texts.wrappers import HostTexts

DIALECTS: Mapping[str, Callable[[], HostTexts]] = MappingProxyType(
    {"claude_code": ClaudeTexts, "codex": CodexTexts, "opencode": OpenCodeTexts}
)


def texts_of(agent: str) -> HostTexts | None:
    """How this agent writes in the user's name; None for an unknown agent."""
    dialect = DIALECTS.get(agent)
    return dialect() if dialect else None
