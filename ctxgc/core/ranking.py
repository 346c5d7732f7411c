"""Ranking: what a query asks for, how well a text answers it, and where.

    "token \\"page fault\\" -draft conn*"  ──parse──▶  SearchQuery(terms, excluded)
    text, term                            ──count──▶  occurrences, by stem
    candidates                            ──rank───▶  scores: BM25, all words before some
    text, terms                           ──snippet▶  the words around the first matches, marked

Engines only propose candidates (at most `CANDIDATES_MAX`); the order comes from here, so that every engine ranks
alike. Source: BM25, Robertson & Zaragoza 2009.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from typing import NamedTuple

from ctxgc.core.labels import MATCH_END, MATCH_START
from ctxgc.core.words import WORD, camel_parts, composed, stem

CANDIDATES_MAX = 100
TERMS_MAX = 16
"""Further words of a query are left out, and the reply says so."""
WORD_CHARS_MAX = 256

SATURATION = 1.2
LENGTH_WEIGHT = 0.75
COUNT_MAX = 32
"""Further occurrences of a term in one text add nothing to speak of, and are not counted."""

SNIPPET_CHARS = 200

_TOKEN = re.compile(r'(-?)(?:"([^"]*)"?|(\S+))')


class Term(NamedTuple):
    """One thing asked for: any of `ways`, each a run of adjacent words (one word, or a phrase)."""

    ways: tuple[tuple[str, ...], ...]
    is_prefix: bool = False

    def __str__(self) -> str:
        return " ".join(self.ways[0]) + ("*" if self.is_prefix else "")


class SearchQuery(NamedTuple):
    """A parsed query. `dropped` terms were beyond the bound."""

    terms: tuple[Term, ...]
    excluded: tuple[Term, ...]
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate text: `is_all` says that the engine found every term."""

    key: int
    text: str
    is_all: bool


def parse(query: str) -> SearchQuery:
    """Read a person's query: `"…"` is a phrase, `-word` excludes, `word*` is a prefix. Any text parses."""
    terms: dict[Term, None] = {}
    excluded: dict[Term, None] = {}
    for minus, quoted, bare in _TOKEN.findall(composed(query)):
        term = _term(quoted or bare, is_quoted=bool(quoted))
        if term is not None:
            (excluded if minus else terms)[term] = None
    dropped = max(0, len(terms) - TERMS_MAX) + max(0, len(excluded) - TERMS_MAX)
    return SearchQuery(tuple(terms)[:TERMS_MAX], tuple(excluded)[:TERMS_MAX], dropped)


def _term(token: str, *, is_quoted: bool) -> Term | None:
    words = tuple(word.lower()[:WORD_CHARS_MAX] for word in WORD.findall(token)[:TERMS_MAX])
    if not words:
        return None
    if is_quoted:
        return Term((words,))
    is_prefix = token.endswith("*") and len(words) == 1
    parts = camel_parts(token.strip("*")) if len(words) == 1 and not is_prefix else ()
    return Term((words, parts) if parts else (words,), is_prefix)


def occurrences(
    text: str, lowered: str, word: str, *, is_prefix: bool = False, first: int = 0
) -> Iterator[tuple[int, int]]:
    """Where `text` has the word, by stem, from `first` on: half-open character ranges. `lowered` is `text.lower()`.

    A word starts at a boundary or at a hump of a camelCase word. O(text), at C speed between near misses.
    """
    word_stem = stem(word)
    # A stem is the start of its words but for a last i that was a y.
    head = word_stem[:-1] if word_stem.endswith("i") and len(word_stem) > 1 else word_stem
    if len(lowered) != len(text):
        text = lowered  # A few letters grow when lowered; humps are lost, offsets stay true.
    start = lowered.find(head, first)
    while start >= 0:
        if start == 0 or not lowered[start - 1].isalnum() or _is_hump(text, start):
            whole = WORD.match(lowered, start, start + WORD_CHARS_MAX)
            for end in _ends(text, start, whole.end() if whole else start):
                candidate = lowered[start:end]
                if candidate == word or (
                    stem(candidate).startswith(word_stem) if is_prefix else stem(candidate) == word_stem
                ):
                    yield start, end
                    break
        start = lowered.find(head, start + 1)


