"""Candidates of a search: the segments that the index proposes, in a rough order that needs no text.

    each term ──▶ the segments that have it, newest first, bounded      rare terms whole, common ones not at all
    the words as they stand ──▶ the segments that have the run
       sum of the terms' worth ──▶ the best ──▶ turns and calls around them ──▶ rough order

A bare OR of common words takes 825 ms on a million segments, so the index is never asked for one: terms that are in too
many segments are counted in the candidates' texts alone, unless a query has no others. What a user typed reaches the
index only as quoted words. Runs on a reader connection's thread.
"""

# ruff: noqa: S608 - every value is bound; only constants and question marks are spliced into SQL
from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from typing import NamedTuple

from ctxgc.core.search.query import TERMS_MAX, SearchQuery, Term
from ctxgc.core.search.ranking import NEAR, PATH_WEIGHT, PHRASE_BONUS, SAID_WEIGHT, Weights, idf
from ctxgc.stash.filters import SearchScope
from ctxgc.stash.index_text import TURN_KINDS, speaker_lexeme
from ctxgc.stash.newest_mark import newest_rid

POSTINGS_MAX = 2_000
"""A term in more segments of the scope is common: its segments are no candidates for having it."""
POSTINGS_SUM_MAX = 24_000
ALL_TERMS_MAX = 8
"""Common terms of a query that are looked for together."""
RANKED_ROWS_MAX, RANKED_ROWS_MIN, RANKED_SHARE = 20_000, 8_000, 50
"""The engine's bm25 walks every posting of every word (0.3 µs each): more takes too long."""
PHRASE_ROWS_MAX = 20_000
"""A run of words is looked for if one of them is in fewer segments."""

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

TEXT_COLUMNS = "{text input}"
WORD_COLUMNS = "{text input path}"
DATED_COLUMNS = "{text input label}"
"""A date in an account is a word of it; a number that somebody types is looked for in texts alone."""


class Place(NamedTuple):
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
    """What was found so far; it stays when time runs out."""

    query: SearchQuery
    weights: Weights
    scope: SearchScope
    total: int = 1
    df: dict[Term, int] = field(default_factory=dict)
    postings: dict[Term, frozenset[int]] = field(default_factory=dict)
    """The segments of each term that is not common."""
    paths: dict[Term, frozenset[int]] = field(default_factory=dict)
    whole_words: dict[Term, frozenset[int]] = field(default_factory=dict)
    """The segments that have an identifier as it stands, and not by its humps or its start alone."""
    whole: frozenset[int] = frozenset()
    """Segments that have every term, where common terms were looked for together."""
    phrase: frozenset[int] = frozenset()
    order: list[int] = field(default_factory=list)
    places: dict[int, Place] = field(default_factory=dict)
    rows: dict[tuple[int, int], Place] = field(default_factory=dict)
    """Places by session and seq."""
    terms_by_rid: dict[int, frozenset[Term]] = field(default_factory=dict)
    """What `terms_of` answered: turns close together ask for the same neighbours."""
    notes: list[str] = field(default_factory=list)

    @property
    def lot(self) -> int:
        """How many candidates are ranked together: the same for every page of a query."""
        if self.query.has_signs:
            return LOT_MAX  # Only the texts say which of the segments with these words has the signs.
        least = LOT_OF_ACCOUNT_MIN if self.has_near else LOT_MIN
        return min(LOT_MAX, least + LOT_PER_TERM * max(0, len(self.query.terms) - 1))

    @property
    def has_near(self) -> bool:
        """Whether what stands around a segment counts for it."""
        return self.query.is_account and not (self.query.required or self.query.excluded)

    @property
    def columns(self) -> str:
        """The columns in which terms are looked up."""
        return DATED_COLUMNS if self.has_near else TEXT_COLUMNS

    def terms_of(self, rid: int) -> frozenset[Term]:
        """The terms that the index says a segment has, once all postings are there."""
        terms = self.terms_by_rid.get(rid)
        if terms is None:
            terms = frozenset(term for term, rids in self.postings.items() if rid in rids or rid in self.paths[term])
            terms = frozenset(self.weights.terms) if rid in self.whole else terms
            self.terms_by_rid[rid] = terms
        return terms

    def whole_words_of(self, rid: int) -> frozenset[Term]:
        """The identifiers that a segment has as they stand."""
        return frozenset(term for term, rids in self.whole_words.items() if rid in rids)

    def turns_near(self, place: Place) -> dict[Term, float]:
        """The terms of the turns around a turn, each with the share of the nearest."""
        near: dict[Term, float] = {}
        for distance, share in enumerate(NEAR, 1):
            for seq in (place.seq - distance, place.seq + distance):
                other = self.rows.get((place.sid, seq))
                if other is not None and other.is_turn:
                    for term in self.terms_of(other.rid):
                        near.setdefault(term, share)
        return near

    def said_before(self, place: Place) -> list[int]:
        """What the model said before a call in the same turn, the last first."""
        said = []
        for seq in range(place.seq - 1, place.seq - 1 - CALLS_AFTER, -1):
            other = self.rows.get((place.sid, seq))
            if other is None or other.is_user:
                break
            if other.is_turn and other.is_model:
                said.append(other.rid)
        return said


