"""How do a turn, a look and a plan grow from ten thousand segments to a million?  Run: python -m perf.bench_growth

Times are CPU of the thread, with the objects of the heap frozen as the daemon freezes them. A turn is what a live
session does before a request: its segments come in, calls are answered, the window is read, and the pacer is asked and
rests. `exponent` is the slope of a line through the logarithms of sizes and times: 1 is linear. The goals at a million
are a turn's p99 under 0.5 ms and worst under 2 ms, and plans of 1 and 30 % under 50 and 500 ms.
"""

from __future__ import annotations

import gc
import sys
from math import log
from time import thread_time

from ctxgc.core.collector import plan
from ctxgc.core.heap import Heap, Now
from ctxgc.core.pacing.pacer import FREED_TOKENS_MIN, Allowance, PacerRules, decide_collection
from ctxgc.core.pacing.prompt_cache import CacheState
from ctxgc.core.paths import PathIndex
from ctxgc.core.rules import Rules
from perf.heaps import SEGMENTS_PER_TURN, grow_session
from perf.record import median_cpu_s, record

SIZES = {"10k": 10_000, "100k": 100_000, "1M": 1_000_000}
TURNS = 400
REPEATS = 5
FITTED = ("turn_p50_ms", "look_ms", "plan_1_ms", "plan_30_ms", "collect_python_ms")


def main(argv: list[str]) -> None:
    measured = {}
    for name, segments in SIZES.items():
        measured[segments] = numbers = measure(segments)
        record(f"growth/{name}", numbers)
    fits = {
        f"{name.removesuffix('_ms')}_exponent": exponent([(size, each[name]) for size, each in measured.items()])
        for name in FITTED
    }
    record("growth/fit", fits)


def measure(segments: int) -> dict[str, float]:
    """Times of turns, looks and plans at the end of a session of so many segments."""
    heap, paths = Heap(), PathIndex()
    growing = grow_session(heap, paths, segments + (TURNS + 2) * SEGMENTS_PER_TURN)
    for _ in range(segments):
        next(growing)
    collect_s = median_cpu_s(gc.collect, 3)
    heap.window()  # The first order of a session is a sort of all.
    gc.freeze()
    turns_ms = []
    for _ in range(TURNS):
        started = thread_time()
        for _ in range(SEGMENTS_PER_TURN):
            next(growing)
        heap.window()
        now = Now(len(heap) // SEGMENTS_PER_TURN + 1)
        cache = CacheState(heap.resident_tokens)
        decide_collection(heap, paths, now, PacerRules(), cache, Allowance(FREED_TOKENS_MIN - 1))
        turns_ms.append((thread_time() - started) * 1e3)
    turns_ms.sort()
    cold = Allowance(heap.evictable_tokens)
    return {
        "turn_p50_ms": turns_ms[TURNS // 2],
        "turn_p99_ms": turns_ms[TURNS * 99 // 100],
        "turn_worst_ms": turns_ms[-1],
        "look_ms": median_cpu_s(lambda: decide_collection(heap, paths, now, PacerRules(), cache, cold), REPEATS) * 1e3,
        **{f"plan_{percent}_ms": plan_ms(heap, paths, now, percent) for percent in (1, 30)},
        "collect_python_ms": collect_s * 1e3,
        "collect_frozen_ms": median_cpu_s(gc.collect, 3) * 1e3,
    }


def plan_ms(heap: Heap, paths: PathIndex, now: Now, percent: int) -> float:
    """Milliseconds of a plan that frees so much of the window."""
    target = heap.resident_tokens * (100 - percent) // 100
    return median_cpu_s(lambda: plan(heap, paths, target, now, Rules()), REPEATS) * 1e3


def exponent(times: list[tuple[int, float]]) -> float:
    """The slope of the line of least squares through the logarithms of (size, time)."""
    xs, ys = [log(size) for size, _ in times], [log(max(time, 1e-6)) for _, time in times]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


if __name__ == "__main__":
    main(sys.argv[1:])
