"""The way of each agent through the gateway: variables and arguments.

    http://127.0.0.1:8787/k/SECRET/anthropic                                     claude, codex and opencode
    http://127.0.0.1:8787/k/SECRET/s/pi:pi-20261130-093112-3fa2/anthropic          all others

Claude Code, Codex and OpenCode name their session in each request; of any other agent the path names the session. The
variables and arguments of those, and their source:

    pi       an extension file, `-e`, which sets the base URLs of its providers       by a test, 0.73
    qwen     OPENAI_BASE_URL, ANTHROPIC_BASE_URL                                      by a test, 0.15
    copilot  COPILOT_PROVIDER_BASE_URL, beside a key of the user's                    by a test, 1.0
    mini     what LiteLLM reads: OPENAI_BASE_URL, ANTHROPIC_API_BASE                  by a test, 2.4
    aider    the same library                                                         by its pages
    goose    OPENAI_HOST with OPENAI_BASE_PATH, ANTHROPIC_HOST                        by its pages
    crush    OPENAI_API_ENDPOINT, ANTHROPIC_API_ENDPOINT                              by its catalogue of providers
    others   the variables of both providers' own libraries

A test of tests/e2e runs the agent to its end through the gateway, and counts bodies out and requests refused. A setup
known by pages alone may fail with a version; the agent then goes past the gateway, and `ctxgc status` shows no session
of the agent.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from ctxgc.fronts.cli.base_url import openai_base_url
from ctxgc.fronts.cli.claude_settings import effective_setting
from ctxgc.fronts.cli.codex_login import has_chatgpt_login
from ctxgc.fronts.cli.context import CommandRefused
from ctxgc.fronts.cli.own_base_urls import OwnBaseUrl
from ctxgc.fronts.cli.terminal import printable_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ctxgc.config_sections import GatewayConfig

_BEFORE_ROUTE = re.compile(r"(?:/k/[^/]*)?(?:/s/[^/]*)?/?")
"""Secret and session, which stand before the provider's name in a path of the gateway."""
PI_EXTENSION = os.path.join(os.path.dirname(__file__), "pi_gateway.js")
OPENAI, ANTHROPIC, CHATGPT = "openai", "anthropic", "chatgpt"
MAKERS = {OPENAI: "https://api.openai.com", ANTHROPIC: "https://api.anthropic.com"}
"""Each provider's own address: the upstream where the configuration names none."""
CHATGPT_URL = "https://chatgpt.com/backend-api/codex"
PROVIDER = "ctxgc"
"""Codex's name for the gateway as a provider."""
BASE_URL = "ANTHROPIC_BASE_URL"
COPILOT_KEYS = ("COPILOT_PROVIDER_API_KEY", "COPILOT_PROVIDER_API_KEY_COMMAND", "COPILOT_PROVIDER_BEARER_TOKEN")


class AgentSetup(NamedTuple):
    """An agent's way through the gateway."""

    variables: Mapping[str, str]
    """Variables of the agent's process, over the command's own."""
    words: tuple[str, ...] = ()
    """Before its own arguments."""


