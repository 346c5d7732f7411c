"""Facts of a script that hold under every policy: the time line of each body, and the step of its last use."""

from __future__ import annotations

from typing import NamedTuple

from ctxgc.core.heap import OPAQUE, PENDING
from ctxgc.replay.script import EpisodeScript


def last_use_steps(script: EpisodeScript) -> dict[int, int]:
    """The step of each used slot's last use."""
    return {slot: number for number, slots in enumerate(script.uses) for slot in slots}


class Body(NamedTuple):
    """A slot's body on the time line of prompts. Steps count from 0."""

    first: int
    """Step of the first prompt that holds it."""
    end: int
    """First step whose prompt does not: the host cleared it, or the episode is over."""
    skeleton_tokens: int
    body_tokens: int
    tombstone_tokens: int
    is_evictable: bool
    """Whether a policy may take it at all."""
    is_counted: bool
    """Whether its kind counts against a budget."""

    @property
    def least_tokens(self) -> int:
        """The tokens that stay in every prompt after the first, under every policy."""
        return min(self.body_tokens, self.tombstone_tokens) if self.is_evictable else self.body_tokens


def body_timelines(script: EpisodeScript) -> list[Body]:
    """The time line of every slot, without any collection."""
    cleared = {slot: number for number in range(len(script.steps) - 1, -1, -1) for slot in script.steps[number].cleared}
    found: list[Body] = []
    kinds = frozenset(script.scope.kinds)
    for number, step in enumerate(script.steps):
        admitted = [(number, admission) for admission in step.before]
        # A reply joins the prompt of the next turn.
        admitted += [(number + 1, admission) for admission in step.reply]
        for first, admission in admitted:
            entry = admission.entry
            is_counted = entry.kind in kinds
            found.append(
                Body(
                    first=first,
                    end=cleared.get(len(found), len(script.steps)),
                    skeleton_tokens=entry.skeleton_tokens,
                    body_tokens=entry.body_tokens,
                    tombstone_tokens=entry.tombstone_tokens,
                    is_evictable=is_counted and not entry.flags & (OPAQUE | PENDING),
                    is_counted=is_counted,
                )
            )
    return found
