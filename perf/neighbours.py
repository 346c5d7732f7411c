"""The neighbours of a plan, on the same heap in the same process: a C scan, a sort, SQLite alone, Redis.

    heap ──plan──▶ the victims that free a part of the window ──how many?──▶ each neighbour: as many of the lowest keys

The heap has no proofs, so every victim is cold, and a neighbour has to find the same bodies. Keys move with time, by
the logarithms of two ages up to 4,096 turns. A neighbour that keeps an order of keys therefore has to write the keys of
all younger bodies again, each turn: `…_rekey_ms`. Times are CPU of the thread, and of Redis the server's own time for
the command, without the socket.
"""

from __future__ import annotations

import ctypes
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ctxgc.core.cells import RankedBodies
from ctxgc.core.collector import EvictableBodies, find_evictable_bodies, plan, rank_unproven_bodies
from ctxgc.core.heap import Heap, Now
from ctxgc.core.liveness import liveness_terms
from ctxgc.core.mark import mark
from ctxgc.core.paths import PathIndex
from ctxgc.core.reuse import LOGS_LAST
from ctxgc.core.roots import find_roots
from ctxgc.core.rules import Rules
from ctxgc.core.turn_terms import turn_terms
from perf import bench_mark
from perf.record import median_cpu_s

SOURCE = Path(__file__).with_name("key_scan.c")
PERCENTS = (1, 30)
REPEATS = 5
BATCH = 1_000
START_S = 5.0
INDEXED = "SELECT slot FROM body ORDER BY key LIMIT ?"
KEY = """fixed + :age * ln(max(1, min(:turn - born, :last))) + :idle * ln(max(1, min(:turn - touched, :last)))"""
EXACT = f"SELECT slot FROM body ORDER BY {KEY} LIMIT :wanted"
REKEY = f"UPDATE body SET key = {KEY} WHERE born >= :turn - :last OR touched >= :turn - :last"


@dataclass(frozen=True, slots=True)
class Bodies:
    """The bodies that a plan of a heap may take, with the place of each in the order of eviction."""

    heap: Heap
    among: EvictableBodies
    ranked: RankedBodies
    now: Now

    def wanted(self, paths: PathIndex, percent: int) -> int:
        """How many victims a plan has that frees so much of the window; all of them are the lowest of all keys."""
        victims = plan(self.heap, paths, _target(self.heap, percent), self.now, Rules()).victims
        assert [victim.slot for victim in victims] == self.ranked.slots[: len(victims)]
        return len(victims)


def measure_neighbours(heap: Heap, paths: PathIndex, now: Now) -> dict[str, float]:
    """Milliseconds of a plan and of its neighbours; what is not installed here is left out. Takes the heap's proofs."""
    heap.proofs.clear()
    roots = find_roots(heap, paths, now, Rules())
    among = find_evictable_bodies(heap, paths, roots)

    def sort_all() -> RankedBodies:
        return rank_unproven_bodies(heap, among.rest, among.liveness, now, Rules())

    bodies = Bodies(heap, among, sort_all(), now)
    numbers = {"sort_ms": median_cpu_s(sort_all, REPEATS) * 1e3}
    wanted = {percent: bodies.wanted(paths, percent) for percent in PERCENTS}
    for percent, count in wanted.items():
        target = _target(heap, percent)
        took_s = median_cpu_s(lambda target=target: plan(heap, paths, target, now, Rules()), REPEATS)
        numbers |= {f"victims_{percent}": float(count), f"plan_cold_{percent}_ms": took_s * 1e3}
    with tempfile.TemporaryDirectory() as name:
        numbers |= in_c(bodies, wanted, Path(name)) | marks(heap, roots, Path(name))
        numbers |= in_sqlite(bodies, wanted)
        numbers |= in_redis(bodies, wanted, Path(name))
    return numbers


def _target(heap: Heap, percent: int) -> int:
    return heap.resident_tokens * (100 - percent) // 100


