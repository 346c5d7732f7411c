"""The tools of the MCP server: what a model may ask of its project's sessions, and how the replies read.

    arguments ──schema──▶ scope ──▶ the daemon's verbs ──▶ text, framed as data

A tool's failure is a result that says so, for the model to read; only a tool that does not exist is an error of the
protocol.
"""

from __future__ import annotations

import re

from ctxgc.core.display_texts import MATCH_END, MATCH_START, tokens_text
from ctxgc.fronts.cli import terminal
from ctxgc.fronts.mcp.frame import frame_text
from ctxgc.fronts.mcp.rpc import INVALID_PARAMS, BadMessage, require_no_cursor
from ctxgc.fronts.mcp.scope import OutOfScope
from ctxgc.fronts.mcp.tool_schemas import (
    BUDGET_TOKENS,
    BUDGET_TOKENS_MIN,
    LIMIT_MAX,
    SCHEMAS,
    arguments_problem,
    convert_whole_floats,
)
from ctxgc.protocol.blocking_client import CallFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ctxgc.fronts.mcp.scope import Call, Scope
    from ctxgc.protocol.replies.heap import WhyReply
    from ctxgc.protocol.replies.segments import SegmentsChangedReply
    from ctxgc.protocol.replies.sessions import ShowReply
    from ctxgc.protocol.replies.stash import HitReply, RecallReply, SearchReply

OF_THE_QUERY = ("left out", "no word is left", "out of time")
"""In notes of the daemon that tell of the query alone, and of no segment."""
LINES = re.compile(r"[0-9]{1,9}(-[0-9]{0,9})?", re.ASCII)
ALL_LINES = "1-"
NOTES_BYTES_MIN, NOTES_BYTES_MAX, NOTES_SHARE = 28, 120, 20
"""Room in a budget for what is said behind the frame: the line to go on with always fits."""


DESCRIPTIONS = {
    "search": "Find what this project's sessions read, ran, wrote or decided, also where it has left your context. "
    "Lists segments with their ids for `recall`. Cheaper than reading files or running commands again.",
    "recall": "Bring content back by `id`, as lines with their numbers; where a result reads [evicted by ctxgc: …] or "
    "[left out by ctxgc: …], its id stands there. Or by `query`: excerpts of the best hits. Or `around` a segment. "
    "Never above `budget_tokens`; of a longer text the reply names the `lines` to go on with.",
    "why": "Say why a segment is in the context, or when and why it left.",
    "pin": "Keep segments in the context: a pinned segment is never evicted.",
    "unpin": "Take pins back.",
    "status": "Say how full this session's context is, what was evicted, and what can be brought back.",
}
MUTATING = ("pin", "unpin")
ALWAYS_LOADED = ("search", "recall")
"""Tools that Claude Code is to show its model from the start: a model does not look for tools that tombstones name."""


def tool_list() -> list[dict[str, Any]]:
    """The tools as `tools/list` gives them: the same bytes for ever, for they stand at the head of the prompt cache."""
    return [
        {
            "name": name,
            "description": DESCRIPTIONS[name],
            "inputSchema": schema,
            **({"_meta": {"anthropic/alwaysLoad": True}} if name in ALWAYS_LOADED else {}),
            "annotations": {
                "readOnlyHint": name not in MUTATING,
                "destructiveHint": False,
                "idempotentHint": True,
                "openWorldHint": False,
            },
        }
        for name, schema in SCHEMAS.items()
    ]


def list_tools(params: dict[str, Any]) -> dict[str, Any]:
    """`tools/list`."""
    require_no_cursor(params)
    return {"tools": tool_list()}


