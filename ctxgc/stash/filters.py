"""Filters of a search, as SQL over `segment AS s` and as index tokens that bound the index scan."""

# ruff: noqa: S608 - every value is bound; only constants and placeholders are spliced into SQL
from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ctxgc.core.paths import canonical_path
from ctxgc.core.redaction.redact import redact_text
from ctxgc.core.search.query import MOMENT
from ctxgc.core.segment import Kind, SessionKey
from ctxgc.stash import index_text
from ctxgc.stash.columns import STORED_KINDS, storable_text
from ctxgc.stash.contract import Query
from ctxgc.stash.reading import sessions_named, sid_of

TAGGED_SESSIONS_MAX = 64
"""A project of more sessions is filtered by its rows: a longer OR of tokens would cost more than the rows do."""
FILTERS_MAX = 32
"""Filters of a query's text: more would be an expression that the engine refuses."""

SPANS_S = {"min": 60, "h": 3600, "d": 86_400, "w": 604_800}
NOBODY = SessionKey("", "")
_NOT_FORGOTTEN = "s.state != 'forgotten'"


@dataclass(frozen=True, slots=True)
class SearchScope:
    """The limits of a search. `tags` is an expression over index tokens, implied by the clauses."""

    tags: str
    clauses: tuple[str, ...]
    values: tuple[object, ...]
    sids: tuple[int, ...] | None = None
    """The sessions that the scope names; `None` for any session."""
    is_tagged: bool = False
    """Whether the tags say all that the clauses say: rows of the index need no look at their segments."""

    @property
    def is_whole_stash(self) -> bool:
        """Whether every segment of the stash is in the scope."""
        return self.is_tagged and not self.tags

    @property
    def is_whole_session(self) -> bool:
        """Whether the scope is one session, and nothing else limits it."""
        return self.is_tagged and self.sids is not None and len(self.sids) == len(self.values) == 1

    def where_clause(self, *, is_driving: bool) -> str:
        """The clauses joined. Where the text index drives, `+` keeps SQLite from driving by the row instead.

        `rowid IN (SELECT …)` beside MATCH once ran for 150 s: an index probe for each id.
        """
        plus = "" if is_driving else "+"
        return " AND ".join(clause.replace("s.", f"{plus}s.", 1) for clause in self.clauses)

    def without_sessions(self, sids: Sequence[int]) -> SearchScope:
        """The same scope without some sessions."""
        clause = f"s.sid NOT IN ({_placeholders(sids)})"
        return replace(self, clauses=(*self.clauses, clause), values=(*self.values, *sids), is_tagged=False)

    def scope_of_sessions(self) -> SearchScope:
        """The scope's sessions, without further limits: the texts that a reply may tell of."""
        if self.sids is None:
            return SearchScope("", (_NOT_FORGOTTEN,), (), is_tagged=True)
        clause, tags = _session_clause_and_tags(self.sids)
        return SearchScope(tags, (clause, _NOT_FORGOTTEN), self.sids, self.sids, bool(tags))


def limits_of_query(
    db: sqlite3.Connection, query: Query, filters: Sequence[tuple[str, str]], now_s: float
) -> list[Query]:
    """The query, and the filters that stood in its text as further queries.

    A scope passes what passes all of them: words of a hostile model cannot widen the scope that the caller gave.
    """
    alone, any_of = [], Query(text="")
    for name, text in filters[:FILTERS_MAX]:
        value = redact_text(text)  # As every name is stored, whatever is done to content.
        if name == "path":
            alone.append(Query(text="", path=value))
        elif name == "project":
            alone.append(Query(text="", project=value))
        elif name == "task":
            alone.append(Query(text="", task=value))
        elif name == "session":
            alone.append(Query(text="", key=next(iter(sessions_named(db, value)), NOBODY)))
        elif name == "since":
            alone.append(Query(text="", after_s=_parse_moment(value, now_s)))
        elif name == "until":
            alone.append(Query(text="", before_s=_parse_moment(value, now_s)))
        elif name == "tool":
            any_of = replace(any_of, tools=(*any_of.tools, value))
        elif name == "tag":
            any_of = replace(any_of, tags=(*any_of.tags, value))
        elif name == "kind":
            any_of = replace(any_of, kinds=(*any_of.kinds, Kind(value)))
        elif name == "state":
            any_of = replace(any_of, states=(*any_of.states, value))
    return [query, *([] if any_of == Query(text="") else [any_of]), *dict.fromkeys(alone)]


