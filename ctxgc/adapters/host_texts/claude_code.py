"""Claude Code's texts in the user's name; only texts that show a file or an output are evictable.

    <system-reminder> a file shown, a changed file, selected lines, diagnostics  ─▶ attachment, by name
                      the user sent a new message while you were working          ─▶ user: the words alone
                      anything else (CLAUDE.md, memory, listings, hooks, todos)   ─▶ system, a shown CLAUDE.md too
    <bash-stdout>, <local-command-stdout>, <task-notification>                    ─▶ attachment, by its command or task
    a skill's text, where the skill was just launched                             ─▶ attachment, `skill: NAME`
    other tags of its own ─▶ system                                        all else ─▶ user

An unknown reminder stays: instructions come in many shapes, and a new shape must not leave the window. A text in a
place where Claude Code cannot have written is the user's.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ctxgc.adapters.facts.instruction_files import is_instruction_file
from ctxgc.adapters.facts.tool_facts import Facts
from ctxgc.adapters.host_texts.wrappers import (
    TextReading,
    Wrapper,
    interjected_words,
    most_protected_reading,
    output_facts,
    parse_wrappers,
    tag_text,
)
from ctxgc.core.segment import Access, Kind, PathUse

REMINDER = "system-reminder"
OUTPUTS = frozenset({"bash-stdout", "bash-stderr", "local-command-stdout", "local-command-stderr"})
NOTIFICATION = "task-notification"
NOTICES = frozenset({"local-command-caveat", "agent-message", "teammate-message"})
"""Neither a file nor an output: what another agent says may be an order as well as a report."""

SUMMARY_START = "This session is being continued from a previous conversation that ran out of context"
SKILL_START = "Base directory for this skill"
SKILLS_MAX = 64
"""Skills launched whose text has not come yet; most commands bring none."""

_CALLED = re.compile(r"Called the \w+ tool with the following input: (\{[^\n]*\})")
_RESULT = re.compile(r"Result of calling the (\w+) tool:")
_CHANGED = re.compile(r"Note: (/?[^\n]+?) was modified, either by the user or by a linter\.")
_SELECTED = re.compile(r"The user selected (?:the )?lines? \d+ to \d+ from ([^\n]+?):?\n")
_SKILLS = "The following skills were invoked in this session."
_SKILL_NAME = re.compile(r"^### Skill: ([^\n]+)", re.MULTILINE)
_DIAGNOSTICS = ("<new-diagnostics>", "The following new diagnostic issues were detected:")
_TASK_DONE = "A background agent completed a task:"
_TRANSCRIPT_LINE = re.compile(r"(</task-notification>)\s*\nFull transcript available at: [^\n]+\s*$")
_SKILL_FOLDER = re.compile(rf"{SKILL_START}: ([^\n]+)")


class ClaudeTexts:
    """The `HostTexts` of Claude Code."""

    can_fold = True

    def __init__(self) -> None:
        self._command = ""
        """The user's command, whose output comes next."""
        self._file = ""
        """The file whose text comes next."""
        self._launched: dict[str, None] = {}

    def note_call(self, tool: str, value: Any) -> None:
        """See `HostTexts.note_call`."""
        if tool == "Skill" and isinstance(value, dict):
            self._note_skill_launch(value.get("skill") or value.get("command"))

    def read_fold(self, text: str) -> TextReading:
        """See `HostTexts.read_fold`. A reminder with a tag inside is no wrapper, and stays."""
        words = interjected_words(text)
        if words is not None:
            return TextReading(Kind.USER, words)
        reading = self.read_user_text(text)
        return reading if reading.kind is Kind.ATTACHMENT else TextReading(Kind.SYSTEM, text)

    def read_user_text(self, text: str, *, is_meta: bool = False) -> TextReading:
        """See `HostTexts.read_user_text`. `is_meta`: a transcript's flag of a skill's text, which no request has."""
        if text.startswith(SUMMARY_START):
            return TextReading(Kind.SUMMARY, text)
        if text.startswith(SKILL_START):
            return self._read_skill(text, is_meta=is_meta)
        parts = parse_wrappers(_TRANSCRIPT_LINE.sub(r"\1", text)) if text.lstrip()[:1] == "<" else []
        if not parts:
            return TextReading(Kind.USER, text)
        return most_protected_reading(text, [self._read_wrapper(part, text) for part in parts])

    def _read_wrapper(self, wrapper: Wrapper, text: str) -> TextReading:
        tag, inner = wrapper.tag, wrapper.inner
        if tag == REMINDER:
            return self._read_reminder(inner, text)
        if tag == NOTIFICATION:
            return TextReading(Kind.ATTACHMENT, text, output_facts(_task_name(inner)))
        if tag in OUTPUTS:
            return TextReading(Kind.ATTACHMENT, text, output_facts(self._command or "output of a command"))
        if tag in NOTICES:
            return TextReading(Kind.SYSTEM, text)
        if tag == "bash-input":
            self._command = " ".join(inner.split())
        elif tag == "command-name":
            self._command = " ".join(inner.split())
            self._note_skill_launch(inner.strip().removeprefix("/"))
        return TextReading(Kind.USER, text)

    def _read_reminder(self, inner: str, text: str) -> TextReading:
        if (words := interjected_words(inner)) is not None:
            return TextReading(Kind.USER, words)
        facts = self._read_shown_content_facts(inner.strip())
        is_shown = facts is not None and not any(is_instruction_file(use.path) for use in facts.paths)
        return TextReading(Kind.ATTACHMENT, text, facts) if facts and is_shown else TextReading(Kind.SYSTEM, text)

    def _read_shown_content_facts(self, said: str) -> Facts | None:
        """The file or output that a reminder shows; `None` for a text without either."""
        if call := _CALLED.match(said):
            self._file = _parse_file_path(call[1])
            return _file_facts(self._file, "file")
        if result := _RESULT.match(said):
            return _file_facts(self._file, f"output of {result[1]}")
        if match := _CHANGED.match(said) or _SELECTED.match(said):
            return _file_facts(match[1].strip(), "file")
        if said.startswith(_SKILLS):
            return skill_facts(_SKILL_NAME.findall(said))
        if said.startswith(_DIAGNOSTICS):
            return output_facts("diagnostics")
        return output_facts(_task_name(said)) if said.startswith(_TASK_DONE) and f"<{NOTIFICATION}>" in said else None

    def _note_skill_launch(self, name: object) -> None:
        if isinstance(name, str) and name and len(self._launched) < SKILLS_MAX:
            self._launched[_base_name(name, ":")] = None

    def _read_skill(self, text: str, *, is_meta: bool) -> TextReading:
        folder = _SKILL_FOLDER.match(text)
        name = _base_name(folder[1].strip().rstrip("/"), "/") if folder else ""
        if is_meta or name in self._launched:
            self._launched.pop(name, None)
            return TextReading(Kind.ATTACHMENT, text, output_facts(name or "skill", "skill"))
        return TextReading(Kind.USER, text)


def skill_facts(names: list[str]) -> Facts:
    """The facts of a text with these skills."""
    return output_facts(", ".join(names) or "invoked", "skill")


def _task_name(inner: str) -> str:
    task = tag_text(inner, "task-id")
    return f"task {task}" if task else "output of a task"


def _base_name(name: str, separator: str) -> str:
    return name.rpartition(separator)[2]


def _parse_file_path(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    path = value.get("file_path") if isinstance(value, dict) else ""
    return path if isinstance(path, str) else ""


def _file_facts(path: str, name: str) -> Facts:
    # A mention: which lines a reminder shows is only in its text.
    return Facts((PathUse(path, Access.MENTION),)) if path and path.isprintable() else output_facts(name)
