"""How long does a session take to wake, first admission included, and is the loop held?  Run: python -m perf.bench_wake

A wake reads rows; before the first admission the texts are read for the index of words and lines. Times are CPU of the
process; `gap_ms` is the longest that a task on the loop, which asks for a turn each millisecond, had to wait. The goal
at a hundred thousand segments is 1.5 s and 20 ms.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from random import Random

from ctxgc.adapters.facts.tool_facts import call_facts_without_input
from ctxgc.core.segment import Access, EdgeKind, Kind, PathUse, Piece, Role, Segment, SessionKey, content_digest
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.session_index import SessionSettings
from ctxgc.stash.contract import Edge, Put, PutSession, SegmentRow, SessionRow
from ctxgc.stash.sqlite import SqliteStash
from perf.record import Number, record
from perf.texts import code_like

SEGMENTS = {"10k": 10_000, "100k": 100_000}
BATCH = 2_000
TEXT_CHARS = 800
KEY = SessionKey("claude_code", "bench")


def main(argv: list[str]) -> None:
    for name, segments in SEGMENTS.items():
        record(f"wake/{name}", asyncio.run(measure(segments)))


async def measure(segments: int) -> dict[str, Number]:
    """Times of a wake and of the index of words, and the loop's longest gap in each."""
    with tempfile.TemporaryDirectory() as folder:
        stash = SqliteStash(Path(folder) / "stash.sqlite3")
        await stash.open()
        try:
            await fill(stash, segments)
            row = await stash.session(KEY)
            assert row is not None
            session, wake = await timed(Session.wake(row, stash, SessionSettings(), time.time, is_new=False))
            assert session is not None
            _, text = await timed(session.ensure_word_index())
        finally:
            await stash.close()
    return {
        "wake_cpu_s": wake[0],
        "wake_gap_ms": wake[1],
        "text_cpu_s": text[0],
        "text_gap_ms": text[1],
        "sum_cpu_s": wake[0] + text[0],
    }


async def timed(work: Awaitable[Session | None]) -> tuple[Session | None, tuple[float, float]]:
    """(the work's result, (seconds of the process's CPU, the loop's longest gap in milliseconds))."""
    gaps: list[float] = []

    async def beat() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    beating = asyncio.create_task(beat())
    started = time.process_time()
    result = await work
    took_s = time.process_time() - started
    await asyncio.sleep(0.01)
    beating.cancel()
    return result, (took_s, max(gaps) * 1e3)


async def fill(stash: SqliteStash, segments: int) -> None:
    """Store a session of reads, with ids as hosts have."""
    random, text = Random(3), code_like(2_000_000, seed=3)
    await stash.apply([PutSession(SessionRow(key=KEY, number=5, turn=segments // 3))])
    for start in range(0, segments, BATCH):
        await stash.apply([Put(a_row(seq, random, text)) for seq in range(start, min(start + BATCH, segments))])


def a_row(seq: int, random: Random, text: str) -> SegmentRow:
    """A read of some lines of code that refers to two older segments."""
    at = random.randrange(len(text) - TEXT_CHARS)
    uses = (PathUse(f"/src/{random.randrange(300)}.py", Access.READ, 1, 40),)
    segment = Segment(
        id=f"toolu_01{seq:022d}",
        kind=Kind.TOOL_CALL,
        role=Role.ASSISTANT,
        place=seq * 8,
        born_turn=seq // 3,
        tool="Read",
        paths=uses,
        facts=call_facts_without_input("Read", "", uses),
        skeleton=b'{"call_id":"%d","input":{}}' % seq,
        body=(Piece("result", text[at : at + TEXT_CHARS]),),
    )
    targets = {random.randrange(seq) for _ in range(2)} if seq else set()
    return SegmentRow(
        key=KEY,
        seq=seq,
        segment=segment,
        digest=content_digest(segment.skeleton, segment.body),
        skeleton_tokens=20,
        pieces=(("result", TEXT_CHARS, TEXT_CHARS // 4),),
        tombstone_tokens=40,
        edges=tuple(Edge(target, EdgeKind.IDENTIFIER) for target in sorted(targets)),
        touched_turn=segment.born_turn,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
