"""Candidates of a search: the segments that the index proposes, in a rough order that needs no text.

    each term ──▶ the segments that have it, newest first, bounded      rare terms whole, common ones not at all
    the words as they stand ──▶ the segments that have the run
       sum of the terms' worth ──▶ the best ──▶ turns and calls around them ──▶ rough order

A bare OR of common words takes 825 ms on a million segments, so the index is never asked for one: terms that are in too
many segments are counted in the candidates' texts alone, unless a query has no others. What a user typed reaches the
index only as quoted words. Runs on a reader connection's thread.
"""

# ruff: noqa: S608 - every value is bound; only constants and placeholders are spliced into SQL
from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ctxgc.core.search.query import TERMS_MAX, SearchQuery, Term
from ctxgc.core.search.ranking import NEAR, PATH_WEIGHT, PHRASE_BONUS, SAID_WEIGHT, TermWeights, idf
from ctxgc.stash.filters import SearchScope
from ctxgc.stash.index_text import TURN_KINDS, can_stand_in_path_field, speaker_lexeme
from ctxgc.stash.newest_segment import newest_rid
from ctxgc.stash.postings import DATED_COLUMNS, POSTINGS_MAX, TEXT_COLUMNS, WORD_COLUMNS, PostingsLookup

POSTINGS_SUM_MAX = 24_000
ALL_TERMS_MAX = 8
"""Common terms of a query that are looked for together."""
RANKED_ROWS_MAX = 6_000
"""The engine's bm25 walks every posting of every word (1 to 3 µs each): more takes too long."""

LOT_MIN, LOT_PER_TERM, LOT_MAX = 16, 4, 100
LOT_OF_ACCOUNT_MIN = 64
"""Candidates whose texts are read and ranked together. A longer query needs more: its terms are scattered."""
CANDIDATES_MAX = 200
"""Candidates of a query, page by page."""
CALLS_AFTER = 8
"""Segments after what a model said among which its calls are."""
SPEAKER_SEGMENTS_MIN, SPEAKER_SHARE = 8, 0.5
"""A word is a speaker's name if so many turns begin with it, and of the segments that have it this share does."""

_TURNS = frozenset(kind.value for kind in TURN_KINDS)


class CandidatePlace(NamedTuple):
    """Where a candidate stands. `is_hit` says whether the scope has it."""

    rid: int
    sid: int
    seq: int
    is_turn: bool
    is_model: bool
    is_user: bool
    is_hit: bool


@dataclass(slots=True)
class Candidates:
    """The candidates so far, which stay when time runs out."""

    query: SearchQuery
    weights: TermWeights
    scope: SearchScope
    total: int = 1
    df: dict[Term, int] = field(default_factory=dict)
    postings: dict[Term, frozenset[int]] = field(default_factory=dict)
    """The segments of each term that is not common."""
    words: dict[str, frozenset[int]] = field(default_factory=dict)
    """The segments of each lexeme that is a term: no other segment of the scope has it in its text or input."""
    paths: dict[Term, frozenset[int]] = field(default_factory=dict)
    whole_words: dict[Term, frozenset[int]] = field(default_factory=dict)
    """The segments that have an identifier as it stands, and not by its humps or its start alone."""
    whole: frozenset[int] = frozenset()
    """Segments that have every term, where common terms were looked for together."""
    phrase: frozenset[int] = frozenset()
    """Segments that have the query's run of words."""
    may_hold_phrase: frozenset[int] = frozenset()
    """No more segments than are ranked together: their texts say whether the run stands in them.

    The engine would walk all segments with the run's words.
    """
    order: list[int] = field(default_factory=list)
    holders: int = 0
    """Segments that may hold the query as it was typed."""
    places: dict[int, CandidatePlace] = field(default_factory=dict)
    rows: dict[tuple[int, int], CandidatePlace] = field(default_factory=dict)
    """Places by session and seq."""
    terms_by_rid: dict[int, frozenset[Term]] = field(default_factory=dict)
    """What `terms_of` answered: turns close together ask for the same neighbours."""
    notes: list[str] = field(default_factory=list)

    @property
    def lot_size(self) -> int:
        """How many candidates are ranked together: the same for every page of a query."""
        least = LOT_OF_ACCOUNT_MIN if self.uses_neighbours else LOT_MIN
        least += LOT_PER_TERM * max(0, len(self.query.terms) - 1)
        # Only the texts say which of the segments with these words has the signs.
        return min(LOT_MAX, max(least, self.holders) if self.query.has_signs else least)

    @property
    def uses_neighbours(self) -> bool:
        """Whether a segment's neighbours count for the segment."""
        return self.query.is_account and not (self.query.required or self.query.excluded)

    @property
    def term_columns(self) -> str:
        """The columns in which terms are looked up."""
        return DATED_COLUMNS if self.uses_neighbours else TEXT_COLUMNS

    def terms_of(self, rid: int) -> frozenset[Term]:
        """The terms that the index says a segment has, once all postings are there."""
        terms = self.terms_by_rid.get(rid)
        if terms is None:
            terms = frozenset(term for term, rids in self.postings.items() if rid in rids or rid in self.paths[term])
            terms = frozenset(self.weights.terms) if rid in self.whole else terms
            self.terms_by_rid[rid] = terms
        return terms

    def absent_words_of(self, rid: int) -> frozenset[str]:
        """Lexemes that the index knows to be absent from a segment's text and input."""
        return frozenset([lexeme for lexeme, rids in self.words.items() if rid not in rids])

    def whole_words_of(self, rid: int) -> frozenset[Term]:
        """The identifiers that stand in a segment verbatim."""
        return frozenset(term for term, rids in self.whole_words.items() if rid in rids)

    def terms_of_near_turns(self, place: CandidatePlace) -> dict[Term, float]:
        """The terms of the turns around a turn, each with the share of the nearest."""
        near: dict[Term, float] = {}
        for distance, share in enumerate(NEAR, 1):
            for seq in (place.seq - distance, place.seq + distance):
                other = self.rows.get((place.sid, seq))
                if other is not None and other.is_turn:
                    for term in self.terms_of(other.rid):
                        near.setdefault(term, share)
        return near

    def model_turns_before(self, place: CandidatePlace) -> list[int]:
        """What the model said before a call in the same turn, the last first."""
        said = []
        for seq in range(place.seq - 1, place.seq - 1 - CALLS_AFTER, -1):
            other = self.rows.get((place.sid, seq))
            if other is None or other.is_user:
                break
            if other.is_turn and other.is_model:
                said.append(other.rid)
        return said


