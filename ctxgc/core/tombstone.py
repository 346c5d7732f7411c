"""Tombstones: what stands where a body was, so that the model knows what it had and how to get it back.

A bare gap makes agents read the same file a dozen times. A tombstone names the tool, the file and its lines, the size
and the way back, in 60 tokens or fewer. It refers to the content and copies none of it, so that `forget` leaves no
trace in what was rendered; and it holds nothing that changes with time, so that a prompt cache survives it (I14).
"""

from __future__ import annotations

from ctxgc.core.segment import LINE_MAX, Access, Kind, PathUse, Segment

LABEL_CHARS_MAX = 72


def path_label(use: PathUse) -> str:
    """A path with its lines: `src/a.py:10-40`; a whole file without."""
    if use.last_line == LINE_MAX:
        return use.path if use.first_line == 1 else f"{use.path}:{use.first_line}-"
    return f"{use.path}:{use.first_line}-{use.last_line}"


def label(segment: Segment) -> str:
    """What a segment is in a few words: tool with path and lines, or with its command; else kind. Never body text."""
    if segment.kind is not Kind.EXCHANGE:
        path = path_label(segment.paths[0]) if segment.paths else ""
        return _cut(f"{segment.kind.value} {path}".strip())
    touched = [use for use in segment.paths if use.access is not Access.MENTION]
    if touched and not segment.command:
        more = f" +{len(touched) - 1}" if len(touched) > 1 else ""
        return _cut(f"{segment.tool} {path_label(touched[0])}") + more
    if segment.command:
        return _cut(f"{segment.tool}: {' '.join(segment.command.split())}", keep_end=False)
    return _cut(segment.tool or "exchange")


def _cut(text: str, *, keep_end: bool = True) -> str:
    text = "".join(c if c.isprintable() else " " for c in text)
    if len(text) <= LABEL_CHARS_MAX:
        return text
    # Of a path the end tells more, of a command the beginning.
    return f"{text[:12]}…{text[-(LABEL_CHARS_MAX - 13) :]}" if keep_end else text[: LABEL_CHARS_MAX - 1] + "…"


def size_label(tokens: int) -> str:
    """Tokens as a person says them: `940`, `3.2k`, `41k`."""
    if tokens < 1000:
        return str(tokens)
    return f"{tokens / 1000:.1f}k" if tokens < 9950 else f"{round(tokens / 1000)}k"


def tombstone_text(segment: Segment, seq: int, body_tokens: int) -> str:
    """The tombstone of a segment: fixed for its life, whatever happens around it (I14)."""
    return f"[evicted by ctxgc: {label(segment)}, {size_label(body_tokens)} tokens; get it back: ctxgc recall #{seq}]"
