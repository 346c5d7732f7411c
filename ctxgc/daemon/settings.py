"""From the configuration to the values of the rooms below: rules, dials, a session's settings."""

from __future__ import annotations

from dataclasses import replace

from ctxgc.config import Config
from ctxgc.core.model_prices import ModelPrice, price_of
from ctxgc.core.pacing.pacer import PacerRules, tuned_rules
from ctxgc.core.pacing.price_profiles import cache_life_s, effective_profile
from ctxgc.core.rules import Rules
from ctxgc.core.segment import Kind
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.session_index import SessionSettings

LIVE_SECTIONS = ("collect", "pacer", "prices", "protect")
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
        has_words=config.entry.shorten == "shadow",
    )


def pacer_rules(config: Config, requested: str = "") -> PacerRules:
    """The pacer's dials for the configured price profile; with `auto`, for the profile that the request says.

    The window's limit is in billed tokens, so each session converts the limit for itself.
    """
    profile = effective_profile(config.pacer.profile, requested)
    rules = tuned_rules(profile)
    return replace(
        rules,
        prices=rules.prices._replace(ttl_s=cache_life_s(profile, requested)),
        fault_price_tokens=float(config.pacer.fault_price_tokens or rules.fault_price_tokens),
        horizon_turns=float(config.pacer.horizon_turns or rules.horizon_turns),
        recent_turns=config.pacer.recent_turns,
        low_ratio=config.pacer.low_ratio,
    )


def model_price(config: Config, model: str) -> ModelPrice | None:
    """The price of a model: the configured price, else the list price; `None` for an unknown model."""
    own = {name: ModelPrice(price.input, price.output, "") for name, price in config.prices.models.items()}
    return price_of(model, own)


def apply_config(services: Services, fresh: Config) -> tuple[list[str], list[str]]:
    """Put a fresh configuration in force: (sections that changed now, sections that wait for a restart)."""
    old = services.config
    changed = [name for name in type(old).model_fields if getattr(old, name) != getattr(fresh, name)]
    live = [name for name in changed if name in LIVE_SECTIONS]
    services.config = old.model_copy(update={name: getattr(fresh, name) for name in live})
    services.pacer = pacer_rules(services.config)
    services.registry.adopt_settings(session_settings(services.config))
    return live, [name for name in changed if name not in LIVE_SECTIONS]
