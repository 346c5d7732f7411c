"""A change of a session in the making: what goes to the stash, and what waits until it is durable."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ctxgc.stash.contract import Mutation

T = TypeVar("T")


class Change:
    """One atomic change in the making: what to commit, and what to do in memory once it is durable."""

    def __init__(self) -> None:
        self.mutations: list[Mutation] = []
        self.is_row_changed = False
        self.heard_s = 0.0
        """The latest moment of what it takes in: the session is as old as this. 0: nothing was said in it."""
        self.reply: object = None
        """What the verb answers, once it is known; it is committed with the change where an `op_id` names the call."""
        self._then: list[Callable[[], None]] = []

    def add(self, *mutations: Mutation) -> None:
        """Commit these too."""
        self.mutations += mutations

    def hear(self, wall_s: float) -> None:
        """Something was said in the session at this moment."""
        self.heard_s = max(self.heard_s, wall_s)

    def answer(self, reply: T) -> T:
        """The verb's reply, given back; say it last, inside the change."""
        self.reply = reply
        return reply

    def then(self, action: Callable[[], None]) -> None:
        """Run this after the commit. It must not fail."""
        self._then.append(action)

    def settle(self) -> None:
        """The commit is durable."""
        for action in self._then:
            action()
