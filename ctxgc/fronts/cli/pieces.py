"""Pieces of recalled segments, out of the daemon's replies: as bytes, page after page."""

from __future__ import annotations

import base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ctxgc.protocol.replies.segments import ContentReply, PieceReply

    Call = Callable[[str, dict[str, Any]], Any]


def read_pieces(call: Call, segment: ContentReply, only: str = "") -> Iterator[tuple[str, bytes]]:
    """The exact bytes of a segment's pieces, page after page: `(piece name, bytes)`.

    Later pages are read with `segment.get`, so that a recall of any size counts as a single page fault.
    """
    for piece in segment.pieces:
        if only and piece.name != only:
            continue
        yield piece.name, piece_bytes(piece)
        offset = piece.next_offset
        while offset >= 0:
            page: ContentReply = call("segment.get", {"session": segment.session, "id": segment.id, "offset": offset})
            piece_page = next(one for one in page.pieces if one.name == piece.name)
            yield piece.name, piece_bytes(piece_page)
            offset = piece_page.next_offset


def piece_bytes(piece: PieceReply) -> bytes:
    """A piece of a reply, as bytes."""
    if piece.data_b64 is not None:
        return base64.b64decode(piece.data_b64)
    return (piece.text or "").encode("utf-8", "surrogatepass")
