"""The growth of a session of one size, measured once: what `perf.growth_page` asks for, a process each.

    python -m perf.growth core 100000      admit, touch, turn, look, plan, memory, and the neighbours of a plan
    python -m perf.growth wake 100000      a wake, the index of words included
    python -m perf.growth words 5000       memory of the index of words and lines

One line of JSON goes to standard output. Times are CPU of the thread, `wake` of the process.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from pathlib import Path
from random import Random
from statistics import median
from time import thread_time

from ctxgc.core.heap import Heap, Now
from perf import bench_growth, bench_heap, bench_wake
from perf.heaps import SEGMENTS_PER_TURN, admit_and_answer, make_edges, make_entry, session_like
from perf.neighbours import measure_neighbours

BATCHES, BATCH = 20, 20
"""Admissions and touches are timed by the batch, and the median batch counts."""


def main(argv: list[str]) -> None:
    what, size = argv[0], int(argv[1])
    measure = {"core": measure_core, "wake": measure_wake, "words": measure_words}[what]
    print(json.dumps(measure(size)))


def measure_core(segments: int) -> dict[str, float]:
    """Everything that the heap alone does."""
    before = resident_bytes()
    heap, paths = session_like(segments)
    gc.collect()
    numbers = {"heap_bytes": (resident_bytes() - before) / segments}
    gc.freeze()  # As the daemon does after a wake.
    now = Now(segments // SEGMENTS_PER_TURN + 1)
    numbers |= measure_admissions(heap, now)
    numbers |= measure_neighbours(heap, paths, now)
    del heap, paths
    gc.unfreeze()
    gc.collect()
    return numbers | bench_growth.measure(segments)


def measure_admissions(heap: Heap, now: Now) -> dict[str, float]:
    """Microseconds of an admission, answer included, and of a touch."""
    random, admits, touches = Random(11), [], []
    for _ in range(BATCHES):
        made = [(make_entry(random, len(heap) + at), make_edges(random, len(heap))) for at in range(BATCH)]
        slots = [random.randrange(len(heap)) for _ in range(BATCH)]
        started = thread_time()
        for entry, edges in made:
            admit_and_answer(heap, entry, edges, is_answered=True)
        admitted = thread_time()
        for slot in slots:
            heap.touch(slot, now.turn)
        touches.append((thread_time() - admitted) / BATCH * 1e6)
        admits.append((admitted - started) / BATCH * 1e6)
    return {"admit_us": median(admits), "touch_us": median(touches)}


def measure_wake(segments: int) -> dict[str, float]:
    """Seconds until a stored session takes its first admission, and the loop's longest gap meanwhile."""
    numbers = asyncio.run(bench_wake.measure(segments))
    gaps = [value for name, value in numbers.items() if name.endswith("gap_ms")]
    return {"wake_s": float(numbers["sum_cpu_s"]), "wake_gap_ms": max(map(float, gaps))}


def measure_words(segments: int) -> dict[str, float]:
    """Bytes a segment of the index of words and lines, with two thousand characters of code each."""
    import tracemalloc

    bench_heap.INDEXED_SEGMENTS = segments
    tracemalloc.start()
    return {"words_bytes": bench_heap.indexed()["bytes"]}


def resident_bytes() -> int:
    """Memory that the system holds for this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main(sys.argv[1:])
