"""Readings: where in a text the lexemes of a query stand.

    text of ASCII words ──look for the starts of the query's words──▶ Reading     no other word is cut out or stemmed
    any other text ──lexemes──▶ Reading

Both ways give the same reading of the same text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ctxgc.core.search.lexemes import blank_out_signs, has_ascii_words, lexemes, stem, word_prefix
from ctxgc.core.search.query import Term

STARTS_MAX = 8
"""A text is looked through once for each start of a word; of more starts, every word of the text is looked up."""

_SHAPE = "".join("a" if chr(at).isalnum() else " " for at in range(128))
_WORD_BEGINS = " a"


class _LexemeByWord(dict[str, str]):
    """The lexeme of each word that was met, if the query asks for the lexeme; else the empty string."""

    def __init__(self, lexemes: frozenset[str], heads: tuple[str, ...], starts: tuple[str, ...]) -> None:
        super().__init__()
        self._wanted = lexemes, heads, starts

    def __missing__(self, word: str) -> str:
        lexemes, heads, starts = self._wanted
        lexeme = stem(word) if word.startswith(starts) else ""
        if lexeme not in lexemes and not (heads and lexeme.startswith(heads)):
            lexeme = ""
        self[word] = lexeme
        return lexeme


@dataclass(frozen=True)
class QueryLexemes:
    """The lexemes that a query asks for. `heads` are starts of such lexemes."""

    lexemes: frozenset[str]
    heads: tuple[str, ...] = ()

    @cached_property
    def word_starts(self) -> tuple[str, ...]:
        """Starts of the words that may have a query's lexeme; no start begins with another start."""
        starts: list[str] = []
        for start in sorted({word_prefix(lexeme) for lexeme in self.lexemes if lexeme}):
            if not (starts and start.startswith(starts[-1])):
                starts.append(start)
        return tuple(starts)

    @cached_property
    def lexeme_of(self) -> _LexemeByWord:
        """Words with their lexemes, filled as texts are read."""
        return _LexemeByWord(self.lexemes, self.heads, self.word_starts)


class LexemePositions:
    """The places in a text at which a query's lexemes stand, and the number of lexemes that the text has."""

    __slots__ = ("length", "lexeme_at", "places")

    def __init__(self, length: int = 0, lexeme_at: Mapping[int, str] | None = None) -> None:
        self.length = length
        self.lexeme_at = lexeme_at or {}
        self.places: dict[str, list[int]] = {}
        for at, lexeme in self.lexeme_at.items():
            self.places.setdefault(lexeme, []).append(at)

    def count_term(self, term: Term) -> int:
        """How often the term stands here; a term of several ways as often as the best of them."""
        if not self.places:
            return 0
        if len(term.ways) == 1:
            return self._count_run(term.ways[0], term.is_prefix)
        return max([self._count_run(way, term.is_prefix) for way in term.ways])

    def has_run(self, run: tuple[str, ...]) -> bool:
        """Whether lexemes stand here side by side."""
        return any(self._has_run_at(at, run, is_prefix=False) for at in self.places.get(run[0], ()))

    def _count_run(self, way: tuple[str, ...], is_prefix: bool) -> int:
        if len(way) == 1:
            if is_prefix:
                return sum(len(places) for lexeme, places in self.places.items() if lexeme.startswith(way[0]))
            return len(self.places.get(way[0], ()))
        return sum(self._has_run_at(at, way, is_prefix=is_prefix) for at in self.places.get(way[0], ()))

    def _has_run_at(self, start: int, way: tuple[str, ...], *, is_prefix: bool) -> bool:
        *whole, last = (self.lexeme_at.get(start + n, "") for n in range(len(way)))
        return tuple(whole) == way[:-1] and (last.startswith(way[-1]) if is_prefix else last == way[-1])


NO_POSITIONS = LexemePositions()


def locate_lexemes(lexemes: Sequence[str], sought: QueryLexemes) -> LexemePositions:
    """The reading of a field that is lexemes already."""
    if not lexemes:
        return NO_POSITIONS
    wanted = sought.lexemes.intersection(lexemes)
    if heads := sought.heads:
        wanted = wanted.union(word for word in set(lexemes) if word.startswith(heads))
    return LexemePositions(
        len(lexemes), {at: word for at, word in enumerate(lexemes) if word in wanted} if wanted else None
    )


def locate_in_text(text: str, sought: QueryLexemes) -> LexemePositions:
    """The reading of a text. O(length) at memory speed, and a look at each word that begins like one of the query's."""
    if not text or not sought.word_starts:
        return NO_POSITIONS
    if not has_ascii_words(text):
        return locate_lexemes(lexemes(text), sought)
    words = f" {blank_out_signs(text)} "
    if len(sought.word_starts) > STARTS_MAX:
        return locate_lexemes(list(map(stem, words.split())), sought)
    found = _lexemes_by_place(words, sought)
    shape = words.translate(_SHAPE)
    lexeme_at, number, last = {}, 0, 0
    for place in sorted(found):
        number += shape.count(_WORD_BEGINS, last, place)
        lexeme_at[number] = found[place]
        last = place
    return LexemePositions(number + shape.count(_WORD_BEGINS, last), lexeme_at)


def _lexemes_by_place(words: str, sought: QueryLexemes) -> dict[int, str]:
    """The query's lexemes in words with spaces between them, each by the place of the space before it."""
    lexeme_of = sought.lexeme_of
    found: dict[int, str] = {}
    for start in sought.word_starts:
        needle = " " + start
        at = words.find(needle)
        while at >= 0:
            end = words.find(" ", at + 1)
            if lexeme := lexeme_of[words[at + 1 : end]]:
                found[at] = lexeme
            at = words.find(needle, end)
    return found


def make_query_lexemes(terms: Iterable[Term], others: Iterable[str] = ()) -> QueryLexemes:
    """What terms ask for, and other lexemes besides."""
    listed = list(terms)
    return QueryLexemes(
        frozenset((*others, *(lexeme for term in listed for way in term.ways for lexeme in way))),
        tuple({way[-1] for term in listed if term.is_prefix for way in term.ways}),
    )