def in_c(bodies: Bodies, wanted: dict[int, int], folder: Path) -> dict[str, float]:
    """Milliseconds of one scan in C that keeps the lowest keys; nothing without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return {}
    library = folder / "key_scan.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    scan = ctypes.CDLL(str(library)).key_scan
    heap, weights, turn = bodies.heap, bodies.heap.weights, bodies.now.turn
    may_go = bytearray(len(heap))
    for slot in bodies.ranked.slots:
        may_go[slot] = 1
    columns = (
        (ctypes.c_uint8 * len(heap)).from_buffer(may_go),
        (ctypes.c_double * len(heap)).from_buffer(array("d", heap.key)),
        (ctypes.c_int32 * len(heap)).from_buffer(array("i", heap.born)),
        (ctypes.c_int32 * len(heap)).from_buffer(array("i", heap.touched)),
        (ctypes.c_uint8 * len(heap)).from_buffer(bytearray(bodies.among.liveness)),
        *(
            (ctypes.c_double * len(terms)).from_buffer(array("d", terms))
            for terms in (
                liveness_terms(weights),
                turn_terms(weights.age, turn, heap.last_turn),
                turn_terms(weights.idle, turn, heap.last_turn),
            )
        ),
    )
    numbers = {}
    for percent, count in wanted.items():
        keys, lowest = (ctypes.c_double * count)(), (ctypes.c_uint32 * count)()

        def work(count: int = count, keys: object = keys, lowest: object = lowest) -> None:
            scan(ctypes.c_size_t(len(heap)), *columns, ctypes.c_size_t(count), keys, lowest)

        numbers[f"c_{percent}_ms"] = median_cpu_s(work, REPEATS) * 1e3
        assert sorted(keys) == bodies.ranked.keys[:count], "the scan must find the bodies of the plan"
    return numbers


def marks(heap: Heap, roots: bytearray, folder: Path) -> dict[str, float]:
    """Milliseconds of a mark in which every reference is a client's word, and of the same scan in C."""
    refs = {slot: targets for slot, targets in enumerate(heap.refs) if targets}
    numbers = {"mark_ms": median_cpu_s(lambda: mark(refs, roots), REPEATS) * 1e3}
    scan = bench_mark.compiled(folder)
    return numbers | ({"mark_c_ms": bench_mark.in_c(scan, heap, roots, REPEATS)[0] * 1e3} if scan else {})


def in_sqlite(bodies: Bodies, wanted: dict[int, int]) -> dict[str, float]:
    """Milliseconds of SQLite in memory: by an index over keys of this turn, and by the key as an expression."""
    heap, weights, linked = bodies.heap, bodies.heap.weights, liveness_terms(bodies.heap.weights)
    ranked = bodies.ranked
    stash = sqlite3.connect(":memory:")
    stash.execute("CREATE TABLE body(slot INTEGER PRIMARY KEY, key REAL, fixed REAL, born INTEGER, touched INTEGER)")
    rows = (
        (slot, key, heap.key[slot] + linked[bodies.among.liveness[slot]], heap.born[slot], heap.touched[slot])
        for slot, key in zip(ranked.slots, ranked.keys, strict=True)
    )
    stash.executemany("INSERT INTO body VALUES(?, ?, ?, ?, ?)", rows)
    stash.execute("CREATE INDEX body_key ON body(key)")
    terms = {"age": weights.age, "idle": weights.idle, "turn": bodies.now.turn, "last": LOGS_LAST}
    numbers = {}
    for percent, count in wanted.items():
        exact = terms | {"wanted": count}
        assert {slot for (slot,) in stash.execute(INDEXED, (count,))} == set(ranked.slots[:count])
        found = {slot for (slot,) in stash.execute(EXACT, exact)}
        assert len(found & set(ranked.slots[:count])) >= 0.99 * count, "but for the last digits of a sum"
        numbers |= {
            f"sqlite_index_{percent}_ms": _sqlite_ms(stash, INDEXED, (count,)),
            f"sqlite_exact_{percent}_ms": _sqlite_ms(stash, EXACT, exact),
        }
    started = time.thread_time()
    stash.execute(REKEY, terms | {"turn": bodies.now.turn + 1})
    numbers["sqlite_rekey_ms"] = (time.thread_time() - started) * 1e3
    stash.close()
    return numbers


