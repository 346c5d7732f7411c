"""Heap profile: what the tokens of a session's bodies did while they were in the prompt.

    born ────────── last use ─────────── end of the episode
      └─── live ───────┘└───── drag ───────┘
      └──────────────── void ──────────────┘   never used at all

A token-turn is one token in one prompt. Only bodies that may go are counted, without any collection.
Source: lag, drag, void and use, Röjemo and Runciman 1996.
"""

from __future__ import annotations

from typing import NamedTuple

from ctxgc.replay.demand import cover
from ctxgc.replay.simulate import Script


class Profile(NamedTuple):
    """Token-turns."""

    live: int = 0
    drag: int = 0
    void: int = 0

    def __add__(self, other: object) -> Profile:
        """Profiles add up."""
        if not isinstance(other, Profile):
            return NotImplemented
        return Profile(self.live + other.live, self.drag + other.drag, self.void + other.void)

    @property
    def total(self) -> int:
        """All token-turns."""
        return self.live + self.drag + self.void


def profile_of(script: Script) -> Profile:
    """The profile of an episode without collections. O(segments + demand)."""
    last_use: dict[int, int] = {}
    for number, wants in enumerate(script.demand.wants):
        for provider in cover(wants, None):
            last_use[script.slots[provider]] = number
    births: list[tuple[int, int]] = []
    end: dict[int, int] = {}
    for number, step in enumerate(script.steps):
        births += [(number, admission.entry.body_tokens) for admission in step.before]
        # A reply joins the prompt of the next turn.
        births += [(number + 1, admission.entry.body_tokens) for admission in step.reply]
        end.update(dict.fromkeys(step.cleared, number))
    live = drag = void = 0
    for slot in script.slots:
        born, tokens = births[slot]
        stay = max(end.get(slot, len(script.steps)) - born, 0)
        if slot not in last_use:
            void += tokens * stay
            continue
        used = min(max(last_use[slot] + 1 - born, 0), stay)
        live += tokens * used
        drag += tokens * (stay - used)
    return Profile(live, drag, void)
