"""Wrappers: the tags that an agent puts around its own words in the user's name.

    text ──whole──▶ the wrappers it consists of ──(an agent's module)──▶ TextReading: kind, words, facts
      └── text before, between or behind wrappers: a person wrote the text

A wrapper counts only whole, so that no words of a person become the host's by their beginning. Of several wrappers in a
text, the most protected wrapper decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from ctxgc.adapters.facts.result_words import EDITED, REASON, TYPED_STARTS
from ctxgc.adapters.facts.tool_facts import NO_CALL_FACTS, Facts
from ctxgc.core.segment import COMMAND_CHARS_MAX, Kind

_OPENING = re.compile(r"<([A-Za-z][\w -]{0,63}?)((?:\s+[\w-]+\s*=\s*\"[^\"<>]*\")*)\s*>")
_TYPED_ENDS = (
    "IMPORTANT: After completing your current task, you MUST address the user's message above.",
    "This is how Claude Code surfaces messages the user sends mid-turn",
    "Please address this message and continue with your tasks.",
)
_PROTECTED_FIRST = (Kind.USER, Kind.SUMMARY, Kind.SYSTEM, Kind.ATTACHMENT)


class TextReading(NamedTuple):
    """A text in the user's name, read: kind, words and facts of its segment."""

    kind: Kind
    words: str
    facts: Facts = NO_CALL_FACTS


class Wrapper(NamedTuple):
    """A wrapper of a text."""

    tag: str
    attributes: str
    inner: str


class HostTexts(Protocol):
    """An agent's way to write in the user's name. Mutable; reads the texts of a single list or session, in order."""

    can_fold: bool
    """Whether its tool results may end in reminders, which are no output of the tool."""

    def read_user_text(self, text: str) -> TextReading:
        """The reading of a text."""
        ...

    def read_fold(self, text: str) -> TextReading:
        """The reading of a reminder at the end of a tool's result."""
        ...

    def note_call(self, tool: str, value: Any) -> None:
        """Note a call of the model: the host's next text may belong to the call."""
        ...


class UnknownAgentTexts:
    """An unknown agent: every text in the user's name is the user's."""

    can_fold = True

    def read_user_text(self, text: str) -> TextReading:
        """See `HostTexts.read_user_text`."""
        return TextReading(Kind.USER, text)

    def read_fold(self, text: str) -> TextReading:
        """See `HostTexts.read_fold`."""
        words = interjected_words(text)
        return TextReading(Kind.SYSTEM, text) if words is None else TextReading(Kind.USER, words)

    def note_call(self, tool: str, value: Any) -> None:
        """See `HostTexts.note_call`."""


def parse_wrappers(text: str) -> list[Wrapper]:
    """The wrappers that this text consists of, back to back, with white space apart; none for a text with other
    words."""
    parts: list[Wrapper] = []
    position, end = len(text) - len(text.lstrip()), len(text.rstrip())
    while position < end:
        opening = _OPENING.match(text, position)
        if opening is None:
            return []
        closing = f"</{opening[1]}>"
        at = text.find(closing, opening.end())
        if at < 0:
            return []
        parts.append(Wrapper(opening[1], opening[2].strip(), text[opening.end() : at]))
        position = at + len(closing)
        while position < end and text[position].isspace():
            position += 1
    return parts


def interjected_words(text: str) -> str | None:
    """The words that the user typed while the model worked, as the reason of a refusal, or in place of a proposal,
    without the host's words around; `None` for any other text."""
    said = text.strip()
    said = said.removeprefix("<system-reminder>").removesuffix("</system-reminder>").strip()
    start = next((start for start in TYPED_STARTS if said.startswith(start)), None)
    if start is None:
        lead = REASON.match(said) or EDITED.match(said)
        return said[lead.end() :].strip() if lead else None
    words, _, last = said[len(start) :].rpartition("\n")
    return (words.rstrip() if last.startswith(_TYPED_ENDS) else said[len(start) :]).strip("\n")


def tag_text(inner: str, tag: str) -> str:
    """The text of the first `<tag>…</tag>` in a wrapper, on a line; empty without such a tag."""
    match = re.search(rf"<{tag}>(.{{0,4096}}?)</{tag}>", inner, re.DOTALL)
    return " ".join(match[1].split()) if match else ""


def output_facts(name: str, tool: str = "") -> Facts:
    """The facts of a text that shows an output of this name."""
    return Facts(command=name[: COMMAND_CHARS_MAX - 1], tool=tool)


LONE_RESULT_FACTS = output_facts("a result without its call")


def most_protected_reading(text: str, readings: Iterable[TextReading]) -> TextReading:
    """The reading of a text of several wrappers: the whole text stays if any wrapper must."""
    ranked: Sequence[TextReading] = sorted(readings, key=lambda reading: _PROTECTED_FIRST.index(reading.kind))
    return ranked[0]._replace(words=text) if len(ranked) > 1 else ranked[0]
