"""Postings: the segments that the index has for a term, the newest first, bounded.

    term ──▶ the word, or the run of words as it stands; if no segment has it, with the start of a last word
         ──▶ within the scope and its tags ──▶ all segments of a rare term; of a common one only how common

A row of its own costs a rid three times what the engine needs to find the rid, so postings come as one JSON list. A run
of words that are all common is looked for among the newest segments first: the engine walks every segment that has them
all. What a user typed reaches the index only as quoted words.
"""

# ruff: noqa: S608 - every value is bound; only constants and placeholders are spliced into SQL
from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ctxgc.core.search.query import SearchQuery, Term
from ctxgc.stash.filters import SearchScope

POSTINGS_MAX = 2_000
"""A term in more segments of the scope is common: its segments are no candidates for having it."""
WALKED_MAX, RUN_WALKED_MAX = 8_000, 20_000
"""Segments that the engine walks for one run of common words: a term's, and the query's as it stands."""

ROW_DEARNESS, ENTRY_DEARNESS, FEW_FOUND_DEARNESS = 256, 64, 16
"""What a segment that has a term costs to look up, as a row or as an entry of an index, against one of a tag that is
walked over; and what it costs where few are found: in a path, with a run of words, with all of some terms."""

TEXT_COLUMNS = "{text input}"
WORD_COLUMNS = "{text input path}"
DATED_COLUMNS = "{text input label}"
"""A date in an account is a word of it; a number that somebody types is looked for in texts alone."""


ALL = -1
"""As a limit of rows."""


class Postings(NamedTuple):
    """The segments of a term: all of them, or of a common term their number so far and the oldest of these."""

    rids: frozenset[int]
    number: int
    oldest: int
    is_whole: bool


