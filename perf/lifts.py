"""How much more often is a body that a root refers to needed later, than its like?  Part of perf.bench_references

    every evictable body at every turn ──▶ strata of age, size and tool ──▶ Mantel-Haenszel risk ratio of each class

Intervals are 95 %, bootstrapped over sessions. A body is needed where a later reply uses the body, or a later read asks
for lines whose newest view the body is.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from random import Random

from ctxgc.core.collector import evictable_mask
from ctxgc.core.pacing.price_profiles import PROFILES
from ctxgc.core.reuse import ln_turns
from ctxgc.core.roots import find_roots
from ctxgc.core.segment import NAMING_EDGES, EdgeKind
from ctxgc.replay.demand import ALL, demand_of, greedy_cover, used_segments
from ctxgc.replay.recorded_files import find_transcripts, read_recorded_file
from ctxgc.replay.script import EpisodeScript, script_of
from ctxgc.replay.simulate import Simulation
from perf.record import Number
from perf.samples import RULES

AGENTS = ("claude_code", "codex")
KINDS = (*sorted(NAMING_EDGES), EdgeKind.REPLACES)
NEARBY_SLOTS = 12
"""A shuffled edge leads to another body of the same kind at most so many slots away."""
RANDOM_PART = 0.16
DRAWS = 200
SEED = 17

Stratum = tuple[int, int, int]
Cell = tuple[bool, bool]
"""(in the class, needed later)."""
Counts = dict[str, dict[Stratum, Counter[Cell]]]
"""Bodies at turns, by class and stratum."""


def lifts(corpus: str) -> dict[str, dict[str, Number]]:
    """By class: the bodies in it, how many of these are needed, and the lift with its interval."""
    if not corpus:
        return {}
    files = find_transcripts([os.path.join(corpus, agent) for agent in AGENTS])
    sessions = [session for path in files for session in read_recorded_file(path).sessions.values()]
    counted = [_count_session(script_of(one, ALL, demand_of(one, ALL)) for one in session) for session in sessions]
    names = sorted({name for counts in counted for name in counts})
    return {name: _numbers_of([counts.get(name, {}) for counts in counted]) for name in names}


def _numbers_of(sessions: Sequence[dict[Stratum, Counter[Cell]]]) -> dict[str, Number]:
    chance = Random(SEED)
    ratio = risk_ratio(sessions)
    drawn = sorted(risk_ratio(chance.choices(sessions, k=len(sessions))) for _ in range(DRAWS))
    cells: Counter[Cell] = sum((cell for strata in sessions for cell in strata.values()), Counter())
    inside = cells[True, True] + cells[True, False]
    return {
        "bodies_percent": 100 * inside / max(cells.total(), 1),
        "needed_percent": 100 * cells[True, True] / max(inside, 1),
        "lift": ratio,
        "interval": f"[{drawn[round(0.025 * DRAWS)]:.2f}, {drawn[round(0.975 * DRAWS) - 1]:.2f}]",
    }


def risk_ratio(sessions: Iterable[dict[Stratum, Counter[Cell]]]) -> float:
    """The risk of being needed in the class over the risk outside, at equal stratum; 0 where nothing is outside."""
    pooled: dict[Stratum, Counter[Cell]] = defaultdict(Counter)
    for strata in sessions:
        for stratum, cells in strata.items():
            pooled[stratum].update(cells)
    above = below = 0.0
    for cells in pooled.values():
        inside, outside = cells[True, True] + cells[True, False], cells[False, True] + cells[False, False]
        above += cells[True, True] * outside / cells.total()
        below += cells[False, True] * inside / cells.total()
    return above / below if below else 0.0


def _count_session(scripts: Iterable[EpisodeScript]) -> Counts:
    chance = Random(SEED)
    counts: Counts = defaultdict(lambda: defaultdict(Counter))
    for script in scripts:
        for run, last_need in _turns_of(script):
            _count_turn(run, last_need, chance, counts)
    return {name: dict(strata) for name, strata in counts.items()}


def _turns_of(script: EpisodeScript) -> Iterator[tuple[Simulation, dict[int, int]]]:
    """The window at each turn, and the last turn that needs each slot."""
    run = Simulation(script, PROFILES["cache_5m"])
    last_need: dict[int, int] = {}
    for number, (wants, step) in enumerate(zip(script.demand.wants, script.steps, strict=True)):
        needed = {script.slots[pick] for pick in greedy_cover(wants, None)}
        last_need |= dict.fromkeys(needed | {slot for one in step.reply for slot in one.views}, number)
    for number, step in enumerate(script.steps):
        run.step, run.turn = number, step.turn
        for admission in step.before:
            run.admit(admission)
        run.clear_by_host(step.cleared)
        yield run, last_need
        for provider in used_segments(script.demand.wants[number]):
            run.heap.touch(script.slots[provider], run.turn)
        for admission in step.reply:
            run.admit(admission)


def _count_turn(run: Simulation, last_need: dict[int, int], chance: Random, counts: Counts) -> None:
    heap, roots = run.heap, find_roots(run.heap, run.paths, run.now, RULES)
    candidates = evictable_mask(heap, roots)
    targets: dict[str, set[int]] = {EdgeKind(kind).name.lower(): set() for kind in KINDS}
    for root in compress(range(len(heap)), roots):
        for target, kind in heap.refs_with_edge_kinds(root):
            if kind in KINDS:
                targets[EdgeKind(kind).name.lower()].add(target)
    naming = [targets[kind.name.lower()] for kind in sorted(NAMING_EDGES)]
    targets["named"] = set().union(*naming)
    targets["named_shuffled"] = {_nearby(run, slot, chance) for slot in sorted(targets["named"])}
    targets["current"] = set(run.paths.current)
    for slot in compress(range(len(heap)), candidates):
        if heap.freed[slot] < RULES.min_gain_tokens:
            continue
        age = int(2 * ln_turns(run.turn - heap.born[slot]))
        stratum = age, heap.body[slot].bit_length(), heap.tool[slot]
        is_needed = last_need.get(slot, -1) >= run.step
        for name, slots in targets.items():
            counts[name][stratum][slot in slots, is_needed] += 1
        counts["random"][stratum][chance.random() < RANDOM_PART, is_needed] += 1


def _nearby(run: Simulation, slot: int, chance: Random) -> int:
    heap = run.heap
    near = range(max(slot - NEARBY_SLOTS, 0), min(slot + NEARBY_SLOTS + 1, len(heap)))
    others = [other for other in near if other != slot and heap.kind[other] == heap.kind[slot]]
    return chance.choice(others) if others else slot