def _sqlite_ms(stash: sqlite3.Connection, query: str, parameters: Sequence[object] | dict[str, float]) -> float:
    return median_cpu_s(lambda: stash.execute(query, parameters).fetchall(), REPEATS) * 1e3


def in_redis(bodies: Bodies, wanted: dict[int, int], folder: Path) -> dict[str, float]:
    """Milliseconds of a sorted set of Redis: so many pops of the lowest, and keys written; nothing without Redis."""
    binary = shutil.which("redis-server")
    if binary is None:
        return {}
    members = list(zip(bodies.ranked.keys, bodies.ranked.slots, strict=True))
    numbers = {}
    with _started_redis(binary, folder / "redis.sock") as redis:
        redis.add(members)
        for percent, count in wanted.items():
            took_ms = []
            for _ in range(REPEATS):
                redis.call("CONFIG", "RESETSTAT")
                popped = redis.call("ZPOPMIN", "keys", count)
                took_ms.append(redis.spent_ms("zpopmin"))
                assert sorted(map(float, popped.split(b"\r\n")[4::4])) == bodies.ranked.keys[:count]
                redis.add(members[:count])
            numbers[f"redis_{percent}_ms"] = median(took_ms)
        redis.call("CONFIG", "RESETSTAT")
        redis.add(next_keys_that_moved(bodies))
        numbers["redis_rekey_ms"] = redis.spent_ms("zadd")
    return numbers


def next_keys_that_moved(bodies: Bodies) -> list[tuple[float, int]]:
    """(key, slot) at the next turn, of every body whose key is another then."""
    of_now = dict(zip(bodies.ranked.slots, bodies.ranked.keys, strict=True))
    among = bodies.among
    later = rank_unproven_bodies(bodies.heap, among.rest, among.liveness, Now(bodies.now.turn + 1), Rules())
    return [(key, slot) for slot, key in zip(later.slots, later.keys, strict=True) if of_now[slot] != key]


class Redis:
    """A connection to Redis: commands in the protocol's own words, and replies as their bytes."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60.0)
        self._socket.connect(str(path))

    def call(self, *words: object) -> bytes:
        """The reply of a command, as bytes; raises RuntimeError where Redis refuses."""
        parts = [str(word).encode() for word in words]
        self._socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))
        reply = b""
        while not self._is_whole(reply):
            reply += self._socket.recv(1 << 20)
        if reply.startswith(b"-"):
            raise RuntimeError(reply.decode())
        return reply

    def add(self, members: Sequence[tuple[float, int]]) -> None:
        """Write the keys of some members, a thousand a command."""
        for at in range(0, len(members), BATCH):
            self.call("ZADD", "keys", *(word for pair in members[at : at + BATCH] for word in pair))

    def spent_ms(self, command: str) -> float:
        """The server's own time for a command since the statistics were reset."""
        words = self.call("INFO", "commandstats").decode()
        return float(words.partition(f"cmdstat_{command}:")[2].partition("usec=")[2].partition(",")[0]) / 1e3

    def close(self) -> None:
        self._socket.close()

    @staticmethod
    def _is_whole(reply: bytes) -> bool:
        head, end, body = reply.partition(b"\r\n")
        if not end:
            return False
        if head[:1] == b"$":
            return len(body) >= int(head[1:]) + 2
        return head[:1] != b"*" or (body.endswith(b"\r\n") and body.count(b"\r\n") >= 2 * int(head[1:]))


@contextmanager
def _started_redis(binary: str, path: Path) -> Iterator[Redis]:
    command = [binary, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(path.parent)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            gives_up_at = time.monotonic() + START_S
            while not path.exists() and time.monotonic() < gives_up_at:
                time.sleep(0.02)
            redis = Redis(path)
            yield redis
            redis.close()
        finally:
            process.terminate()
