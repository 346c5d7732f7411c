"""The params of recalling: a segment exactly, excerpts in a frame, a working set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ctxgc.protocol.limits import FRAME_BYTES_DEFAULT, RECALL_TOKENS_MAX
from ctxgc.protocol.params import Count, FolderPath, MutatingSession, Name, OfSession


class StashRecall(MutatingSession):
    """Bring content back: the segment of an `id` exactly; excerpts in a frame for a `query`, for lines, or around a
    segment. Counts as a page fault."""

    id: Name = ""
    """Alone: every byte of the segment, paged. With `lines` or `budget_tokens`: lines of the segment in a frame."""
    query: Annotated[str, Field(max_length=4096)] = ""
    """Words: the best excerpts of the best hits, in a frame."""
    around: Name = ""
    """A segment: the segment and its neighbours in time, in a frame."""
    lines: Annotated[str, Field(max_length=20, pattern=r"^([0-9]{1,9}(-[0-9]{0,9})?)?$")] = ""
    """With `id`: `40-80`, `40-`, or `40`. Each piece begins on a line of its own; a call's short inputs come last."""
    budget_tokens: Annotated[int, Field(ge=1, le=RECALL_TOKENS_MAX)] | None = None
    """Raw tokens that the frame has at most. Absent: 4,000, and for lines by number 40,000."""
    project: FolderPath = ""
    """Only segments of this project's sessions are found, by whatever name."""
    scope: Literal["any", "session"] = "any"
    """`session`: an address of another session is not found, but for the session's own sub-agents."""
    offset: Count = 0
    limit_bytes: Annotated[int, Field(ge=1, le=FRAME_BYTES_DEFAULT)] = 2**20
    piece: Name = ""
    """The piece that the caller reads: a segment without this piece is no page fault. Empty: all of them."""


class SessionRehydrate(OfSession):
    """A working set for a new or compacted session, in a frame: instructions by reference, pins, open plan items, files
    under edit, last decisions, the last error. Changes nothing."""

    budget_tokens: Annotated[int, Field(ge=1, le=RECALL_TOKENS_MAX)] = 3000
    """Raw tokens that the frame has at most."""
    is_compacting: bool = False
    """The host is dropping the window, and its log does not say so yet: the offer counts the window's segments too."""
