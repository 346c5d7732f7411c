"""Heap profile: the fate of a session's body tokens while in the prompt.

    born ────────── last use ─────────── end of the episode
      └─── live ───────┘└───── drag ───────┘
      └──────────────── void ──────────────┘   never used at all

A token-turn is a token in a prompt. Only bodies that may go are counted, without any collection. Source: lag, drag,
void and use, Röjemo and Runciman 1996.
"""

from __future__ import annotations

from typing import NamedTuple

from ctxgc.replay.body_timelines import body_timelines, last_use_steps
from ctxgc.replay.script import EpisodeScript


class HeapProfile(NamedTuple):
    """Token-turns."""

    live: int = 0
    drag: int = 0
    void: int = 0

    def __add__(self, other: object) -> HeapProfile:
        """Profiles add up."""
        if not isinstance(other, HeapProfile):
            return NotImplemented
        return HeapProfile(self.live + other.live, self.drag + other.drag, self.void + other.void)

    @property
    def total(self) -> int:
        """All token-turns."""
        return self.live + self.drag + self.void


def heap_profile_of(script: EpisodeScript) -> HeapProfile:
    """The profile of an episode without collections. O(segments + demand)."""
    last_use = last_use_steps(script)
    live = drag = void = 0
    timeline = body_timelines(script)
    for slot in script.slots:
        first, end, tokens = timeline[slot].first, timeline[slot].end, timeline[slot].body_tokens
        stay = max(end - first, 0)
        if slot not in last_use:
            void += tokens * stay
            continue
        used = min(max(last_use[slot] + 1 - first, 0), stay)
        live += tokens * used
        drag += tokens * (stay - used)
    return HeapProfile(live, drag, void)
