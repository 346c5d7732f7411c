"""The sessions of a hook by the framework's own names for conversations, and the answers to the model's recalls."""

from __future__ import annotations

import json
from collections.abc import Callable
from string import ascii_letters, digits
from typing import Any, Generic, TypeVar

from ctxgc.client.recall_tool import RECALL_TOOL

S = TypeVar("S")

SESSIONS_MAX = 1000
"""Sessions that a hook keeps open. A server lives long: the session opened first makes room."""
NAME_CHARS = frozenset(ascii_letters + digits + "._-")
NAME_CHARS_MAX = 128
NO_SESSION = "There is no session to bring anything back from."


class NamedSessions(Generic[S]):
    """Sessions of a client, each opened once under a framework's name for a conversation."""

    def __init__(self) -> None:
        self._sessions: dict[str, S] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def get_or_open(self, words: str, open_session: Callable[[str], S]) -> S | None:
        """The session of a conversation; `None` where no name is left of the framework's words."""
        name = session_name(words)
        if not name:
            return None
        if name not in self._sessions:
            self._sessions[name] = open_session(name)
            if len(self._sessions) > SESSIONS_MAX:
                del self._sessions[next(iter(self._sessions))]
        return self._sessions[name]


def session_name(words: str) -> str:
    """A session's name from a framework's own name for a conversation; empty where nothing of the name is left."""
    return "".join(char if char in NAME_CHARS else "_" for char in words)[:NAME_CHARS_MAX].lstrip("._-")


def recall_call(arguments: dict[str, Any]) -> dict[str, Any]:
    """A model's recall, of which the framework gives the arguments alone, as a call of Chat Completions."""
    return {
        "id": "recall",
        "type": "function",
        "function": {"name": RECALL_TOOL, "arguments": json.dumps(arguments)},
    }


def recall_text(answer: dict[str, Any] | None) -> str:
    """The text of an answer to `recall_call`; a sentence for the model where no session could answer."""
    return NO_SESSION if answer is None else str(answer["content"])
