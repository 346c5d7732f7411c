"""Resources and prompts of the MCP server: sessions to browse, and the commands of an agent's own menu.

    ctxgc://sessions ─▶ the scope's sessions     ctxgc://session/NAME?offset=N ─▶ its segments, a page of them
    ctxgc://segment/NAME/ID ─▶ its content

A name in a URI is held to the scope like a tool's argument.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit

from ctxgc.core.frame import clean_header_part
from ctxgc.fronts.cli import terminal
from ctxgc.fronts.mcp.frame import frame_text
from ctxgc.fronts.mcp.rpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    NO_SUCH_CURSOR,
    RESOURCE_NOT_FOUND,
    BadMessage,
    require_no_cursor,
)
from ctxgc.fronts.mcp.scope import OutOfScope
from ctxgc.protocol.blocking_client import CallFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ctxgc.fronts.mcp.scope import Call, Scope
    from ctxgc.fronts.mcp.tools import Tools
    from ctxgc.protocol.replies.segments import SegmentsReply

SESSIONS_LISTED = 50
SEGMENTS_LISTED = 200
"""Segments of one reply: agents cut a longer reply without a word."""
URI_CHARS_MAX = 4096
TEXT = "text/plain"
_OFFSET = re.compile(r"(?:offset=([0-9]{1,9}))?", re.ASCII)
"""The query of a session's URI."""
SESSIONS_URI = "ctxgc://sessions"
TEMPLATES = (
    ("ctxgc://session/{session}{?offset}", "session", "A session's segments, in the order of its window"),
    ("ctxgc://segment/{session}/{id}", "segment", "A segment's content"),
)
PROMPTS: dict[str, tuple[str, str, str]] = {
    "status": ("State of this session's context", "", "Call ctxgc's `status` tool and show me what it says."),
    "recall": ("Bring something back", "what", "Find with ctxgc's `search` tool, and bring back with `recall`: {what}"),
    "pin": ("Keep something in the context", "what", "Find with ctxgc's `search` tool, and keep with `pin`: {what}"),
}
"""By name: description, the argument if there is one, and what is said to the model."""


class Resources:
    """The resources of one client."""

    def __init__(self, call: Call, scope: Scope, tools: Tools) -> None:
        self._call = call
        self._scope = scope
        self._tools = tools

    def list(self, params: dict[str, Any]) -> dict[str, Any]:
        """`resources/list`: the sessions, newest first."""
        cursor = "0" if params.get("cursor") is None else params["cursor"]
        if not (isinstance(cursor, str) and cursor.isascii() and cursor.isdecimal() and len(cursor) < 10):
            raise BadMessage(INVALID_PARAMS, NO_SUCH_CURSOR)
        offset = int(cursor)
        rows = _call_translating_errors(lambda: self._scope.newest_sessions(SESSIONS_LISTED, offset))
        found = [
            {
                "uri": f"ctxgc://session/{quote(row.session, safe='')}",
                "name": clean_header_part(row.session),
                "title": clean_header_part(row.title or row.session),
                "mimeType": TEXT,
            }
            for row in rows
        ]
        if not offset:
            found.insert(0, {"uri": SESSIONS_URI, "name": "sessions", "title": "Sessions", "mimeType": TEXT})
        more = {"nextCursor": str(offset + SESSIONS_LISTED)} if len(rows) == SESSIONS_LISTED else {}
        return {"resources": found, **more}

    def templates(self, params: dict[str, Any]) -> dict[str, Any]:
        """`resources/templates/list`."""
        require_no_cursor(params)
        rows = [
            {"uriTemplate": uri, "name": name, "description": text, "mimeType": TEXT} for uri, name, text in TEMPLATES
        ]
        return {"resourceTemplates": rows}

    def read(self, params: dict[str, Any]) -> dict[str, Any]:
        """`resources/read`."""
        uri = params.get("uri")
        if not isinstance(uri, str) or len(uri) > URI_CHARS_MAX:
            raise BadMessage(INVALID_PARAMS, f"a URI is a text of {URI_CHARS_MAX} characters at most")
        text = _call_translating_errors(lambda: self._read_uri(uri))
        return {"contents": [{"uri": uri, "mimeType": TEXT, "text": text}]}

    def _read_uri(self, uri: str) -> str:
        """What stands at a URI. Raises `OutOfScope`."""
        try:
            parts = urlsplit(uri)
        except ValueError:
            parts = urlsplit("")
        names = [unquote(part) for part in parts.path.split("/")[1:]]
        if uri == SESSIONS_URI:
            rows = self._scope.newest_sessions(SESSIONS_LISTED)
            lines = [
                terminal.printable_line(f"{row.session} ({terminal.time_ago(row.updated_s)}) {row.title}")
                for row in rows
            ]
            return frame_text("sessions", "this project", "\n".join(lines))
        if parts.scheme == "ctxgc" and parts.netloc == "session" and len(names) == 1:
            if not (offset := _OFFSET.fullmatch(parts.query)):
                raise OutOfScope("there is no such resource")
            return self._segments_text(self._scope.resolve_session(names[0]), int(offset[1] or 0))
        if parts.scheme == "ctxgc" and parts.netloc == "segment" and len(names) == 2:
            return self._tools.recall(names[1], session=names[0])
        raise OutOfScope("there is no such resource")

    def _segments_text(self, session: str, offset: int) -> str:
        params = {"session": session, "limit": SEGMENTS_LISTED, "offset": offset}
        reply: SegmentsReply = self._call("segment.list", params)
        lines = [
            terminal.printable_line(f"{row.id} {terminal.segment_label(row)} ({row.state}, {row.tokens} tokens)")
            for row in reply.segments
        ]
        if reply.next_offset >= 0:
            goes_on = f"ctxgc://session/{quote(session, safe='')}?offset={reply.next_offset}"
            lines.append(f"{reply.total} segments in all; the next: {goes_on}")
        return frame_text("segments", session, "\n".join(lines))


def _call_translating_errors(ask: Any) -> Any:
    """What `ask` gives; a failure as the protocol's error."""
    try:
        return ask()
    except OutOfScope as failure:
        raise BadMessage(RESOURCE_NOT_FOUND, str(failure)) from None
    except CallFailed as failure:
        raise BadMessage(INTERNAL_ERROR, f"{failure}. {failure.hint}".strip()) from None


def list_prompts(params: dict[str, Any]) -> dict[str, Any]:
    """`prompts/list`."""
    require_no_cursor(params)
    rows = []
    for name, (text, argument, _) in PROMPTS.items():
        arguments = [{"name": argument, "description": "Words that tell which", "required": True}] if argument else []
        rows.append({"name": name, "description": text, "arguments": arguments})
    return {"prompts": rows}


def get_prompt(params: dict[str, Any]) -> dict[str, Any]:
    """`prompts/get`."""
    name, given = params.get("name"), params.get("arguments") or {}
    if not isinstance(name, str) or name not in PROMPTS:
        raise BadMessage(INVALID_PARAMS, f"there is no prompt {str(name)[:100]!r}")
    description, argument, words = PROMPTS[name]
    if argument and not (isinstance(given, dict) and isinstance(given.get(argument), str)):
        raise BadMessage(INVALID_PARAMS, f"`{argument}` is missing")
    text = words.replace("{what}", given[argument]) if argument else words
    return {"description": description, "messages": [{"role": "user", "content": {"type": "text", "text": text}}]}
