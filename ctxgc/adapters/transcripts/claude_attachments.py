"""What Claude Code's attachment records put into the prompt, and which user texts the host wrote itself.

An attachment reaches the model as a reminder beside a user message. Those that carry text of weight become
segments; bookkeeping (a hook that said nothing, a token countdown, a permission list) is skipped and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ctxgc.adapters.facts.shell_paths import resolve
from ctxgc.adapters.facts.tool_facts import Facts
from ctxgc.adapters.json_values import as_count, as_dict, as_text, block_text, blocks
from ctxgc.core.segment import LINE_MAX, Access, Kind, PathUse

HOST_TAGS = (
    "<bash-stdout>",
    "<bash-stderr>",
    "<local-command-stdout>",
    "<local-command-stderr>",
    "<local-command-caveat>",
    "<task-notification>",
    "<agent-message",
    "<system-reminder>",
    "<teammate-message",
)
"""User texts that begin so come from the host: output, not a request. `<bash-input>` and `<command-name>` are typed."""


SKILL_START = "Base directory for this skill: "
"""A skill that the host put in, which a transcript marks as `isMeta` and a request does not."""

SUMMARY_START = "This session is being continued from a previous conversation that ran out of context"


def user_kind(text: str, is_meta: bool) -> Kind:
    """USER for what a person asked (a root, and it ends open calls), ATTACHMENT for what the host put in.

    A request marks none of it, so that what can be told by how it begins is: both sides must name it alike.
    """
    if text.startswith(SUMMARY_START):
        return Kind.SUMMARY
    return Kind.ATTACHMENT if is_meta or text.startswith((*HOST_TAGS, SKILL_START)) else Kind.USER


def attached(attachment: dict[str, Any], cwd: str) -> tuple[str, Facts] | None:
    """The text an attachment puts into the prompt, with the file it shows; None if it puts none."""
    read = _READERS.get(as_text(attachment.get("type")))
    text = read(attachment) if read else ""
    if not text.strip():
        return None
    path = as_text(attachment.get("filename")) or as_text(attachment.get("path"))
    return text, Facts((_shown(path, attachment, cwd),)) if path and path.isprintable() else Facts()


def _shown(path: str, attachment: dict[str, Any], cwd: str) -> PathUse:
    if attachment.get("type") == "edited_text_file":
        # A snippet around the change: which lines it shows is only in its text.
        return PathUse(resolve(path, cwd), Access.MENTION)
    file = as_dict(as_dict(attachment.get("content")).get("file"))
    first = as_count(file.get("startLine")) or 1
    count = as_count(file.get("numLines"))
    is_whole = not count or (first == 1 and count == as_count(file.get("totalLines")))
    last = LINE_MAX if is_whole else min(first + count - 1, LINE_MAX)
    return PathUse(resolve(path, cwd), Access.READ, min(first, LINE_MAX), last)


def _strings(value: object) -> str:
    """A string, or strings of a list, joined."""
    if isinstance(value, list):
        return "\n".join(item for item in value if isinstance(item, str))
    return as_text(value)


def _file(attachment: dict[str, Any]) -> str:
    content = as_dict(attachment.get("content"))
    return as_text(as_dict(content.get("file")).get("content")) or as_text(content.get("content"))


def _tasks(attachment: dict[str, Any]) -> str:
    content = attachment.get("content")
    if not isinstance(content, list):
        return as_text(content)
    keys = ("id", "status", "subject", "content", "description")
    rows = (" ".join(as_text(as_dict(item).get(key)) for key in keys) for item in content)
    return "\n".join(" ".join(row.split()) for row in rows)


def _skills(attachment: dict[str, Any]) -> str:
    skills = attachment.get("skills")
    return "\n\n".join(as_text(as_dict(item).get("content")) for item in skills) if isinstance(skills, list) else ""


def _prompt(attachment: dict[str, Any]) -> str:
    return "\n".join(text for block in blocks(attachment.get("prompt")) if (text := block_text(block)))


_READERS: Mapping[str, Callable[[dict[str, Any]], str]] = MappingProxyType(
    {
        "hook_additional_context": lambda a: _strings(a.get("content")),
        "hook_success": lambda a: _strings(a.get("content")),
        "hook_blocking_error": lambda a: _strings(as_dict(a.get("blockingError")).get("blockingError")),
        "file": _file,
        "edited_text_file": lambda a: as_text(a.get("snippet")),
        "nested_memory": lambda a: as_text(as_dict(a.get("content")).get("content")),
        "skill_listing": lambda a: _strings(a.get("content")),
        "invoked_skills": _skills,
        "queued_command": _prompt,
        "task_reminder": _tasks,
        "todo_reminder": _tasks,
        "todo": _tasks,
        "mcp_instructions_delta": lambda a: _strings(a.get("addedBlocks")),
        "deferred_tools_delta": lambda a: _strings(a.get("addedLines")),
        "agent_listing_delta": lambda a: _strings(a.get("addedLines")),
        "critical_system_reminder": lambda a: _strings(a.get("content")),
    }
)
