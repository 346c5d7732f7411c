"""Ranking: how well a candidate answers a query. Engines propose candidates; the order comes from here.

    fields of a candidate ──read──▶ Reading: where its lexemes meet the query's
    Reading, weights of the terms ──score──▶ BM25 by fields, neighbours of a turn, runs of words, its label

The constants are measured (`docs/design/search.md`). Source: BM25F, Robertson, Zaragoza & Taylor 2004.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ctxgc.core.search.query import SearchQuery, Term

TEXT_SATURATION = 0.6
TURN_LENGTH_WEIGHT, RESULT_LENGTH_WEIGHT = 0.2, 0.4
TURN_MEAN, RESULT_MEAN = 40, 300
"""Lexemes of a usual turn and of a usual result: constants, so that a score does not depend on the other candidates."""
FIELD_SATURATION, FIELD_MEAN = 1.2, 30
INPUT_WEIGHT, PATH_WEIGHT, SAID_WEIGHT, LABEL_WEIGHT = 1.0, 3.0, 1.5, 1.0

NEAR = (0.7, 0.5, 0.3, 0.2)
"""The worth of a term in a turn 1, 2, 3 and 4 segments away, against the term in the turn itself."""

SPEAKER_FACTOR = 2.0
PAIR_BONUS, PAIR_GAP_MAX = 1.0, 3
ALL_BONUS = 0.3
"""Share of the sum of weights that a candidate with all terms gets: more, and a long text with all by chance wins."""
PHRASE_BONUS, LITERAL_BONUS = 2.0, 0.5
"""Shares of the sum of weights: the query's words as they stand come before any that are scattered."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What a search knows of a candidate, as lexemes in order. `said` is what the model said before the call."""

    text: Sequence[str]
    input: Sequence[str] = ()
    path: Sequence[str] = ()
    said: Sequence[str] = ()
    label: Sequence[str] = ()
    is_turn: bool = False
    """Whether the segment is a person's or a model's words, and no call."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A query's terms with their worth: high for rare ones. `speakers` are words that name who says a turn."""

    query: SearchQuery
    terms: Mapping[Term, float]
    speakers: frozenset[str] = frozenset()

    @property
    def total(self) -> float:
        """The worth of all terms."""
        return sum(self.terms.values())


class Known(NamedTuple):
    """What the engine's index says of a candidate before its text is read."""

    terms: frozenset[Term] = frozenset()
    """Terms that the segment has: all of its text, of which `Fields` may hold the start only."""
    near: Mapping[Term, float] = {}  # noqa: RUF012 - a mapping that nobody changes
    """For a turn, terms of the turns around it, with their share of `NEAR`."""
    has_phrase: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """A candidate's score, and whether every term is in it."""

    value: float
    is_all: bool


@dataclass(slots=True)
class _Field:
    """The places in a field at which lexemes of the query stand."""

    places: dict[int, str] = field(default_factory=dict)
    length: int = 0

    def times(self, term: Term) -> int:
        """How often the term stands here; a term of several ways as often as the best of them."""
        return max(sum(self._is_at(place, way, term.is_prefix) for place in self.places) for way in term.ways)

    def _is_at(self, place: int, way: tuple[str, ...], is_prefix: bool) -> bool:
        places = self.places
        for at, lexeme in enumerate(way, place):
            here = places.get(at)
            if here != lexeme and not (is_prefix and at == place + len(way) - 1 and here and here.startswith(lexeme)):
                return False
        return True


def idf(df: int, total: int) -> float:
    """How much a term tells: high for rare ones, never negative."""
    df = min(df, total)
    return math.log1p((total - df + 0.5) / (df + 0.5))


def score(weights: Weights, fields: Fields, known: Known) -> Score:
    """The score of a candidate. O(lexemes of the fields)."""
    wanted = frozenset(lexeme for term in weights.terms for way in term.ways for lexeme in way)
    heads = tuple({way[-1] for term in weights.terms if term.is_prefix for way in term.ways})
    text, inputs, path, said, label = (
        _read(lexemes, wanted, heads) for lexemes in (fields.text, fields.input, fields.path, fields.said, fields.label)
    )
    total, has_all = 0.0, True
    if fields.is_turn:
        share, mean = TURN_LENGTH_WEIGHT, TURN_MEAN
    else:
        share, mean = RESULT_LENGTH_WEIGHT, RESULT_MEAN
    damp = TEXT_SATURATION * (1 - share + share * text.length / mean)
    for term, weight in weights.terms.items():
        times = text.times(term)
        in_input, in_path, in_label = inputs.times(term), path.times(term), label.times(term)
        if not (times or in_input or in_path or in_label) and term in known.terms:
            times = 1
        value = times * (TEXT_SATURATION + 1) / (times + damp) + INPUT_WEIGHT * _saturated(in_input, inputs.length)
        if in_path:
            value += PATH_WEIGHT
        if in_label and not times:
            value += LABEL_WEIGHT
        has_all = has_all and value > 0
        if fields.is_turn:
            value = max(value, known.near.get(term, 0.0))
        else:
            value += SAID_WEIGHT * _saturated(said.times(term), said.length)
        total += weight * value
    total += PAIR_BONUS * _pairs(text.places, weights.query)
    if has_all:
        total += ALL_BONUS * weights.total
    if known.has_phrase:
        total += PHRASE_BONUS * weights.total
    if weights.speakers and not weights.speakers.isdisjoint(fields.label):
        total *= SPEAKER_FACTOR
    return Score(total, has_all)


def _saturated(times: int, length: int) -> float:
    return times * (FIELD_SATURATION + 1) / (times + FIELD_SATURATION * (0.5 + 0.5 * length / FIELD_MEAN))


def _read(lexemes: Sequence[str], wanted: frozenset[str], heads: tuple[str, ...]) -> _Field:
    if heads:
        places = {at: word for at, word in enumerate(lexemes) if word in wanted or word.startswith(heads)}
    else:
        places = {at: word for at, word in enumerate(lexemes) if word in wanted}
    return _Field(places, len(lexemes))


def _pairs(places: Mapping[int, str], query: SearchQuery) -> int:
    """The number of the query's pairs of lexemes that stand in this order within a few words of each other."""
    bigrams = query.bigrams
    if not bigrams or len(places) < 2:
        return 0
    met = set()
    for at, lexeme in places.items():
        for gap in range(1, PAIR_GAP_MAX + 1):
            pair = (lexeme, places.get(at + gap, ""))
            if pair in bigrams:
                met.add(pair)
    return len(met)
