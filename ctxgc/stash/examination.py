"""Reading a stash for damage: SQLite's pages, and bodies against the digests that were taken at admission.

page_damage_sentences   by `quick_check`         body_rids ─▶ body_damage_sentences   each body alone, by its digest
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from ctxgc.core.errors import StorageFailed
from ctxgc.core.segment import content_digest
from ctxgc.stash import body_codec, newest_segment
from ctxgc.stash.deadline import Deadline
from ctxgc.stash.health import Examination
from ctxgc.stash.reading import chunks

T = TypeVar("T")

PAGES_S_MAX = 10.0
"""The time for the pages, unless all are to be read."""
TROUBLES_MAX = 10
"""Sentences of each sort; more are counted."""
SAMPLE_NEWEST = 100
SAMPLE_DRAWN = 400


class RunOnReader(Protocol):
    """A stash's way to run a function on a reader; the function may bound its own time."""

    async def __call__(self, function: Callable[[sqlite3.Connection, Deadline], T], /) -> T:
        """The function's result. Raises `StorageFailed`."""


async def examine_stash(read: RunOnReader, *, is_deep: bool) -> Examination:
    """All pages and bodies; or what pages can be read in a time, and a sample of bodies. Others read between slices."""

    def find_page_troubles(db: sqlite3.Connection, deadline: Deadline) -> list[str] | None:
        deadline.set(float("inf") if is_deep else PAGES_S_MAX)
        try:
            return [*_missing_segment_sentences(db), *page_damage_sentences(db)]
        except sqlite3.OperationalError:  # Time was up: other damage is a sentence.
            return None
        finally:
            deadline.set(float("inf"))

    troubles = await read(find_page_troubles)
    bad_bodies: list[str] = []
    try:
        rids = await read(lambda db, _: body_rids(db, is_sample=not is_deep))
    except StorageFailed as failure:
        rids, troubles = [], [*(troubles or ()), f"no list of the segments: {failure}"]
    for some in chunks(rids):
        bad_bodies += await read(lambda db, _, some=some: body_damage_sentences(db, some))  # type: ignore[misc]
    skipped = "" if troubles is not None else f"not all pages were read in {PAGES_S_MAX:.0f} s"
    return Examination(len(rids), len(bad_bodies), (*(troubles or ()), *bad_bodies[:TROUBLES_MAX]), skipped)


def _missing_segment_sentences(db: sqlite3.Connection) -> list[str]:
    """A sentence where the newest segments are missing; none where the rows cannot be read, which the pages say."""
    try:
        return [*filter(None, [newest_segment.missing_segments_sentence(db)])]
    except sqlite3.OperationalError:  # Time was up.
        raise
    except sqlite3.DatabaseError:
        return []


def page_damage_sentences(db: sqlite3.Connection) -> list[str]:
    """SQLite's complaints about pages and tables. O(pages)."""
    try:
        return [row[0] for row in db.execute(f"PRAGMA quick_check({TROUBLES_MAX})") if row[0] != "ok"]
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # The second: a damaged text, quoted.
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            raise
        return [f"the pages cannot be read: {error}"]


def body_rids(db: sqlite3.Connection, *, is_sample: bool) -> list[int]:
    """The rids of segments that have a body: all, or the newest and some that are drawn."""
    with_body = "SELECT rid FROM segment WHERE digest != x''"
    if not is_sample:
        return [rid for (rid,) in db.execute(with_body)]
    newest = db.execute(f"{with_body} ORDER BY rid DESC LIMIT ?", (SAMPLE_NEWEST,))
    rids = {rid for (rid,) in newest}
    drawn = f"{with_body} AND rid >= abs(random()) % (SELECT max(rid) FROM segment) + 1 LIMIT 1"  # noqa: S608 - a constant
    for _ in range(SAMPLE_DRAWN if rids else 0):
        rids.update(rid for (rid,) in db.execute(drawn))
    return sorted(rids)


def body_damage_sentences(db: sqlite3.Connection, rids: Sequence[int]) -> list[str]:
    """A sentence for each body that differs from its admission. Damage of a body hides no other damage."""
    troubles = []
    decompress = body_codec.make_decompressor()
    for rid in rids:
        name = f"of the segment with row {rid}"
        try:
            row = db.execute(_BODY, (rid,)).fetchone()
            if row is None:
                continue  # Forgotten meanwhile.
            source, session, id_, stamp, content = row
            name = f"of segment {id_!r} of {source}:{session}"
            if content is not None and content_digest(*body_codec.decode_content(content, decompress)) == stamp:
                continue
            troubles.append(f"the content {name} is {'damaged' if content is not None else 'missing'}")
        except (sqlite3.DatabaseError, ValueError) as error:  # A UnicodeDecodeError is a ValueError.
            troubles.append(f"the content {name} cannot be read: {error}")
    return troubles


_BODY = """
SELECT e.source, e.session, s.id, s.digest, b.frame FROM segment AS s LEFT JOIN session AS e USING (sid)
    LEFT JOIN body AS b USING (rid) WHERE s.rid = ? AND s.digest != x''
"""
