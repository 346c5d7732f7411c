"""The gateway's settings: its address, the upstreams, and the mode of each session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast
from urllib.parse import urlsplit

from ctxgc.config import BadConfig, Config
from ctxgc.core.pacing.price_profiles import PROFILE_DEFAULT, PROFILES, cache_life_s, effective_profile
from ctxgc.gateway.loopback import is_loopback_address, is_loopback_host

ANTHROPIC, OPENAI, CHATGPT = "anthropic", "openai", "chatgpt"

UPSTREAMS = {
    ANTHROPIC: "https://api.anthropic.com",
    OPENAI: "https://api.openai.com",
    CHATGPT: "https://chatgpt.com/backend-api/codex",
}
"""The providers' own base URLs. ChatGPT's serves Codex with a login of a plan, under the name in the path alone."""

Mode = Literal["shadow", "on", "off"]
"""`shadow`: the daemon decides and journals, nothing is edited; `on`: edited; `off`: the daemon gets no request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The gateway's settings in force; a reload replaces them."""

    host: str = "127.0.0.1"
    port: int = 8787
    upstreams: Mapping[str, str]
    wait_s: float = 0.05
    """Seconds for which a request may be held back, for the daemon and the gateway's own work together (I13)."""
    mode: Mode = "shadow"
    modes: Mapping[str, Mode]
    """Modes of agents (`codex`) and sessions (`codex:ID`), before the gateway's own."""
    cache_ttl_s: float = PROFILES[PROFILE_DEFAULT].ttl_s
    """Seconds of pause after which the cache of a request is cold that says nothing about its cache."""
    profile: str = "auto"
    """The configured price profile; `auto`: as each request says."""
    context_edits_allowed: frozenset[str] = frozenset()
    """Types of edits under `context_management` beside which ctxgc may edit too."""
    references: bool = False
    """Whether new results show by pointers what the window shows already, or leave lines out."""
    agents_except: frozenset[str] = frozenset()
    """Agents whose results go upstream whole."""
    hosts_allowed: frozenset[str] = frozenset()
    """Names of this machine, in lower case, that a request's `Host` may have beside the loopback's."""
    auth: Literal["auto", "secret"] = "auto"
    """How a request shows that the gateway's user sent it: `auto` takes the peer's uid too, where that is known."""
    secret: str = field(default="", repr=False)
    """The word in the path of that user's base URLs; empty: there is none."""

    def mode_of_session(self, agent: str, session: str) -> Mode:
        """The mode of a session: the session's own, the agent's, or the gateway's."""
        own = self.modes.get(f"{agent}:{session}") or self.modes.get(f"{agent}:{session.partition('/')[0]}")
        return own or self.modes.get(agent) or self.mode

    def can_edit_at_entry(self, agent: str) -> bool:
        """Whether new results of an agent may show pointers."""
        return self.references and agent not in self.agents_except

    def cache_life_s(self, requested: str) -> float:
        """Seconds of pause after which the provider's cache is cold, for a request of the price profile."""
        if self.profile == "auto" and not requested:
            return self.cache_ttl_s
        return cache_life_s(effective_profile(self.profile, requested), requested)


def settings_of_config(config: Config, mode: str = "", secret: str = "") -> Settings:
    """The settings of a configuration. Raises `BadConfig` for an address that other machines reach, and for a loop."""
    section = config.gateway
    require_loopback(section.host)
    upstreams = {
        ANTHROPIC: section.upstream_anthropic or UPSTREAMS[ANTHROPIC],
        OPENAI: section.upstream_openai or UPSTREAMS[OPENAI],
        CHATGPT: section.upstream_chatgpt or UPSTREAMS[CHATGPT],
    }
    for name, url in upstreams.items():
        refuse_own_address(name, url, section.port)
    return Settings(
        host=section.host,
        port=section.port,
        upstreams=upstreams,
        wait_s=section.wait_ms / 1000,
        mode=cast(Mode, mode) if mode else section.mode,
        modes=section.modes,
        profile=config.pacer.profile,
        context_edits_allowed=frozenset(section.context_edits_allowed),
        references=config.entry.references or config.entry.shorten == "on",
        agents_except=frozenset(config.entry.agents_except),
        hosts_allowed=frozenset(name.lower() for name in section.hosts_allowed),
        auth=section.auth,
        secret=secret,
    )


def require_loopback(host: str) -> None:
    """Refuse an address that other machines reach: keys and whole conversations pass through the gateway."""
    if not is_loopback_address(host):
        raise BadConfig(
            f"gateway.host: {host!r} is not a loopback address, and the gateway serves no other; write 127.0.0.1 or "
            "::1, or take the host out"
        )


def refuse_own_address(name: str, url: str, port: int) -> None:
    """Refuse this gateway itself as an upstream: each request would go round for ever."""
    upstream = urlsplit(url)
    upstream_port = upstream.port or (443 if upstream.scheme == "https" else 80)
    if upstream_port == port and is_loopback_host(upstream.hostname or ""):
        raise BadConfig(f"gateway.upstream_{name}: {url} is this gateway itself; name the API behind it")
