"""The route of a request: the upstream that serves the request, and its wire format, if known.

    /anthropic/…, /openai/…      the client names the upstream; the name is taken off the path
    /chatgpt/…                   Codex with a ChatGPT login, whose upstream has no version in its paths
    /v1/messages                 Anthropic Messages      ─┐
    /v1/chat/completions         OpenAI Chat Completions  ├─ calls to a model: may be edited
    /v1/responses                OpenAI Responses        ─┘
    anything else                passes through, if path or headers name the provider

A key must not reach another provider than its own. So where path and headers disagree, or name no provider, the request
goes nowhere, and the error asks the client to name the upstream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.gateway.settings import ANTHROPIC, OPENAI, UPSTREAMS

_CALLS = {
    "messages": "anthropic_messages",
    "chat/completions": "openai_chat",
    "responses": "openai_responses",
}
"""Paths of calls to a model, behind the version, which upstreams with a path of their own lack."""
_VERSION = "/v1"
_SERVED_BY = {"messages": ANTHROPIC, "complete": ANTHROPIC} | dict.fromkeys(
    ("assistants", "chat", "completions", "conversations", "embeddings", "responses", "threads"), OPENAI
)
"""First elements of paths that only one provider has."""
_HEADERS = {
    "anthropic-version": ANTHROPIC,
    "anthropic-beta": ANTHROPIC,
    "x-api-key": ANTHROPIC,
    "openai-beta": OPENAI,
    "openai-organization": OPENAI,
    "openai-project": OPENAI,
}
_TOKENS = {"bearer sk-ant-": ANTHROPIC, "bearer sk-proj-": OPENAI}
"""Beginnings of keys that only one provider has; a login's token begins like a key."""


class Route(NamedTuple):
    """The route of a request."""

    url: str
    """The upstream's URL, query included, escapes as they came; empty: the request goes nowhere."""
    format: str = ""
    """The wire format's name; empty for requests that only pass through."""
    upstream: str = ""
    why: str = ""
    """Why the request goes nowhere."""


def find_route(method: str, target: str, headers: Mapping[str, str], upstreams: Mapping[str, str]) -> Route:
    """The route of a request with this target (path and query, unchanged). Raises no error."""
    path, _, _ = target.partition("?")
    named = next((name for name in UPSTREAMS if path == f"/{name}" or path.startswith(f"/{name}/")), "")
    if named:
        # An empty path is the root: some clients ask `HEAD /` to see whether a server is there.
        # Clients that join a base URL with a slash at its end to a path send two.
        target = "/" + target[len(named) + 1 :].lstrip("/")
        path, _, _ = target.partition("?")
    if not path.startswith("/"):
        return Route("", why="the path is no API's")
    called = path[1:].removeprefix("v1/")
    providers = {named} if named else {*_candidate_providers(called, headers)}
    if len(providers) != 1:
        which = "both" if providers else "neither"
        return Route(
            "", why=f"path and headers name {which} of Anthropic and OpenAI; put /anthropic or /openai before it"
        )
    upstream = providers.pop()
    wire = _CALLS.get(called, "") if method == "POST" else ""
    return Route(_join_url(upstreams[upstream].rstrip("/"), target), wire if wire in WIRE_FORMATS else "", upstream)


def _join_url(base: str, target: str) -> str:
    """The URL; a version in both the base and the target stands once, since users write either."""
    has_both = base.endswith(_VERSION) and f"{target.partition('?')[0]}/".startswith(f"{_VERSION}/")
    return base + (target.removeprefix(_VERSION) if has_both else target)


def _candidate_providers(called: str, headers: Mapping[str, str]) -> Iterator[str]:
    """Every provider of a part of the request."""
    if (by_path := _SERVED_BY.get(called.partition("/")[0])) is not None:
        yield by_path
    yield from (provider for name, provider in _HEADERS.items() if name in headers)
    token = headers.get("authorization", "")[:20].lower()
    yield from (provider for begin, provider in _TOKENS.items() if token.startswith(begin))
