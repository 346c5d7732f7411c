"""Which lines of a text to show: the ranges around the words of a query, or around what an edit put in.

    words, edited lines ──places──▶ the best, each with the lines around it ──▶ ranges, at most `RANGES_MAX`

Line numbers count from 1. Pure; every scan is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import log1p
from typing import NamedTuple

CONTEXT_LINES = 2
"""Lines shown before and after a matching line."""
RANGES_MAX = 4
"""Ranges of one segment."""
RANGE_LINES_MAX = 40
SCANNED_LINES_MAX = 50_000
"""The part of a segment in which matches are looked for."""
HOLDERS_MAX = 300
"""Lines of a segment that count for one word: a word in more lines points nowhere."""
WORD_CHARS_WHOLE, WORD_CHARS_START = 2, 4
"""A word this short matches whole words, or the starts of words; a longer word matches anywhere, as in camelCase."""
PARTS_MAX, PART_HOLDERS_MAX = 100, 8
"""Parts of lines that are looked for, and the most places in which a part still points somewhere."""
TELLING_CHARS_MIN = 6
"""A shorter line (`}`, `else:`) does not say whether two texts are the same."""

_WORD = re.compile(r"[^\W_]+")
_LINE_NUMBER = re.compile(r"\s*[0-9]+~?[|:→\t]")
"""The number that tools and frames put before a line: the text behind the number is what repeats."""


class LineRange(NamedTuple):
    """Lines of a segment, counted from 1, both ends included."""

    first: int
    last: int


def query_words(query: str, snippets: Iterable[str] = ()) -> tuple[str, ...]:
    """The words that lines are looked for by: a query's words, and the words that the search's snippets highlight."""
    words = dict.fromkeys(word for text in (query, *snippets) for word in _WORD.findall(text.lower()))
    # A letter of the alphabet is in every line.
    return tuple(word for word in words if len(word) > 1 or not word.isascii()) or tuple(words)


def matching_ranges(lines: Sequence[str], words: Sequence[str]) -> list[LineRange]:
    """The ranges of lines that match best, the best first, each with the lines around it; at most `RANGES_MAX`.

    A line's score is the sum of the weights of its words; a word in few lines of the segment weighs more. Lines with
    less than half of the best score are left out. O(text · words), at C speed between hits.
    """
    lowered = "\n".join(lines[:SCANNED_LINES_MAX]).lower()
    scores: dict[int, float] = {}
    for word in words:
        places = _lines_with_word(lowered, word)
        weight = log1p(len(lines) / (1 + len(places)))
        for at in places:
            scores[at] = scores.get(at, 0.0) + weight
    best = max(scores.values(), default=0.0)
    ranked = sorted((at for at, score in scores.items() if 2 * score >= best), key=lambda at: (-scores[at], at))
    return _ranges_around_places(ranked, len(lines))


def _lines_with_word(lowered: str, word: str) -> list[int]:
    """The first lines of a text, from 0, that have the word; at most `HOLDERS_MAX`."""
    holders: list[int] = []
    line = counted = 0
    at = lowered.find(word)
    while at >= 0 and len(holders) < HOLDERS_MAX:
        if _is_word_at(lowered, at, word):
            line += lowered.count("\n", counted, at)
            counted = at
            holders.append(line)
            end = lowered.find("\n", at)
            at = lowered.find(word, end) if end >= 0 else -1
        else:
            at = lowered.find(word, at + 1)
    return holders


def _is_word_at(text: str, at: int, word: str) -> bool:
    if len(word) > WORD_CHARS_START or not word.isascii():
        return True
    end = at + len(word)
    is_start = at == 0 or not text[at - 1].isalnum()
    return is_start and (len(word) > WORD_CHARS_WHOLE or end == len(text) or not text[end].isalnum())


def ranges_around_lines(lines: Sequence[str], wanted: Iterable[str]) -> list[LineRange]:
    """The ranges in which a text has any of these lines, in order of the text; a line that tells little is no line.

    Without such a line, the ranges of the rarest wanted line that is a part of lines.
    """
    wanted = list(wanted)
    keys = set(filter(None, map(distinctive_part, wanted)))
    places = [at for at, line in enumerate(lines) if distinctive_part(line) in keys]
    return _ranges_around_places(places or _lines_with_part(lines, wanted), len(lines))


def _lines_with_part(lines: Sequence[str], parts: Iterable[str]) -> list[int]:
    """The lines, from 0, that have the rarest part; none where each part is in too many lines to point anywhere."""
    text = "\n".join(lines)
    kept = list(filter(None, map(str.strip, parts)))[:PARTS_MAX]
    count, part = min(((count, part) for part in kept if (count := text.count(part))), default=(0, ""))
    return [at for at, line in enumerate(lines) if part in line] if 0 < count <= PART_HOLDERS_MAX else []


def _ranges_around_places(places: Sequence[int], total: int) -> list[LineRange]:
    """Ranges around places, the first place's range first; a range that touches an earlier range becomes part of it."""
    ranges: list[LineRange] = []
    for at in places:
        span = LineRange(max(1, at + 1 - CONTEXT_LINES), min(total, at + 1 + CONTEXT_LINES))
        near = next((n for n, r in enumerate(ranges) if span.first <= r.last + 1 and r.first <= span.last + 1), None)
        if near is None and len(ranges) < RANGES_MAX:
            ranges.append(span)
        elif near is not None:
            joint = LineRange(min(ranges[near].first, span.first), max(ranges[near].last, span.last))
            ranges[near] = joint if joint.last - joint.first < RANGE_LINES_MAX else ranges[near]
    return ranges


def distinctive_part(text: str) -> str:
    """The part of a line that tells it from other lines; empty for a line that says too little."""
    match = _LINE_NUMBER.match(text)
    bare = (text[match.end() :] if match else text).strip()
    return bare if len(bare) >= TELLING_CHARS_MIN else ""


def split_pieces_into_lines(texts: Iterable[str]) -> list[str]:
    """The lines of a segment's pieces in order, as line numbers count them: each piece begins a line of its own."""
    lines: list[str] = []
    for text in texts:
        if text:
            parts = text.split("\n")
            lines += parts if parts[-1] else parts[:-1]
    return [line.removesuffix("\r") for line in lines]
