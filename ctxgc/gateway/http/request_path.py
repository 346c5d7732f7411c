"""The path of a request, taken apart: `/k/SECRET/s/NAME/anthropic/v1/messages`.

/k/SECRET   the word by which the gateway's user is known       both may be left out; neither goes upstream
/s/NAME     the session, for agents that send no name of it
the rest    the route: see `routes.py`
"""

from __future__ import annotations

from typing import NamedTuple

from ctxgc.gateway.secret import PATH_PREFIX

SESSION_PREFIX = "/s/"
"""The beginning of a path that names the session: `NAME`, or `AGENT:NAME`."""


class RequestPath(NamedTuple):
    """The parts of a request's path."""

    secret: str
    session: str
    target: str
    """The rest of the path with the query, as they came."""


def split_path(target: str) -> RequestPath:
    """The parts of a target (path and query as they came)."""
    secret, target = _split(PATH_PREFIX, target)
    session, target = _split(SESSION_PREFIX, target)
    return RequestPath(secret, session, target)


def _split(prefix: str, target: str) -> tuple[str, str]:
    path, question, query = target.partition("?")
    if not path.startswith(prefix):
        return "", target
    word, _, rest = path[len(prefix) :].partition("/")
    return word, f"/{rest}{question}{query}"