@dataclass(slots=True)
class PostingsLookup:
    """The postings of one query in one scope."""

    db: sqlite3.Connection
    query: SearchQuery
    scope: SearchScope
    newest: int = 0
    size: int = 0
    """About so many segments are in the scope."""
    is_bounded: bool = True
    """Whether runs of common words are looked for among the newest segments alone."""
    was_bounded: bool = False
    forms: dict[Term, str] = field(default_factory=dict)
    """How each term was looked up: as it stands, or with the start of a last word."""
    floors: dict[Term, int] = field(default_factory=dict)
    """The rid above which a run of common words was looked for."""
    _oldest: dict[str, int] = field(default_factory=dict)

    def find_postings(self, columns: str, term: Term, limit: int = POSTINGS_MAX) -> Postings:
        """The postings of a term in some columns; the first look decides the term's form."""
        if term in self.forms:
            return self._read_postings(columns, term, self.forms[term], limit)
        self.floors[term] = self.choose_floor_rid(term, WALKED_MAX)
        for form in dict.fromkeys((_quote_term_without_star(term), quote_term(term))):
            self.forms[term] = form
            found = self._read_postings(columns, term, form, limit)
            if found.number:
                break
        return found

    def newest_segments_with_term(self, columns: str, term: Term, limit: int) -> list[int]:
        """The newest segments that have a term."""
        form = self.forms.get(term) or quote_term(term)
        return self.matching_rids(f"{columns} : ({form})", limit, floor=self.floors.get(term, 0))

    def segments_with_term_in_path(self, term: Term) -> frozenset[int]:
        """The segments with a path that has a term; for a run of words only if any path has the rarest of them."""
        ways = tuple(
            way for way in term.ways if len(way) == 1 or self._is_in_a_path(min(way, key=self._estimate_segment_count))
        )
        if not ways:
            return frozenset()
        left = term._replace(ways=ways)
        self.forms.setdefault(left, quote_term(left, has_star=self.forms[term] == quote_term(term)))
        self.floors.setdefault(left, self.floors.get(term, 0))
        return self.find_postings("path", left).rids

    def _is_in_a_path(self, lexeme: str) -> bool:
        return self._rid_beyond_limit(f"path : ({quote_term(Term(((lexeme,),)))})", 0) > 0

    def segments_with_run(self, run: tuple[str, ...], limit: int) -> frozenset[int]:
        """The newest segments in which words stand side by side."""
        term = Term((run,))
        floor, has_tags = (
            self.choose_floor_rid(term, RUN_WALKED_MAX),
            self._is_tag_join_cheaper([term], is_most_found=False),
        )
        return frozenset(
            self.matching_rids(f"{TEXT_COLUMNS} : ({quote_term(term)})", limit, floor=floor, has_tags=has_tags)
        )

    def segments_with_terms(self, columns: str, terms: Iterable[Term], limit: int, *, is_ranked: bool) -> list[int]:
        """The newest or the best segments that have every one of some terms."""
        listed = list(terms)
        wanted = " AND ".join(self.forms.get(term) or quote_term(term) for term in listed)
        floor = max((self.floors.get(term, 0) for term in listed), default=0)
        has_tags = self._is_tag_join_cheaper(listed, is_most_found=len(listed) == 1)
        return self.matching_rids(f"{columns} : ({wanted})", limit, floor=floor, is_ranked=is_ranked, has_tags=has_tags)

    def estimate_walked_segments(self, term: Term) -> int:
        """About so many segments of the whole stash the engine walks to find a term: the fewest that have its words."""
        return max(min(map(self._estimate_segment_count, way)) for way in term.ways)

    def matching_rids(
        self, wanted: str, limit: int, *, floor: int = 0, is_ranked: bool = False, has_tags: bool = True
    ) -> list[int]:
        """Rids of matching segments, the newest or the best first."""
        is_upward = floor > 0 and not is_ranked
        sql, values = self._build_query(
            wanted,
            ALL if is_upward else limit,
            floor=floor,
            is_ranked=is_ranked,
            has_tags=has_tags and not is_ranked,
        )
        rids = json.loads(self.db.execute(f"SELECT json_group_array(rid) FROM ({sql})", values).fetchone()[0])
        return list(rids[: -limit - 1 : -1] if is_upward else rids)

    def _read_postings(self, columns: str, term: Term, form: str, limit: int) -> Postings:
        floor = self.floors.get(term, 0)
        is_most_found = columns != "path" and any(len(way) == 1 for way in term.ways)
        has_tags = self._is_tag_join_cheaper([term], is_most_found=is_most_found)
        if columns != "path" and self._is_unfiltered_word(term):
            oldest = self._rid_beyond_limit(f"{columns} : ({form})", limit)
            if limit == POSTINGS_MAX:
                self._oldest.setdefault(term.ways[0][0], oldest)
            if oldest:
                return Postings(frozenset(), limit, oldest, is_whole=False)
        sql, values = self._build_query(
            f"{columns} : ({form})", ALL if floor else limit + 1, floor=floor, has_tags=has_tags
        )
        sql = f"SELECT count(*), min(rid), json_group_array(rid) FROM ({sql})"
        number, oldest, rids = self.db.execute(sql, values).fetchone()
        if number <= limit:
            return Postings(frozenset(json.loads(rids)), number, oldest or 0, is_whole=True)
        return Postings(frozenset(), number if floor else limit, floor or oldest, is_whole=False)

    def _is_tag_join_cheaper(self, terms: Iterable[Term], *, is_most_found: bool) -> bool:
        """Whether the engine joins the segments of terms with those of the tags; else each that is found is looked up.

        To join, it walks all segments of the scope; without tags it walks those of the rarest term in the whole stash.
        """
        if not (self.scope.is_tagged and self.scope.tags):
            return True
        found_dearness = ENTRY_DEARNESS if self.scope.is_whole_session else ROW_DEARNESS
        dearness = found_dearness if is_most_found else FEW_FOUND_DEARNESS
        return self.size <= dearness * POSTINGS_MAX or self.size <= dearness * min(
            map(self.estimate_walked_segments, terms)
        )

    def _is_unfiltered_word(self, term: Term) -> bool:
        """Whether a term is one word of the whole stash: the engine counts its segments as it finds them."""
        return term.is_word and self.scope.is_whole_stash and not (self.query.required or self.query.excluded)

    def _build_query(
        self, wanted: str, limit: int, *, floor: int = 0, is_ranked: bool = False, has_tags: bool = True
    ) -> tuple[str, tuple[object, ...]]:
        """A query with its values. Without tags the rows are filtered: an engine walks all segments of a tag as well,

        for the bm25 even segments without the words.
        """
        sql, values = matching_sql(self.scope, is_ranked=is_ranked, floor=floor, has_tags=has_tags)
        return sql, (self._match_expression(wanted, has_tags=has_tags), *values, limit)

    def _match_expression(self, wanted: str, *, has_tags: bool) -> str:
        """An index expression within the scope's tags, with the required terms and without the excluded ones."""
        match = f"({wanted})"
        for term in self.query.required:
            match = f"({match} AND ({TEXT_COLUMNS} : ({quote_term(term)})))"
        if self.scope.tags and has_tags:
            match = f"({match} AND (meta : ({self.scope.tags})))"
        if self.query.excluded:
            match = f"({match} NOT ({{text input path label}} : ({' OR '.join(map(quote_term, self.query.excluded))})))"
        return match

    def choose_floor_rid(self, term: Term, walked_max: int) -> int:
        """The rid above which about so many segments have the rarest word of a run; 0 if no more have it at all."""
        if not self.is_bounded:
            return 0
        floor = max((self._run_floor_rid(way, walked_max) for way in term.ways if len(way) > 1), default=0)
        self.was_bounded = self.was_bounded or floor > 0
        return floor

    def _run_floor_rid(self, run: tuple[str, ...], walked_max: int) -> int:
        floor = self.newest
        for lexeme in sorted(set(run), key=len, reverse=True):  # Long words are rare.
            oldest = self._oldest_common_rid(lexeme)
            floor = min(floor, self.newest - (self.newest - oldest) * walked_max // POSTINGS_MAX) if oldest else 0
            if floor <= 0:
                return 0
        return floor

    def _estimate_segment_count(self, lexeme: str) -> int:
        oldest = self._oldest_common_rid(lexeme)
        return POSTINGS_MAX * self.newest // max(1, self.newest - oldest) if oldest else POSTINGS_MAX

    def _oldest_common_rid(self, lexeme: str) -> int:
        """The oldest of the newest segments with a common lexeme; 0 for a rare lexeme."""
        if lexeme not in self._oldest:
            self._oldest[lexeme] = self._rid_beyond_limit(quote_term(Term(((lexeme,),))), POSTINGS_MAX)
        return self._oldest[lexeme]

    def _rid_beyond_limit(self, wanted: str, limit: int) -> int:
        """The newest but so many of the stash's matching segments; 0 if there are no more."""
        if self.newest <= limit:
            return 0
        sql = "SELECT rowid FROM search WHERE search MATCH ? ORDER BY rowid DESC LIMIT 1 OFFSET ?"
        row = self.db.execute(sql, (wanted, limit)).fetchone()
        return row[0] if row else 0


def matching_sql(
    scope: SearchScope, *, is_ranked: bool, floor: int = 0, has_tags: bool = True
) -> tuple[str, tuple[object, ...]]:
    """The one shape of index query, upward from a floor if there is one: downward the engine would walk on below it.

    CROSS JOIN keeps the index outside: a join the other way probes it once a row.
    """
    order = "search.rank" if is_ranked else "search.rowid" if floor else "search.rowid DESC"
    ranked = " AND search.rank MATCH 'bm25(1, 4, 8, 1, 0)'" if is_ranked else ""
    within = f" AND search.rowid > {floor:d}" if floor else ""
    if scope.is_tagged and (has_tags or not scope.tags):  # Forgotten segments are in no index.
        return (
            f"SELECT search.rowid AS rid FROM search WHERE search MATCH ?{ranked}{within} ORDER BY {order} LIMIT ?",
            (),
        )
    index, where = "", scope.where_clause(is_driving=False)
    if scope.is_whole_session:  # Its entries in an index cost a fifth of cold rows.
        index, where = " INDEXED BY segment_session", "s.sid = ?"
    return (
        f"SELECT search.rowid AS rid FROM search CROSS JOIN segment AS s{index} ON s.rid = search.rowid"
        f" WHERE search MATCH ?{ranked}{within} AND {where} ORDER BY {order} LIMIT ?",
        scope.values,
    )


def quote_term(term: Term, *, has_star: bool = True) -> str:
    """A term for the index. Lexemes have letters, digits and signs only: none can end the quotes."""
    ways = [f'"{" ".join(way)}"{" *" if term.is_prefix and (has_star or len(way) == 1) else ""}' for way in term.ways]
    return f"({' OR '.join(ways)})" if len(ways) > 1 else ways[0]


def _quote_term_without_star(term: Term) -> str:
    """A run without the start of a last word: the engine would join the segments of every word that begins so."""
    return quote_term(term, has_star=term.text.endswith("*"))
