"""Providers' prices of a prompt, as dated data. Prices are relative to a model's uncached input.

Relative prices move rarely and are alike across a provider's models, so a profile is a way of billing, not a model. A
flat-rate plan has no bill: its measure is prompt tokens and uncached tokens, which the plan's limits count.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ctxgc.core.pacing.price_profiles import PROFILES, Prices
from ctxgc.core.pacing.provider_cache import ANTHROPIC, OPENAI, Provider

PROFILE_DEFAULT = "cache_5m"


class PriceProfile(NamedTuple):
    """A way of billing, who bills so, and when that was looked up."""

    name: str
    prices: Prices
    billed_by: str
    as_of: str
    is_flat: bool = False
    """No bill at all: cost is only an order among policies."""
    provider: Provider | None = ANTHROPIC
    """Whose prompt cache such a bill is made by; `None`: there is none, or none that matters."""


_ROWS = (
    PriceProfile("cache_5m", PROFILES["cache_5m"], "Anthropic API, 5-minute cache", "2026-11"),
    PriceProfile("cache_1h", PROFILES["cache_1h"], "Anthropic API, 1-hour cache", "2026-11"),
    PriceProfile(
        "openai",
        PROFILES["openai"],
        "OpenAI API, models that write the cache for free",
        "2026-11",
        provider=OPENAI,
    ),
    PriceProfile("uncached", PROFILES["uncached"], "any API without a prompt cache", "2026-11", provider=None),
    PriceProfile("openai_5_6", PROFILES["openai_5_6"], "OpenAI API, GPT-5.6 to GPT-6", "2026-11", provider=OPENAI),
    PriceProfile("openai_6_1", PROFILES["openai_6_1"], "OpenAI API, GPT-6.1 and newer", "2026-11", provider=OPENAI),
    PriceProfile(
        "subscription",
        PROFILES["subscription"],
        "a subscription: tokens and cache misses count, not money",
        "2026-11",
        is_flat=True,
    ),
)

PRICE_PROFILES: Mapping[str, PriceProfile] = MappingProxyType({row.name: row for row in _ROWS})
