"""From the configuration to the values of the rooms below: rules, dials, a session's settings."""

from __future__ import annotations

from dataclasses import replace

from ctxgc.config import Config
from ctxgc.core.pacer import PacerRules, tuned_rules
from ctxgc.core.rules import Rules
from ctxgc.core.segment import Kind
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.session_index import SessionSettings

LIVE_SECTIONS = ("collect", "pacer", "protect")
"""Sections that a reload puts in force; the others wait for a restart."""


def session_settings(config: Config) -> SessionSettings:
    """The settings that every session shares."""
    return SessionSettings(
        rules=Rules(
            recent_turns=config.collect.recent_turns,
            file_turns=config.collect.file_turns,
            error_turns=config.collect.error_turns,
            min_gain_tokens=config.collect.min_gain_tokens,
            protect_paths=tuple(config.protect.paths),
            protect_tools=tuple(config.protect.tools),
        ),
        evictable_kinds=tuple(Kind(kind) for kind in config.collect.kinds),
        has_evictable_inputs=config.collect.tool_inputs,
        recall_grace_turns=config.collect.recall_grace_turns,
    )


def pacer_rules(config: Config, profile: str = "") -> PacerRules:
    """The pacer's dials for a client's price profile, else for the configured profile.

    The window's limit is in billed tokens, so each session converts the limit for itself.
    """
    rules = tuned_rules(profile or config.pacer.profile)
    return replace(
        rules,
        fault_price_tokens=float(config.pacer.fault_price_tokens or rules.fault_price_tokens),
        horizon_turns=float(config.pacer.horizon_turns or rules.horizon_turns),
        recent_turns=config.pacer.recent_turns,
        low_ratio=config.pacer.low_ratio,
    )


def apply_config(services: Services, fresh: Config) -> tuple[list[str], list[str]]:
    """Put a fresh configuration in force: (sections that changed now, sections that wait for a restart)."""
    old = services.config
    changed = [name for name in type(old).model_fields if getattr(old, name) != getattr(fresh, name)]
    live = [name for name in changed if name in LIVE_SECTIONS]
    services.config = old.model_copy(update={name: getattr(fresh, name) for name in live})
    services.pacer = pacer_rules(services.config)
    services.registry.adopt(session_settings(services.config))
    return live, [name for name in changed if name not in LIVE_SECTIONS]