def gather_candidates(db: sqlite3.Connection, query: SearchQuery, scope: SearchScope, out: Candidates) -> None:
    """Fill `out` with the candidates of a query in a scope, in their rough order."""
    newest = newest_rid(db)  # Roughly the number of segments in the stash.
    out.total = _scope_segment_count(db, scope, newest)
    lookup = PostingsLookup(db, query, scope, newest, out.total)
    common = _look_up_terms(lookup, out)
    if lookup.was_bounded and not any(out.df.values()):
        lookup = PostingsLookup(db, query, scope, newest, out.total, is_bounded=False)
        common = _look_up_terms(lookup, out)
    holders = _segments_with_words_of_run(lookup, out)
    _weigh_terms(lookup, out)
    for term in [term for term in out.postings if term not in out.weights.terms]:
        del out.postings[term]
    for term in filter(lambda term: term.is_identifier, out.weights.terms):
        word = Term(term.ways[:1])
        out.whole_words[term] = frozenset(lookup.newest_segments_with_term(WORD_COLUMNS, word, POSTINGS_MAX))
    common &= out.weights.terms.keys()
    is_whole = bool(common) and _look_up_segments_with_all_terms(lookup, out)
    if query.phrase:
        if is_whole and all(_is_in_run(query, term) for term in out.weights.terms):
            holders = out.whole
        if holders is not None and len(holders) <= out.lot_size:
            out.may_hold_phrase = holders
        else:
            out.phrase = lookup.segments_with_run(query.phrase, POSTINGS_MAX)
    out.holders = (
        len(out.phrase | out.may_hold_phrase)
        if query.phrase
        else LOT_MAX
        if common
        else max(map(len, out.postings.values()), default=0)
    )
    if common:
        _add_common_candidates(lookup, out, common)
    rough = _rough_scores(out)
    out.order = _best_rids(rough)
    best = out.order[: out.lot_size]
    if out.uses_neighbours:
        _spread_terms(db, rough, best, out)
        out.order = _best_rids(rough)
    elif (
        len(best) == out.lot_size
        and rough[best[-1]] == rough[best[0]]
        and not common
        and _can_engine_rank_terms(lookup, out.weights.terms)
    ):
        _break_ties(lookup, out, rough)
        out.order = _best_rids(rough)


def _is_in_run(query: SearchQuery, term: Term) -> bool:
    return f" {' '.join(term.ways[0])} " in f" {' '.join(query.phrase)} "


def _segments_with_words_of_run(lookup: PostingsLookup, out: Candidates) -> frozenset[int] | None:
    """The segments with the words of a run that are not common; None, for any segment, if all are."""
    known = [
        rids for term, rids in out.postings.items() if not lookup.floors.get(term) and _is_in_run(lookup.query, term)
    ]
    return frozenset.intersection(*known) if known else None


