"""Segments for stash tests, in as few words as a test can say them."""

import contextlib
import sqlite3
import string
from pathlib import Path

from hypothesis import strategies as st

from ctxgc.core.segment import Kind, Piece, Role, Segment, SessionKey, Status, content_digest
from ctxgc.stash.contract import Put, SegmentRow
from ctxgc.stash.sqlite import SqliteStash

KEY = SessionKey("client", "s1")
OTHER = SessionKey("codex", "s2")


def stored(
    seq: int, text: str | bytes = "hello", *, key: SessionKey = KEY, skeleton: bytes = b"{}", **said
) -> SegmentRow:
    """A segment as the daemon would hand it over; names of `SegmentRow` and of `Segment` may be given alike."""
    data = text.encode() if isinstance(text, str) else text
    body = (Piece("text", data),)
    whole = {
        "id": f"seg-{seq}",
        "kind": Kind.USER,
        "role": Role.USER,
        "place": seq,
        "born_turn": 0,
        "wall_s": seq + 1.0,
    }
    row = {"skeleton_tokens": 3, "pieces": (("text", len(data), 5),), "tombstone_tokens": 4}
    for name, value in said.items():
        (whole if name in Segment.__slots__ else row)[name] = value
    segment = Segment(skeleton=skeleton, body=body, **whole)
    return SegmentRow(key=key, seq=seq, segment=segment, digest=content_digest(skeleton, body), **row)


def put(seq: int, text: str | bytes = "hello", **said) -> Put:
    return Put(stored(seq, text, **said))


def puts(*texts: str | bytes, key: SessionKey = KEY) -> list[Put]:
    return [put(seq, text, key=key) for seq, text in enumerate(texts)]


def pending(seq: int, **said) -> Put:
    said = {"kind": Kind.TOOL_CALL, "role": Role.ASSISTANT, "tool": "Read", "status": Status.PENDING} | said
    return put(seq, b"", **said)


def text_of(content) -> bytes:
    _, body = content
    return b"".join(piece.data for piece in body)


def file_in(folder: Path) -> Path:
    return folder / "state" / "stash.db"


def sqlite_in(folder: Path, **said) -> SqliteStash:
    """A stash that does not care how full the test machine's disk is."""
    return SqliteStash(file_in(folder), **({"reserve_bytes": 0} | said))


async def erase_now(stash: SqliteStash) -> int:
    """Erase at once what maintenance erases in the next quiet moment; how many erasures still wait."""
    with contextlib.suppress(sqlite3.Error):
        await stash._erase_forgotten_bytes()
    return (await stash.status()).erasures_pending


any_bytes = st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass"))
any_text = st.text(max_size=60) | st.text(alphabet=string.printable + "\x00\x02\"*-^:(){}+'ﬁ½é\u0301", max_size=40)
