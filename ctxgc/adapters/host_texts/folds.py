"""Tool results that end in other texts than the tool's output: Claude Code folds reminders into the result before, and
agents put the user's reason behind a refusal.

    "output\\n\\n<system-reminder>\\nThe user sent a new message while you were working:\\n…\\n</system-reminder>"
     └ the tool's own: may go         └ a fold: the user's words, or an instruction; never edited

a list of text blocks: each block is the tool's own, a fold, or both

A span of a result is the value of a text, or the text's beginning where a fold follows. A member beside the text in its
block (a cache breakpoint, citations, an unknown member) has no span, and every byte of the member is sent on unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ctxgc.adapters.contract import RESULT_HEAD_SPAN, RESULT_REST_SPAN, RESULT_SPAN, Span
from ctxgc.adapters.facts.result_words import find_folds
from ctxgc.adapters.json_spans import Extent, JsonText
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
        at = find_folds(content)
        return (
            FoldedResult(content)
            if at < 0
            else FoldedResult(content[:at].rstrip(), (), tuple(_split_reminders(content[at:])))
        )
    starts = _fold_starts(content) if isinstance(content, list) else []
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


def read_folded_result(text: JsonText, extent: Extent | None, *, can_fold: bool) -> FoldedResult:
    """The result that lies here, with the spans of the tool's own part."""
    if extent is None:
        return FoldedResult()
    content = text.value(extent)
    result = split_folds(content) if can_fold else FoldedResult(content)
    if isinstance(content, list):
        starts = _fold_starts(content) if result.folds else [-1] * len(content)
        return result._replace(spans=tuple(_block_spans(text, extent, list(map(block_text, content)), starts)))
    if not result.folds:
        return result._replace(spans=(Span(RESULT_SPAN, *extent),))
    head = text.head_extent(extent, len(result.content))
    return result._replace(spans=(Span(RESULT_HEAD_SPAN, *head),) if result.content else ())


def _block_spans(text: JsonText, extent: Extent, texts: list[str | None], starts: list[int]) -> Iterator[Span]:
    """The tool's first text takes the tombstone, each other text the marker, and no block leaves the list.

    A result with a block that is no text stays whole, and so has no spans.
    """
    if None in texts:
        return
    whole = RESULT_SPAN
    for fields, said, at in zip(text.objects(extent), texts, starts, strict=True):
        own = said if at < 0 or said is None else said[:at].rstrip()
        if own:
            value = fields["text"]
            yield Span(whole, *value) if at < 0 else Span(RESULT_HEAD_SPAN, *text.head_extent(value, len(own)))
            whole = RESULT_REST_SPAN


def _fold_starts(content: list[Any]) -> list[int]:
    return [find_folds(block_text(block) or "") for block in content]


def _split_reminders(tail: str) -> list[str]:
    """The reminders of a tail: back to back, or the whole tail where a reminder holds a tag."""
    parts = [part + _CLOSE for part in tail.rstrip().split(_CLOSE)[:-1]]
    is_plain = tail.rstrip().endswith(_CLOSE) and all(
        part.lstrip().startswith(_OPEN) and part.count(_OPEN) == 1 for part in parts
    )
    return [part.strip() for part in parts] if is_plain else [tail.strip()]
