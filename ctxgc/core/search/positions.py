"""Positions: where in a text the lexemes of a query stand.

    text of ASCII words ──look for the starts of the query's words──▶ LexemePositions   no other word is stemmed
    any other text ──lexemes──▶ LexemePositions

Both ways give the same positions of the same text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ctxgc.core.search.lexemes import blank_out_signs, common_word_prefix, has_only_ascii_words, lexemes, stem
from ctxgc.core.search.query import Term

STARTS_MAX = 8
"""A text is looked through once for each start of a word; of more starts, every word of the text is looked up."""

_SHAPE = bytes(ord("a") if at < 128 and chr(at).isalnum() else ord(" ") for at in range(256))
_WORD_BEGINS = b" a"


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
        for start in sorted({common_word_prefix(lexeme) for lexeme in self.lexemes if lexeme}):
            if not (starts and start.startswith(starts[-1])):
                starts.append(start)
        return tuple(starts)

    def word_starts_without(self, absent: frozenset[str]) -> tuple[str, ...]:
        """The starts that are left where some lexemes are known to be absent."""
        if absent not in self._starts_by_absent:
            left = tuple(map(common_word_prefix, filter(None, self.lexemes - absent)))
            self._starts_by_absent[absent] = tuple(
                start for start in self.word_starts if any(each.startswith(start) for each in left)
            )
        return self._starts_by_absent[absent]

    @cached_property
    def _starts_by_absent(self) -> dict[frozenset[str], tuple[str, ...]]:
        return {frozenset(): self.word_starts}

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

    def count_term_occurrences(self, term: Term) -> int:
        """How often the term stands here; a term of several ways as often as the best of them."""
        if not self.places:
            return 0
        if len(term.ways) == 1:
            return self._count_run_occurrences(term.ways[0], term.is_prefix)
        return max([self._count_run_occurrences(way, term.is_prefix) for way in term.ways])

    def has_run(self, run: tuple[str, ...]) -> bool:
        """Whether lexemes stand here side by side."""
        return self._count_run_occurrences(run, is_prefix=False) > 0

    def _count_run_occurrences(self, way: tuple[str, ...], is_prefix: bool) -> int:
        if not is_prefix:
            return len(self._starts_of_run(way))
        *whole, head = way
        ends = [at - len(whole) for word, places in self.places.items() if word.startswith(head) for at in places]
        return len(set(ends).intersection(self._starts_of_run(whole))) if whole else len(ends)

    def _starts_of_run(self, run: Sequence[str]) -> Collection[int]:
        """The places at which lexemes begin to stand side by side."""
        starts: Collection[int] = self.places.get(run[0], ())
        for behind, lexeme in enumerate(run[1:], 1):
            if not starts:
                break
            starts = {at - behind for at in self.places.get(lexeme, ())}.intersection(starts)
        return starts


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


def find_lexemes_in_text(text: str, sought: QueryLexemes, absent: frozenset[str] = frozenset()) -> LexemePositions:
    """The reading of a text. O(length) at memory speed, and a look at each word that begins like one of the query's.

    Lexemes of the query that are known to be absent from the text are not looked for.
    """
    if not text or not sought.word_starts:
        return NO_POSITIONS
    if not has_only_ascii_words(text):
        return locate_lexemes(lexemes(text), sought)
    words = f" {blank_out_signs(text)} "
    starts = sought.word_starts_without(absent)
    if len(starts) > STARTS_MAX:
        return locate_lexemes(list(map(stem, words.split())), sought)
    found = _lexemes_by_place(words, starts, sought.lexeme_of)
    shape = words.encode().translate(_SHAPE)
    lexeme_at, number, last = {}, 0, 0
    for place in sorted(found):
        number += shape.count(_WORD_BEGINS, last, place)
        lexeme_at[number] = found[place]
        last = place
    return LexemePositions(number + shape.count(_WORD_BEGINS, last), lexeme_at)


def _lexemes_by_place(words: str, starts: Iterable[str], lexeme_of: Mapping[str, str]) -> dict[int, str]:
    """The query's lexemes in words with spaces between them, each by the place of the space before it."""
    find = words.find
    found: dict[int, str] = {}
    for start in starts:
        needle = " " + start
        at = find(needle)
        while at >= 0:
            end = find(" ", at + 1)
            if lexeme := lexeme_of[words[at + 1 : end]]:
                found[at] = lexeme
            at = find(needle, end)
    return found


def make_query_lexemes(terms: Iterable[Term], others: Iterable[str] = ()) -> QueryLexemes:
    """What terms ask for, and other lexemes besides."""
    listed = list(terms)
    return QueryLexemes(
        frozenset((*others, *(lexeme for term in listed for way in term.ways for lexeme in way))),
        tuple({way[-1] for term in listed if term.is_prefix for way in term.ways}),
    )
