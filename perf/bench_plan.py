"""How long does planning a collection take, by how deep it goes?  Run: python -m perf.bench_plan

Counted beside the time: candidates looked at, entries taken off the queues (one for each victim, or the plan is
wasteful), victims. The goal is under 5 ms on 10 000 segments at ordinary depths.
"""

import sys

from ctxgc.core import collector
from ctxgc.core.collector import Plan, candidates, plan
from ctxgc.core.heap import Heap, Now
from ctxgc.core.mark import mark
from ctxgc.core.pacer import PacerRules, decide
from ctxgc.core.paths import PathIndex
from ctxgc.core.policy import Rules
from ctxgc.core.roots import find_roots
from perf.heaps import SEGMENTS_PER_TURN, session_like
from perf.record import best_s, record

SEGMENTS = 10_000
REPEATS = 15
PARTS_PERCENT = (1, 30, 66)


def main(argv: list[str]) -> None:
    heap, paths = session_like(SEGMENTS)
    now = Now(SEGMENTS // SEGMENTS_PER_TURN + 1)
    for percent in PARTS_PERCENT:
        target = heap.resident_tokens * (100 - percent) // 100
        took_s = best_s(lambda target=target: plan(heap, paths, target, now, Rules()), REPEATS)
        pops, todo = counted(heap, paths, target, now)
        numbers = {
            "plan_ms": took_s * 1e3,
            "candidates": looked_at(heap, paths, now),
            "pops": pops,
            "victims": len(todo.victims),
            "pops_per_victim": pops / len(todo.victims),
            "over_target_tokens": max(todo.remaining_tokens - target, 0),
        }
        record(f"plan/10k/{percent}%", numbers)
    paced(heap, paths, now)


def counted(heap: Heap, paths: PathIndex, target: int, now: Now) -> tuple[int, Plan]:
    """(entries taken off the queues, the plan)."""
    taken = 0
    pop = collector.heappop

    def counting(queue):
        nonlocal taken
        taken += 1
        return pop(queue)

    collector.heappop = counting
    try:
        todo = plan(heap, paths, target, now, Rules())
    finally:
        collector.heappop = pop
    return taken, todo


def looked_at(heap: Heap, paths: PathIndex, now: Now) -> int:
    roots = find_roots(heap, paths, now, Rules())
    return sum(map(len, candidates(heap, roots, mark(heap.refs, roots), now, Rules())))


def paced(heap: Heap, paths: PathIndex, now: Now) -> None:
    """What the pacer costs when it looks at the same heap, all but its last turns cached."""
    cached = heap.resident_tokens - 5_000

    def look():
        return decide(heap, paths, now, Rules(), PacerRules(), is_cold=False, cached_tokens=cached)

    decision = look()
    victims = len(decision.plan.victims) if decision else 0
    record("plan/10k/pacer", {"decide_ms": best_s(look, REPEATS) * 1e3, "victims": victims})


if __name__ == "__main__":
    main(sys.argv[1:])
