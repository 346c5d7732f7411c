"""The tools of a request: a digest that tells its session, and the tool with which the model recalls.

The digest is of the tools' names, in no order, without those that are loaded on demand.
An agent that searches for a tool adds the tool to its list, and another version of the agent words a tool anew; both
are the session of before. Another set of tools is another agent's.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

RECALL_TOOL = "mcp__ctxgc__recall"
"""The `recall` of `ctxgc mcp`, as Claude Code and Codex name it."""
_RECALL_TOOLS = frozenset({RECALL_TOOL, "ctxgc_recall", "ctxgc__recall"})
"""The names that agents make of the server's name and its tool's."""
_SERVER = "mcp__ctxgc"


class _Function(msgspec.Struct):
    name: Any = ""


class _Tool(msgspec.Struct):
    name: Any = ""
    type: Any = ""
    function: _Function | None = None
    defer_loading: Any = False
    tools: Any = None
    """The tools of a namespace of Codex's."""


_DECODER = msgspec.json.Decoder(list[_Tool])


def tool_digest(tools: bytes) -> bytes:
    """A digest of a list of tools as JSON; empty without tools."""
    if not tools.strip(b"[]{} \r\n\t") or tools == b"null":
        return b""
    try:
        listed = _DECODER.decode(tools)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return blake2b(tools, digest_size=8).digest()
    names = sorted(str(_tool_name(tool)) for tool in listed if tool.defer_loading is not True)
    return blake2b("\n".join(names).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def find_recall_tool_name(tools: bytes) -> str:
    """The name of the model's own recall tool in a list of tools as JSON; empty where the list has none.

    A tool that is loaded on demand comes and goes between requests, and a tombstone must not change with it (I14).
    """
    if b"ctxgc" not in tools:
        return ""
    try:
        listed = _DECODER.decode(tools)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    for tool in listed:
        name = _tool_name(tool) if tool.defer_loading is not True else ""
        if name in _RECALL_TOOLS:
            return str(name)
        if name == _SERVER and isinstance(tool.tools, list) and any(_is_recall_tool(inner) for inner in tool.tools):
            return RECALL_TOOL
    return ""


def _is_recall_tool(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("name") == "recall"


def _tool_name(tool: _Tool) -> Any:
    return (tool.function.name if tool.function is not None else "") or tool.name or tool.type
