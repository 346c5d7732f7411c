"""Where a request goes: which upstream serves it, and in which wire format it speaks, if we know that.

    /v1/messages           Anthropic Messages      ─┐
    /v1/chat/completions   OpenAI Chat Completions  ├─ calls to a model: may be edited
    /v1/responses          OpenAI Responses        ─┘
    anything else          passes through: to Anthropic if it carries one of that API's headers, else to OpenAI

A first path element `anthropic` or `openai` names the upstream and is taken away, for servers that speak both APIs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ctxgc.adapters.wire_formats import WIRE_FORMATS

ANTHROPIC, OPENAI = "anthropic", "openai"

UPSTREAMS = {ANTHROPIC: "https://api.anthropic.com", OPENAI: "https://api.openai.com"}
"""The providers' own base URLs."""

_CALLS = {
    "/messages": (ANTHROPIC, "anthropic_messages"),
    "/chat/completions": (OPENAI, "openai_chat"),
    "/responses": (OPENAI, "openai_responses"),
}
_ANTHROPIC_HEADERS = ("anthropic-version", "anthropic-beta", "x-api-key")


class Route(NamedTuple):
    """One request's way."""

    url: str
    """Where it goes, query included, escapes as they came."""
    format: str
    """The wire format's name; empty for what only passes through."""
    upstream: str


def route(method: str, target: str, headers: Mapping[str, str], upstreams: Mapping[str, str]) -> Route:
    """The way of a request with this target (path and query as they came). Raises nothing; an empty URL: no way."""
    path = target.partition("?")[0]
    chosen = ""
    for name in UPSTREAMS:
        if path.startswith(f"/{name}/"):
            chosen, target, path = name, target[len(name) + 1 :], path[len(name) + 1 :]
            break
    if not path.startswith("/"):
        return Route("", "", "")
    spoken, wire = "", ""
    if method == "POST":
        spoken, wire = next((known for end, known in _CALLS.items() if path.endswith(end)), ("", ""))
    by_header = ANTHROPIC if any(name in headers for name in _ANTHROPIC_HEADERS) else OPENAI
    upstream = chosen or spoken or by_header
    return Route(upstreams[upstream].rstrip("/") + target, wire if wire in WIRE_FORMATS else "", upstream)
