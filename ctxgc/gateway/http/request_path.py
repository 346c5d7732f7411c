"""The path of a request, taken apart: `/k/SECRET/s/NAME/anthropic/v1/messages`.

/k/SECRET   the word by which the gateway's user is known       both may be left out; neither goes upstream
/s/NAME     the session, for agents that send no name of it     in either order
the rest    the route: see `routes.py`

A secret in the rest would go upstream with the path: `leaks_secret` finds such a secret, so that the gateway refuses.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

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
    """The parts of a target (path and query, unchanged)."""
    secret, target = _split_word_behind_prefix(PATH_PREFIX, target)
    session, target = _split_word_behind_prefix(SESSION_PREFIX, target)
    if session and not secret:
        secret, target = _split_word_behind_prefix(PATH_PREFIX, target)
    return RequestPath(secret, unquote(session), target)  # Some clients escape the colon of `AGENT:NAME`.


def leaks_secret(path: RequestPath, secret: str) -> bool:
    """Whether the secret, escaped or not, stands at another place than its own: there the secret would be passed on."""
    rest = f"{path.session}{path.target}"
    return bool(secret) and (secret in rest or secret in unquote(rest))


def _split_word_behind_prefix(prefix: str, target: str) -> tuple[str, str]:
    path, question, query = target.partition("?")
    if not path.startswith(prefix):
        return "", target
    word, _, rest = path[len(prefix) :].partition("/")
    return word, f"/{rest}{question}{query}"
