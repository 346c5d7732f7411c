"""Tool results that end in other texts than the tool's output: Claude Code folds reminders into the result before, and
agents put the user's reason behind a refusal.

    "output\\n\\n<system-reminder>\\nThe user sent a new message while you were working:\\n…\\n</system-reminder>"
     └ the tool's own: may go         └ a fold: the user's words, or an instruction; never edited

a list of text blocks: each block is the tool's own, a fold, or both
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ctxgc.adapters.contract import Span
from ctxgc.adapters.facts.result_words import find_folds_start
from ctxgc.adapters.json_values import block_text

_OPEN, _CLOSE = "<system-reminder>", "</system-reminder>"


class FoldedResult(NamedTuple):
    """A tool's result as a list holds it."""

    content: Any = None
    """The tool's own: a string, a list of blocks, or nothing."""
    spans: tuple[Span, ...] = ()
    folds: tuple[str, ...] = ()


def split_folds(content: Any) -> FoldedResult:
    """A result without its folds, and the folds, in order; without spans."""
    if isinstance(content, str):
        at = find_folds_start(content)
        return (
            FoldedResult(content)
            if at < 0
            else FoldedResult(content[:at].rstrip(), (), tuple(_split_reminders(content[at:])))
        )
    starts = fold_starts(content) if isinstance(content, list) else []
    if all(at < 0 for at in starts):
        return FoldedResult(content)
    own: list[Any] = []
    folds: list[str] = []
    for block, at in zip(content, starts, strict=True):
        if at < 0:
            own.append(block)
            continue
        text = block_text(block) or ""
        folds += _split_reminders(text[at:])
        if body := text[:at].rstrip():
            own.append(block | {"text": body})
    return FoldedResult(own, (), tuple(folds))


def fold_starts(content: list[Any]) -> list[int]:
    """Where in each block of a result the first fold begins; -1 for a block without one."""
    return [find_folds_start(block_text(block) or "") for block in content]


def _split_reminders(tail: str) -> list[str]:
    """The reminders of a tail: back to back, or the whole tail where a reminder holds a tag."""
    parts = [part + _CLOSE for part in tail.rstrip().split(_CLOSE)[:-1]]
    is_plain = tail.rstrip().endswith(_CLOSE) and all(
        part.lstrip().startswith(_OPEN) and part.count(_OPEN) == 1 for part in parts
    )
    return [part.strip() for part in parts] if is_plain else [tail.strip()]
