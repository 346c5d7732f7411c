"""A session's transaction: mutations for the stash, and actions that wait for the commit.

add, note_time, answer ──▶ commit (`Session.transaction`) ──▶ committed: each `on_commit` action, in order"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ctxgc.stash.contract import Mutation

T = TypeVar("T")


class Transaction:
    """An atomic change of a session: the mutations to commit, and the actions in memory once the commit is durable."""

    def __init__(self) -> None:
        self.mutations: list[Mutation] = []
        self.is_row_changed = False
        self.latest_s = 0.0
        """The latest moment of the change's records and calls, which is the session's age; 0: no moment."""
        self.reply: object = None
        """The verb's reply; the commit keeps the reply where an `op_id` names the call."""
        self._on_commit: list[Callable[[], None]] = []

    def add(self, *mutations: Mutation) -> None:
        """Add mutations to the commit."""
        self.mutations += mutations

    def note_time(self, wall_s: float) -> None:
        """Note the moment of a record or call."""
        self.latest_s = max(self.latest_s, wall_s)

    def keep_reply(self, reply: T) -> T:
        """Note the verb's reply and return the reply; the last line of a change."""
        self.reply = reply
        return reply

    def on_commit(self, action: Callable[[], None]) -> None:
        """Run an action after the commit. The action must not fail."""
        self._on_commit.append(action)

    def run_commit_actions(self) -> None:
        """Run the actions that wait for the commit, now that the commit is durable."""
        for action in self._on_commit:
            action()
