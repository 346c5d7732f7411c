"""The blocking client.

    client = Client()
    session = client.session("my-agent", model="claude-sonnet-4-5")
    reply = anthropic.messages.create(messages=session.collect(messages).messages, …)
    session.usage(reply.usage)

A session's own failures are errors of the program (`TypeError`, `ValueError`); the daemon's never stop a collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from ctxgc.client.collected_list import CollectedList
from ctxgc.client.engine import Engine, wait_until_synced
from ctxgc.client.recall_tool import read_call
from ctxgc.client.session_lists import SessionLists, SessionOptions
from ctxgc.client.session_work import search
from ctxgc.protocol.replies.stash import HitReply

DEADLINE_S = 2.0


class Client:
    """A connection to the daemon for any number of sessions and threads. Opened by the first call.

    `socket`: the daemon's, by default where `ctxgc` finds the daemon. `start_daemon`: whether a daemon is started where
    none listens. `deadline_s`: seconds after which a collection gives the list back as it was.
    """

    def __init__(self, socket: str = "", *, start_daemon: bool = True, deadline_s: float = DEADLINE_S) -> None:
        self._engine = Engine(socket, can_start=start_daemon, deadline_s=deadline_s)
        self._deadline_s = deadline_s
        self._failures = Counter[str]()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def session(
        self, name: str, *, model: str = "", project: str = "", format: str = "", own_breakpoint: bool = True
    ) -> ClientSession:
        """A session by its name, new or known: letters, digits, `.`, `_`, `-`; `AGENT:NAME` for another agent's.

        `model` names prices and ratio; `project` is the folder that relative paths belong to; `format` is the model
        API, by default told by each list. `own_breakpoint`: whether an Anthropic list may get a breakpoint of ours.
        Raises `ValueError` for a name or a format that cannot be.
        """
        lists = SessionLists(
            name, SessionOptions(model, project, format, own_breakpoint), self._deadline_s, self._failures
        )
        return ClientSession(self._engine, lists)

    def search(self, query: str, *, session: str = "", limit: int = 10) -> list[HitReply]:
        """Segments that hold the words, best first, of every session unless one is named. Raises `CallFailed`."""
        return self._engine.run(lambda running: search(running, query, session, limit, self._deadline_s)).result()

    @property
    def failures(self) -> Counter[str]:
        """Lists of all sessions that came back as they were because the daemon failed, by kind."""
        return self._failures

    def flush(self) -> None:
        """Wait until the daemon has every list that was collected by the pacer."""
        self._engine.run(wait_until_synced).result()

    def close(self) -> None:
        """Hand over what is collected, within the deadline, and hang up. A later call opens the client again."""
        self._engine.close()


class ClientSession:
    """One conversation of an agent. Its calls belong to one thread at a time."""

    def __init__(self, engine: Engine, lists: SessionLists) -> None:
        self._engine = engine
        self._lists = lists

    @property
    def name(self) -> str:
        """The session's full name, by which `ctxgc show` finds the session: `client:my-agent`."""
        return self._lists.work.name

    def collect(
        self,
        messages: Sequence[Any],
        *,
        budget: int | None = None,
        system: Any = None,
        tools: Any = None,
        unit: Literal["billed", "raw"] = "billed",
    ) -> CollectedList:
        """The list to send to the model: the caller's own messages, tombstones in place of bodies that are out.

        Give the whole list every time, unchanged. `budget`: tokens that the list has at most, system prompt and tools
        included once a bill told of these; without a budget the pacer decides when a collection pays, by the model's
        prices and the provider's cache. `system` and `tools` are the request's, for the pacer.

        Returns within the deadline, and gives the very list back where nothing is out and where the daemon is away,
        late or failing (`failure`). Raises `TypeError` and `ValueError` for what is no list of a known model API.
        """
        request = self._lists.prepare_list(messages, system, tools)
        return self._engine.run(lambda running: self._lists.work.collect(running, request, budget, unit)).result()

    def usage(self, usage: Any) -> None:
        """Note the bill of the last list: a response's `usage`, or the response. The pacer and the budget learn."""
        self._engine.run(lambda running: self._lists.work.note_usage(running, usage)).result()

    def recall(self, id: str) -> str:
        """The body of a segment, exactly, by its address or id. Counts as a page fault. Raises `CallFailed`."""
        return self._engine.run(lambda running: self._lists.work.recall(running, id)).result()

    def pin(self, *ids: str) -> list[str]:
        """Keep segments in the list whatever comes; their ids. Raises `CallFailed`."""
        return self._engine.run(lambda running: self._lists.work.set_pins(running, ids, "segment.pin")).result()

    def unpin(self, *ids: str) -> list[str]:
        """Take pins back; the ids. Raises `CallFailed`."""
        return self._engine.run(lambda running: self._lists.work.set_pins(running, ids, "segment.unpin")).result()

    def tool(self, format: str = "") -> dict[str, Any]:
        """The recall tool for the request's `tools`, in the shape of the session's model API.

        Raises `ValueError` before the session's first list, where no format is named.
        """
        return self._lists.recall_tool(format)

    def answer(self, call: Any) -> dict[str, Any] | None:
        """The answer to a model's tool call, to append to the list; `None` for a call of another tool.

        The call has any API's shape, dict or object. For Anthropic the answer is a content block of a user's message,
        for Chat Completions a message, for Responses an item. A recall that fails is an answer that says so.
        """
        recall = read_call(call)
        if recall is None:
            return None
        return self._engine.run(lambda running: self._lists.work.answer(running, recall)).result()
