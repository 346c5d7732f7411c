"""Text of the server's own lists in the frame of recalled text: a label or a snippet is a session's text too."""

from __future__ import annotations

from ctxgc.core.frame import Block, DataLine, render_frame
from ctxgc.core.line_ranges import split_pieces_into_lines


def frame_text(title: str, origin: str, text: str) -> str:
    """The text as data, under a header with kind and owner."""
    lines = tuple(DataLine(number, line) for number, line in enumerate(split_pieces_into_lines([text]), 1))
    return render_frame([Block(title=title, facts=(origin,), lines=lines)])
