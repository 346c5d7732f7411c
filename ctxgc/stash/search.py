"""Search: what was typed, answered within 250 ms by a page of ranked hits.

    text ──parse──▶ query ──gather──▶ candidates, a lot at a time ──core.search.ranking──▶ order ──▶ page, snippets
    the project of the folder asked from comes first, other projects after it
    nothing matches? the words inside paths and identifiers, then the nearest words that there are; the reply says so
    out of time? the hits so far, else the newest segments of the scope that have any word; the reply says so

The order depends on the query alone and not on the page, so that pages do not repeat or skip. Runs on a reader
connection's thread.
"""

# ruff: noqa: S608 - every value is bound; only constants and placeholders are spliced into SQL
from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ctxgc.core.display_texts import MATCH_START
from ctxgc.core.search.positions import find_lexemes_in_text, make_query_lexemes
from ctxgc.core.search.query import COPIED_LEXEMES_MIN, TERMS_MAX, SearchQuery, Term, looks_like_exclusion, parse_query
from ctxgc.core.search.ranking import (
    LITERAL_BONUS,
    SIGNS_BONUS,
    Fields,
    IndexFacts,
    Score,
    TermWeights,
    score_candidate,
)
from ctxgc.core.search.snippets import HighlightTerms, Snippet, make_snippet
from ctxgc.stash import body_codec, index_text, reading
from ctxgc.stash.candidates import CANDIDATES_MAX, Candidates, gather_candidates, read_places
from ctxgc.stash.contract import SEARCH_LIMIT_MAX, Hit, Query, SearchResult
from ctxgc.stash.deadline import Deadline, OutOfTime
from ctxgc.stash.filters import FILTERS_MAX, SearchScope, build_scope, limits_of_query, newest_segments_sql
from ctxgc.stash.postings import TEXT_COLUMNS
from ctxgc.stash.reading import sids_of_enclosing_project
from ctxgc.stash.schema import get_counter
from ctxgc.stash.scored_fields import SCORED_CHARS_MAX, WHOLE_CHARS_MAX, build_scored_fields, last_spoken_text
from ctxgc.stash.vocabulary import Vocabulary, missing_terms, replace_terms, spell_out_stem, substitutes_by_term

SEARCH_S_MAX = 0.25
FALLBACK_S_MAX = 0.04
FALLBACK_SEGMENTS = 300
SAME_SCORE = 2
"""Scores that agree to so many decimals are the same: the newer segment comes first."""


@dataclass(slots=True)
class RankedCandidate:
    """A candidate with its place in the order."""

    rid: int
    score: float
    match: str
    wall_s: float


@dataclass(slots=True)
class _Search:
    """One search under way: the arguments of every step, and the notes for the reply."""

    db: sqlite3.Connection
    deadline: Deadline
    query: Query
    wanted: SearchQuery
    notes: list[str]
    limits: Sequence[Query] = ()
    """What a hit passes, all of it: the query's parameters, and the filters in its text."""
    scope: SearchScope | None = None
    """The scope of these; `None` if no segment can pass them."""
    is_partial: bool = False
    absent: tuple[Term, ...] = ()
    """Terms that no segment of the scopes has that were looked in."""
    decompress: body_codec.Transform = field(default_factory=body_codec.make_decompressor)
    readable: dict[int, index_text.Searchable] = field(default_factory=dict)
    """Segments that were read to rank: the page shows their snippets."""

    @property
    def page_end(self) -> int:
        """The place in the order behind the page, and so the number of hits to rank, less one."""
        return self.query.offset + min(self.query.limit, SEARCH_LIMIT_MAX)


def search(db: sqlite3.Connection, deadline: Deadline, query: Query, seconds: float = SEARCH_S_MAX) -> SearchResult:
    """Answer a query within its time."""
    deadline.set(seconds)
    run = _Search(db, deadline, query, parse_query(query.text), [])
    try:
        run.limits = limits_of_query(db, query, run.wanted.filters, time.time())
        run.scope = build_scope(db, *run.limits)
        wanted = run.wanted = _parse_query_in_scope(run)
        if get_counter(db, "unindexed_below"):
            run.is_partial = True
            run.notes.append("the index is being rebuilt; older segments may be missing")
        if wanted.excluded:
            run.notes.append(f"segments with {', '.join(map(str, wanted.excluded))} are left out")
        if wanted.unread_filters:
            run.notes.append(f"{', '.join(wanted.unread_filters)}: no such value for a filter, so these are words")
        if len(wanted.filters) > FILTERS_MAX:
            run.notes.append(f"of {len(wanted.filters)} filters, the first {FILTERS_MAX} count")
        if run.scope is None:
            run.notes.append(
                "no segment can pass all filters: a filter names no segment, or contradicts another filter"
            )
            return _build_result(run, ())
        if wanted.is_empty:
            return _find_newest_page(run, run.scope)
        if not wanted.terms:
            run.notes.append("no word is left of the query, so nothing was looked for")
            return _build_result(run, ())
        return _find_best_page(run)
    except (sqlite3.OperationalError, OutOfTime) as error:
        if not _is_out_of_time(error):
            raise
        run.is_partial = True
        run.notes.append("the search ran out of time; narrow it")
        return _build_result(run, ())
    finally:
        deadline.set(float("inf"))