def gather(db: sqlite3.Connection, query: SearchQuery, scope: SearchScope, out: Candidates) -> None:
    """Fill `out` with the candidates of a query in a scope, in their rough order."""
    newest = newest_rid(db)  # Roughly the number of segments in the stash.
    out.total = _scope_size(db, scope, newest)
    common: dict[Term, frozenset[int]] = {}
    left = POSTINGS_SUM_MAX
    for term in query.terms:
        rids, is_whole = _postings(db, out, out.columns, term, max(1, min(POSTINGS_MAX, left)))
        if is_whole:
            left -= len(rids)
            paths, _ = _postings(db, out, "path", term, POSTINGS_MAX)
            out.postings[term], out.paths[term] = frozenset(rids), frozenset(paths)
            out.df[term] = len(out.postings[term] | out.paths[term])
        else:
            common[term] = frozenset(rids)
            out.df[term] = max(len(rids), len(rids) * out.total // max(1, newest - rids[-1]))
    _weigh(db, query, out)
    for term in [term for term in out.postings if term not in out.weights.terms]:
        del out.postings[term]
    _find_phrase(db, query, out)
    for term in filter(lambda term: term.is_identifier, out.weights.terms):
        word = Term(term.ways[:1])
        out.whole_words[term] = frozenset(_postings(db, out, WORD_COLUMNS, word, POSTINGS_MAX)[0])
    common = {term: rids for term, rids in common.items() if term in out.weights.terms}
    if common:
        _find_common(db, out, common, newest)
    rough = _rough_scores(out)
    best = nlargest(out.lot, zip(rough.values(), rough, strict=True))
    if out.has_near:
        _spread(db, rough, [rid for _, rid in best], out)
    elif len(best) == out.lot and best[-1][0] == best[0][0] and not common:
        _rank_equals(db, out, rough)
    out.order = [rid for _, rid in nlargest(CANDIDATES_MAX, zip(rough.values(), rough, strict=True))]


def _scope_size(db: sqlite3.Connection, scope: SearchScope, newest: int) -> int:
    """The number of segments in the sessions of a scope, roughly."""
    if scope.sids is None or len(scope.sids) > LOT_MAX:
        return newest or 1
    sql = "SELECT coalesce(max(seq), 0) + 1 FROM segment WHERE sid = ?"
    return sum(db.execute(sql, (sid,)).fetchone()[0] for sid in scope.sids)


def _weigh(db: sqlite3.Connection, query: SearchQuery, out: Candidates) -> None:
    """Weigh the rarest terms that there are; names of speakers are no words, if there are words besides."""
    present = sorted((term for term in query.terms if out.df.get(term)), key=lambda term: out.df[term])
    speakers = {term: term.ways[0][0] for term in present if out.has_near and _is_speaker(db, out, term)}
    if len(speakers) == len(present):
        speakers = {}
    words = [term for term in present if term not in speakers]
    if len(words) > TERMS_MAX:
        out.notes.append(f"of {len(query.terms)} words, the rarest {TERMS_MAX} were looked for")
    out.weights = Weights(
        query,
        {term: idf(out.df[term], out.total) for term in words[:TERMS_MAX]},
        frozenset(map(speaker_lexeme, speakers.values())),
    )


def _is_speaker(db: sqlite3.Connection, out: Candidates, term: Term) -> bool:
    if len(term.ways) > 1 or len(term.ways[0]) > 1 or term.is_prefix or out.df[term] < SPEAKER_SEGMENTS_MIN:
        return False
    label = Term(((speaker_lexeme(term.ways[0][0]),),))
    need = max(SPEAKER_SEGMENTS_MIN, int(min(out.df[term], POSTINGS_MAX) * SPEAKER_SHARE))
    return len(_postings(db, out, "label", label, need)[0]) >= need


def _find_phrase(db: sqlite3.Connection, query: SearchQuery, out: Candidates) -> None:
    rarest = min((out.df.get(term, 0) for term in query.terms), default=0)
    if query.phrase and rarest <= PHRASE_ROWS_MAX:
        run = Term((query.phrase,))
        out.phrase = frozenset(_postings(db, out, TEXT_COLUMNS, run, POSTINGS_MAX)[0])


def _find_common(db: sqlite3.Connection, out: Candidates, common: dict[Term, frozenset[int]], newest: int) -> None:
    """Candidates for common terms: segments with all terms; where that is too few, the newest with any of them."""
    terms = list(out.weights.terms)
    rows = sum(out.df[term] for term in terms)
    can_rank = rows <= max(RANKED_ROWS_MIN, min(RANKED_ROWS_MAX, newest // RANKED_SHARE))
    if len(terms) <= ALL_TERMS_MAX:
        limit = CANDIDATES_MAX
        match = _expression(out, f"{out.columns} : ({' AND '.join(map(quote, terms))})")
        out.whole = frozenset(_rids(db, match, out.scope, limit, is_ranked=can_rank))
        if len(out.whole) == limit and not can_rank:
            out.notes.append(f"many segments match; the newest {limit} of them were ranked")
    known = set(out.whole).union(*out.postings.values())
    if len(known) < out.lot:
        out.postings.update(common)
        out.paths.update(dict.fromkeys(common, frozenset()))
        out.notes.append(f"many segments have {', '.join(map(str, common))}; the newest of them were ranked")


def _rank_equals(db: sqlite3.Connection, out: Candidates, rough: dict[int, float]) -> None:
    """Put the engine's best first among candidates that have the same words."""
    top = max(rough.values())
    match = _expression(out, f"{TEXT_COLUMNS} : ({' AND '.join(map(quote, out.weights.terms))})")
    for place, rid in enumerate(_rids(db, match, out.scope, CANDIDATES_MAX, is_ranked=True)):
        if rid in rough:
            rough[rid] = max(rough[rid], top) + 1 - place / CANDIDATES_MAX


def _rough_scores(out: Candidates) -> dict[int, float]:
    """The sum of the worth of each candidate's terms."""
    rough: dict[int, float] = dict.fromkeys(out.whole, out.weights.total)
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
    bonus = out.weights.total * PHRASE_BONUS
    for rid in out.phrase:
        rough[rid] = rough.get(rid, 0.0) + bonus
    return rough


def _spread(db: sqlite3.Connection, rough: dict[int, float], best: Sequence[int], out: Candidates) -> None:
    """Give turns the terms of the turns around them, and calls the terms of what the model said before them."""
    read_places(db, best, out)
    weights = out.weights.terms
    for place in out.places.values():
        if not place.is_hit:
            continue
        own = out.terms_of(place.rid)
        if place.is_turn:
            near = out.turns_near(place)
            gain = sum(weights[term] * share for term, share in near.items() if term not in own)
        else:
            said = frozenset().union(*map(out.terms_of, out.said_before(place)[:1]))
            gain = sum(weights[term] for term in said) * SAID_WEIGHT * 0.5
        if gain:
            rough[place.rid] = rough.get(place.rid, 0.0) + gain


def read_places(db: sqlite3.Connection, rids: Iterable[int], out: Candidates) -> None:
    """Read where candidates stand, and what stands around them."""
    missing = [rid for rid in rids if rid not in out.places]
    if not missing:
        return
    marks = ", ".join("?" * len(missing))
    at: dict[int, set[int]] = {}
    for sid, seq, kind in db.execute(f"SELECT sid, seq, kind FROM segment WHERE rid IN ({marks})", missing):
        first, last = (len(NEAR), CALLS_AFTER) if kind in _TURNS else (CALLS_AFTER, 0)
        at.setdefault(sid, set()).update(range(seq - first, seq + last + 1))
    sql = (
        f"SELECT s.rid, s.seq, s.kind, s.role, {out.scope.sql(is_driving=True)}"
        " FROM segment AS s WHERE s.sid = ? AND s.seq BETWEEN ? AND ?"
    )
    for sid, seqs in at.items():
        for first, last in _runs(sorted(seqs)):
            for rid, seq, kind, role, is_hit in db.execute(sql, (*out.scope.values, sid, first, last)):
                place = Place(rid, sid, seq, kind in _TURNS, role == "assistant", kind == "user", bool(is_hit))
                out.places[rid] = out.rows[sid, seq] = place


def _runs(seqs: Sequence[int]) -> list[tuple[int, int]]:
    """The first and last numbers of each run without a gap."""
    runs: list[tuple[int, int]] = []
    for seq in seqs:
        if runs and seq == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], seq
        else:
            runs.append((seq, seq))
    return runs


def _postings(db: sqlite3.Connection, out: Candidates, columns: str, term: Term, limit: int) -> tuple[list[int], bool]:
    """The newest segments that have a term, and whether they are all of them."""
    match = _expression(out, f"{columns} : ({quote(term)})")
    rids = _rids(db, match, out.scope, limit + 1)
    return rids[:limit], len(rids) <= limit


def _rids(db: sqlite3.Connection, match: str, scope: SearchScope, limit: int, *, is_ranked: bool = False) -> list[int]:
    """Rids of matching segments, the newest or the best first."""
    sql, values = matching_sql(scope, is_ranked=is_ranked)
    return [row[0] for row in db.execute(sql, (match, *values, limit))]


def matching_sql(scope: SearchScope, *, is_ranked: bool) -> tuple[str, tuple[object, ...]]:
    """The one shape of index query. CROSS JOIN keeps the index outside: a join the other way probes it once a row."""
    order = "search.rank" if is_ranked else "search.rowid DESC"
    ranked = " AND search.rank MATCH 'bm25(1, 4, 8, 1, 0)'" if is_ranked else ""
    if scope.is_tagged:  # Forgotten segments are in no index.
        return f"SELECT search.rowid FROM search WHERE search MATCH ?{ranked} ORDER BY {order} LIMIT ?", ()
    return (
        "SELECT search.rowid FROM search CROSS JOIN segment AS s ON s.rid = search.rowid"
        f" WHERE search MATCH ?{ranked} AND {scope.sql(is_driving=False)} ORDER BY {order} LIMIT ?",
        scope.values,
    )


def _expression(out: Candidates, wanted: str) -> str:
    """An index expression within the scope's tags, with the required terms and without the excluded ones."""
    match = f"({wanted})"
    for term in out.query.required:
        match = f"({match} AND ({TEXT_COLUMNS} : ({quote(term)})))"
    if out.scope.tags:
        match = f"({match} AND (meta : ({out.scope.tags})))"
    if out.query.excluded:
        match = f"({match} NOT ({{text input path label}} : ({' OR '.join(map(quote, out.query.excluded))})))"
    return match


def quote(term: Term) -> str:
    """A term for the index. Lexemes have letters, digits and signs only: none can end the quotes."""
    star = " *" if term.is_prefix else ""
    ways = [f'"{" ".join(way)}"{star}' for way in term.ways]
    return f"({' OR '.join(ways)})" if len(ways) > 1 else ways[0]
