"""Terms of the index, in place of a query's unknown terms.

    deadbeef   ──▶ lexemes that begin so                 deadbeefcafe
    berht      ──▶ lexemes with these first letters ──fewest edits──▶ berth
    缓存问题   ──▶ 缓存, 存问, 问题      a run of a script without spaces: its pairs, as other scripts' words

The index is that of all sessions; a word counts as there if a session of the search's scope has it. What is said of a
query's words, and what stands in their place, so tells nothing of other projects. Runs on a reader connection's thread,
under the search's deadline.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from ctxgc.core.search.lexemes import common_word_prefix, is_spaceless, normalize_word, stem
from ctxgc.core.search.query import SearchQuery, Term
from ctxgc.stash.filters import SearchScope
from ctxgc.stash.postings import matching_sql, quote_term

LETTERS_MIN, LONG_WORD_LETTERS = 4, 8
"""A shorter word has too many neighbours; a long word may have two letters wrong."""
LENGTH_GAP_MAX = 2
START_MIN = 3
"""Letters of the start of a word that is looked for where no segment has the word."""
WORDS_READ_MAX = 10_000
"""Lexemes read for one start of a word."""
CORRECTED_MAX = 4
"""Words of a query that are looked for among the lexemes of the index."""
NEAREST_TRIED = 64
"""Near lexemes that are looked for in the scope's sessions, the nearest first."""
COUNTED_MAX = 16
"""Segments of a lexeme that are counted: of two lexemes with more, neither is the more usual."""

_HASH_START = re.compile(r"(0x)?[0-9a-f]{6,}")
_WORD = re.compile(r"[^\W_]+")


class Vocabulary:
    """The words that the sessions of a scope have. Belongs to one search."""

    def __init__(self, db: sqlite3.Connection, scope: SearchScope) -> None:
        self._db = db
        self._scope = scope.scope_of_sessions()

    def has_term(self, term: Term, columns: str = "") -> bool:
        """Whether a segment of these sessions has a term, in some columns of the index or in any."""
        return self._count_segments_with_term(term, 1, columns) > 0

    def is_proper_prefix(self, lexeme: str) -> bool:
        """Whether lexemes begin with a word that is none itself. A numbered word begins no other, but a hash does."""
        if len(lexeme) < START_MIN or (lexeme[-1].isdigit() and not _HASH_START.fullmatch(lexeme)):
            return False
        sql = "SELECT 1 FROM search_word WHERE term > ? AND term < ? LIMIT 1"
        if self._db.execute(sql, (lexeme, lexeme[:-1] + chr(ord(lexeme[-1]) + 1))).fetchone() is None:
            return False
        return not self.has_term(Term(((lexeme,),))) and self.has_term(Term(((lexeme,),), is_prefix=True))

    def nearest_lexeme(self, lexeme: str, typed: str) -> str:
        """The lexeme that the fewest edits make of a word or of its stem; of equals none shorter, then the usual one.

        Empty where the sessions have no such lexeme.
        """
        for near in _near_lexemes(self._db, lexeme, typed):
            if self._scope.sids is None:
                return min(near, key=lambda each: (each.edits, each.is_shorter, -each.documents, each.lexeme)).lexeme
            for _, equals in groupby(sorted(near)[:NEAREST_TRIED], key=lambda each: each[:2]):
                if usual := self._most_common_lexeme([each.lexeme for each in equals]):
                    return usual
        return ""

    def _most_common_lexeme(self, lexemes: Sequence[str]) -> str:
        """The lexeme that the most segments of these sessions have, of two the first; empty where none has any."""
        if not self._count_segments_with_term(Term(tuple((lexeme,) for lexeme in lexemes)), 1):
            return ""
        counts = {lexeme: self._count_segments_with_term(Term(((lexeme,),)), COUNTED_MAX) for lexeme in lexemes}
        return max(counts, key=lambda lexeme: counts[lexeme])

    def _count_segments_with_term(self, term: Term, limit: int, columns: str = "") -> int:
        """The number of segments of these sessions that have a term, as far as the limit."""
        sql, values = matching_sql(self._scope, is_ranked=False)
        match = f"{columns} : ({quote_term(term)})" if columns else f"({quote_term(term)})"
        if self._scope.tags:
            match += f" AND (meta : ({self._scope.tags}))"
        return len(self._db.execute(sql, (match, *values, limit)).fetchall())


