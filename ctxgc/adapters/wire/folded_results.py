"""A tool's result as a request holds it, with the places of the tool's own part: its spans.

A span of a result is the value of a text, or the text's beginning where a fold follows. A member beside the text in its
block (a cache breakpoint, citations, an unknown member) has no span, and every byte of the member is sent on unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator

from ctxgc.adapters.contract import RESULT_HEAD_SPAN, RESULT_REST_SPAN, RESULT_SPAN, Span
from ctxgc.adapters.host_texts.folds import FoldedResult, fold_starts, split_folds
from ctxgc.adapters.json_spans import Extent, JsonText
from ctxgc.adapters.json_values import block_text


def read_folded_result(text: JsonText, extent: Extent | None, *, can_fold: bool) -> FoldedResult:
    """The result that lies here, with the spans of the tool's own part."""
    if extent is None:
        return FoldedResult()
    content = text.value(extent)
    result = split_folds(content) if can_fold else FoldedResult(content)
    if isinstance(content, list):
        starts = fold_starts(content) if result.folds else [-1] * len(content)
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
