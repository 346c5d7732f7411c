"""Snippets: where in a text a query is answered, with its matches highlighted.

text, query ──matches──▶ places of the query's words
             ──snippet──▶ the characters around the place where most words stand
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from ctxgc.core.display_texts import MATCH_END, MATCH_START
from ctxgc.core.search.lexemes import (
    SIGNED,
    blank_out_signs,
    camel_parts,
    has_only_ascii_words,
    is_spaceless,
    lexeme_spans,
    normalize_word,
    stem,
)
from ctxgc.core.search.positions import STARTS_MAX, QueryLexemes, make_query_lexemes
from ctxgc.core.search.query import SearchQuery

SNIPPET_CHARS = 200
MATCHES_MAX = 2_000
RUN_GAP_MAX = 2
RUN_BONUS = 1.0
"""For each word that stands directly behind the word before it in the query."""


class Match(NamedTuple):
    """A place where a text has a word of the query: a half-open range of characters, and the word's lexeme."""

    start: int
    end: int
    lexeme: str


@dataclass(frozen=True)
class HighlightTerms:
    """The words of a query that a snippet highlights: made once for all snippets of a page."""

    query: SearchQuery

    @cached_property
    def query_lexemes(self) -> QueryLexemes:
        """The lexemes of the query's terms."""
        return make_query_lexemes(self.query.terms)

    @cached_property
    def pairs_min(self) -> int:
        """The pairs of the shortest term of a script without spaces; 0 without one."""
        ways = (way for term in self.query.terms for way in term.ways)
        return min((len(way) for way in ways if is_spaceless(way[0][:1])), default=0)

    @cached_property
    def has_signed_word(self) -> bool:
        """Whether a sign is a part of any word."""
        return any(
            not (lexeme[0].isalnum() and lexeme[-1].isalnum()) for lexeme in self.query_lexemes.lexemes if lexeme
        )

    @cached_property
    def bigrams(self) -> frozenset[tuple[str, str]]:
        """The query's pairs of words."""
        return self.query.bigrams


class Snippet(NamedTuple):
    """One line of text with U+0002 and U+0003 around matches, and the lines of the text that it shows."""

    text: str
    first_line: int = 1
    last_line: int = 1


def find_matches(text: str, terms: HighlightTerms) -> list[Match]:
    """Where a text has words of a query, in order; the first `MATCHES_MAX` places."""
    sought = terms.query_lexemes
    if not text or not sought.lexemes:
        return []
    found = (
        _find_matches_in_ascii_words(text, sought)
        if has_only_ascii_words(text)
        else _find_matches_in_any_script(text, sought, terms.pairs_min)
    )
    if terms.has_signed_word:
        signed = SIGNED.finditer(text)
        found += (Match(m.start(), m.end(), m[0].lower()) for m in signed if m[0].lower() in sought.lexemes)
        found.sort()
    return found[:MATCHES_MAX]


def _find_matches_in_ascii_words(text: str, sought: QueryLexemes) -> list[Match]:
    """Matches in a text of plain letters: only words with a part that begins like a word of the query are looked at."""
    words = f" {blank_out_signs(text)} "  # A letter of the text is one further in here.
    found: dict[int, Match] = {}
    for begin in _candidate_word_places(text, words, sought):
        if begin not in found:
            end = words.find(" ", begin)
            if lexeme := sought.lexeme_of[words[begin:end]] or _find_word_part(
                text[begin - 1 : end - 1], sought.lexemes
            ):
                found[begin] = Match(begin - 1, end - 1, lexeme)
    return [found[begin] for begin in sorted(found)]


