"""Codex's texts in the user's name; only texts that show a file or an output are evictable.

    AGENTS.md, environment, permissions, plugins, hooks, aborted turns, its three warnings ─▶ system
    <skill>, <user_shell_command>, <subagent_notification>, the goal of a thread            ─▶ attachment, by name
    all else ─▶ user

A prompt counts only if the prompt is the user's: a rollback counts prompts.
"""

from __future__ import annotations

import re
from typing import Any

from ctxgc.adapters.facts.tool_facts import Facts
from ctxgc.adapters.host_texts.wrappers import (
    TextReading,
    UnknownAgentTexts,
    Wrapper,
    most_protected_reading,
    output_facts,
    parse_wrappers,
    tag_text,
)
from ctxgc.core.segment import Kind

INSTRUCTIONS = frozenset(
    {
        "user_instructions",
        "environment_context",
        "permissions instructions",
        "INSTRUCTIONS",
        "recommended_plugins",
        "skills_instructions",
        "plugins_instructions",
        "apps_instructions",
        "collaboration_mode",
        "multi_agent_mode",
        "app-context",
        "turn_aborted",
        "hook_prompt",
    }
)
_AGENTS = re.compile(r"# AGENTS\.md instructions.*</INSTRUCTIONS>", re.DOTALL)
SUMMARY_STARTS = ("Another language model started to solve this problem",)

_GOAL_TAGS = "codex_internal_context|goal_context"
_GOAL = re.compile(
    rf'<(?:codex_internal_context source="goal"|goal_context)>(\n?)((?:(?!</(?:{_GOAL_TAGS})>).)*)</(?:{_GOAL_TAGS})>',
    re.DOTALL,
)
_WARNINGS = re.compile(
    r"Warning: (?:The maximum number of unified exec processes you can keep open is \d[^\n]*"
    r"|Your account was flagged for potentially high-risk cyber activity[^\n]*"
    r"|apply_patch was requested via \w+\. Use the apply_patch tool instead of exec_command\.)"
)
"""The warnings that Codex has written as a user's message. Whatever else begins so was pasted."""
_EXTERNAL = re.compile(r"external_[\w-]+")
_AGENT_NAME = re.compile(r'"agent_(?:path|id|name)"\s*:\s*"([^"\\]{1,120})"')


class CodexTexts:
    """The `HostTexts` of Codex."""

    can_fold = False

    def read_user_text(self, text: str) -> TextReading:
        """See `HostTexts.read_user_text`."""
        words = text.strip()
        if _AGENTS.fullmatch(words) or _WARNINGS.fullmatch(words):
            return TextReading(Kind.SYSTEM, text)
        if words.startswith(SUMMARY_STARTS):
            return TextReading(Kind.SUMMARY, text)
        if words[:1] != "<":
            return TextReading(Kind.USER, text)
        if _GOAL.fullmatch(words):
            return TextReading(Kind.ATTACHMENT, text, output_facts("goal"))
        parts = parse_wrappers(words)
        return (
            most_protected_reading(text, [_read_wrapper(part, text) for part in parts])
            if parts
            else TextReading(Kind.USER, text)
        )

    def read_fold(self, text: str) -> TextReading:
        """See `HostTexts.read_fold`: Codex folds no text into a result."""
        return TextReading(Kind.SYSTEM, text)

    def note_call(self, tool: str, value: Any) -> None:
        """See `HostTexts.note_call`."""


class ResponsesTexts(UnknownAgentTexts):
    """The texts of an unknown agent, over Responses: a goal in Codex's form tells that the agent is Codex."""

    def read_user_text(self, text: str) -> TextReading:
        """See `HostTexts.read_user_text`."""
        goal = _GOAL.fullmatch(text.strip())
        return (
            TextReading(Kind.ATTACHMENT, text, output_facts("goal"))
            if goal and goal[1]
            else TextReading(Kind.USER, text)
        )


def _read_wrapper(wrapper: Wrapper, text: str) -> TextReading:
    tag, inner = wrapper.tag, wrapper.inner
    if tag in INSTRUCTIONS or tag == "codex_internal_context" or _EXTERNAL.fullmatch(tag):
        return TextReading(Kind.SYSTEM, text)
    if tag == "skill" and (name := tag_text(inner, "name")):
        return TextReading(Kind.ATTACHMENT, text, output_facts(name, "skill"))
    if tag == "user_shell_command" and (command := tag_text(inner, "command")):
        return TextReading(Kind.ATTACHMENT, text, output_facts(command))
    if tag == "subagent_notification" and inner.lstrip().startswith("{"):
        agent = _AGENT_NAME.search(inner)
        return TextReading(Kind.ATTACHMENT, text, output_facts(f"agent {agent[1]}" if agent else "output of an agent"))
    return TextReading(Kind.USER, text)


def kind_and_facts_of_agent_message(author: str, recipient: str) -> tuple[Kind, Facts]:
    """The kind of an agent's message to another agent: a report of an agent below is output, any other message may be
    an order.
    """
    if recipient and author.startswith(recipient.rstrip("/") + "/"):
        return Kind.ATTACHMENT, output_facts(f"agent {author}")
    return Kind.SYSTEM, Facts()
