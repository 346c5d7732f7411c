"""The tools of a request as a mark of its session: names, in no order, without those that are loaded on demand.

An agent that searches for a tool adds the tool to its list, and another version of the agent words a tool anew; both
are the session of before. Another set of tools is another agent's.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec


class _Function(msgspec.Struct):
    name: Any = ""


class _Tool(msgspec.Struct):
    name: Any = ""
    type: Any = ""
    function: _Function | None = None
    defer_loading: Any = False


_DECODER = msgspec.json.Decoder(list[_Tool])


def tool_digest(tools: bytes) -> bytes:
    """A digest of a list of tools as JSON; empty without tools."""
    if not tools.strip(b"[] \r\n\t"):
        return b""
    try:
        listed = _DECODER.decode(tools)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return blake2b(tools, digest_size=8).digest()
    names = sorted(str(_name(tool)) for tool in listed if tool.defer_loading is not True)
    return blake2b("\n".join(names).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _name(tool: _Tool) -> Any:
    return (tool.function.name if tool.function is not None else "") or tool.name or tool.type
