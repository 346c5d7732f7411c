"""How fast is the stash: durable writes, single writes under load, search, bytes?

Run: python -m perf.bench_stash [--json] [--record] [--segments N] [--search] [--kept DIR]
"""

import argparse
import asyncio
import pickle
import random
import sqlite3
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ctxgc.core.segment import Kind, Piece, Role, Segment, SessionKey, content_digest
from ctxgc.stash.contract import Put, PutSession, Query, SegmentRow, SessionRow
from ctxgc.stash.sqlite import SqliteStash
from perf.record import record

CLIENTS = 50
BATCH = 100
SESSIONS = 200
PIECES_FEW = 6
SYLLABLES = [
    "ba",
    "con",
    "der",
    "fi",
    "gra",
    "ho",
    "in",
    "ja",
    "ker",
    "lo",
    "mu",
    "net",
    "or",
    "pra",
    "que",
    "res",
    "sta",
    "ti",
    "un",
]


class Prose:
    """Invented text with the shape of real text: few words are everywhere, most are rare (Zipf)."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        made = dict.fromkeys("".join(self.rng.choices(SYLLABLES, k=self.rng.randint(1, 4))) for _ in range(60_000))
        self.words = list(made)
        self.weights = [0.0]
        for rank in range(1, len(self.words) + 1):
            self.weights.append(self.weights[-1] + 1 / rank)
        self.weights = self.weights[1:]

    def text(self, words: int) -> str:
        """Words with now and then an identifier, a path, a number."""
        picked = self.rng.choices(self.words, cum_weights=self.weights, k=words)
        for n in range(0, words, 9):
            shape = self.rng.randrange(4)
            a, b = picked[n], picked[(n + 1) % words]
            picked[n] = (f"{a}{b.title()}", f"src/{a}/{b}.py", f"{a}_{b}()", str(self.rng.randrange(9999)))[shape]
        return " ".join(picked)

    def of_bytes(self, size: int) -> str:
        return self.text(size // 6 + 20)[:size]


def put(key: SessionKey, seq: int, text: str) -> Put:
    body = (Piece("text", text.encode()),)
    segment = Segment(
        id=f"toolu_{seq:08x}",
        kind=Kind.TOOL_CALL,
        role=Role.ASSISTANT,
        place=seq,
        born_turn=seq,
        body=body,
        tool="Read",
    )
    return Put(
        SegmentRow(
            key=key,
            seq=seq,
            segment=segment,
            digest=content_digest(b"{}", body),
            skeleton_tokens=20,
            pieces=(("text", len(body[0].data), len(text) // 4),),
            tombstone_tokens=12,
        )
    )


def quantile(times: list[float], share: float) -> float:
    """Milliseconds."""
    return round(sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1000, 3)


async def timed(call) -> float:
    start = time.perf_counter()
    await call
    return time.perf_counter() - start


async def durable_rate(folder: Path, prose: Prose) -> dict[str, float]:
    """Batches of 100 segments of 500 B into an empty stash, one after the other, four callers."""
    stash = SqliteStash(folder / "rate" / "stash.db")
    await stash.open()
    batches = [
        [put(SessionKey("client", f"s{n % 4}"), (n // 4) * BATCH + m, prose.of_bytes(500)) for m in range(BATCH)]
        for n in range(100)
    ]

    async def caller(mine: list[list[Put]]) -> None:
        for batch in mine:
            await stash.apply(batch)

    alone = await timed(caller(batches[0::4]))
    four = await timed(asyncio.gather(*(caller(batches[n::4]) for n in (1, 2, 3))))
    await stash.close()
    return {"add_many_per_s": round(25 * BATCH / alone), "add_many_per_s_3_callers": round(75 * BATCH / four)}


async def single_latency(folder: Path, prose: Prose) -> dict[str, float]:
    """One segment an `apply`, 50 clients at once; and one client alone."""
    stash = SqliteStash(folder / "single" / "stash.db")
    await stash.open()
    texts = [prose.of_bytes(500) for _ in range(CLIENTS)]
    times: list[float] = []

    async def client(n: int) -> None:
        for seq in range(40):
            times.append(await timed(stash.apply([put(SessionKey("client", f"c{n}"), seq, texts[n])])))

    start = time.perf_counter()
    await asyncio.gather(*map(client, range(CLIENTS)))
    rate = len(times) / (time.perf_counter() - start)
    alone = [await timed(stash.apply([put(SessionKey("client", "alone"), n, texts[0])])) for n in range(300)]
    await stash.close()
    return {
        "add_50_clients_ms_p50": quantile(times, 0.5),
        "add_50_clients_ms_p99": quantile(times, 0.99),
        "add_50_clients_per_s": round(rate),
        "add_alone_ms_p50": quantile(alone, 0.5),
        "add_alone_ms_p99": quantile(alone, 0.99),
    }


async def counted(folder: Path, prose: Prose) -> dict[str, float]:
    """What one `apply` of a batch, and one search, ask of SQLite: statements, rows, transactions."""
    stash = SqliteStash(folder / "counted" / "stash.db")
    await stash.open()
    key = SessionKey("client", "s")
    batches = [[put(key, n * BATCH + m, prose.of_bytes(500)) for m in range(BATCH)] for n in range(11)]
    await stash.apply(batches[0])
    said: list[str] = []
    assert stash._writer_thread is not None
    rows_before = await stash._writer_thread.run(_listening(said))
    for batch in batches[1:]:
        await stash.apply(batch)
    rows = await stash._writer_thread.run(_listening(None)) - rows_before
    written = [sql for sql in said if not sql.startswith("--")]  # An index's own statements are its business.
    readers = [stash._readers.get_nowait() for _ in range(stash._readers.qsize())]
    asked: list[str] = []
    for reader, deadline in readers:
        await reader.run(_listening(asked))
        stash._readers.put_nowait((reader, deadline))
    words = prose.text(40).split()
    for n in range(20):
        await stash.search(Query(text=" ".join(words[n : n + 1 + n % 4])))
    await stash.close()
    return {
        "statements_per_segment": len(written) / (10 * BATCH),
        "rows_per_segment": rows / (10 * BATCH),
        "commits_per_batch": sum(sql.startswith("COMMIT") for sql in written) / 10,
        "statements_per_search": sum(not sql.startswith("--") for sql in asked) / 20,
        "texts_per_search": sum(sql.count(",", sql.find(" IN ")) + 1 for sql in asked if " FROM body " in sql) / 20,
    }


def _listening(said: list[str] | None) -> Callable[[sqlite3.Connection], int]:
    """Have a connection note its statements from now on, or no longer; how many rows it has changed so far."""

    def listen(db: sqlite3.Connection) -> int:
        db.set_trace_callback(None if said is None else said.append)
        return db.total_changes

    return listen


async def until_merged(path: Path) -> None:
    """Wait for idle upkeep to join the pieces of the index, as it would between two bursts of work."""
    sql = "SELECT count(DISTINCT segid) FROM search_idx"
    with closing(sqlite3.connect(path)) as db:
        for _ in range(6_000):
            if db.execute(sql).fetchone()[0] <= PIECES_FEW:
                return
            await asyncio.sleep(0.1)


@dataclass
class Built:
    """A stash to search: the words of some segments with their sessions, and where the dice stand."""

    targets: list[tuple[int, list[str]]]
    seqs: list[int]
    raw_bytes: int
    upkeep_s: float
    dice: object


async def built_stash(folder: Path, prose: Prose, segments: int) -> Built:
    """A stash of so many segments in a folder, made if it is not there."""
    note = folder / "built.pickle"
    if note.exists():
        return pickle.loads(note.read_bytes())
    stash = SqliteStash(folder / "search" / "stash.db")
    await stash.open()
    rng, raw, targets = prose.rng, 0, []
    seqs = [0] * SESSIONS
    await stash.apply(
        [PutSession(SessionRow(key=SessionKey("client", f"s{n}"), project=f"/p{n % 20}")) for n in range(SESSIONS)]
    )
    for start in range(0, segments, BATCH):
        session = min(int(rng.paretovariate(0.7)) - 1, SESSIONS - 1)
        rows = []
        for _ in range(BATCH):
            text = prose.of_bytes(min(20_000, max(200, int(rng.lognormvariate(6.8, 0.9)))))
            rows.append(put(SessionKey("client", f"s{session}"), seqs[session], text))
            seqs[session] += 1
            raw += len(text)
        if start % 1000 == 0:
            targets.append((session, sorted(set(text.split()))))
        await stash.apply(rows)
    merge_s = await timed(until_merged(folder / "search" / "stash.db"))
    await stash.close()
    built = Built(targets, seqs, raw, merge_s, rng.getstate())
    note.write_bytes(pickle.dumps(built))
    return built


async def search_latency(folder: Path, prose: Prose, segments: int) -> dict[str, float]:
    """Queries of one to four distinct words of one target, common ones among them."""
    built = await built_stash(folder, prose, segments)
    rng, seqs = random.Random(), built.seqs
    rng.setstate(built.dice)
    stash = SqliteStash(folder / "search" / "stash.db")
    numbers: dict[str, float] = {"segments": segments, "upkeep_s": round(built.upkeep_s, 1)}
    numbers["open_ms"] = round(await timed(stash.open()) * 1000, 1)
    times: dict[str, list[float]] = defaultdict(list)
    partial = 0

    async def search(name: str, query: Query) -> None:
        before = time.process_time()
        times[name].append(await timed(stash.search(query)))
        times[f"{name}_cpu"].append(time.process_time() - before)

    for n in range(400):
        session, words = built.targets[n % len(built.targets)]
        text = " ".join(rng.sample(words, min(len(words), 1 + n % 4)))
        await search("search", Query(text=text))
        partial += (await stash.search(Query(text=text))).is_partial
        key = SessionKey("client", f"s{session}")
        await search("search_session", Query(text=text, key=key))
        times["recall"].append(await timed(stash.contents(key, [rng.randrange(seqs[session])])))
    await stash.close()
    for name, each in times.items():
        numbers |= {f"{name}_ms_{at}": quantile(each, share) for at, share in (("p50", 0.5), ("p99", 0.99))}
        numbers[f"{name}_ms_max"] = quantile(each, 1.0)
    size = (folder / "search" / "stash.db").stat().st_size
    return numbers | {
        "partial": partial,
        "bytes_per_segment": round(size / segments),
        "raw_bytes_per_segment": round(built.raw_bytes / segments),
        "bytes_of_raw": round(size / built.raw_bytes, 3),
    }


async def measure(segments: int, kept: Path | None, *, is_search_alone: bool) -> None:
    prose = Prose(seed=7)
    with tempfile.TemporaryDirectory(prefix="ctxgc-bench-") as name:
        folder = Path(name)
        if not (is_search_alone or kept):
            record("stash/add_many", await durable_rate(folder, prose))
            record("stash/counted", await counted(folder, prose))
            record("stash/add", await single_latency(folder, prose))
        record("stash/search", await search_latency(kept or folder, prose, segments))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--record", action="store_true", help="append to perf/history.jsonl")
    parser.add_argument("--segments", type=int, default=100_000)
    parser.add_argument("--search", action="store_true", help="measure the search alone")
    parser.add_argument(
        "--kept", type=Path, metavar="DIR", help="search the stash of an earlier run, or leave it there"
    )
    args = parser.parse_args()
    asyncio.run(measure(args.segments, args.kept, is_search_alone=args.search))


if __name__ == "__main__":
    main()
