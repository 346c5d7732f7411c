"""Ranking: how well a candidate answers a query. Engines propose candidates; the order comes from here.

    fields of a candidate ──core.search.positions──▶ LexemePositions: where lexemes meet the query's
    positions, weights of the terms ──score──▶ BM25 by fields, neighbours of a turn, runs of words, its label

The constants are measured (`docs/design/search.md`). Source: BM25F, Robertson, Zaragoza & Taylor 2004.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ctxgc.core.search.positions import NO_POSITIONS, LexemePositions, QueryLexemes, locate_lexemes, make_query_lexemes
from ctxgc.core.search.query import SearchQuery, Term

TEXT_SATURATION = 0.6
TURN_LENGTH_WEIGHT, RESULT_LENGTH_WEIGHT = 0.2, 0.4
TURN_MEAN, RESULT_MEAN = 40, 300
"""Lexemes of a usual turn and of a usual result: constants, so that a score does not depend on the other candidates."""
FIELD_SATURATION, FIELD_MEAN = 1.2, 30
INPUT_WEIGHT, PATH_WEIGHT, SAID_WEIGHT, LABEL_WEIGHT = 3.0, 3.0, 1.5, 1.0

NEAR = (0.7, 0.5, 0.3, 0.2, 0.15, 0.1)
"""The worth of a term in a turn 1, 2, … 6 segments away, against the term in the turn itself."""

SPEAKER_FACTOR = 2.0
PAIR_BONUS, PAIR_GAP_MAX = 1.0, 3
ALL_BONUS = 0.3
"""Share of the sum of weights that a candidate with all terms gets: more, and a long text with all by chance wins."""
PHRASE_BONUS = 16.0
"""Shares of the sum of weights for the query's run of words as it stands: more than all fields of a term are worth, so
that no text with the same words scattered comes before."""
CHAIN_BONUS, LITERAL_BONUS = 1.0, 0.5
"""For the words in their order with a word or two between; and, beside the run, for the same signs."""
SIGNS_BONUS = 12.0
"""More than all fields of a term are worth: a copied run of words and signs comes before shorter texts of the words."""
WHOLE_WORD_BONUS = 12.0
"""An identifier as it stands comes before its humps; beside other words, by its share of the query."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What a search knows of a candidate. `said` is what the model said before the call; `label` is lexemes."""

    text: LexemePositions
    input: LexemePositions = NO_POSITIONS
    path: LexemePositions = NO_POSITIONS
    said: LexemePositions = NO_POSITIONS
    label: Sequence[str] = ()
    is_turn: bool = False
    """Whether the segment is a person's or a model's words, and no call."""


@dataclass(frozen=True)
class TermWeights:
    """A query's terms with their worth, high for rare terms. `speakers` are words that name a turn's speaker."""

    query: SearchQuery
    terms: Mapping[Term, float]
    speakers: frozenset[str] = frozenset()

    @cached_property
    def total_weight(self) -> float:
        """The worth of all terms."""
        return sum(self.terms.values())

    def whole_word_bonus(self, term: Term) -> float:
        """A segment's bonus for a verbatim identifier."""
        return WHOLE_WORD_BONUS * self.terms.get(term, 0.0) / len(self.terms)

    # Asked once for each field of each candidate.

    @cached_property
    def query_lexemes(self) -> QueryLexemes:
        """Every lexeme that any term asks for, or that stands in the run of words."""
        return make_query_lexemes(self.terms, self.query.phrase)

    @cached_property
    def bigrams(self) -> frozenset[tuple[str, str]]:
        """The query's pairs of words; of an agent's account none, since a long result has many of them by chance."""
        return self.query.bigrams if self.query.literal else frozenset()


class IndexFacts(NamedTuple):
    """What the engine's index says of a candidate before its text is read."""

    terms: frozenset[Term] = frozenset()
    """Terms that the segment has: all of its text, of which `Fields` may hold the start only."""
    near: Mapping[Term, float] = {}
    """For a turn, terms of the turns around it, with their share of `NEAR`."""
    has_phrase: bool = False
    whole_words: frozenset[Term] = frozenset()
    """Identifiers that the segment has as they stand."""


@dataclass(frozen=True, slots=True)
class Score:
    """A candidate's score, and whether every term is in it."""

    value: float
    is_all: bool


def idf(df: int, total: int) -> float:
    """How much a term tells: high for rare ones, never negative."""
    df = min(df, total)
    return math.log1p((total - df + 0.5) / (df + 0.5))


def score_candidate(weights: TermWeights, fields: Fields, known: IndexFacts) -> Score:
    """The score of a candidate. O(terms and their places in the fields)."""
    text, inputs, path, said = fields.text, fields.input, fields.path, fields.said
    label = locate_lexemes(fields.label, weights.query_lexemes)
    total, has_all = 0.0, True
    if fields.is_turn:
        share, mean = TURN_LENGTH_WEIGHT, TURN_MEAN
    else:
        share, mean = RESULT_LENGTH_WEIGHT, RESULT_MEAN
    damp = TEXT_SATURATION * (1 - share + share * text.length / mean)
    for term, weight in weights.terms.items():
        times = text.count_term_occurrences(term)
        in_input, in_path, in_label = (
            inputs.count_term_occurrences(term),
            path.count_term_occurrences(term),
            label.count_term_occurrences(term),
        )
        if not (times or in_input or in_path or in_label) and term in known.terms:
            times = 1
        value = times * (TEXT_SATURATION + 1) / (times + damp) + INPUT_WEIGHT * _saturated_frequency(
            in_input, inputs.length
        )
        if in_path:
            value += PATH_WEIGHT
        if in_label and not times:
            value += LABEL_WEIGHT
        has_all = has_all and value > 0
        if fields.is_turn:
            value = max(value, known.near.get(term, 0.0))
        else:
            value += SAID_WEIGHT * _saturated_frequency(said.count_term_occurrences(term), said.length)
        total += weight * value
    total += PAIR_BONUS * _count_near_pairs(text, weights.bigrams)
    if has_all:
        total += ALL_BONUS * weights.total_weight
    if known.has_phrase:
        total += PHRASE_BONUS * weights.total_weight
    elif has_all and weights.query.phrase and _has_chain(text, weights.query.phrase):
        total += CHAIN_BONUS * weights.total_weight
    total += sum(map(weights.whole_word_bonus, known.whole_words))
    if weights.speakers and not weights.speakers.isdisjoint(fields.label):
        total *= SPEAKER_FACTOR
    return Score(total, has_all)


def _saturated_frequency(times: int, length: int) -> float:
    return times and times * (FIELD_SATURATION + 1) / (times + FIELD_SATURATION * (0.5 + 0.5 * length / FIELD_MEAN))


def _has_chain(text: LexemePositions, phrase: tuple[str, ...]) -> bool:
    """Whether the words of a run stand in a text in their order, each within a few words of the one before."""
    ends = text.places.get(phrase[0], [])
    for lexeme in phrase[1:]:
        places = text.places.get(lexeme, [])
        ends = [place for place in places if any(0 < place - end <= PAIR_GAP_MAX for end in ends)]
        if not ends:
            return False
    return True


def _count_near_pairs(text: LexemePositions, bigrams: frozenset[tuple[str, str]]) -> int:
    """The number of the query's pairs of lexemes that stand in this order within a few words of each other."""
    places, count = text.places, 0
    for first, second in bigrams:
        if first in places and second in places:
            seconds = set(places[second])
            count += any(not seconds.isdisjoint(range(at + 1, at + 1 + PAIR_GAP_MAX)) for at in places[first])
    return count
