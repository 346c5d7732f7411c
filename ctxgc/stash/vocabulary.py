"""Terms that the index has, in place of terms of a query that it lacks.

    deadbeef   ──▶ lexemes that begin so                 deadbeefcafe
    berht      ──▶ lexemes with these first letters ──fewest edits──▶ berth
    缓存问题   ──▶ 缓存, 存问, 问题      a run of a script without spaces: its pairs, as other scripts' words

Runs on a reader connection's thread, under the search's deadline.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ctxgc.core.search.lexemes import fold, is_spaceless, stem, word_start
from ctxgc.core.search.query import SearchQuery, Term
from ctxgc.stash.postings import quote

LETTERS_MIN, LONG_WORD_LETTERS = 4, 8
"""A shorter word has too many neighbours; a long word may have two letters wrong."""
LENGTH_GAP_MAX = 2
START_MIN = 3
"""Letters of the start of a word that is looked for where no segment has the word."""
WORDS_READ_MAX = 10_000
"""Lexemes read for one start of a word."""
CORRECTED_MAX = 4
"""Words of a query that are looked for among the lexemes of the index."""

_HASH_START = re.compile(r"(0x)?[0-9a-f]{6,}")
_WORD = re.compile(r"[^\W_]+")


def missing_terms(db: sqlite3.Connection, query: SearchQuery, absent: Iterable[Term]) -> list[Term]:
    """Of the terms that a scope lacks, those of a few words that no segment has; an account has words enough."""
    terms = query.terms
    if len(terms) < 2 or query.required or query.is_account:
        return []
    sql = "SELECT 1 FROM search WHERE search MATCH ? LIMIT 1"
    missing = [term for term in absent if db.execute(sql, (quote(term),)).fetchone() is None]
    return missing if len(missing) < len(terms) else []


def nearest_terms(db: sqlite3.Connection, terms: Sequence[Term]) -> dict[Term, tuple[Term, ...]]:
    """Terms with what stands for them: pairs for a run without spaces, the nearest lexeme for one word."""
    nearest: dict[Term, tuple[Term, ...]] = {}
    left = CORRECTED_MAX
    for term in terms:
        run = term.ways[0]
        if len(run) > 1:
            if any(is_spaceless(lexeme[0]) for lexeme in run):
                nearest[term] = tuple(Term(((lexeme,),), text=lexeme) for lexeme in run)
        elif _begins_words(db, run[0]):
            nearest[term] = (Term((run,), is_prefix=True, text=f"{run[0]}*"),)
        elif left and (lexeme := _nearest(db, run[0], fold(term.text))):
            nearest[term] = (Term(((lexeme,),), text=lexeme),)
            left -= 1
    return nearest


def _begins_words(db: sqlite3.Connection, lexeme: str) -> bool:
    """Whether lexemes begin with a word that is none itself. A numbered word is no start of another, but a hash is."""
    if len(lexeme) < START_MIN or (lexeme[-1].isdigit() and not _HASH_START.fullmatch(lexeme)):
        return False
    if db.execute("SELECT 1 FROM search WHERE search MATCH ? LIMIT 1", (quote(Term(((lexeme,),))),)).fetchone():
        return False
    sql = "SELECT 1 FROM search_word WHERE term > ? AND term < ? LIMIT 1"
    return db.execute(sql, (lexeme, lexeme[:-1] + chr(ord(lexeme[-1]) + 1))).fetchone() is not None


def replace_terms(query: SearchQuery, nearest: Mapping[Term, tuple[Term, ...]]) -> SearchQuery:
    """The query with what stands for its terms."""
    return query.with_terms(new for term in query.terms for new in nearest.get(term, (term,))) if nearest else query


def spell(term: Term, texts: Iterable[str]) -> Term:
    """The term named by a word of these texts that has its lexeme: a stem alone reads like another typo."""
    lexeme = term.ways[0][0]
    if term.text != lexeme:
        return term
    start = word_start(lexeme)
    for text in texts:
        for word in _WORD.findall(text):
            if (plain := fold(word)).startswith(start) and stem(plain) == lexeme:
                return term._replace(text=plain)
    return term


def _nearest(db: sqlite3.Connection, lexeme: str, typed: str) -> str:
    """The lexeme that the fewest edits make of a word or of its stem; of equals none shorter, then the usual one."""
    if len(lexeme) < LETTERS_MIN or not lexeme.isalpha():  # Another number is no typo.
        return ""
    most = 1 + (len(typed) >= LONG_WORD_LETTERS)
    letters, words = set(lexeme), {lexeme, typed} if typed.isalpha() else {lexeme}
    best: tuple[int, bool, int, str] | None = None
    for low, high in _ranges(lexeme):
        rows = db.execute(
            "SELECT term, doc FROM (SELECT term, doc FROM search_word WHERE term >= ? AND term < ? LIMIT ?)"
            " WHERE length(term) BETWEEN ? AND ?",
            (low, high, WORDS_READ_MAX, len(lexeme) - LENGTH_GAP_MAX, len(lexeme) + LENGTH_GAP_MAX),
        )
        for term, documents in rows:
            if len(letters.symmetric_difference(term)) > 2 * most:
                continue
            edits = min(_edits(word, term) for word in words)
            if edits <= most:
                key = (edits, len(term) < len(lexeme), -documents, term)
                best = min(best or key, key)
        if best:
            return best[-1]
    return ""


def _ranges(word: str) -> Iterator[tuple[str, str]]:
    """Ranges of lexemes, the likeliest first: a typo is seldom in the first letters, then in their order."""
    for head in (word[:2], word[1] + word[0], word[1:3], word[:1]):
        yield head, head[:-1] + chr(ord(head[-1]) + 1)


def _edits(word: str, other: str) -> int:
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
