"""Texts of Claude Code's attachment records, and which texts are evictable.

An attachment reaches the model as a reminder beside a user message. Attachments with text of weight become segments;
bookkeeping (a silent hook, a token countdown, a permission list) is skipped and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ctxgc.adapters.facts.instruction_files import is_instruction_file
from ctxgc.adapters.facts.shell_paths import resolve_path
from ctxgc.adapters.facts.tool_facts import Facts
from ctxgc.adapters.host_texts.claude_code import ClaudeTexts, skill_facts
from ctxgc.adapters.host_texts.wrappers import TextReading
from ctxgc.adapters.json_values import as_count, as_dict, as_text, block_text, content_blocks
from ctxgc.core.segment import LINE_MAX, Access, Kind, PathUse

SHOWN = frozenset({"file", "edited_text_file", "invoked_skills"})
"""Attachments that show a file or a skill, and so may go. Instructions, memory, listings and what hooks say stay."""


def read_attachment(attachment: dict[str, Any], cwd: str, texts: ClaudeTexts) -> TextReading | None:
    """The text of an attachment in the prompt, with its file; `None` for an attachment without text."""
    kind = as_text(attachment.get("type"))
    read = _READERS.get(kind)
    text = read(attachment) if read else ""
    if not text.strip():
        return None
    if kind == "queued_command":
        # A prompt typed while the agent worked comes as an attachment, but it is the user who speaks.
        return TextReading(Kind.USER, text) if _is_user_prompt(attachment) else texts.read_user_text(text)
    path = as_text(attachment.get("filename")) or as_text(attachment.get("path"))
    facts = Facts((_path_use(path, attachment, cwd),)) if path and path.isprintable() else Facts()
    if kind == "invoked_skills":
        facts = skill_facts([as_text(as_dict(item).get("name")) for item in attachment["skills"]])
    return TextReading(Kind.ATTACHMENT if kind in SHOWN and not is_instruction_file(path) else Kind.SYSTEM, text, facts)


def _is_user_prompt(attachment: dict[str, Any]) -> bool:
    """Whether a queued prompt is a person's: not of another agent, nor of a task that ended."""
    origin = as_text(as_dict(attachment.get("origin")).get("kind")) or "human"
    is_prompt = as_text(attachment.get("commandMode")) in ("", "prompt")
    return is_prompt and origin == "human" and attachment.get("isMeta") is not True


def _path_use(path: str, attachment: dict[str, Any], cwd: str) -> PathUse:
    if attachment.get("type") == "edited_text_file":
        # A snippet around the change: which lines it shows is only in its text.
        return PathUse(resolve_path(path, cwd), Access.MENTION)
    file = as_dict(as_dict(attachment.get("content")).get("file"))
    first = as_count(file.get("startLine")) or 1
    count = as_count(file.get("numLines"))
    is_whole = not count or (first == 1 and count == as_count(file.get("totalLines")))
    last = LINE_MAX if is_whole else min(first + count - 1, LINE_MAX)
    return PathUse(resolve_path(path, cwd), Access.READ, min(first, LINE_MAX), last)


def _join_strings(value: object) -> str:
    """A string, or strings of a list, joined."""
    if isinstance(value, list):
        return "\n".join(item for item in value if isinstance(item, str))
    return as_text(value)


def _file_text(attachment: dict[str, Any]) -> str:
    content = as_dict(attachment.get("content"))
    return as_text(as_dict(content.get("file")).get("content")) or as_text(content.get("content"))


def _tasks_text(attachment: dict[str, Any]) -> str:
    content = attachment.get("content")
    if not isinstance(content, list):
        return as_text(content)
    keys = ("id", "status", "subject", "content", "description")
    rows = (" ".join(as_text(as_dict(item).get(key)) for key in keys) for item in content)
    return "\n".join(" ".join(row.split()) for row in rows)


def _skills_text(attachment: dict[str, Any]) -> str:
    skills = attachment.get("skills")
    return "\n\n".join(as_text(as_dict(item).get("content")) for item in skills) if isinstance(skills, list) else ""


def _prompt_text(attachment: dict[str, Any]) -> str:
    return "\n".join(text for block in content_blocks(attachment.get("prompt")) if (text := block_text(block)))


_READERS: Mapping[str, Callable[[dict[str, Any]], str]] = MappingProxyType(
    {
        "hook_additional_context": lambda a: _join_strings(a.get("content")),
        "hook_success": lambda a: _join_strings(a.get("content")),
        "hook_blocking_error": lambda a: _join_strings(as_dict(a.get("blockingError")).get("blockingError")),
        "file": _file_text,
        "edited_text_file": lambda a: as_text(a.get("snippet")),
        "nested_memory": lambda a: as_text(as_dict(a.get("content")).get("content")),
        "skill_listing": lambda a: _join_strings(a.get("content")),
        "invoked_skills": _skills_text,
        "queued_command": _prompt_text,
        "task_reminder": _tasks_text,
        "todo_reminder": _tasks_text,
        "todo": _tasks_text,
        "mcp_instructions_delta": lambda a: _join_strings(a.get("addedBlocks")),
        "deferred_tools_delta": lambda a: _join_strings(a.get("addedLines")),
        "agent_listing_delta": lambda a: _join_strings(a.get("addedLines")),
        "critical_system_reminder": lambda a: _join_strings(a.get("content")),
    }
)