def _is_out_of_time(error: Exception) -> bool:
    return isinstance(error, OutOfTime) or "interrupted" in str(error)


def _parse_query_in_scope(run: _Search) -> SearchQuery:
    """The query in its scope: a `-word` that a text there has as a flag is a word; so is each word of a copied run."""
    text = run.query.text
    dashed = {token.lower() for token in text.split() if looks_like_exclusion(token)}
    if run.scope is None or not (dashed or run.wanted.excluded):
        return run.wanted
    words = Vocabulary(run.db, run.scope)
    wanted = parse_query(text, [word for word in dashed if words.has_term(Term(((word,),)), TEXT_COLUMNS)])
    if wanted.excluded:
        copied = parse_query(text, excludes=False)
        if len(copied.phrase) >= COPIED_LEXEMES_MIN and words.has_term(Term((copied.phrase,)), TEXT_COLUMNS):
            return copied
    return wanted


def _build_result(run: _Search, hits: Sequence[Hit], next_offset: int = -1) -> SearchResult:
    notes = tuple(dict.fromkeys(run.notes))
    return SearchResult(hits=tuple(hits), notes=notes, next_offset=next_offset, is_partial=run.is_partial)


def _find_best_page(run: _Search) -> SearchResult:
    """The page of best hits; where nothing matches, of what comes nearest to the query."""
    assert run.scope is not None
    words, notes = Vocabulary(run.db, run.scope), list(run.notes)
    ranked = _rank_candidates(run)
    missing = [] if run.is_partial else missing_terms(words, run.wanted, run.absent)
    if nearest := substitutes_by_term(words, missing):
        run.wanted, run.notes = replace_terms(run.wanted, nearest), notes
        ranked = _rank_candidates(run)
    if ranked and nearest:
        run.notes.append(
            f"no segment has {_join_terms(tuple(nearest))}; showing results for {_spelled_terms_text(run, ranked)}"
        )
    if not ranked and run.wanted.parts and not run.wanted.required:
        run.wanted = run.wanted.with_terms(run.wanted.parts)
        ranked = _rank_candidates(run)
        if ranked:
            run.notes.append(f"no segment has the query verbatim; showing results for {_join_terms(run.wanted.terms)}")
    if not ranked and not run.is_partial:
        nearest = substitutes_by_term(words, run.wanted.terms)
        run.wanted = replace_terms(run.wanted._replace(terms=tuple(nearest)), nearest)
        ranked = _rank_candidates(run) if nearest else []
        if ranked:
            run.notes.append(f"nothing matches; showing results for {_spelled_terms_text(run, ranked)}")
    if run.wanted.word_count > 1 and any(each.match in ("some", "near") for each in ranked):
        whole = sum(each.match == "all" for each in ranked)
        have = "no segment has" if not whole else "one segment has" if whole == 1 else f"{whole} segments have"
        run.notes.append(f"{have} all words; the rest have some of the words, or stand beside a segment that has them")
    hits = _build_hits(run, ranked[run.query.offset : run.page_end])
    return _build_result(run, hits, run.page_end if len(ranked) > run.page_end else -1)


def _spelled_terms_text(run: _Search, ranked: Sequence[RankedCandidate]) -> str:
    texts = [run.readable[each.rid].text for each in ranked[: run.page_end] if each.rid in run.readable]
    return _join_terms([spell_out_stem(term, texts) for term in run.wanted.terms])


def _join_terms(terms: Sequence[Term]) -> str:
    return ", ".join(map(str, terms))


def _rank_candidates(run: _Search) -> list[RankedCandidate]:
    """The order as far as the page needs: hits of this project, then of other projects."""
    ranked: list[RankedCandidate] = []
    run.absent = run.wanted.terms
    for scope in _scopes_to_search(run):
        ranked += _rank_candidates_in_scope(run, scope, run.page_end + 1 - len(ranked))
        if len(ranked) > run.page_end or run.is_partial:
            break
    return ranked


def _scopes_to_search(run: _Search) -> Iterator[SearchScope]:
    """The scopes to look in, one after the other."""
    query, scope = run.query, run.scope
    if scope is None:
        return
    sids = sids_of_enclosing_project(run.db, query.here) if query.here and scope.sids is None else []
    if not sids:
        yield scope
        return
    here = build_scope(run.db, *run.limits, Query(text="", project=_project_of(run.db, sids[0])))
    if here is not None:
        yield here
    yield scope.without_sessions(sids)


