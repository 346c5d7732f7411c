"""The ways of agents that send no name of their session: the path of their base URL names the session.

    http://127.0.0.1:8787/k/SECRET/s/pi:pi-20261130-0931-3fa2/anthropic

What each agent takes, and how that is known:

    pi       an extension file, `-e`, which sets the base URLs of its providers       by a test, 0.73
    qwen     OPENAI_BASE_URL, ANTHROPIC_BASE_URL                                      by a test, 0.15
    copilot  COPILOT_PROVIDER_BASE_URL, beside a key of the user's                    by a test, 1.0
    mini     what LiteLLM reads: OPENAI_BASE_URL, ANTHROPIC_API_BASE                  by a test, 2.4
    aider    the same library                                                         by its pages
    goose    OPENAI_HOST with OPENAI_BASE_PATH, ANTHROPIC_HOST                        by its pages
    crush    OPENAI_API_ENDPOINT, ANTHROPIC_API_ENDPOINT                              by its catalogue of providers
    others   the variables of both providers' own libraries

A test of tests/e2e runs the agent to its end through the gateway, and counts what left and what the provider refused.
A way that is known by pages alone may fail with a version; the agent then goes past the gateway, and `ctxgc status`
shows no session of the agent.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from secrets import token_hex
from typing import NamedTuple
from urllib.parse import urlsplit

from ctxgc.fronts.cli.context import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctxgc.config import GatewayConfig

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
PI_EXTENSION = os.path.join(os.path.dirname(__file__), "pi_gateway.js")
COPILOT_KEYS = ("COPILOT_PROVIDER_API_KEY", "COPILOT_PROVIDER_API_KEY_COMMAND", "COPILOT_PROVIDER_BEARER_TOKEN")


class Way(NamedTuple):
    """How one agent is sent through the gateway."""

    variables: Mapping[str, str]
    """Variables of the agent's process, over the command's own."""
    words: tuple[str, ...] = ()
    """Before its own arguments."""


def fresh_name(program: str) -> str:
    """The name of a session that begins now."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", program).strip("._-")[:64] or "session"
    return f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}-{token_hex(2)}"


def openai_base(url: str, gateway: GatewayConfig) -> str:
    """With `/v1`, unless the upstream was given with a path of its own (a login of ChatGPT has one without)."""
    return f"{url}/openai{_version(gateway)}"


def by_usual_variables(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> Way:
    """A program that reads the variables of the providers' own libraries, or of LiteLLM."""
    openai, anthropic = openai_base(url, gateway), f"{url}/anthropic"
    variables = {
        "OPENAI_BASE_URL": openai,
        "OPENAI_API_BASE": openai,
        "ANTHROPIC_BASE_URL": anthropic,
        "ANTHROPIC_API_BASE": anthropic,
    }
    _require_same_upstreams(variables, url, gateway, environment)
    return Way(variables)


def pi(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> Way:
    """Pi: an extension of this run alone, which sets the base URLs of its own providers."""
    variables = {"CTXGC_PI_ANTHROPIC": f"{url}/anthropic", "CTXGC_PI_OPENAI": openai_base(url, gateway)}
    return Way(variables, ("-e", PI_EXTENSION))


def copilot(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> Way:
    """Copilot CLI with a key of the user's: GitHub's own service is no upstream of the gateway."""
    if not any(environment.get(name) for name in COPILOT_KEYS):
        hint = f"set {COPILOT_KEYS[0]} and COPILOT_MODEL: `copilot help providers` says how"
        raise Refused("Copilot's own service does not go through the gateway", kind="config", hint=hint)
    kind = environment.get("COPILOT_PROVIDER_TYPE", "openai")
    if kind not in ("openai", "anthropic"):
        raise Refused(f"COPILOT_PROVIDER_TYPE is {kind}: an API that the gateway does not know", kind="config")
    base = openai_base(url, gateway) if kind == "openai" else f"{url}/anthropic"
    variables = {"COPILOT_PROVIDER_BASE_URL": base}
    _require_same_upstreams(variables, url, gateway, environment)
    return Way(variables | {"COPILOT_PROVIDER_TRANSPORT": "http"})


def goose(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> Way:
    """Goose: a host for each provider, and the path behind the host for OpenAI's."""
    host, path = _origin(url), urlsplit(url).path
    variables = {
        "OPENAI_HOST": host,
        "OPENAI_BASE_PATH": f"{path[1:]}/openai{_version(gateway)}/chat/completions",
        "ANTHROPIC_HOST": f"{url}/anthropic",
    }
    _require_same_upstreams(
        {name: variables[name] for name in ("OPENAI_HOST", "ANTHROPIC_HOST")}, url, gateway, environment
    )
    return Way(variables)


def crush(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> Way:
    """Crush: the variables that its catalogue names as the endpoints of its providers."""
    variables = {"OPENAI_API_ENDPOINT": openai_base(url, gateway), "ANTHROPIC_API_ENDPOINT": f"{url}/anthropic"}
    _require_same_upstreams(variables, url, gateway, environment)
    return Way(variables)


def _version(gateway: GatewayConfig) -> str:
    return "" if gateway.upstream_openai.rstrip("/").removesuffix("/v1").count("/") > 2 else "/v1"


def _origin(url: str) -> str:
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))


def _require_same_upstreams(
    variables: Mapping[str, str], url: str, gateway: GatewayConfig, environment: Mapping[str, str]
) -> None:
    """Refuse to send a key elsewhere than its user's own base URLs say."""
    known = {gateway.upstream_openai, gateway.upstream_anthropic, "https://api.openai.com", "https://api.anthropic.com"}
    same = {_bare(upstream) for upstream in known if upstream}
    for name in variables:
        own = _bare(environment.get(name, ""))
        if own and own not in same and not f"{own}/".startswith(f"{_origin(url)}/"):
            raise Refused(
                f"{name} is set to an address that the gateway does not send to",
                kind="config",
                hint=f"set `upstream_openai` or `upstream_anthropic` under [gateway] to that address, or unset {name}",
            )


def _bare(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1")
