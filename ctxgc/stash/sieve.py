"""The filters of a search as a predicate over one row, for engines without a query language."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ctxgc.core.segment import State
from ctxgc.stash.contract import Query, Stored


def passes(query: Query, row: Stored, project: str) -> bool:
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
