"""The search planner: a bare OR of common words takes 825 ms on a million segments, so the planner never asks for one.

    all words ──▶ few hits? each is a candidate
       │          many hits? the best by the engine's bm25 if the words are rare, else the newest
       └─ too few for the page? fill with segments that have some of the rarer words
    candidates, a lot at a time ──core.ranking──▶ order, scores, snippets
    out of time (250 ms)? the newest segments of the scope that have any word, and a note in the reply

A user's text reaches the index only as quoted words. Runs on a reader connection's thread.
"""

# ruff: noqa: S608 - every value is bound; only constants and question marks are spliced into SQL
from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from ctxgc.core.labels import MATCH_START
from ctxgc.core.ranking import (
    CANDIDATES_MAX,
    Candidate,
    SearchQuery,
    Term,
    count,
    parse,
    rank,
    snippet,
)
from ctxgc.stash import body_codec, index_text, reading
from ctxgc.stash.contract import SEARCH_LIMIT_MAX, Hit, Query, SearchResult
from ctxgc.stash.filters import SearchScope, scope_of
from ctxgc.stash.schema import meta

SEARCH_S_MAX = 0.25
FALLBACK_S_MAX = 0.04
FALLBACK_SEGMENTS = 300

DF_COUNTED_MAX = 500
"""Segments with a word are counted up to this number; beyond, their number is estimated from the last rid counted."""

RANKED_ROWS_MAX = 20_000
"""The engine's bm25 walks every posting of every word (0.3 µs each; 1 µs in an OR): more takes too long …"""
RANKED_SHARE = 50
"""… and in a small stash a word in more than one segment of this many tells little."""
AND_ROWS_MIN, RAREST_ROWS_MIN = 8_000, 2_000
"""Postings that are affordable in a stash of any size."""
FILL_ROWS_MAX = 500
"""A word in this many segments fills a page alone; more words make the page dearer and no better."""

CANDIDATES_MIN = 16
SCORED_CHARS_MAX = 32_768
"""The part of a candidate's text that counts for its score."""


class Deadline:
    """Interrupts its connection's statement when time is up: the progress handler of a reader connection."""

    def __init__(self) -> None:
        self._until = float("inf")

    def __call__(self) -> bool:
        """Whether time is up."""
        return time.monotonic() > self._until

    def set(self, seconds: float) -> None:
        """Let the statements from now on run at most this long in sum."""
        self._until = time.monotonic() + seconds


