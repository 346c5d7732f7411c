"""OpenCode's texts in the user's name: the text of a mentioned file is evictable, reminders stay.

    Called the Read tool with the following input: {"filePath": …}     attachment, by the file's name
    <path>FILE</path> …                                                 attachment, where that file was just named
    the same of a file of instructions, or with those of its folder     system
    a reminder that the user sent the following message                 user: the words alone
    <system-reminder>…</system-reminder>, and other synthetic texts     system
    a note of our plugin: a frame of past text                          system

An export flags such texts as synthetic; a request has no such flag, and so only a text that fits word for word counts
there.
"""

from __future__ import annotations

import json
from typing import Any

from ctxgc.adapters.facts.instruction_files import is_instruction_file
from ctxgc.adapters.facts.result_words import find_folds_start
from ctxgc.adapters.facts.tool_facts import Facts, facts_of_call
from ctxgc.adapters.host_texts.wrappers import TextReading, interjected_words, output_facts, parse_wrappers
from ctxgc.core.frame import is_frame_alone
from ctxgc.core.segment import Kind

MENTIONED = "Called the Read tool with the following input: "


class OpenCodeTexts:
    """The `HostTexts` of OpenCode."""

    can_fold = False

    def __init__(self, cwd: str = "") -> None:
        self.cwd = cwd
        self._facts: Facts | None = None
        """Of the file whose text comes next."""

    def read_user_text(self, text: str, *, is_synthetic: bool = False) -> TextReading:
        """See `HostTexts.read_user_text`. `is_synthetic` is an export's flag of the host's own texts."""
        before, self._facts = self._facts, facts_of_mention(text, self.cwd)
        if self._facts is not None:
            return TextReading(Kind.ATTACHMENT, text, output_facts(self._facts.paths[0].path))
        if before is not None and (is_synthetic or _is_text_of_mentioned_file(text, before)):
            is_instruction = is_instruction_file(before.paths[0].path) or find_folds_start(text) >= 0
            return TextReading(Kind.SYSTEM if is_instruction else Kind.ATTACHMENT, text, before)
        is_reminder = (
            {wrapper.tag for wrapper in parse_wrappers(text)} == {"system-reminder"} if text[:1] == "<" else False
        )
        if is_reminder and (words := interjected_words(text)) is not None:
            return TextReading(Kind.USER, words)
        is_ours = is_synthetic or is_reminder or is_frame_alone(text)
        return TextReading(Kind.SYSTEM if is_ours else Kind.USER, text)

    def read_fold(self, text: str) -> TextReading:
        """See `HostTexts.read_fold`: OpenCode folds no reminder into a result, so the text stays system text."""
        return TextReading(Kind.SYSTEM, text)

    def note_call(self, tool: str, value: Any) -> None:
        """See `HostTexts.note_call`."""


def facts_of_mention(text: str, cwd: str) -> Facts | None:
    """The facts of the file whose text comes next, if this text only announces the read."""
    if not text.startswith(MENTIONED):
        return None
    try:
        value = json.loads(text.removeprefix(MENTIONED))
    except (ValueError, RecursionError):
        return None
    facts = facts_of_call("read", value, cwd) if isinstance(value, dict) else Facts()
    return facts if facts.paths else None


def _is_text_of_mentioned_file(text: str, facts: Facts) -> bool:
    return any(text.startswith(f"<path>{use.path}</path>\n") for use in facts.paths)