def _best_rids(rough: dict[int, float]) -> list[int]:
    """The best candidates of a rough order; of equals the newest.

    Thousands of candidates may be equal: of these only the numbers are sorted.
    """
    least = sorted(rough.values())[-CANDIDATES_MAX] if len(rough) > CANDIDATES_MAX else -1.0
    best = sorted(((worth, rid) for rid, worth in rough.items() if worth > least), reverse=True)
    equals = sorted((rid for rid, worth in rough.items() if worth == least), reverse=True)
    return [*(rid for _, rid in best), *equals][:CANDIDATES_MAX]


def _look_up_terms(lookup: PostingsLookup, out: Candidates) -> set[Term]:
    """Look every term of a query up; the terms that are common."""
    common = set()
    left = POSTINGS_SUM_MAX
    for term in lookup.query.terms:
        found = lookup.find_postings(out.term_columns, term, max(1, min(POSTINGS_MAX, left)))
        if found.is_whole:
            left -= found.number
            out.postings[term] = found.rids
            if term.is_word:
                out.words[term.ways[0][0]] = found.rids
            out.paths[term] = (
                lookup.segments_with_term_in_path(term) if can_stand_in_path_field(term.text) else frozenset()
            )
            out.df[term] = len(out.postings[term] | out.paths[term])
        else:
            common.add(term)
            out.df[term] = max(found.number, found.number * out.total // max(1, lookup.newest - found.oldest))
    return common


def _scope_segment_count(db: sqlite3.Connection, scope: SearchScope, newest: int) -> int:
    """The number of segments in the sessions of a scope, roughly."""
    if scope.sids is None or len(scope.sids) > LOT_MAX:
        return newest or 1
    sql = "SELECT coalesce(max(seq), 0) + 1 FROM segment WHERE sid = ?"
    return sum(db.execute(sql, (sid,)).fetchone()[0] for sid in scope.sids)


def _weigh_terms(lookup: PostingsLookup, out: Candidates) -> None:
    """Weigh the rarest terms that there are; names of speakers are no words, if there are words besides."""
    query = lookup.query
    present = sorted((term for term in query.terms if out.df.get(term)), key=lambda term: out.df[term])
    speakers = {term: term.ways[0][0] for term in present if out.uses_neighbours and _is_speaker(lookup, out, term)}
    if len(speakers) == len(present):
        speakers = {}
    words = [term for term in present if term not in speakers]
    if len(words) > TERMS_MAX:
        out.notes.append(f"of {len(query.terms)} words, the rarest {TERMS_MAX} were looked for")
    out.weights = TermWeights(
        query,
        {term: idf(out.df[term], out.total) for term in words[:TERMS_MAX]},
        frozenset(map(speaker_lexeme, speakers.values())),
    )


def _is_speaker(lookup: PostingsLookup, out: Candidates, term: Term) -> bool:
    if len(term.ways) > 1 or len(term.ways[0]) > 1 or term.is_prefix or out.df[term] < SPEAKER_SEGMENTS_MIN:
        return False
    label = Term(((speaker_lexeme(term.ways[0][0]),),))
    need = max(SPEAKER_SEGMENTS_MIN, int(min(out.df[term], POSTINGS_MAX) * SPEAKER_SHARE))
    return lookup.find_postings("label", label, need).number >= need


def _look_up_segments_with_all_terms(lookup: PostingsLookup, out: Candidates) -> bool:
    """Look for segments with all terms, where the rare ones leave too many; whether no other segment has them all."""
    terms = list(out.weights.terms)
    rare = [out.postings[term] for term in terms if term in out.postings]
    is_decided = bool(rare) and len(frozenset.intersection(*rare)) <= out.lot_size  # Their texts are read in any case.
    if len(terms) > ALL_TERMS_MAX or is_decided:
        return False
    can_rank = _can_engine_rank_terms(lookup, terms)
    out.whole = frozenset(lookup.segments_with_terms(out.term_columns, terms, CANDIDATES_MAX, is_ranked=can_rank))
    if len(out.whole) == CANDIDATES_MAX and not can_rank:
        out.notes.append(f"many segments match; the newest {CANDIDATES_MAX} of them were ranked")
    return len(out.whole) < CANDIDATES_MAX and not any(map(lookup.floors.get, terms))


def _add_common_candidates(lookup: PostingsLookup, out: Candidates, common: set[Term]) -> None:
    """Where too few segments have all terms, the newest with any common term are candidates too."""
    known = set(out.whole).union(*out.postings.values())
    if len(known) < out.lot_size:
        out.postings |= {
            term: frozenset(lookup.newest_segments_with_term(out.term_columns, term, POSTINGS_MAX)) for term in common
        }
        out.paths.update(dict.fromkeys(common, frozenset()))
        out.notes.append(f"many segments have {_terms_text(out, common)}; the newest of them were ranked")


def _can_engine_rank_terms(lookup: PostingsLookup, terms: Iterable[Term]) -> bool:
    return sum(map(lookup.estimate_walked_segments, terms)) <= RANKED_ROWS_MAX


def _terms_text(out: Candidates, terms: set[Term]) -> str:
    return ", ".join(str(term) for term in out.query.terms if term in terms)


def _break_ties(lookup: PostingsLookup, out: Candidates, rough: dict[int, float]) -> None:
    """Put the engine's best first among candidates that have the same words."""
    top = max(rough.values())
    for place, rid in enumerate(
        lookup.segments_with_terms(TEXT_COLUMNS, out.weights.terms, CANDIDATES_MAX, is_ranked=True)
    ):
        if rid in rough:
            rough[rid] = max(rough[rid], top) + 1 - place / CANDIDATES_MAX


def _rough_scores(out: Candidates) -> dict[int, float]:
    """The sum of the worth of each candidate's terms."""
    rough: dict[int, float] = dict.fromkeys(out.whole, out.weights.total_weight)
    for term, rids in out.postings.items():
        weight = out.weights.terms[term]
        for rid in rids:
            if rid not in out.whole:
                rough[rid] = rough.get(rid, 0.0) + weight
    for term, rids in out.paths.items():
        if term in out.weights.terms:
            weight = out.weights.terms[term] * PATH_WEIGHT
            for rid in rids:
                rough[rid] = rough.get(rid, 0.0) + weight
    for term, rids in out.whole_words.items():
        for rid in rids:
            rough[rid] = rough.get(rid, 0.0) + out.weights.whole_word_bonus(term)
    bonus = out.weights.total_weight * PHRASE_BONUS
    for rid in out.phrase | out.may_hold_phrase:
        rough[rid] = rough.get(rid, 0.0) + bonus
    return rough


def _spread_terms(db: sqlite3.Connection, rough: dict[int, float], best: Sequence[int], out: Candidates) -> None:
    """Give turns the terms of the turns around them, and calls the terms of what the model said before them."""
    read_places(db, best, out)
    weights = out.weights.terms
    for place in out.places.values():
        if not place.is_hit:
            continue
        own = out.terms_of(place.rid)
        if place.is_turn:
            near = out.terms_of_near_turns(place)
            gain = sum(weights[term] * share for term, share in near.items() if term not in own)
        else:
            said = frozenset().union(*map(out.terms_of, out.model_turns_before(place)[:1]))
            gain = sum(weights[term] for term in said) * SAID_WEIGHT * 0.5
        if gain:
            rough[place.rid] = rough.get(place.rid, 0.0) + gain


def read_places(db: sqlite3.Connection, rids: Iterable[int], out: Candidates) -> None:
    """Read the places of candidates and of their neighbours."""
    missing = [rid for rid in rids if rid not in out.places]
    if not missing:
        return
    placeholders = ", ".join("?" * len(missing))
    at: dict[int, set[int]] = {}
    for sid, seq, kind in db.execute(f"SELECT sid, seq, kind FROM segment WHERE rid IN ({placeholders})", missing):
        first, last = (len(NEAR), CALLS_AFTER) if kind in _TURNS else (CALLS_AFTER, 0)
        at.setdefault(sid, set()).update(range(seq - first, seq + last + 1))
    runs = [[sid, first, last] for sid, seqs in at.items() for first, last in _seq_runs(sorted(seqs))]
    sql = (
        f"SELECT s.rid, s.sid, s.seq, s.kind, s.role, {out.scope.where_clause(is_driving=True)}"
        " FROM json_each(?) AS run"
        " CROSS JOIN segment AS s ON s.sid = json_extract(run.value, '$[0]')"
        " AND s.seq BETWEEN json_extract(run.value, '$[1]') AND json_extract(run.value, '$[2]')"
    )
    for rid, sid, seq, kind, role, is_hit in db.execute(sql, (*out.scope.values, json.dumps(runs))):
        place = CandidatePlace(rid, sid, seq, kind in _TURNS, role == "assistant", kind == "user", bool(is_hit))
        out.places[rid] = out.rows[sid, seq] = place


def _seq_runs(seqs: Sequence[int]) -> list[tuple[int, int]]:
    """The first and last numbers of each run without a gap."""
    runs: list[tuple[int, int]] = []
    for seq in seqs:
        if runs and seq == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], seq
        else:
            runs.append((seq, seq))
    return runs