@dataclass(slots=True)
class CandidatePool:
    """Candidates in order of finding; those found before time runs out stay."""

    rids: dict[int, bool] = field(default_factory=dict)
    """rid → whether the segment has all words."""
    df: dict[Term, int] = field(default_factory=dict)
    lot: int = CANDIDATES_MAX
    """Candidates that are ranked together: candidates of a later page never move an earlier page."""
    begins: list[int] = field(default_factory=lambda: [0])
    """Places in that order where lots begin anew, because the index was asked another question."""
    total: int = 0
    """The number of segments, roughly."""
    notes: list[str] = field(default_factory=list)
    is_partial: bool = False

    def next_size(self, need: int) -> int:
        """The number of candidates for `need` hits, in whole lots from where the next candidates begin."""
        start = len(self.rids)
        self.begins.append(start)
        return min(start + -(-(need - start) // self.lot) * self.lot, CANDIDATES_MAX)

    def lots(self) -> Iterator[list[int]]:
        """The candidates, lot by lot."""
        rids = list(self.rids)
        for first, last in pairwise([*self.begins, len(rids)]):
            for start in range(first, last, self.lot):
                yield rids[start : min(start + self.lot, last)]


def search(db: sqlite3.Connection, deadline: Deadline, query: Query, seconds: float = SEARCH_S_MAX) -> SearchResult:
    """Answer a query within its time."""
    wanted = parse(query.text)
    notes = [f"{wanted.dropped} further words of the query were left out"] if wanted.dropped else []
    pool = CandidatePool(notes=notes)
    deadline.set(seconds)
    try:
        if meta(db, "unindexed_below"):
            pool.is_partial = True
            pool.notes.append("the index is being rebuilt; older segments may be missing")
        scope = scope_of(db, query)
        if scope is None:
            return SearchResult(hits=(), notes=tuple(pool.notes))
        if not wanted.terms:
            return _newest_page(db, query, wanted, scope, pool)
        limit = min(query.limit, SEARCH_LIMIT_MAX)
        pool.lot = min(max(CANDIDATES_MIN, (limit + 1) * 3 // 2), CANDIDATES_MAX)
        try:
            _gather(db, wanted, scope, min(query.offset + limit + 1, CANDIDATES_MAX), pool)
        except sqlite3.OperationalError as error:
            if "interrupted" not in str(error):
                raise
            return _partial_results(db, deadline, query, wanted, scope, pool)
        return _ranked_page(db, query, wanted, pool, match="some")
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        pool.notes.append("the search ran out of time; narrow it")
        return SearchResult(hits=(), notes=tuple(pool.notes), is_partial=True)
    finally:
        deadline.set(float("inf"))


def _gather(db: sqlite3.Connection, wanted: SearchQuery, scope: SearchScope, need: int, out: CandidatePool) -> None:
    """Gather candidates for `need` hits: segments with all words, then segments with some of the rarer words.

    The lots of a smaller need are the first lots of a larger: a page goes on where the last one ended.
    """
    out.total = _newest_rid(db)
    share = min(RANKED_ROWS_MAX, out.total // RANKED_SHARE)
    for term in wanted.terms:
        out.df[term] = _document_count(db, term, out.total)
    size = out.next_size(need)
    match = _match(wanted.terms, "AND", wanted, scope)
    can_rank = sum(out.df.values()) <= max(AND_ROWS_MIN, share)
    # All postings of one word are walked either way; several words often share few segments, faster found unranked.
    is_ranked = can_rank and len(wanted.terms) == 1
    is_tried = can_rank and not is_ranked
    rids = _matching(db, match, scope, (out.lot if is_tried else size) + 1, is_ranked=is_ranked)
    out.rids = dict.fromkeys(rids[:size], True)
    if is_tried and len(rids) > out.lot:
        out.rids = dict.fromkeys(_matching(db, match, scope, size, is_ranked=True), True)
    elif len(rids) > size and not can_rank:
        out.notes.append(f"many segments match; the newest {size} of them were ranked")
    if len(out.rids) < need and len(wanted.terms) > 1:
        _fill(db, wanted, scope, need, max(RAREST_ROWS_MIN, share), out)


def _fill(
    db: sqlite3.Connection, wanted: SearchQuery, scope: SearchScope, need: int, rows_max: int, out: CandidatePool
) -> None:
    """Add segments that have some of the words, rare words first; more words only where the rare ones fill no page."""
    present = sorted((term for term in wanted.terms if out.df[term]), key=lambda term: out.df[term])
    before = len(out.rids)
    terms: list[Term] = []
    for rows in (FILL_ROWS_MAX, rows_max):
        rare = _rarest(present, out.df, rows, rows_max)
        if len(out.rids) >= need or (rare or present) == terms:
            break
        terms, size = rare or present, out.next_size(need)
        for rid in _matching(db, _match(terms, "OR", wanted, scope), scope, size, is_ranked=bool(rare)):
            if len(out.rids) < size:
                out.rids.setdefault(rid, False)
    if len(out.rids) > before:
        whole = f"{before} segments have" if before > 1 else "one segment has" if before else "no segment has"
        out.notes.append(f"{whole} all words; the rest have some of: {', '.join(map(str, terms))}")


def _rarest(present: Sequence[Term], df: Mapping[Term, int], rows_max: int, first_rows_max: int) -> list[Term]:
    """The first terms that are in `rows_max` segments together; the very first may be in `first_rows_max`."""
    rows = [*accumulate(df[term] for term in present)]
    return [term for at, term in enumerate(present) if rows[at] <= (rows_max if at else first_rows_max)]


def _document_count(db: sqlite3.Connection, term: Term, total: int) -> int:
    """The number of segments with the term, roughly; 0 only for none. A phrase counts as its rarest word does.

    SQLite would count a phrase by walking every segment with all its words.
    """
    star = " *" if term.is_prefix else ""
    return sum(min(_word_count(db, f'"{word}"{star}', total) for word in way) for way in term.ways)


def _word_count(db: sqlite3.Connection, word: str, total: int) -> int:
    sql = "SELECT count(*), max(rowid) FROM (SELECT rowid FROM search WHERE search MATCH ? LIMIT ?)"
    number, last = db.execute(sql, (f"text : {word}", DF_COUNTED_MAX)).fetchone()
    return int(number) if number < DF_COUNTED_MAX else number * total // last


def _newest_rid(db: sqlite3.Connection) -> int:
    """The largest rid: roughly the number of segments."""
    return int(db.execute("SELECT coalesce(max(rid), 0) FROM segment").fetchone()[0])


def _matching(
    db: sqlite3.Connection, match: str, scope: SearchScope, limit: int, *, is_ranked: bool = False
) -> list[int]:
    """Rids of matching segments, the newest or the best first."""
    sql = matching_sql(scope, is_ranked=is_ranked)
    return [row[0] for row in db.execute(sql, (match, *scope.values, limit))]


def matching_sql(scope: SearchScope, *, is_ranked: bool) -> str:
    """The one shape of index query. CROSS JOIN keeps the index outside: a join the other way probes it once a row."""
    order = "search.rank" if is_ranked else "search.rowid DESC"
    return (
        "SELECT search.rowid FROM search CROSS JOIN segment AS s ON s.rid = search.rowid"
        f" WHERE search MATCH ? AND {scope.sql(is_driving=False)} ORDER BY {order} LIMIT ?"
    )


def _match(terms: Sequence[Term], how: str, wanted: SearchQuery, scope: SearchScope) -> str:
    """The index expression: quoted words, joined, in the scope's tags, without the excluded words."""
    match = f"(text : ({f' {how} '.join(map(_quote, terms))}))"
    if scope.tags:
        match = f"({match} AND (meta : ({scope.tags})))"
    if wanted.excluded:
        match = f"({match} NOT (text : ({' OR '.join(map(_quote, wanted.excluded))})))"
    return match


def _quote(term: Term) -> str:
    # Words are letters and digits only: no word can end the quotes.
    ways = [f'"{" ".join(way)}"' + (" *" if term.is_prefix else "") for way in term.ways]
    return f"({' OR '.join(ways)})" if len(ways) > 1 else ways[0]


def _newest_page(
    db: sqlite3.Connection, query: Query, wanted: SearchQuery, scope: SearchScope, out: CandidatePool
) -> SearchResult:
    """The reply to a query without words: a page of the newest segments of the scope."""
    limit = min(query.limit, SEARCH_LIMIT_MAX)
    rows_max = CANDIDATES_MAX if wanted.excluded else limit + 1
    sql, values = listing_sql(scope)
    rids = [row[0] for row in db.execute(sql, (*values, rows_max, query.offset))]
    texts = _texts(db, rids[: CANDIDATES_MAX if wanted.excluded else limit], out)
    candidates = [c for c in texts if not _has_any(c.text, wanted.excluded)][:limit]
    after = query.offset + (
        rids.index(candidates[-1].key) + 1 if len(candidates) == limit and candidates else len(rids)
    )
    is_more = len(candidates) == limit and rids.index(candidates[-1].key) + 1 < len(rids) if candidates else False
    hits = _hits(db, [(c, 0.0) for c in candidates], wanted, "recent")
    return SearchResult(
        hits=hits, notes=tuple(out.notes), next_offset=after if is_more else -1, is_partial=out.is_partial
    )


def listing_sql(scope: SearchScope) -> tuple[str, tuple[object, ...]]:
    """The newest segments of a scope: through the index's tags if the scope has any, else by session or by time."""
    if scope.tags and scope.sid is None:
        return (
            "SELECT search.rowid FROM search CROSS JOIN segment AS s ON s.rid = search.rowid"
            f" WHERE search MATCH ? AND {scope.sql(is_driving=False)} ORDER BY search.rowid DESC LIMIT ? OFFSET ?",
            (f"meta : ({scope.tags})", *scope.values),
        )
    order = "s.wall_s DESC, s.rid DESC" if scope.sid is None else "s.seq DESC"
    return (
        f"SELECT s.rid FROM segment AS s WHERE {scope.sql(is_driving=True)} ORDER BY {order} LIMIT ? OFFSET ?",
        tuple(scope.values),
    )


def _partial_results(
    db: sqlite3.Connection,
    deadline: Deadline,
    query: Query,
    wanted: SearchQuery,
    scope: SearchScope,
    out: CandidatePool,
) -> SearchResult:
    """The reply out of time: the candidates so far, else the newest segments that have any of the words."""
    deadline.set(FALLBACK_S_MAX)
    out.is_partial = True
    if out.rids:
        out.notes.append("the search ran out of time; more segments may match")
        return _ranked_page(db, query, wanted, out, match="some")
    out.notes.append(f"the search ran out of time; only the newest {FALLBACK_SEGMENTS} segments were looked at")
    sql, values = listing_sql(scope)
    rids = [row[0] for row in db.execute(sql, (*values, FALLBACK_SEGMENTS, 0))]
    for candidate in _texts(db, rids, out):
        if _has_any(candidate.text, wanted.terms) and not _has_any(candidate.text, wanted.excluded):
            out.rids[candidate.key] = False
    out.rids = dict(list(out.rids.items())[:CANDIDATES_MAX])
    out.lot, out.begins = CANDIDATES_MAX, [0]
    return _ranked_page(db, query, wanted, out, match="recent")


def _ranked_page(
    db: sqlite3.Connection, query: Query, wanted: SearchQuery, out: CandidatePool, match: str
) -> SearchResult:
    """Rank the candidates and cut the page."""
    ranked: list[tuple[Candidate, float]] = []
    for lot in out.lots():
        candidates = sorted(_texts(db, lot, out), key=lambda c: -c.key)
        ranked += rank(wanted.terms, candidates, out.df, out.total)
    end = query.offset + min(query.limit, SEARCH_LIMIT_MAX)
    hits = _hits(db, ranked[query.offset : end], wanted, match)
    if query.offset >= CANDIDATES_MAX:
        out.notes.append(f"only the best {CANDIDATES_MAX} are ranked; narrow the search")
    return SearchResult(
        hits=hits,
        notes=tuple(out.notes),
        next_offset=end if len(ranked) > end else -1,
        is_partial=out.is_partial,
    )


def _texts(db: sqlite3.Connection, rids: Sequence[int], out: CandidatePool) -> list[Candidate]:
    """The candidates' texts, in the order of their rids."""
    texts: dict[int, str] = {}
    decompress = body_codec.decompressor()
    for rid, blob in _frames(db, rids):
        try:
            texts[rid] = index_text.searchable_text(*body_codec.decode_start(blob, SCORED_CHARS_MAX, decompress))
        except ValueError:
            out.notes.append("a segment could not be read; run `ctxgc doctor`")
    return [Candidate(rid, texts[rid], out.rids.get(rid, False)) for rid in rids if rid in texts]


def _frames(db: sqlite3.Connection, rids: Sequence[int]) -> list[tuple[int, bytes]]:
    marks = ", ".join("?" * len(rids))
    return db.execute(f"SELECT rid, frame FROM body WHERE rid IN ({marks})", rids).fetchall()


def _hits(
    db: sqlite3.Connection, page: Sequence[tuple[Candidate, float]], wanted: SearchQuery, match: str
) -> tuple[Hit, ...]:
    rows = reading.by_rid(db, [candidate.key for candidate, _ in page])
    hits = []
    for candidate, score in page:
        if candidate.key not in rows:
            continue  # Forgotten since.
        row, project = rows[candidate.key]
        piece = snippet(candidate.text, wanted.terms)
        if wanted.terms and MATCH_START not in piece and len(candidate.text) >= SCORED_CHARS_MAX // 8:
            piece = _deep_snippet(db, candidate.key, wanted) or piece
        matched = "all" if candidate.is_all else match
        hits.append(Hit(row=row, project=project, score=score, snippet=piece, match=matched))
    return tuple(hits)


def _deep_snippet(db: sqlite3.Connection, rid: int, wanted: SearchQuery) -> str:
    """A snippet from the whole indexed text: the match lies beyond the scored part."""
    for _, blob in _frames(db, [rid]):
        content = body_codec.decode_start(blob, 4 * index_text.INDEX_CHARS_MAX, body_codec.decompressor())
        return snippet(index_text.searchable_text(*content), wanted.terms)
    return ""


def _has_any(text: str, terms: Sequence[Term]) -> bool:
    lowered = text.lower()
    return any(count(text, lowered, term) for term in terms)
