"""The fields of a candidate for its score: the query's lexemes in what a person would search of the segment."""

from __future__ import annotations

from collections.abc import Iterator

from ctxgc.core.search.lexemes import extra_index_words, lexemes
from ctxgc.core.search.positions import NO_POSITIONS, find_lexemes_in_text, locate_lexemes
from ctxgc.core.search.ranking import Fields, TermWeights
from ctxgc.stash import index_text
from ctxgc.stash.body_codec import ContentStart

SCORED_CHARS_MAX = 32_768
"""The part of a candidate's text that counts for its score."""
WHOLE_CHARS_MAX = SCORED_CHARS_MAX // 8
"""A text shorter than this is read whole with that part, whatever its letters."""
SAID_CHARS_MAX = 500


def build_scored_fields(
    readable: index_text.Searchable,
    spoken: str,
    weights: TermWeights,
    absent: frozenset[str] = frozenset(),
    *,
    is_turn: bool,
) -> Fields:
    """The readings of a segment's fields, as far as they count for a score. `absent`: lexemes of no text or input."""
    sought, path = weights.query_lexemes, "\n".join(readable.paths)
    return Fields(
        text=find_lexemes_in_text(readable.text[:SCORED_CHARS_MAX], sought, absent),
        input=find_lexemes_in_text(readable.input, sought, absent),
        path=locate_lexemes(lexemes(path) + extra_index_words(path), sought) if path else NO_POSITIONS,
        said=find_lexemes_in_text(spoken, sought),
        label=readable.label,
        is_turn=is_turn,
    )


def last_spoken_text(segments: Iterator[ContentStart]) -> str:
    """The end of what a model said, from the last segment backward."""
    said = ""
    for segment in segments:
        if len(said) >= SAID_CHARS_MAX:
            break
        said = f"{index_text.searchable_fields(segment).text}\n{said}"
    return said[-SAID_CHARS_MAX:]
