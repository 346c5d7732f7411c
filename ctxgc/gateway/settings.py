"""What the gateway is told: where it listens, where it sends, and in which mode each session is served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import urlsplit

from ctxgc.config import BadConfig, Config
from ctxgc.core.pacer import PROFILES
from ctxgc.gateway.loopback import is_local, is_loopback_address

ANTHROPIC, OPENAI = "anthropic", "openai"

UPSTREAMS = {ANTHROPIC: "https://api.anthropic.com", OPENAI: "https://api.openai.com"}
"""The providers' own base URLs."""

Mode = Literal["shadow", "on", "off"]
"""`shadow`: everything is computed and journalled, nothing edited; `on`: edited; `off`: the daemon is not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The gateway's settings in force; a reload replaces them."""

    host: str = "127.0.0.1"
    port: int = 8787
    upstreams: Mapping[str, str]
    wait_s: float = 0.05
    """What a request may be held back for the daemon and for our own work together (I13)."""
    mode: Mode = "shadow"
    modes: Mapping[str, Mode]
    """Modes by agent (`codex`) or session (`codex:ID`), before the one for all."""
    cache_ttl_s: float = 300.0
    """After a pause this long the provider's cache is cold, and editing costs nothing."""
    context_edits_allowed: frozenset[str] = frozenset()
    """Types of edits under `context_management` that do not keep us from editing too."""
    hosts_allowed: frozenset[str] = frozenset()
    """Names of this machine, in lower case, that a request's `Host` may say beside those of the loopback."""
    recall_tool: Literal["never", "always"] = "never"
    """Whether sessions that begin now give the model a tool to recall with."""

    def mode_of(self, agent: str, session: str) -> Mode:
        """The mode of one session: its own, its agent's, or the one for all."""
        own = self.modes.get(f"{agent}:{session}") or self.modes.get(f"{agent}:{session.partition('/')[0]}")
        return own or self.modes.get(agent) or self.mode


def settings_of(config: Config, mode: str = "") -> Settings:
    """The settings of a configuration. Raises `BadConfig` for an address that others could reach, and for a loop."""
    section = config.gateway
    require_loopback(section.host)
    upstreams = {
        ANTHROPIC: section.upstream_anthropic or UPSTREAMS[ANTHROPIC],
        OPENAI: section.upstream_openai or UPSTREAMS[OPENAI],
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
        cache_ttl_s=PROFILES[config.pacer.profile].ttl_s,
        context_edits_allowed=frozenset(section.context_edits_allowed),
        hosts_allowed=frozenset(name.lower() for name in section.hosts_allowed),
        recall_tool=section.recall_tool,
    )


def require_loopback(host: str) -> None:
    """Refuse an address that is not this machine's alone: keys and whole conversations pass here."""
    if not is_loopback_address(host):
        raise BadConfig(f"gateway.host: {host!r} is not a loopback address; only 127.0.0.0/8 and ::1 are served")


def refuse_own_address(name: str, url: str, port: int) -> None:
    """Refuse an upstream that is this gateway itself: each request would be sent on for ever."""
    upstream = urlsplit(url)
    upstream_port = upstream.port or (443 if upstream.scheme == "https" else 80)
    if upstream_port == port and is_local(upstream.hostname or ""):
        raise BadConfig(f"gateway.upstream_{name}: {url} is this gateway itself; name the API behind it")