def _candidate_word_places(text: str, words: str, sought: QueryLexemes) -> Iterator[int]:
    """Where words begin that may have a lexeme of the query, or have it as a hump."""
    if len(sought.word_starts) > STARTS_MAX:
        at = 0
        for word in words.split():
            at = words.find(word, at)
            if sought.lexeme_of[word] or not text[at - 1 : at - 1 + len(word)].islower():
                yield at
            at += len(word)
        return
    for start in sought.word_starts:
        at = words.find(start)
        while at >= 0:
            if words[at - 1] == " ":
                yield at
            elif text[at - 1].isupper():
                yield words.rfind(" ", 0, at) + 1
            at = words.find(start, at + 1)


def _find_word_part(word: str, lexemes: frozenset[str]) -> str:
    """The first part of a camelCase word that is one of these lexemes."""
    parts = () if word.islower() else map(stem, camel_parts(word))
    return next((part for part in parts if part in lexemes), "")


def _find_matches_in_any_script(text: str, sought: QueryLexemes, pairs_min: int) -> list[Match]:
    """Matches in any text; of a script without spaces only runs of as many pairs as the shortest term has."""
    lexemes, heads = sought.lexemes, sought.heads
    found: list[Match] = []
    for lexeme, start, end in lexeme_spans(text):
        if lexeme not in lexemes and not (heads and lexeme.startswith(heads)):
            parts = camel_parts(text[start:end])
            lexeme = next((part for part in map(stem, map(normalize_word, parts)) if part in lexemes), "")
            if not lexeme:
                continue
        if found and start < found[-1].end and is_spaceless(text[start]):
            found[-1] = Match(found[-1].start, end, found[-1].lexeme)  # Pairs of one run overlap.
        else:
            found.append(Match(start, end, lexeme))
    return [match for match in found if match.end - match.start > pairs_min or not is_spaceless(text[match.start])]


def _range_worth(found: Sequence[Match], bigrams: frozenset[tuple[str, str]]) -> float:
    """The number of distinct words, and more for each run of the query's words."""
    worth = len({match.lexeme for match in found})
    runs = {(a.lexeme, b.lexeme) for a, b in pairwise(found) if b.start - a.end <= RUN_GAP_MAX}
    return worth + RUN_BONUS * len(runs & bigrams)


def make_snippet(text: str, query: SearchQuery, terms: HighlightTerms | None = None) -> Snippet:
    """The characters around the place where most of a query's words stand; the head of the text if none does."""
    terms = terms or HighlightTerms(query)
    found = find_matches(text, terms)
    first, last = _densest_match_range(found, terms.bigrams)
    low = found[first].start if found else 0
    start = max(0, low - SNIPPET_CHARS // 4)
    end = min(len(text), start + SNIPPET_CHARS)
    out, at = ["…"] if start else [], start
    for match in found[first:]:
        if match.start >= at and match.end <= end:
            out += [
                _flatten_text(text[at : match.start]),
                MATCH_START,
                _flatten_text(text[match.start : match.end]),
                MATCH_END,
            ]
            at = match.end
    out.append(_flatten_text(text[at:end]))
    if end < len(text):
        out.append("…")
    stop = max(low, found[last].end - 1) if found else start
    return Snippet("".join(out), text.count("\n", 0, low) + 1, text.count("\n", 0, stop) + 1)


def _densest_match_range(found: Sequence[Match], bigrams: frozenset[tuple[str, str]]) -> tuple[int, int]:
    """The first and the last match of the window of a snippet's length with the most words of the query."""
    starts = [match.start for match in found]
    best, at = (-1.0, 0), (0, 0)
    for first, match in enumerate(found):
        last = bisect_left(starts, match.start + SNIPPET_CHARS * 3 // 4) - 1
        if (last - first + 1) * (1 + RUN_BONUS) - RUN_BONUS <= best[0]:
            continue  # So few matches are worth no more, whatever they are.
        worth = _range_worth(found[first : last + 1], bigrams)
        if (worth, -first) > best:
            best, at = (worth, -first), (first, last)
    return at


def _flatten_text(text: str) -> str:
    """One line, and no control characters that could be taken for a highlight or drive a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
