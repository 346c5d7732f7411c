"""How long does a plan take, by how deep it goes, with and without proofs?  Run: python -m perf.bench_plan

Counted beside the time: scans of the whole heap (two where proven garbage is enough), bodies scored (a root or what is
out already is not worth it), victims made and victims kept. `of_a_sort` is the plan's time over that of one sort of the
bodies that could go, in the same process. The goals on 10 000 segments are 0.3, 1.2 and 4 ms for 1, 30 and 66 %.
"""

import sys
from collections import Counter
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from ctxgc.core import collector
from ctxgc.core.collector import Plan, evictable_mask, plan
from ctxgc.core.heap import Heap, Now
from ctxgc.core.masks import mask_positions
from ctxgc.core.paths import PathIndex
from ctxgc.core.roots import find_roots
from ctxgc.core.rules import Rules
from perf.heaps import SEGMENTS_PER_TURN, session_like
from perf.record import best_s, median_cpu_s, record

SEGMENTS = 10_000
REPEATS = 15
PARTS_PERCENT = (1, 30, 66)
RANKS = ("take_ranked_garbage", "rank_unproven_bodies", "rank_first_garbage", "rank_first_cold_bodies")
"""By a sort of all, and by cells that are kept."""
SCANS = ("find_roots", "find_liveness", *RANKS)


def main(argv: list[str]) -> None:
    now = Now(SEGMENTS // SEGMENTS_PER_TURN + 1)
    for ending, has_proofs in (("", True), ("/no_proofs", False)):
        heap, paths = session_like(SEGMENTS, has_proofs=has_proofs)
        sort_s = sort_of_candidates_s(heap, paths, now)
        for percent in PARTS_PERCENT:
            target = heap.resident_tokens * (100 - percent) // 100

            def work(heap: Heap = heap, paths: PathIndex = paths, target: int = target) -> Plan:
                return plan(heap, paths, target, now, Rules())

            plan_s = median_cpu_s(work, REPEATS)
            numbers = {
                "plan_ms": best_s(work, REPEATS) * 1e3,
                "plan_median_cpu_ms": plan_s * 1e3,
                "of_a_sort": plan_s / sort_s,
                **work_of(heap, paths, now, percent),
            }
            record(f"plan/10k/{percent}%{ending}", numbers)


def sort_of_candidates_s(heap: Heap, paths: PathIndex, now: Now) -> float:
    """Seconds that sorting the keys of all bodies that could go takes."""
    slots = list(mask_positions(evictable_mask(heap, find_roots(heap, paths, now, Rules()))))
    return median_cpu_s(lambda: sorted(slots, key=heap.key.__getitem__), REPEATS)


def work_of(heap: Heap, paths: PathIndex, now: Now, percent: int) -> dict[str, int | float]:
    """What a plan that frees so much of the window does, counted."""
    target = heap.resident_tokens * (100 - percent) // 100
    work, todo = count_calls(heap, paths, target, now)
    could_go = sum(evictable_mask(heap, find_roots(heap, paths, now, Rules())))
    return {
        "scans": sum(work[name] for name in SCANS),
        "could_go": could_go,
        "scored_per_evictable": work["scored"] / could_go,
        "victims": len(todo.victims),
        "made_per_victim": work["made"] / len(todo.victims),
        "over_target_tokens": max(todo.remaining_tokens - target, 0),
    }


def count_calls(heap: Heap, paths: PathIndex, target: int, now: Now) -> tuple[Counter[str], Plan]:
    """(how often a plan calls what it is made of, the plan)."""
    work: Counter[str] = Counter()

    def counting(name: str) -> Any:
        function = getattr(collector, name)

        def call(*arguments: Any) -> Any:
            work[name] += 1
            result = function(*arguments)
            if name in RANKS:
                work["scored"] += len(result.slots)
            elif name == "make_victims":
                work["made"] += len(result)
            return result

        return patch.object(collector, name, call)

    with ExitStack() as patches:
        for name in (*SCANS, "make_victims"):
            patches.enter_context(counting(name))
        todo = plan(heap, paths, target, now, Rules())
    return work, todo


if __name__ == "__main__":
    main(sys.argv[1:])
