"""Lines of MCP over stdio: JSON-RPC 2.0, one message per line, without a stream, a clock or a thread.

    line ──parse_messages──▶ messages │ BadMessage        reply, error, request ──encode_line──▶ line

Standard library only, as all of this folder: an agent starts the server and waits for it.
"""

from __future__ import annotations

import json
from math import isfinite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
INTERNAL_ERROR, RESOURCE_NOT_FOUND = -32603, -32002
NO_SUCH_CURSOR = "the cursor is none that was given"
LINE_BYTES_MAX = 2**22
BATCH_MAX = 100
VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Versions of the protocol that begin with `initialize`, the newest first."""
VERSIONS_WITHOUT_BATCHES = frozenset({"2025-11-25", "2025-06-18"})
"""Versions in which a line is a single message."""


class BadMessage(Exception):
    """A message has no result: the error's code, and a sentence."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def parse_messages(line: bytes) -> tuple[list[Any], bool]:
    """The messages of a line, and whether the line is a batch. Raises `BadMessage`."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise BadMessage(PARSE_ERROR, "the line is no JSON") from None
    if not isinstance(value, list):
        return [value], False
    if not value or len(value) > BATCH_MAX:
        raise BadMessage(INVALID_REQUEST, f"a batch has 1 to {BATCH_MAX} messages")
    return value, True


def negotiate_version(asked: object) -> str:
    """The client's version of the protocol where the server knows that version, else the newest."""
    return asked if isinstance(asked, str) and asked in VERSIONS else VERSIONS[0]


Id = int | float | str
"""The id of a request. Clients whose language has one kind of number write `1.0`."""


def request_id(message: object) -> Id | None:
    """The id of a request; `None` for a notification, and for an id that no request may have."""
    id = message.get("id") if isinstance(message, dict) else None
    if isinstance(id, float):
        return id if isfinite(id) else None
    return id if isinstance(id, int | str) and not isinstance(id, bool) else None


def require_no_cursor(params: dict[str, Any]) -> None:
    """Raise `BadMessage` for a page of a list that has a single page."""
    if params.get("cursor") is not None:
        raise BadMessage(INVALID_PARAMS, NO_SUCH_CURSOR)


def result_reply(id: Id, result: dict[str, Any]) -> dict[str, Any]:
    """The reply to a request that was carried out."""
    return {"jsonrpc": "2.0", "id": id, "result": result}


def error_reply(id: Id | None, failure: BadMessage) -> dict[str, Any]:
    """The reply to a request that was not carried out."""
    return {"jsonrpc": "2.0", "id": id, "error": {"code": failure.code, "message": str(failure)}}


def encode_line(message: dict[str, Any] | list[dict[str, Any]]) -> bytes:
    """A message as a line. A lone surrogate, which strict readers of JSON refuse, becomes a question mark."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace") + b"\n"