class Tools:
    """The tools of one client, each a method of the same name."""

    def __init__(self, call: Call, scope: Scope) -> None:
        self._call = call
        self._scope = scope

    def call_tool(self, params: dict[str, Any]) -> dict[str, Any]:
        """`tools/call`."""
        name, arguments = params.get("name"), params.get("arguments")
        if not isinstance(name, str) or name not in SCHEMAS:
            raise BadMessage(INVALID_PARAMS, f"there is no tool {str(name)[:100]!r}")
        arguments = {} if arguments is None else convert_whole_floats(arguments, SCHEMAS[name])
        if fault := arguments_problem(arguments, SCHEMAS[name]):
            return _tool_result(fault, is_error=True)
        tool: Callable[..., str] = getattr(self, name)
        try:
            return _tool_result(tool(**arguments))
        except OutOfScope as failure:
            return _tool_result(str(failure), is_error=True)
        except CallFailed as failure:
            return _tool_result(f"{failure}. {failure.hint}".strip(), is_error=True)

    def search(self, query: str, limit: int = 8, offset: int = 0, session: str = "") -> str:
        """Hits within the scope, best first."""
        hits, has_more, notes = self._find_hits(query, limit, offset, session)
        lines = [_hit_text(hit) for hit in hits]
        if has_more:
            lines.append(f"More: offset {offset + limit}.")
        if not lines:
            return _append_remarks("Nothing found in this project. Fewer or other words find more.", notes)
        return frame_text("hits", query, "\n".join([*lines, *(terminal.printable_line(note) for note in notes)]))

    def _find_hits(self, query: str, limit: int, offset: int, session: str) -> tuple[list[HitReply], bool, list[str]]:
        """Hits in the scope, best first, whether there are more, and what the daemon says of the search.

        A page from which a hit of another project was left out says nothing of further pages, and a page without hits
        no word of other projects: both would answer questions about other projects.
        """
        places = self._scope_params(session)
        # Several projects are read from their first hits: pages of each would skip what one page left over.
        start = offset if len(places) == 1 else 0
        params = {"query": query, "limit": min(offset - start + limit, LIMIT_MAX), "offset": start}
        params["here"] = self._scope.first_project_folder
        replies: list[SearchReply] = [self._call("stash.search", params | where) for where in places]
        hits = [hit for reply in replies for hit in reply.hits]
        if len(places) > 1:  # One reply has its own order: this project's hits first.
            hits.sort(key=lambda hit: -hit.score)
        page = hits[offset - start : offset - start + limit]
        has_more = len(hits) > offset - start + limit or any(reply.next_offset > 0 for reply in replies)
        kept = [hit for hit in page if self._scope.has_project(hit.project)]
        said = dict.fromkeys(note for reply in replies for note in reply.notes or ())
        notes = [note for note in said if kept or any(words in note for words in OF_THE_QUERY)]
        return kept, has_more and bool(kept) and len(kept) == len(page), notes

    def recall(self, id: str = "", query: str = "", around: str = "", lines: str = "", **more: Any) -> str:
        """Lines of a segment, a segment with its neighbours, or excerpts of the best hits, in the daemon's frame."""
        if sum(map(bool, (id, query, around))) != 1:
            raise OutOfScope("recall takes an `id`, a `query` or `around`, one of them")
        if lines and not id:
            raise OutOfScope("`lines` goes with an `id`")
        if lines and not LINES.fullmatch(lines):
            raise OutOfScope("`lines` is a range as 40-80, 40- or 40 is")
        session, budget_tokens = more.get("session", ""), more.get("budget_tokens", BUDGET_TOKENS)
        if query:
            return self._recall_query(query, session, budget_tokens)
        holder, full = self._scope.locate_segment(id or around, session)
        what = {"id": full, "lines": lines or ALL_LINES} if id else {"around": full}
        params = {"session": holder, "scope": "session", "budget_tokens": _frame_budget_tokens(budget_tokens), **what}
        try:
            reply: RecallReply = self._call("stash.recall", params)
        except CallFailed as failure:
            if failure.kind != "over_budget":
                raise
            more_tokens = f"nothing of it fits into {budget_tokens} tokens; give `budget_tokens` more"
            raise OutOfScope(more_tokens) from None
        goes_on = f"The rest: lines {reply.next_line}-" if reply.next_line else ""
        return _append_fitting_remarks(budget_tokens - reply.tokens, reply.text, [goes_on, *reply.notes])

    def _recall_query(self, query: str, session: str, budget_tokens: int) -> str:
        texts: list[str] = []
        notes: list[str] = []
        left = _frame_budget_tokens(budget_tokens)
        for where in self._scope_params(session):
            params = {"query": query, "cwd": self._scope.first_project_folder, "budget_tokens": left, **where}
            try:
                reply: RecallReply = self._call("stash.recall", params)
            except CallFailed as failure:
                if failure.kind not in ("not_found", "over_budget"):
                    raise
                continue
            # The verb was asked for the scope alone; what else it may read in a query's words is held to it here.
            if not all(map(self._scope.has_session, {excerpt.session for excerpt in reply.excerpts})):
                continue
            left -= reply.tokens
            texts.append(reply.text.rstrip("\n"))
            notes += reply.notes
            if left < BUDGET_TOKENS_MIN:
                break
        if not texts:
            return f"Nothing found in this project that fits {budget_tokens} tokens."
        room = left + budget_tokens - _frame_budget_tokens(budget_tokens)
        return _append_fitting_remarks(room, "\n".join(texts), list(dict.fromkeys(notes)))

    def _scope_params(self, session: str) -> list[dict[str, str]]:
        """The params that hold a verb to the scope, once for each of its projects."""
        if session:
            return [{"session": self._scope.resolve_session(session)}]
        return [{"project": project} if project else {} for project in self._scope.projects()]

    def why(self, id: str, session: str = "") -> str:
        """Why a segment is in the window, or why it left."""
        session, id = self._scope.locate_segment(id, session)
        reply: WhyReply = self._call("heap.why", {"session": session, "id": id})
        return frame_text("why", f"{id} of {session}", f"{reply.label}\n{reply.explanation}")

    def pin(self, ids: list[str], session: str = "") -> str:
        """Pin segments."""
        return self._change_pins("segment.pin", ids, session)

    def unpin(self, ids: list[str], session: str = "") -> str:
        """Take pins back."""
        return self._change_pins("segment.unpin", ids, session)

    def _change_pins(self, verb: str, ids: list[str], session: str) -> str:
        by_session: dict[str, list[str]] = {}
        for id in ids:  # All of them are found before any of them changes.
            holder, full = self._scope.locate_segment(id, session)
            by_session.setdefault(holder, []).append(full)
        replies: list[SegmentsChangedReply] = [
            self._call(verb, {"session": name, "ids": found}) for name, found in by_session.items()
        ]
        return "\n".join(reply.changed for reply in replies)

    def status(self, session: str = "") -> str:
        """How full a session's window is, and what can be had back."""
        shown: ShowReply = self._call(
            "session.show",
            {"session": self._scope.resolve_session(session) if session else self._scope.current_session()},
        )
        return frame_text("status", shown.session, "\n".join(_status_lines(shown)))


