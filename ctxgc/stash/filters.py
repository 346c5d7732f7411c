"""Filters of a search, as SQL over `segment AS s` and as index tokens that bound the index scan."""

# ruff: noqa: S608 - every value is bound; only constants and question marks are spliced into SQL
from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ctxgc.core.paths import canonical_path
from ctxgc.core.redact import redact_text
from ctxgc.core.search.query import MOMENT
from ctxgc.core.segment import Kind, SessionKey
from ctxgc.stash import index_text
from ctxgc.stash.columns import STORED_KINDS, clean_text
from ctxgc.stash.contract import Query
from ctxgc.stash.reading import resolve, sid_of

TAGGED_SESSIONS_MAX = 64
"""A project of more sessions is filtered by its rows: a longer OR of tokens would cost more than the rows do."""


SPANS_S = {"min": 60, "h": 3600, "d": 86_400, "w": 604_800}
NOBODY = SessionKey("", "")


@dataclass(frozen=True, slots=True)
class SearchScope:
    """The limits of a search. `tags` is an expression over index tokens, implied by the clauses."""

    tags: str
    clauses: tuple[str, ...]
    values: tuple[object, ...]
    sids: tuple[int, ...] | None = None
    """The sessions that the scope names; None for any session."""
    is_tagged: bool = False
    """Whether the tags say all that the clauses say: rows of the index need no look at their segments."""

    def sql(self, *, is_driving: bool) -> str:
        """The clauses joined. Where the text index drives, `+` keeps SQLite from driving by the row instead.

        `rowid IN (SELECT …)` beside MATCH once ran for 150 s: an index probe for each id.
        """
        plus = "" if is_driving else "+"
        return " AND ".join(clause.replace("s.", f"{plus}s.", 1) for clause in self.clauses)

    def without(self, sids: Sequence[int]) -> SearchScope:
        """The same scope without some sessions."""
        clause = f"s.sid NOT IN ({_placeholders(sids)})"
        return replace(self, clauses=(*self.clauses, clause), values=(*self.values, *sids), is_tagged=False)


def with_filters(db: sqlite3.Connection, query: Query, filters: Sequence[tuple[str, str]], now_s: float) -> Query:
    """The query narrowed by the filters that stood in its text."""
    for name, text in filters:
        value = redact_text(text)  # As every name is stored, whatever is done to content.
        if name == "path":
            query = replace(query, path=value)
        elif name == "project":
            query = replace(query, project=value)
        elif name == "task":
            query = replace(query, task=value)
        elif name == "tool":
            query = replace(query, tools=(*query.tools, value))
        elif name == "tag":
            query = replace(query, tags=(*query.tags, value))
        elif name == "kind":
            query = replace(query, kinds=(*query.kinds, Kind(value)))
        elif name == "state":
            query = replace(query, states=(*query.states, value))
        elif name == "session":
            query = replace(query, key=next(iter(resolve(db, value)), NOBODY))
        elif name == "since":
            query = replace(query, after_s=_moment(value, now_s))
        elif name == "until":
            query = replace(query, before_s=_moment(value, now_s))
    return query


def _moment(text: str, now_s: float) -> float:
    match = MOMENT.fullmatch(text)
    if match is not None and match[1]:
        return now_s - int(match[1]) * SPANS_S[match[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return now_s  # A day that no calendar has: nothing is after it.


def scope_of(db: sqlite3.Connection, query: Query) -> SearchScope | None:
    """The scope of a query; None if the query names a session or a project that does not exist."""
    clauses: list[str] = []
    values: list[object] = []
    tags: list[str] = []
    sids: tuple[int, ...] | None = None

    def limit(clause: str, *bound: object) -> None:
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
        limit(f"s.sid IN ({_placeholders(sids)})" if len(sids) > 1 else "s.sid = ?", *sids)
        if len(sids) <= TAGGED_SESSIONS_MAX:
            tags.append(_any_token(map(index_text.session_tag, sids)))
    if query.kinds:
        kinds = tuple(STORED_KINDS[kind] for kind in query.kinds)
        limit(f"s.kind IN ({_placeholders(kinds)})", *kinds)
        tags.append(_any_token(map(index_text.kind_tag, kinds)))
    if query.tools:
        tools = tuple(clean_text(tool).casefold() for tool in query.tools)
        # A tool's name in letters that only Python lowers is filtered by its tag.
        if all(tool.isascii() for tool in tools):
            limit(f"lower(s.tool) IN ({_placeholders(tools)})", *tools)
        tags.append(_any_token(map(index_text.tool_tag, tools)))
    is_tagged = len(clauses) == len(tags)
    if query.path:
        clause, bound = _path_clause(canonical_path(clean_text(query.path)))
        limit(f"s.rid IN (SELECT rid FROM path JOIN path_use USING (pid) WHERE {clause})", *bound)
    if query.task:
        limit("s.task = ? AND s.task != ''", clean_text(query.task))
    if query.tags:
        for tag in query.tags:
            limit("s.tags != '' AND EXISTS (SELECT 1 FROM json_each(s.tags) WHERE value = ?)", tag)
    if query.states:
        limit(f"s.state IN ({_placeholders(query.states)})", *query.states)
    if query.after_s:
        limit("s.wall_s >= ?", query.after_s)
    if query.before_s:
        limit("s.wall_s < ?", query.before_s)
    is_tagged = is_tagged and len(clauses) == len(tags)
    limit("s.state != 'forgotten'")
    return SearchScope(" AND ".join(tags), tuple(clauses), tuple(values), sids, is_tagged)


def _sids_of_project(db: sqlite3.Connection, project: str) -> list[int]:
    """Sessions of a working directory, or of any directory with this last part, in any case."""
    if project.startswith("/"):
        rows = db.execute("SELECT sid FROM session WHERE project = ?", (project,))
    else:
        name = project.rstrip("/").lower()
        sql = "SELECT sid FROM session WHERE lower(project) = ? OR substr(lower(project), -?) = ?"
        rows = db.execute(sql, (name, len(name) + 1, f"/{name}"))
    return [row[0] for row in rows]


def sids_around(db: sqlite3.Connection, folder: str) -> list[int]:
    """Sessions of the project that a folder lies in: of the nearest folder upward that has any."""
    while len(folder) > 1:
        rows = db.execute("SELECT sid FROM session WHERE project = ?", (folder,)).fetchall()
        if rows:
            return [row[0] for row in rows]
        folder = folder.rstrip("/").rpartition("/")[0]
    return []


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


def _any_token(tokens: Iterable[str]) -> str:
    return f"({' OR '.join(tokens)})"


def _placeholders(items: Sequence[object]) -> str:
    return ", ".join("?" * len(items))