def claude_setup(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> AgentSetup:
    """Claude Code: its base URL. The agent's key, or login, goes along.

    Behind a base URL other than its maker's, Claude Code turns its search for tools off and assumes a smaller window:
    both are set right, unless the user set them.
    """
    for name in ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY"):
        own = environment.get(name) or getattr(effective_setting(name, environment), "value", "")
        if own not in ("", "0", "false"):
            raise CommandRefused(f"{name} is set: Claude Code then does not speak to an API that the gateway knows")
    upstream = gateway.upstream_anthropic
    require_same_upstream_for_variables(ANTHROPIC, [BASE_URL], url, gateway, environment)
    wanted = {"ENABLE_TOOL_SEARCH": "true"}
    if not upstream or upstream.rstrip("/").removesuffix("/v1") == MAKERS[ANTHROPIC]:
        wanted |= {"_CLAUDE_CODE_ASSUME_FIRST_PARTY_BASE_URL": "1"}
    ours = {name: value for name, value in wanted.items() if name not in environment}
    address = f"{url}/anthropic"
    return AgentSetup({BASE_URL: address} | ours, _claude_settings_arguments(address, environment, url, gateway))


def _claude_settings_arguments(
    address: str, environment: Mapping[str, str], url: str, gateway: GatewayConfig
) -> tuple[str, ...]:
    """Arguments that win over a base URL in Claude Code's settings files; none without such a file."""
    own = effective_setting(BASE_URL, environment)
    if own is None or own.value.rstrip("/") == address:
        return ()
    if own.is_managed:
        raise CommandRefused(
            f"{BASE_URL} is {printable_text(own.value)} in {printable_text(own.path)}, which nothing wins over",
            kind="config",
            hint="whoever manages that file decides where Claude Code sends",
        )
    own_url = OwnBaseUrl(ANTHROPIC, own.value, f"{BASE_URL} in {own.path}")
    require_same_upstream(own_url, url, gateway)
    return ("--settings", json.dumps({"env": {BASE_URL: address}}))


def codex_setup(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> AgentSetup:
    """Codex: a provider for this run alone, with Codex's own login, over HTTP (the WebSocket cannot be read).

    A ChatGPT login goes to ChatGPT's address: the API does not take such a login, and no other server may see the
    login.
    """
    is_chatgpt = has_chatgpt_login(environment)
    if not is_chatgpt:
        require_same_upstream_for_variables(OPENAI, ["OPENAI_BASE_URL"], url, gateway, environment)
    provider = {
        "name": '"OpenAI"',  # By this name it sends what it sends to its own provider.
        "base_url": json.dumps(f"{url}/chatgpt" if is_chatgpt else openai_base_url(url, gateway)),
        "wire_api": '"responses"',
        "requires_openai_auth": "true",
        "supports_websockets": "false",
    }
    table = ", ".join(f"{key} = {value}" for key, value in provider.items())
    return AgentSetup({}, ("-c", f'model_provider="{PROVIDER}"', "-c", f"model_providers.{PROVIDER}={{{table}}}"))


def opencode_setup(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> AgentSetup:
    """OpenCode: base URLs of the providers `anthropic` and `openai`, laid over OpenCode's configuration."""
    content = environment.get("OPENCODE_CONFIG_CONTENT", "") or "{}"
    try:
        config = json.loads(content)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise CommandRefused("OPENCODE_CONFIG_CONTENT is set to what is not a JSON object", hint="unset it, or mend it")
    for provider, name in ((ANTHROPIC, BASE_URL), (OPENAI, "OPENAI_BASE_URL")):
        require_same_upstream_for_variables(provider, [name], url, gateway, environment)
    bases = {"anthropic": f"{url}/anthropic/v1", "openai": openai_base_url(url, gateway)}
    ours = {"provider": {name: {"options": {"baseURL": base}} for name, base in bases.items()}}
    return AgentSetup({"OPENCODE_CONFIG_CONTENT": json.dumps(_merge_config(config, ours))})


def _merge_config(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge_config(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def provider_variables_setup(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> AgentSetup:
    """A program that reads the variables of the providers' own libraries, or of LiteLLM."""
    openai, anthropic = openai_base_url(url, gateway), f"{url}/anthropic"
    by_openai = {"OPENAI_BASE_URL": openai, "OPENAI_API_BASE": openai}
    by_anthropic = {"ANTHROPIC_BASE_URL": anthropic, "ANTHROPIC_API_BASE": anthropic}
    require_same_upstream_for_variables(OPENAI, by_openai, url, gateway, environment)
    require_same_upstream_for_variables(ANTHROPIC, by_anthropic, url, gateway, environment)
    return AgentSetup(by_openai | by_anthropic)


def pi_setup(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> AgentSetup:
    """Pi: an extension for this run alone, which sets the base URLs of Pi's own providers."""
    variables = {"CTXGC_PI_ANTHROPIC": f"{url}/anthropic", "CTXGC_PI_OPENAI": openai_base_url(url, gateway)}
    return AgentSetup(variables, ("-e", PI_EXTENSION))


def copilot_setup(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> AgentSetup:
    """Copilot CLI with a key of the user's: GitHub's own service is no upstream of the gateway."""
    if not any(environment.get(name) for name in COPILOT_KEYS):
        hint = f"set {COPILOT_KEYS[0]} and COPILOT_MODEL: `copilot help providers` says how"
        raise CommandRefused("Copilot's own service does not go through the gateway", kind="config", hint=hint)
    kind = environment.get("COPILOT_PROVIDER_TYPE", OPENAI)
    if kind not in MAKERS:
        raise CommandRefused(f"COPILOT_PROVIDER_TYPE is {kind}: an API that the gateway does not know", kind="config")
    base = openai_base_url(url, gateway) if kind == OPENAI else f"{url}/anthropic"
    variables = {"COPILOT_PROVIDER_BASE_URL": base}
    require_same_upstream_for_variables(kind, variables, url, gateway, environment)
    return AgentSetup(variables | {"COPILOT_PROVIDER_TRANSPORT": "http"})


def goose_setup(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> AgentSetup:
    """Goose: a host for each provider, and the path behind the host for OpenAI's."""
    host, path = _url_origin(url), urlsplit(url).path
    variables = {
        "OPENAI_HOST": host,
        "OPENAI_BASE_PATH": f"{openai_base_url(path[1:], gateway)}/chat/completions",
        "ANTHROPIC_HOST": f"{url}/anthropic",
    }
    require_same_upstream_for_variables(OPENAI, ["OPENAI_HOST"], url, gateway, environment)
    require_same_upstream_for_variables(ANTHROPIC, ["ANTHROPIC_HOST"], url, gateway, environment)
    return AgentSetup(variables)


def crush_setup(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> AgentSetup:
    """Crush: the variables by which the catalogue names the endpoints of providers."""
    variables = {"OPENAI_API_ENDPOINT": openai_base_url(url, gateway), "ANTHROPIC_API_ENDPOINT": f"{url}/anthropic"}
    require_same_upstream_for_variables(OPENAI, ["OPENAI_API_ENDPOINT"], url, gateway, environment)
    require_same_upstream_for_variables(ANTHROPIC, ["ANTHROPIC_API_ENDPOINT"], url, gateway, environment)
    return AgentSetup(variables)


def is_same_upstream(own: str, provider: str, url: str, gateway: GatewayConfig) -> bool:
    """Whether a base URL of the user's for this provider leads where the gateway sends the provider's key."""
    own = _url_without_version(own)
    if f"{own}/".startswith(f"{_url_origin(url)}/"):
        named = _BEFORE_ROUTE.sub("", urlsplit(own).path, count=1).partition("/")[0]
        return named not in {*MAKERS, CHATGPT} - {provider}
    upstream = getattr(gateway, f"upstream_{provider}") or {**MAKERS, CHATGPT: CHATGPT_URL}[provider]
    return own == _url_without_version(upstream)


def _url_origin(url: str) -> str:
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))


def require_same_upstream(own: OwnBaseUrl, url: str, gateway: GatewayConfig) -> None:
    """Refuse to send a provider's key elsewhere than a base URL of its user's says."""
    if not is_same_upstream(own.url, own.provider, url, gateway):
        raise CommandRefused(
            f"{printable_text(own.place)} is {printable_text(own.url)}, and the gateway sends elsewhere",
            kind="config",
            hint=f"set `upstream_{own.provider}` under [gateway] in the configuration to that address, or take it out",
        )


def require_same_upstream_for_variables(
    provider: str, names: Iterable[str], url: str, gateway: GatewayConfig, environment: Mapping[str, str]
) -> None:
    """The same for base URLs in variables of these names."""
    for name in names:
        if own := environment.get(name, ""):
            require_same_upstream(OwnBaseUrl(provider, own, name), url, gateway)


def _url_without_version(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1")
