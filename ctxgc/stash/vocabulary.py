"""The words that the index has, for a query of which none is there: the nearest by their letters.

    overlp ──▶ lexemes that begin alike ──trigrams in common──▶ overlap

Runs on a reader connection's thread, under the search's deadline.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from ctxgc.core.search.query import Term

LETTERS_MIN = 4
"""A shorter word has too many neighbours."""
LIKENESS_MIN = 0.4
LENGTH_GAP_MAX = 2
WORDS_READ_MAX = 200_000


def nearest_words(db: sqlite3.Connection, terms: Sequence[Term]) -> list[Term]:
    """For each term that is one word, the nearest lexeme of the index; nothing if no term has any."""
    nearest = [_nearest(db, term.ways[0][0]) for term in terms if len(term.ways[0]) == 1]
    return [Term(((word,),), text=word) for word in nearest if word]


def _nearest(db: sqlite3.Connection, word: str) -> str:
    if len(word) < LETTERS_MIN or not word.isalpha():  # Another number is no typo.
        return ""
    best, wanted = (LIKENESS_MIN, 0, ""), _trigrams(word)
    # A typo is seldom in the first letters; then the letters that begin a swapped pair, then any first letter.
    for low, high in _ranges(word):
        rows = db.execute(
            "SELECT term, doc FROM search_word WHERE term >= ? AND term < ? AND length(term) BETWEEN ? AND ? LIMIT ?",
            (low, high, len(word) - LENGTH_GAP_MAX, len(word) + LENGTH_GAP_MAX, WORDS_READ_MAX),
        )
        for term, documents in rows:
            other = _trigrams(term)
            likeness = 2 * len(wanted & other) / (len(wanted) + len(other))
            best = max(best, (likeness, documents, term))
        if best[2]:
            break
    return best[2]


def _ranges(word: str) -> Iterator[tuple[str, str]]:
    for head in (word[:2], word[1] + word[0], word[:1]):
        yield head, head[:-1] + chr(ord(head[-1]) + 1)
    yield "", "\U0010ffff"


def _trigrams(word: str) -> set[str]:
    padded = f"  {word} "
    return {padded[at : at + 3] for at in range(len(padded) - 2)}
