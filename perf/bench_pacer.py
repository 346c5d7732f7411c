"""What does the pacer take of a turn?  Run: python -m perf.bench_pacer

One long session, asked before every request as the daemon asks: its last 300 turns, and how often it looks. And one
turn of ten thousand bodies of which none ever left, where it looks and where it rests. And looks at ten thousand bodies
that live on: one turn and five turns after the look before, and a first look. The goals are 1, 2 and 8 ms.
"""

from __future__ import annotations

import sys
from time import perf_counter_ns

from ctxgc.core.collector import sweep
from ctxgc.core.heap import Heap, Now
from ctxgc.core.pacing.pacer import FREED_TOKENS_MIN, Allowance, Decision, PacerRules, decide_collection
from ctxgc.core.pacing.prompt_cache import COLD, CacheState
from ctxgc.core.pacing.regret_budget import PacerRequest, RegretAccount, decide_within_allowance
from ctxgc.core.paths import PathIndex
from perf.heaps import SEGMENTS_PER_TURN, grow_session, session_like
from perf.record import best_s, median_cpu_s, record

TURNS = 300
SEGMENTS = 10_000
REPEATS = 15
UNCACHED_TOKENS = 5_000
LOOKS = 15


def main(argv: list[str]) -> None:
    """A session turn by turn, the same grown to ten thousand segments, and a turn of as many that never left."""
    for name, turns in (("300", TURNS), ("10k", SEGMENTS // SEGMENTS_PER_TURN)):
        spent_us, looked, collected = bench_session(turns)
        last_us = sorted(spent_us[-TURNS:])
        numbers = {
            "median_us": last_us[len(last_us) // 2],
            "mean_us": sum(last_us) / len(last_us),
            "p99_us": last_us[len(last_us) * 99 // 100],
            "looked_per_100_turns": 100 * looked / turns,
            "collections": collected,
        }
        record(f"pacer/session/{name}", numbers)
    bench_huge_turn()
    bench_looks()


def bench_session(turns: int) -> tuple[list[float], int, int]:
    """(microseconds by turn, turns that looked, collections) of a session that is paced before every request."""
    heap, paths, account = Heap(), PathIndex(), RegretAccount()
    spent_us: list[float] = []
    looked = collected = cached = 0
    for slot in grow_session(heap, paths, turns * SEGMENTS_PER_TURN):
        if (slot + 1) % SEGMENTS_PER_TURN:
            continue
        asked, now = account.asked_tokens, Now(len(spent_us) + 1)
        request = PacerRequest(CacheState(cached) if spent_us else COLD, heap.absent_tokens)
        started_ns = perf_counter_ns()
        decision, account = decide_within_allowance(heap, paths, now, PacerRules(), account, request)
        spent_us.append((perf_counter_ns() - started_ns) / 1000)
        looked += account.asked_tokens != asked
        if decision:
            collected += 1
            sweep(heap, decision.plan.victims)
        cached = heap.resident_tokens
    return spent_us, looked, collected


def bench_huge_turn() -> None:
    """One turn at ten thousand segments, the last turns of them not cached yet."""
    heap, paths = session_like(SEGMENTS)
    now, cached = Now(SEGMENTS // SEGMENTS_PER_TURN + 1), heap.resident_tokens - UNCACHED_TOKENS

    def ask(grown_tokens: int) -> float:
        asked = RegretAccount(asked_tokens=heap.evictable_tokens - grown_tokens, turn=now.turn)
        request = PacerRequest(CacheState(cached), 0)
        return best_s(lambda: decide_within_allowance(heap, paths, now, PacerRules(), asked, request), REPEATS)

    numbers = {"rests_us": ask(FREED_TOKENS_MIN - 1) * 1e6, "looks_us": ask(heap.evictable_tokens) * 1e6}
    record("pacer/10k_resident", numbers)


def bench_looks() -> None:
    """Looks of the pacer at ten thousand bodies, all but the last turns cached: CPU of the thread, medians."""
    heap, paths = Heap(), PathIndex()
    growing = grow_session(heap, paths, SEGMENTS + LOOKS * (1 + 5) * SEGMENTS_PER_TURN)
    for _ in range(SEGMENTS):
        next(growing)

    def pass_turns(turns: int) -> None:
        for _ in range(turns * SEGMENTS_PER_TURN):
            next(growing)

    def look() -> Decision | None:
        now, cache = Now(len(heap) // SEGMENTS_PER_TURN + 1), CacheState(heap.resident_tokens - UNCACHED_TOKENS)
        return decide_collection(heap, paths, now, PacerRules(), cache, Allowance(heap.evictable_tokens))

    first = median_cpu_s(look, 1)
    decision = look()
    numbers = {
        "first_look_ms": first * 1e3,
        "same_turn_ms": median_cpu_s(look, LOOKS) * 1e3,
        "1_turn_later_ms": median_cpu_s(look, LOOKS, before=lambda: pass_turns(1)) * 1e3,
        "5_turns_later_ms": median_cpu_s(look, LOOKS, before=lambda: pass_turns(5)) * 1e3,
        "victims": len(decision.plan.victims) if decision else 0,
    }
    record("plan/10k/pacer", numbers)


if __name__ == "__main__":
    main(sys.argv[1:])
