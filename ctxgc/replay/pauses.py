"""The pauses of a recorded session: a pause longer than the cache's life leaves nothing of a request cached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ctxgc.core.pacing.price_profiles import Prices


class TimedStep(Protocol):
    """A turn with the time of its request."""

    @property
    def wall_s(self) -> float:
        """Unix time of the request; 0 where the time is unknown."""


def request_gaps_s(steps: Sequence[TimedStep]) -> list[float]:
    """Seconds before each request since the last request with a known time; 0 where the time is unknown."""
    gaps, last_wall = [], 0.0
    for step in steps:
        gaps.append(step.wall_s - last_wall if step.wall_s and last_wall else 0.0)
        last_wall = step.wall_s or last_wall
    return gaps


def cold_step_flags(steps: Sequence[TimedStep], prices: Prices) -> list[bool]:
    """Whether no part of a request is cached: the first, and each after a gap longer than the cache's life."""
    return [number == 0 or gap_s > prices.ttl_s for number, gap_s in enumerate(request_gaps_s(steps))]