def _is_hump(text: str, at: int) -> bool:
    here = text[at]
    if here.islower():
        return text[at - 1].isdigit()
    before = text[at - 1]
    is_start = here.isupper() and (not before.isupper() or text[at + 1 : at + 2].islower())
    return is_start or here.isdigit() != before.isdigit()


def _ends(text: str, start: int, whole: int) -> Iterator[int]:
    """Where a word that starts here may end: at its first hump, and at the end of the whole run."""
    run = text[start:whole]
    if not (run.islower() and run.isalpha()):
        for at in range(start + 1, whole):
            if _is_hump(text, at):
                yield at
                break
    yield whole


def count(text: str, lowered: str, term: Term) -> int:
    """How often the text has the term, at most `COUNT_MAX`. A phrase counts as its rarest word does."""
    best = 0
    for way in term.ways:
        least = COUNT_MAX
        for word in way:
            number = 0
            for _ in occurrences(text, lowered, word, is_prefix=term.is_prefix):
                number += 1
                if number >= least:
                    break
            least = min(least, number)
            if not least:
                break
        best = max(best, least)
    return best


def rank(
    terms: Sequence[Term], candidates: Sequence[Candidate], df: Mapping[Term, int], total: int
) -> list[tuple[Candidate, float]]:
    """Candidates with scores, best first; ties keep the order given. `df` counts the texts of each term among `total`.

    A candidate with all terms outranks any without: it is given the most that BM25 could give on top.
    """
    if not candidates:
        return []
    weights = [idf(df.get(term, 0), total) for term in terms]
    ceiling = sum(weights) * (SATURATION + 1)
    length_mean = sum(len(c.text) for c in candidates) / len(candidates) or 1.0
    scored = []
    for candidate in candidates:
        lowered = candidate.text.lower()
        damp = SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * len(candidate.text) / length_mean)
        score = ceiling if candidate.is_all else 0.0
        for term, weight in zip(terms, weights, strict=True):
            times = count(candidate.text, lowered, term)
            score += weight * times * (SATURATION + 1) / (times + damp)
        scored.append((candidate, score))
    scored.sort(key=lambda pair: -pair[1])
    return scored


def idf(df: int, total: int) -> float:
    """How much a term tells: high for rare ones, never negative."""
    df = min(df, total)
    return math.log1p((total - df + 0.5) / (df + 0.5))


def snippet(text: str, terms: Sequence[Term]) -> str:
    """The part of a text around its first match, matches marked; the head of the text if nothing matches."""
    lowered = text.lower()
    words = [(word, term.is_prefix) for term in terms for word in dict.fromkeys(chain.from_iterable(term.ways))]
    starts = (next(occurrences(text, lowered, word, is_prefix=is_prefix), None) for word, is_prefix in words)
    first = min((span[0] for span in starts if span), default=-1)
    start = max(0, first - SNIPPET_CHARS // 4)
    end = min(len(text), start + SNIPPET_CHARS)
    out, at = ["…"] if start else [], start
    for low, high in sorted(_spans(text, lowered, words, first, end)) if first >= 0 else ():
        if low >= at and high <= end:
            out += [_one_line(text[at:low]), MATCH_START, _one_line(text[low:high]), MATCH_END]
            at = high
    out.append(_one_line(text[at:end]))
    if end < len(text):
        out.append("…")
    return "".join(out)


def _spans(
    text: str, lowered: str, words: Iterable[tuple[str, bool]], first: int, end: int
) -> Iterator[tuple[int, int]]:
    """Where a text has any of the words, of those places that begin in a range."""
    for word, is_prefix in words:
        yield from takewhile(
            lambda span: span[0] < end, occurrences(text, lowered, word, is_prefix=is_prefix, first=first)
        )


def _one_line(text: str) -> str:
    """One line, and no control characters that could be taken for marks or drive a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
