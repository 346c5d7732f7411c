"""A search by looking at every segment, for engines without a query language: filters, then words, then rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from ctxgc.core.ranking import CANDIDATES_MAX, Candidate, Term, parse, rank, snippet
from ctxgc.core.segment import State
from ctxgc.core.words import WORD, stem
from ctxgc.stash import index_text
from ctxgc.stash.contract import SEARCH_LIMIT_MAX, Hit, Query, SearchResult, SegmentRow


def passes(query: Query, row: SegmentRow, project: str) -> bool:
    """Whether a segment is in the scope of a query. Forgotten ones never are."""
    segment = row.segment
    wanted = (
        (query.key is None or row.key == query.key)
        and query.project in ("", project)
        and (not query.kinds or segment.kind in query.kinds)
        and (not query.tools or segment.tool in query.tools)
        and query.task in ("", segment.task)
        and set(query.tags) <= set(segment.tags)
        and (not query.states or row.state in query.states)
    )
    is_in_time = segment.wall_s >= query.after_s and (not query.before_s or segment.wall_s < query.before_s)
    has_path = not query.path or any(path_matches(query.path, use.path) for use in segment.paths)
    return wanted and is_in_time and has_path and row.state is not State.FORGOTTEN


def path_matches(wanted: str, path: str) -> bool:
    """A relative path or glob matches at the end of any folder; an absolute one as a whole."""
    if not any(c in wanted for c in "*?["):
        return path == wanted or path.endswith(f"/{wanted}")
    glob = wanted.replace("[^", "[!")
    anywhere = glob if glob.startswith(("/", "*")) else f"*/{glob}"
    return fnmatchcase(path, glob) or fnmatchcase(path, anywhere)


def sifted(scope: Iterator[tuple[SegmentRow, str, str]], query: Query) -> SearchResult:
    """What a query finds among (row, project, text) that passed its filters, ranked."""
    wanted = parse(query.text)
    notes = [f"{wanted.dropped} further words of the query were left out"] if wanted.dropped else []
    limit = min(query.limit, SEARCH_LIMIT_MAX)
    end = query.offset + limit
    rows: list[tuple[SegmentRow, str]] = []
    everything: list[Candidate] = []
    some: list[Candidate] = []
    total = 0
    df: dict[Term, int] = dict.fromkeys(wanted.terms, 0)
    for row, project, text in scope:
        total += 1
        stems = [stem(word) for word in WORD.findall(index_text.prepared(text).lower())]
        if any(_has(stems, term) for term in wanted.excluded):
            continue
        present = [term for term in wanted.terms if _has(stems, term)]
        for term in present:
            df[term] += 1
        if present or not wanted.terms:
            is_all = len(present) == len(wanted.terms)
            (everything if is_all else some).append(Candidate(len(rows), text, is_all))
            rows.append((row, project))
    if wanted.terms:
        pool = [*everything, *some][:CANDIDATES_MAX]
        ranked = rank(wanted.terms, pool, df, total)
        if some and len(everything) < end:
            notes.append("not every segment has all words; the rest have some of them")
    else:
        newest = sorted(everything, key=lambda c: -rows[c.key][0].segment.wall_s)
        ranked = [(c, 0.0) for c in newest]
    hits = tuple(
        Hit(
            row=rows[c.key][0],
            project=rows[c.key][1],
            score=score,
            snippet=snippet(c.text, wanted.terms),
            match="recent" if not wanted.terms else "all" if c.is_all else "some",
        )
        for c, score in ranked[query.offset : end]
    )
    return SearchResult(hits=hits, notes=tuple(notes), next_offset=end if len(ranked) > end else -1)


def _has(stems: Sequence[str], term: Term) -> bool:
    return any(_has_run(stems, [stem(word) for word in way], term.is_prefix) for way in term.ways)


def _has_run(stems: Sequence[str], run: Sequence[str], is_prefix: bool) -> bool:
    if is_prefix:
        return any(found.startswith(run[0]) for found in stems)
    return any(list(stems[at : at + len(run)]) == list(run) for at, found in enumerate(stems) if found == run[0])
