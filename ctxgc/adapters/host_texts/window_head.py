"""What an agent says of its own place at the head of a window, before the work begins.

    first SYSTEM and ATTACHMENT segments ──working_folder──────▶ folder
                                         ──allows_network──────▶ whether the agent's shell has sockets
                                         ──defers_ctxgc_tools──▶ whether the tools of ctxgc are shown on demand

Claude Code, Codex, Pi and Copilot CLI write these texts; a person's words are not looked at. Each function is
O(characters of the head).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ctxgc.core.segment import Kind, Segment

FOLDER_CHARS_MAX = 4096
HEAD_SEGMENTS_MAX = 12
"""Segments in which an agent names its working folder and its permissions: an agent does so before the work begins."""

_FOLDER = re.compile(
    r"^[ \t*-]*(?:(?:Primary|Current) w|W)orking directory: *(/[^\n]*[^\s])|<cwd>(/[^<\n]+)</cwd>", re.M
)
_NETWORK = re.compile(r"\bNetwork access is (\w+)|<network_access>(\w+)</network_access>")
_DEFERRED_SERVER = re.compile(r"^<tools>\nDeferred tool namespaces:\n(?:- .*\n)*?- mcp__ctxgc: ", re.M)


def working_folder(segments: Sequence[Segment]) -> str:
    """The agent's working folder, by the first text that names the folder; else empty."""
    for text in _head_texts(segments):
        if found := _FOLDER.search(text):
            return (found[1] or found[2])[:FOLDER_CHARS_MAX]
    return ""


def allows_network(segments: Sequence[Segment]) -> bool:
    """Whether Codex's first description of its sandbox allows the network: a sandbox without it has no sockets at all.

    Descriptions of a later turn do not count: a tombstone stays as rendered (I14), and so does the head of a list.
    """
    for text in _head_texts(segments):
        if found := _NETWORK.search(text):
            return (found[1] or found[2]) != "restricted"
    return True


def defers_ctxgc_tools(segments: Sequence[Segment]) -> bool:
    """Whether Codex names the MCP server of ctxgc at the head of the list, and shows the model its tools on demand."""
    return any(_DEFERRED_SERVER.search(text) for text in _head_texts(segments))


def _head_texts(segments: Sequence[Segment]) -> Iterator[str]:
    for segment in segments[:HEAD_SEGMENTS_MAX]:
        if segment.kind in (Kind.SYSTEM, Kind.ATTACHMENT):
            yield from (piece.text for piece in segment.body)
