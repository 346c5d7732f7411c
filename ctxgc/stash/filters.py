"""Filters of a search, as SQL over `segment AS s` and as index tokens that bound the index scan."""

# ruff: noqa: S608 - every value is bound; only constants and question marks are spliced into SQL
from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from ctxgc.core.paths import canonical_path
from ctxgc.stash import index_text
from ctxgc.stash.columns import STORED_KINDS, clean
from ctxgc.stash.contract import Query
from ctxgc.stash.reading import sid_of

TAGGED_SESSIONS_MAX = 64
"""A project of more sessions is filtered by its rows: a longer OR of tokens would cost more than the rows do."""


@dataclass(frozen=True, slots=True)
class SearchScope:
    """The limits of a search. `tags` is an expression over index tokens, implied by the clauses."""

    tags: str
    clauses: tuple[str, ...]
    values: tuple[object, ...]
    sid: int | None = None

    def sql(self, *, is_driving: bool) -> str:
        """The clauses joined. Where the text index drives, `+` keeps SQLite from driving by the row instead.

        `rowid IN (SELECT …)` beside MATCH once ran for 150 s: one index probe for each id.
        """
        plus = "" if is_driving else "+"
        return " AND ".join(clause.replace("s.", f"{plus}s.", 1) for clause in self.clauses)


def scope_of(db: sqlite3.Connection, query: Query) -> SearchScope | None:
    """The scope of a query; None if the query names a session or a project that does not exist."""
    clauses: list[str] = []
    values: list[object] = []
    tags: list[str] = []
    sid = None

    def limit(clause: str, *bound: object) -> None:
        clauses.append(clause)
        values.extend(bound)

    if query.key is not None:
        sid = sid_of(db, query.key)
        if sid is None:
            return None
        limit("s.sid = ?", sid)
        tags.append(index_text.session_tag(sid))
    if query.project:
        rows = db.execute(
            "SELECT sid FROM session WHERE project = ? LIMIT ?", (query.project, TAGGED_SESSIONS_MAX + 1)
        ).fetchall()
        if not rows:
            return None
        limit("s.sid IN (SELECT sid FROM session WHERE project = ?)", query.project)
        if len(rows) <= TAGGED_SESSIONS_MAX:
            tags.append(_any(index_text.session_tag(row[0]) for row in rows))
    if query.kinds:
        kinds = tuple(STORED_KINDS[kind] for kind in query.kinds)
        limit(f"s.kind IN ({_marks(kinds)})", *kinds)
        tags.append(_any(map(index_text.kind_tag, kinds)))
    if query.tools:
        limit(f"s.tool IN ({_marks(query.tools)})", *map(clean, query.tools))
        tags.append(_any(map(index_text.tool_tag, map(clean, query.tools))))
    if query.path:
        clause, bound = _path_clause(canonical_path(clean(query.path)))
        limit(f"s.rid IN (SELECT rid FROM path JOIN path_use USING (pid) WHERE {clause})", *bound)
    if query.task:
        limit("s.task = ? AND s.task != ''", clean(query.task))
    if query.tags:
        for tag in query.tags:
            limit("s.tags != '' AND EXISTS (SELECT 1 FROM json_each(s.tags) WHERE value = ?)", tag)
    if query.states:
        limit(f"s.state IN ({_marks(query.states)})", *query.states)
    if query.after_s:
        limit("s.wall_s >= ?", query.after_s)
    if query.before_s:
        limit("s.wall_s < ?", query.before_s)
    limit("s.state != 'forgotten'")
    return SearchScope(" AND ".join(tags), tuple(clauses), tuple(values), sid)


def _path_clause(path: str) -> tuple[str, tuple[object, ...]]:
    """A relative path or glob matches at the end of any folder; an absolute one as a whole.

    Brackets are letters of the path (`app/[slug]/page.tsx`) as well as a choice of letters.
    """
    if not any(c in path for c in "*?["):
        name = path.rstrip("/").rpartition("/")[2]
        return "name = ? AND (path = ? OR substr(path, -?) = ?)", (name, path, len(path) + 1, f"/{path}")
    globs = {path.replace("[!", "[^"), path.replace("[", "[[]")}
    globs |= {f"*/{glob}" for glob in globs if not path.startswith(("/", "*"))}
    return " OR ".join(["path GLOB ?"] * len(globs)), tuple(sorted(globs))


def _any(tokens: Iterable[str]) -> str:
    return f"({' OR '.join(tokens)})"


def _marks(items: tuple[str, ...]) -> str:
    return ", ".join("?" * len(items))