def _project_of(db: sqlite3.Connection, sid: int) -> str:
    return str(db.execute("SELECT project FROM session WHERE sid = ?", (sid,)).fetchone()[0])


def _rank_candidates_in_scope(run: _Search, scope: SearchScope, need: int) -> list[RankedCandidate]:
    """The best of a scope: whole lots of candidates until there are enough for the page."""
    out = Candidates(run.wanted, TermWeights(run.wanted, {}), scope)
    ranked: list[RankedCandidate] = []
    try:
        gather_candidates(run.db, run.wanted, scope, out)
        run.absent = tuple(term for term in run.absent if not out.df.get(term))
        for start in range(0, len(out.order), out.lot_size):
            if len(ranked) >= need:
                break
            lot = list(_score_candidates(run, out, out.order[start : start + out.lot_size]))
            ranked += sorted(lot, key=lambda each: (-each.score, -each.wall_s, -each.rid))
    except (sqlite3.OperationalError, OutOfTime) as error:
        if not _is_out_of_time(error):
            raise
        run.is_partial = True
        run.deadline.set(FALLBACK_S_MAX)
        ranked = ranked or _rank_fallback_candidates(run, out)
    run.notes += out.notes
    if len(out.order) >= CANDIDATES_MAX <= run.page_end:
        run.notes.append(f"only the best {CANDIDATES_MAX} are ranked; narrow the search")
    return ranked


def _score_candidates(run: _Search, out: Candidates, rids: Sequence[int]) -> Iterator[RankedCandidate]:
    """Candidates with their scores, in no order."""
    has_near = out.uses_neighbours
    said: dict[int, list[int]] = {}
    if has_near:
        read_places(run.db, rids, out)
        said = {rid: out.model_turns_before(out.places[rid]) for rid in rids if not out.places[rid].is_turn}
    segments = _read_content_starts(run, {*rids, *(other for others in said.values() for other in others)})
    terms_min = _count_content_terms(run.wanted, out)
    for rid in rids:
        if rid not in segments:
            continue
        if run.deadline():
            raise OutOfTime
        segment = segments[rid]
        readable = run.readable[rid] = index_text.searchable_fields(segment)
        said_text = last_spoken_text(segments[other] for other in said.get(rid, ()) if other in segments)
        is_turn = segment.kind in index_text.TURN_KINDS
        worded = readable if has_near else readable._replace(label=())
        fields = build_scored_fields(worded, said_text, out.weights, out.absent_words_of(rid), is_turn=is_turn)
        near = out.terms_of_near_turns(out.places[rid]) if has_near and is_turn else {}
        known = out.terms_of(rid)
        has_phrase = rid in out.phrase or (rid in out.may_hold_phrase and _has_phrase(run, rid, fields))
        result = score_candidate(out.weights, fields, IndexFacts(known, near, has_phrase, out.whole_words_of(rid)))
        value = result.value
        if has_phrase or not run.wanted.phrase:
            value += _literal_bonus(run, out, readable)
        is_all = result.is_all and len(out.weights.terms) >= terms_min
        match = "all" if is_all else "some" if known or result.is_all else "near"
        yield RankedCandidate(rid, round(value, SAME_SCORE), match, segment.wall_s)


def _count_content_terms(wanted: SearchQuery, out: Candidates) -> int:
    """The number of terms that a segment with all words has: without names of speakers and what was cut."""
    return min(len(wanted.terms) - len(out.weights.speakers), TERMS_MAX)


def _has_phrase(run: _Search, rid: int, fields: Fields) -> bool:
    """Whether the query's run of words stands in a segment; of a long text all is read that the index has."""
    phrase = run.wanted.phrase
    if fields.text.has_run(phrase) or fields.input.has_run(phrase):
        return True
    if len(run.readable[rid].text) < WHOLE_CHARS_MAX:
        return False
    whole = _indexed_text(run, rid)
    return len(whole) > WHOLE_CHARS_MAX and find_lexemes_in_text(whole, make_query_lexemes((), phrase)).has_run(phrase)


def _indexed_text(run: _Search, rid: int) -> str:
    """The text of a segment as far as the index has it."""
    for (blob,) in run.db.execute("SELECT frame FROM body WHERE rid = ?", (rid,)):
        return index_text.searchable_fields(
            body_codec.decode_content_start(blob, 4 * index_text.INDEX_CHARS_MAX, run.decompress)
        ).text
    return ""


