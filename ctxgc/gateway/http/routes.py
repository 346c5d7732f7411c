"""Where a request goes: which upstream serves it, and in which wire format it speaks, if we know that.

    /anthropic/…, /openai/…      the client names the upstream; the name is taken away
    /v1/messages                 Anthropic Messages      ─┐
    /v1/chat/completions         OpenAI Chat Completions  ├─ calls to a model: may be edited
    /v1/responses                OpenAI Responses        ─┘
    anything else                passes through, if its path or its headers say whose it is

A key must not reach another provider than its own. So where path and headers disagree, or say nothing, there is no way,
and the client is told to name the upstream.
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
"""Behind the version, which upstreams with a path of their own go without: nothing else is a call."""
_SERVED_BY = {"messages": ANTHROPIC, "complete": ANTHROPIC} | dict.fromkeys(
    ("assistants", "chat", "completions", "conversations", "embeddings", "responses", "threads"), OPENAI
)
"""First elements of paths that only one of the two has."""
_HEADERS = {
    "anthropic-version": ANTHROPIC,
    "anthropic-beta": ANTHROPIC,
    "x-api-key": ANTHROPIC,
    "openai-beta": OPENAI,
    "openai-organization": OPENAI,
    "openai-project": OPENAI,
}
_TOKENS = {"bearer sk-ant-": ANTHROPIC, "bearer sk-proj-": OPENAI}
"""How keys begin that say whose they are; a login's begins like a key."""


class Route(NamedTuple):
    """One request's way."""

    url: str
    """Where it goes, query included, escapes as they came; empty: nowhere."""
    format: str = ""
    """The wire format's name; empty for what only passes through."""
    upstream: str = ""
    why: str = ""
    """Why it goes nowhere."""


def route(method: str, target: str, headers: Mapping[str, str], upstreams: Mapping[str, str]) -> Route:
    """The way of a request with this target (path and query as they came). Raises nothing."""
    path, _, _ = target.partition("?")
    named = next((name for name in UPSTREAMS if path == f"/{name}" or path.startswith(f"/{name}/")), "")
    if named:
        # An empty path is the root: `HEAD /` is how some clients look whether anybody is there.
        target = target[len(named) + 1 :]
        target = target if target.startswith("/") else f"/{target}"
        path, _, _ = target.partition("?")
    if not path.startswith("/"):
        return Route("", why="this is no path of an API")
    called = path[1:].removeprefix("v1/")
    said = {named} if named else {*_said_by(called, headers)}
    if len(said) != 1:
        which = "both" if said else "neither"
        return Route(
            "", why=f"path and headers name {which} of Anthropic and OpenAI; put /anthropic or /openai before it"
        )
    upstream = said.pop()
    wire = _CALLS.get(called, "") if method == "POST" else ""
    return Route(upstreams[upstream].rstrip("/") + target, wire if wire in WIRE_FORMATS else "", upstream)


def _said_by(called: str, headers: Mapping[str, str]) -> Iterator[str]:
    """Every provider that something in this request belongs to."""
    if (by_path := _SERVED_BY.get(called.partition("/")[0])) is not None:
        yield by_path
    yield from (provider for name, provider in _HEADERS.items() if name in headers)
    token = headers.get("authorization", "")[:20].lower()
    yield from (provider for begin, provider in _TOKENS.items() if token.startswith(begin))