def _parse_moment(text: str, now_s: float) -> float:
    match = MOMENT.fullmatch(text)
    if match is not None and match[1]:
        return now_s - int(match[1]) * SPANS_S[match[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return now_s  # A day that no calendar has: nothing is after it.


def build_scope(db: sqlite3.Connection, *limits: Query) -> SearchScope | None:
    """The scope that passes every query; `None` if no segment can."""
    if _are_queries_contradictory(limits):
        return None
    scopes = [scope for each in limits if (scope := _scope_of_query(db, each)) is not None]
    named = [set(scope.sids) for scope in scopes if scope.sids is not None]
    sids = tuple(sorted(set.intersection(*named))) if named else None
    if len(scopes) < len(limits) or sids == ():
        return None
    return SearchScope(
        " AND ".join(scope.tags for scope in scopes if scope.tags),
        (*(clause for scope in scopes for clause in scope.clauses), _NOT_FORGOTTEN),
        tuple(value for scope in scopes for value in scope.values),
        sids,
        all(scope.is_tagged for scope in scopes),
    )


def newest_segments_sql(scope: SearchScope) -> tuple[str, tuple[object, ...]]:
    """The newest segments of a scope: through the index's tags if the scope has any, else by session or by time."""
    is_one = scope.sids is not None and len(scope.sids) == 1
    if scope.tags and not is_one:
        return (
            "SELECT search.rowid FROM search CROSS JOIN segment AS s ON s.rid = search.rowid"
            f" WHERE search MATCH ? AND {scope.where_clause(is_driving=False)}"
            " ORDER BY search.rowid DESC LIMIT ? OFFSET ?",
            (f"meta : ({scope.tags})", *scope.values),
        )
    order = "s.seq DESC" if is_one else "s.wall_s DESC, s.rid DESC"
    return (
        f"SELECT s.rid FROM segment AS s WHERE {scope.where_clause(is_driving=True)} ORDER BY {order} LIMIT ? OFFSET ?",
        tuple(scope.values),
    )


def _are_queries_contradictory(limits: Sequence[Query]) -> bool:
    """Whether two of some queries exclude each other, as far as the queries alone tell."""
    choices: list[list[set[str]]] = [
        [{tool.casefold() for tool in each.tools} for each in limits],
        [set(each.kinds) for each in limits],
        [set(each.states) for each in limits],
        [{each.task} - {""} for each in limits],
    ]
    after_s = max(each.after_s for each in limits)
    before_s = min((each.before_s for each in limits if each.before_s), default=0.0)
    is_disjoint = any(given and not set.intersection(*given) for sets in choices if (given := [s for s in sets if s]))
    return is_disjoint or bool(before_s and after_s >= before_s)


def _scope_of_query(db: sqlite3.Connection, query: Query) -> SearchScope | None:
    """The scope of one query's filters, forgotten segments included; `None` for a query of an unknown session."""
    clauses: list[str] = []
    values: list[object] = []
    tags: list[str] = []
    sids: tuple[int, ...] | None = None

    def add_clause(clause: str, *bound: object) -> None:
        clauses.append(clause)
        values.extend(bound)

    if query.project:
        sids = tuple(_sids_of_project(db, query.project))
    if query.key is not None:
        sid = sid_of(db, query.key)
        sids = (sid,) if sid is not None and (sids is None or sid in sids) else ()
    if sids is not None:
        if not sids:
            return None
        clause, tag = _session_clause_and_tags(sids)
        add_clause(clause, *sids)
        tags += [tag] if tag else []
    if query.kinds:
        kinds = tuple(STORED_KINDS[kind] for kind in query.kinds)
        add_clause(f"s.kind IN ({_placeholders(kinds)})", *kinds)
        tags.append(_any_token_expression(map(index_text.kind_tag, kinds)))
    if query.tools:
        tools = tuple(storable_text(tool).casefold() for tool in query.tools)
        # A tool's name in letters that only Python lowers is filtered by its tag.
        if all(tool.isascii() for tool in tools):
            add_clause(f"lower(s.tool) IN ({_placeholders(tools)})", *tools)
        tags.append(_any_token_expression(map(index_text.tool_tag, tools)))
    is_tagged = len(clauses) == len(tags)
    if query.path:
        clause, bound = _path_clause(canonical_path(storable_text(query.path)))
        add_clause(f"s.rid IN (SELECT rid FROM path JOIN path_use USING (pid) WHERE {clause})", *bound)
    if query.task:
        add_clause("s.task = ? AND s.task != ''", storable_text(query.task))
    if query.tags:
        for tag in query.tags:
            add_clause("s.tags != '' AND EXISTS (SELECT 1 FROM json_each(s.tags) WHERE value = ?)", tag)
    if query.states:
        add_clause(f"s.state IN ({_placeholders(query.states)})", *query.states)
    if query.after_s:
        add_clause("s.wall_s >= ?", query.after_s)
    if query.before_s:
        add_clause("s.wall_s < ?", query.before_s)
    is_tagged = is_tagged and len(clauses) == len(tags)
    return SearchScope(" AND ".join(tags), tuple(clauses), tuple(values), sids, is_tagged)


def _session_clause_and_tags(sids: Sequence[int]) -> tuple[str, str]:
    """The clause that passes some sessions, and the expression over tags; without one for many sessions."""
    clause = f"s.sid IN ({_placeholders(sids)})" if len(sids) > 1 else "s.sid = ?"
    return clause, _any_token_expression(map(index_text.session_tag, sids)) if len(sids) <= TAGGED_SESSIONS_MAX else ""


def _sids_of_project(db: sqlite3.Connection, project: str) -> list[int]:
    """Sessions of a working directory, or of any directory with this last part, in any case."""
    if project.startswith("/"):
        rows = db.execute("SELECT sid FROM session WHERE project = ?", (project,))
    else:
        name = project.rstrip("/").lower()
        sql = "SELECT sid FROM session WHERE lower(project) = ? OR substr(lower(project), -?) = ?"
        rows = db.execute(sql, (name, len(name) + 1, f"/{name}"))
    return [row[0] for row in rows]


def _path_clause(path: str) -> tuple[str, tuple[object, ...]]:
    """A relative path or glob matches at the end of any folder; an absolute path as a whole.

    Brackets are letters of the path (`app/[slug]/page.tsx`) as well as a choice of letters.
    """
    if not any(c in path for c in "*?["):
        name = path.rstrip("/").rpartition("/")[2]
        return "name = ? AND (path = ? OR substr(path, -?) = ?)", (name, path, len(path) + 1, f"/{path}")
    globs = {path.replace("[!", "[^"), path.replace("[", "[[]")}
    globs |= {f"*/{glob}" for glob in globs if not path.startswith(("/", "*"))}
    return " OR ".join(["path GLOB ?"] * len(globs)), tuple(sorted(globs))


def _any_token_expression(tokens: Iterable[str]) -> str:
    return f"({' OR '.join(tokens)})"


def _placeholders(items: Sequence[object]) -> str:
    return ", ".join("?" * len(items))
