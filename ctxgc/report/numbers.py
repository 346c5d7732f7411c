"""Numbers of a replay as text, for the screen and for the page."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


def number_text(value: float | None, digits: int) -> str:
    """A number with so many digits behind the point; a dash for a missing number."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval_text(interval: Sequence[float] | None, digits: int) -> str:
    """The ends of an interval; a dash for a missing interval."""
    return "–" if interval is None else f"{interval[0]:.{digits}f}–{interval[1]:.{digits}f}"


def policy_cells(row: Mapping[str, Any], times: Mapping[str, Any]) -> list[str]:
    """A policy's row of a table: name, costs, faults, extremes, cache misses, and the policy's own time."""
    return [
        row["name"],
        number_text(row["cost_pct"], 1),
        interval_text(row["interval"], 1),
        number_text(row["prompt_tokens_pct"], 1),
        number_text(row["faults_per_100_turns"], 2),
        interval_text(row["faults_interval"], 2),
        number_text(row["placebo_faults_per_100_turns"], 2),
        number_text(row["explicit_faults_per_100_turns"], 2),
        number_text(row["faults_vs_lru"], 2),
        number_text(row["worst_session_cost_pct"], 1),
        number_text(row["worst_turn_cost_pct"], 1),
        number_text(row["cache_misses_pct"], 1),
        number_text(times.get(row["name"], {}).get("median"), 0),
    ]
