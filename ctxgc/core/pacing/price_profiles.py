"""The price profiles: a provider's prices of a prompt's tokens, and how long a prefix stays cached.

configured profile, the request's own, the server's bills ──▶ the profile in force ──▶ prices, seconds
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Prices(NamedTuple):
    """A provider's prices relative to uncached input, and how long an unused prefix stays cached."""

    read: float
    write: float
    ttl_s: float


PROFILES = {
    "cache_5m": Prices(0.1, 1.25, 300.0),
    "cache_1h": Prices(0.1, 2.0, 3600.0),
    "openai": Prices(0.1, 1.0, 300.0),
    "openai_5_6": Prices(0.1, 1.25, 1800.0),
    "openai_6_1": Prices(0.05, 1.25, 1800.0),
    "subscription": Prices(0.1, 1.0, 300.0),
    "uncached": Prices(1.0, 1.0, 0.0),
}
"""Published list prices of prompt caching, 2026-11. OpenAI bills writes since GPT-5.6, and reads at half since GPT-6.1.
The rules by which a plan counts are not public: `subscription` assumes that a token that the cache lacked counts whole,
and a token read from the cache a tenth."""
OLDER_NAMES = {"flat": "subscription"}
"""Of price profiles."""
_GPT = re.compile(r"gpt-(\d{1,3})(?:\.(\d{1,3}))?")
PROFILE_DEFAULT = "cache_5m"
"""The profile of a session whose requests say nothing about a cache."""


def effective_profile(configured: str, requested: str) -> str:
    """The price profile of a request: the configured profile, and with `auto` the request's own.

    `openai` leaves it to the request which of OpenAI's prices its model has.
    """
    requested = OLDER_NAMES.get(requested, requested)
    if configured == "openai" and requested.startswith("openai"):
        return requested
    return (requested or PROFILE_DEFAULT) if configured == "auto" else configured


def openai_profile(model: str) -> str:
    """The price profile of a model of OpenAI, by its version."""
    version = _GPT.search(model)
    if version is None:
        return "openai"
    numbers = int(version[1]), int(version[2] or 0)
    return "openai_6_1" if numbers >= (6, 1) else "openai_5_6" if numbers >= (5, 6) else "openai"


def profile_by_bills(profile: str, *, charges_writes: bool) -> str:
    """The price profile of a request once its server's bills are known: OpenAI's own servers bill the writes of their
    newer models, and a server that bills none has other prices.
    """
    return profile if charges_writes or profile not in ("openai_5_6", "openai_6_1") else "openai"


def cache_life_s(profile: str, requested: str) -> float:
    """Seconds for which an unused prefix stays cached: with a plan, by the marks of the request."""
    requested = OLDER_NAMES.get(requested, requested)
    return PROFILES[requested if profile == "subscription" and requested else profile].ttl_s
