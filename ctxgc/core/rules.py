"""The rules a collection follows: what is a root, what is worth evicting at all, and in which order.

Nothing here is tuned by taste: the numbers come from replays of recorded sessions and are named so that they can be
changed from the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a plan holds to. Turns are assistant replies, tokens raw o200k."""

    recent_turns: int = 3
    """Everything younger is a root: the model may not even have seen it."""
    file_turns: int = 12
    """The newest read of a file that was touched within so many turns is a root."""
    error_turns: int = 4
    """A failed call is garbage once it is older than this and a later one like it succeeded."""
    min_gain_tokens: int = 50
    """A body must be larger than its tombstone by this much, or evicting it is not worth a reader's attention (I7)."""
    task: str = ""
    """If set, segments of this task are roots."""
    protect_paths: tuple[str, ...] = ()
    """Globs; exchanges on these files are roots. Brackets count as letters of the path and as a choice of letters."""
    protect_tools: tuple[str, ...] = ()
    open_paths: tuple[str, ...] = ()
    """Files that a client says are open in front of the user; their newest reads are roots."""