def _literal_bonus(run: _Search, out: Candidates, readable: index_text.Searchable) -> float:
    """More for a text that holds the query as it was typed, signs and all."""
    literal = run.wanted.literal
    if not literal:
        return 0.0
    fields = [field[:SCORED_CHARS_MAX].lower() for field in readable[:2]]
    if " " in literal:
        fields = [" ".join(field.split()) for field in fields]
    has_it = any(literal in field for field in fields)
    bonus = SIGNS_BONUS if run.wanted.phrase and run.wanted.has_outer_signs else LITERAL_BONUS
    return bonus * out.weights.total_weight if has_it else 0.0


def _read_content_starts(run: _Search, rids: set[int]) -> dict[int, body_codec.ContentStart]:
    """The segments of some rids, of long ones the start."""
    segments: dict[int, body_codec.ContentStart] = {}
    if not rids:
        return segments
    decompress = run.decompress
    placeholders = ", ".join("?" * len(rids))
    for rid, blob in run.db.execute(f"SELECT rid, frame FROM body WHERE rid IN ({placeholders})", tuple(rids)):
        try:
            segments[rid] = body_codec.decode_content_start(blob, SCORED_CHARS_MAX, decompress)
        except ValueError:
            run.notes.append("a segment could not be read; run `ctxgc doctor`")
    return segments


def _build_hits(run: _Search, page: Sequence[RankedCandidate]) -> list[Hit]:
    rows = reading.rows_with_project_and_title(run.db, [each.rid for each in page])
    segments = _read_content_starts(run, {each.rid for each in page if each.rid not in run.readable})
    run.readable |= {rid: index_text.searchable_fields(segment) for rid, segment in segments.items()}
    hits, terms = [], HighlightTerms(run.wanted)
    for each in page:
        if each.rid not in rows or each.rid not in run.readable:
            continue  # Forgotten since.
        row, project, title = rows[each.rid]
        shown = _choose_snippet(run, each.rid, terms)
        hits.append(
            Hit(
                row=row,
                project=project,
                title=title,
                score=each.score,
                snippet=shown.text,
                match=each.match,
                lines=(shown.first_line, shown.last_line),
            )
        )
    return hits


def _choose_snippet(run: _Search, rid: int, terms: HighlightTerms) -> Snippet:
    """Where most words stand: in the text, in what the call was asked, or far behind in a long text."""
    readable = run.readable[rid]
    shown = make_snippet(readable.text, run.wanted, terms)
    if MATCH_START in shown.text or not run.wanted.terms:
        return shown
    if MATCH_START in (asked := make_snippet(readable.input, run.wanted, terms)).text:
        return asked
    if len(readable.text) >= WHOLE_CHARS_MAX:
        return make_snippet(_indexed_text(run, rid), run.wanted, terms)
    return shown


def _find_newest_page(run: _Search, scope: SearchScope) -> SearchResult:
    """The reply to a query without words: a page of the newest segments of the scope."""
    limit = min(run.query.limit, SEARCH_LIMIT_MAX)
    sql, values = newest_segments_sql(scope)
    rids = [row[0] for row in run.db.execute(sql, (*values, limit + 1, run.query.offset))]
    hits = _build_hits(run, [RankedCandidate(rid, 0.0, "recent", 0.0) for rid in rids[:limit]])
    return _build_result(run, hits, run.page_end if len(rids) > limit else -1)


def _rank_fallback_candidates(run: _Search, out: Candidates) -> list[RankedCandidate]:
    """Out of time: the candidates so far by their rough order, else the newest segments with any of the words."""
    known = out.order or sorted({*out.phrase, *out.may_hold_phrase, *out.whole}, reverse=True)
    if known:
        run.notes.append("the search ran out of time; more segments may match")
        return [RankedCandidate(rid, 0.0, "some", 0.0) for rid in known[: run.page_end + 1]]
    run.notes.append(f"the search ran out of time; only the newest {FALLBACK_SEGMENTS} segments were looked at")
    sql, values = newest_segments_sql(out.scope)
    rids = [row[0] for row in run.db.execute(sql, (*values, FALLBACK_SEGMENTS, 0))]
    both = dict.fromkeys((*run.wanted.terms, *run.wanted.excluded), 1.0)
    weights = TermWeights(run.wanted, dict.fromkeys(run.wanted.terms, 1.0))
    without = TermWeights(run.wanted, dict.fromkeys(run.wanted.excluded, 1.0))
    ranked = []
    for rid, segment in _read_content_starts(run, set(rids)).items():
        words = index_text.searchable_fields(segment)
        fields = build_scored_fields(words, "", TermWeights(run.wanted, both), is_turn=True)
        found: Score = score_candidate(weights, fields, IndexFacts())
        if found.value > 0 and not (run.wanted.excluded and score_candidate(without, fields, IndexFacts()).value > 0):
            ranked.append(RankedCandidate(rid, round(found.value, SAME_SCORE), "recent", segment.wall_s))
    return sorted(ranked, key=lambda each: (-each.score, -each.rid))
