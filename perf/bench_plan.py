"""How long does planning a collection take, by how deep it goes?  Run: python -m perf.bench_plan

Counted beside the time: scans of the whole heap (two where proven garbage is enough), bodies scored (a root or what is
out already is not worth it), victims made and victims kept. The goal is under 5 ms on 10 000 segments.
"""

import sys
from collections import Counter
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from ctxgc.core import collector
from ctxgc.core.collector import Plan, evictable_mask, plan
from ctxgc.core.heap import Heap, Now
from ctxgc.core.pacer import Allowance, PacerRules, decide_collection
from ctxgc.core.paths import PathIndex
from ctxgc.core.prompt_cache import CacheState
from ctxgc.core.roots import find_roots
from ctxgc.core.rules import Rules
from perf.heaps import SEGMENTS_PER_TURN, session_like
from perf.record import best_s, record

SEGMENTS = 10_000
REPEATS = 15
PARTS_PERCENT = (1, 30, 66)
SCANS = ("find_roots", "rank_garbage", "mark", "rank_cold")


def main(argv: list[str]) -> None:
    heap, paths = session_like(SEGMENTS)
    now = Now(SEGMENTS // SEGMENTS_PER_TURN + 1)
    for percent in PARTS_PERCENT:
        target = heap.resident_tokens * (100 - percent) // 100
        took_s = best_s(lambda target=target: plan(heap, paths, target, now, Rules()), REPEATS)
        numbers = {"plan_ms": took_s * 1e3, **work_of(heap, paths, now, percent)}
        record(f"plan/10k/{percent}%", numbers)
    bench_pacer(heap, paths, now)


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
        "made_per_victim": work["Victim"] / len(todo.victims),
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
            if name in ("rank_garbage", "rank_cold"):
                work["scored"] += len(result.slots)
            return result

        return patch.object(collector, name, call)

    with ExitStack() as patches:
        for name in (*SCANS, "Victim"):
            patches.enter_context(counting(name))
        todo = plan(heap, paths, target, now, Rules())
    return work, todo


def bench_pacer(heap: Heap, paths: PathIndex, now: Now) -> None:
    """What the pacer costs when it looks at the same heap, all but its last turns cached."""
    cache, grown = CacheState(heap.resident_tokens - 5_000), Allowance(grown_tokens=heap.evictable_tokens)

    def look():
        return decide_collection(heap, paths, now, PacerRules(), cache, grown)

    decision = look()
    victims = len(decision.plan.victims) if decision else 0
    record("plan/10k/pacer", {"decide_ms": best_s(look, REPEATS) * 1e3, "victims": victims})


if __name__ == "__main__":
    main(sys.argv[1:])
