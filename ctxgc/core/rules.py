"""The rules of a collection: roots, the least gain, and the order.

No number here is tuned by taste: the numbers come from replays of recorded sessions and have names for the
configuration.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of a plan. Turns are assistant replies, tokens raw o200k."""

    recent_turns: int = 3
    """Everything younger is a root: the model may not even have seen it."""
    file_turns: int = 12
    """The newest read of a file that was touched within so many turns is a root."""
    error_turns: int = 4
    """A failed call of this age is garbage once a later call of the same attempt succeeded."""
    min_gain_tokens: int = 50
    """The least tokens that an eviction must free beyond the tombstone (I7)."""
    task: str = ""
    """If set, segments of this task are roots."""
    protect_paths: tuple[str, ...] = ()
    """Globs; exchanges on these files are roots. Brackets count as letters of the path and as a choice of letters."""
    protect_tools: tuple[str, ...] = ()
    open_paths: tuple[str, ...] = ()
    """Files that a client says are open in front of the user; their newest reads are roots."""