class _NearLexeme(NamedTuple):
    """A lexeme of the index, by how near a typed word comes to the lexeme."""

    edits: int
    is_shorter: bool
    lexeme: str
    documents: int
    """Segments of all sessions that have the lexeme."""


def missing_terms(words: Vocabulary, query: SearchQuery, absent: Iterable[Term]) -> list[Term]:
    """A scope's missing terms, in queries of a few words; an account has words enough."""
    terms = query.terms
    if len(terms) < 2 or query.required or query.is_account:
        return []
    missing = [term for term in absent if not words.has_term(term)]
    return missing if len(missing) < len(terms) else []


def substitutes_by_term(words: Vocabulary, terms: Sequence[Term]) -> dict[Term, tuple[Term, ...]]:
    """Terms with their substitutes: pairs for a run without spaces, the nearest lexeme for one word."""
    nearest: dict[Term, tuple[Term, ...]] = {}
    left = CORRECTED_MAX
    for term in terms:
        run = term.ways[0]
        if len(run) > 1:
            if any(is_spaceless(lexeme[0]) for lexeme in run):
                nearest[term] = tuple(Term(((lexeme,),), text=lexeme) for lexeme in run)
        elif words.is_proper_prefix(run[0]):
            nearest[term] = (Term((run,), is_prefix=True, text=f"{run[0]}*"),)
        elif left and (lexeme := words.nearest_lexeme(run[0], normalize_word(term.text))):
            nearest[term] = (Term(((lexeme,),), text=lexeme),)
            left -= 1
    return nearest


def replace_terms(query: SearchQuery, nearest: Mapping[Term, tuple[Term, ...]]) -> SearchQuery:
    """The query with the nearest terms in place of its own."""
    return query.with_terms(new for term in query.terms for new in nearest.get(term, (term,))) if nearest else query


def spell_out_stem(term: Term, texts: Iterable[str]) -> Term:
    """The term, named by a word of the texts with the term's lexeme: a stem alone reads like another typo."""
    lexeme = term.ways[0][0]
    if term.text != lexeme:
        return term
    start = common_word_prefix(lexeme)
    for text in texts:
        for word in _WORD.findall(text):
            if (plain := normalize_word(word)).startswith(start) and stem(plain) == lexeme:
                return term._replace(text=plain)
    return term


def _near_lexemes(db: sqlite3.Connection, lexeme: str, typed: str) -> Iterator[list[_NearLexeme]]:
    """The index's lexemes that a few edits make of a word, the likeliest beginnings first; each list has the former."""
    if len(lexeme) < LETTERS_MIN or not lexeme.isalpha():  # Another number is no typo.
        return
    most = 1 + (len(typed) >= LONG_WORD_LETTERS)
    letters, words = set(lexeme), {lexeme, typed} if typed.isalpha() else {lexeme}
    near: list[_NearLexeme] = []
    for low, high in _lexeme_ranges(lexeme):
        rows = db.execute(
            "SELECT term, doc FROM (SELECT term, doc FROM search_word WHERE term >= ? AND term < ? LIMIT ?)"
            " WHERE length(term) BETWEEN ? AND ?",
            (low, high, WORDS_READ_MAX, len(lexeme) - LENGTH_GAP_MAX, len(lexeme) + LENGTH_GAP_MAX),
        )
        for term, documents in rows:
            if len(letters.symmetric_difference(term)) > 2 * most:
                continue
            edits = min(_edit_distance(word, term) for word in words)
            if edits <= most:
                near.append(_NearLexeme(edits, len(term) < len(lexeme), term, documents))
        if near:
            yield near


def _lexeme_ranges(word: str) -> Iterator[tuple[str, str]]:
    """Ranges of lexemes, the likeliest first: a typo is seldom in the first letters, then in their order."""
    for head in (word[:2], word[1] + word[0], word[1:3], word[:1]):
        yield head, head[:-1] + chr(ord(head[-1]) + 1)


def _edit_distance(word: str, other: str) -> int:
    """Letters added, left out or changed, and neighbours swapped. Source: Damerau 1964. O(product of lengths)."""
    before, row = [0] * (len(other) + 1), list(range(len(other) + 1))
    for at, letter in enumerate(word, 1):
        twice, before, row = before, row, [at]
        for place, its in enumerate(other, 1):
            least = min(before[place] + 1, row[-1] + 1, before[place - 1] + (letter != its))
            if at > 1 < place and letter == other[place - 2] and word[at - 2] == its:
                least = min(least, twice[place - 2] + 1)
            row.append(least)
    return row[-1]