def _tool_result(text: str, *, is_error: bool = False) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "isError": is_error}


def _hit_text(hit: HitReply) -> str:
    facts = (f"id {hit.id}", f"session {hit.session}", hit.state, f"{tokens_text(hit.tokens)} tokens")
    snippet = hit.snippet.translate({ord(MATCH_START): None, ord(MATCH_END): None}).strip()
    head = terminal.printable_line(f"- {hit.label} ({', '.join(facts)}, {terminal.time_ago(hit.wall_s)})")
    return f"{head}\n  {terminal.printable_line(snippet)}".rstrip()


def _append_remarks(text: str, remarks: Sequence[str]) -> str:
    return "\n".join([text.rstrip("\n"), *filter(None, remarks)])


def _frame_budget_tokens(budget_tokens: int) -> int:
    """The part of a budget that is asked of the daemon: the rest is for notes."""
    return budget_tokens - min(NOTES_BYTES_MAX, NOTES_BYTES_MIN + budget_tokens // NOTES_SHARE)


def _append_fitting_remarks(tokens: int, text: str, notes: Sequence[str]) -> str:
    """A frame with the notes that certainly have no more tokens than this: a token has a byte or more."""
    kept: list[str] = []
    for note in map(terminal.printable_line, filter(None, notes)):
        tokens -= len(note.encode("utf-8", "replace")) + 1
        if tokens < 0:
            break
        kept.append(note)
    return _append_remarks(text, kept)


def _status_lines(shown: ShowReply) -> list[str]:
    lines = [
        f"{shown.session}: {shown.title}".rstrip(": "),
        f"window: {tokens_text(shown.billed_tokens)} tokens"
        + (f" of {tokens_text(shown.window_max_tokens)}" if shown.window_max_tokens else ""),
        f"segments: {shown.resident} resident, {shown.evicted} evicted, {shown.pinned} pinned",
        f"next collection: {shown.next_collection.words}",
    ]
    if shown.evicted:
        lines.append("the evicted segments can be brought back: `search` finds them")
    if shown.offer:
        lines.append(shown.offer)
    return lines
