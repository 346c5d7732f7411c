"""Do references decide a plan, and for the better?  Part of python -m perf.bench_mark

    each recorded episode, at a quarter, half, three quarters and its end ──▶ plans at 80, 60, 40 % of the window
                                    └── the same without the weights of liveness, and with a random class of its size

A victim is *needed* where a later reply uses the body, or a later read asks for lines whose newest view the body is.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import compress
from random import Random

from ctxgc.core.collector import evictable_mask, plan
from ctxgc.core.liveness import find_liveness
from ctxgc.core.pacing.price_profiles import PROFILES
from ctxgc.core.roots import find_roots
from ctxgc.core.rules import Rules
from ctxgc.replay.demand import ALL, demand_of, greedy_cover, used_segments
from ctxgc.replay.recorded_files import find_transcripts, read_recorded_file
from ctxgc.replay.script import EpisodeScript, script_of
from ctxgc.replay.simulate import Simulation
from ctxgc.replay.statistics import Bootstrap, Interval, Ratio
from perf.record import Number

AGENTS = ("claude_code", "codex")
PARTS = (0.25, 0.5, 0.75, 1.0)
TARGETS = (0.8, 0.6, 0.4)
SEED = 17
OWN, BLANKED, RANDOM = "", "_blanked", "_random"


def decides() -> dict[str, Number]:
    """What `mark/decides` reports, over all recorded episodes."""
    corpus = os.environ.get("CTXGC_CORPUS", "")
    if not corpus:
        return {"skipped": "CTXGC_CORPUS is not set: no recorded sessions to plan for"}
    files = find_transcripts([os.path.join(corpus, agent) for agent in AGENTS])
    sessions = [session for path in files for session in read_recorded_file(path).sessions.values()]
    if not sessions:
        return {"skipped": "no recorded sessions below CTXGC_CORPUS"}
    counted = [_count_session([script_of(one, ALL, demand_of(one, ALL)) for one in session]) for session in sessions]
    sums: Counter[str] = sum(counted, Counter())
    draws = Bootstrap(len(counted))
    needed = {
        name: Ratio([100.0 * one[f"needed{name}"] for one in counted], [one[f"victims{name}"] for one in counted])
        for name in (OWN, BLANKED, RANDOM)
    }
    numbers: dict[str, Number] = {"sessions": len(counted), "plans": sums["plans"]}
    for name, ratio in needed.items():
        numbers[f"needed_per_100_victims{name}"] = sum(ratio.parts) / max(sum(ratio.wholes), 1)
    for name in (BLANKED, RANDOM):
        numbers[f"less{name}"] = _text_of(draws.difference_interval(needed[OWN], needed[name]))
        numbers[f"changed_plans_percent{name if name == RANDOM else OWN}"] = (
            100 * sums[f"changed{name}"] / max(sums["plans"], 1)
        )
    return numbers | {"class_percent": 100 * sums["class"] / max(sums["candidates"], 1)}


def _text_of(interval: Interval | None) -> str:
    return f"[{interval.low:.2f}, {interval.high:.2f}]" if interval else ""


def _count_session(scripts: list[EpisodeScript]) -> Counter[str]:
    chance = Random(SEED)
    return sum((_count_plans(run, needed, chance) for script in scripts for run, needed in _moments(script)), Counter())


def _moments(script: EpisodeScript) -> Iterator[tuple[Simulation, set[int]]]:
    """An episode's window at each part of its turns, with the slots that are needed afterwards."""
    run = Simulation(script, PROFILES["cache_5m"])
    asked: list[set[int]] = []
    for wants, step in zip(script.demand.wants, script.steps, strict=True):
        views = {slot for admission in step.reply for slot in admission.views}
        asked.append(views | {script.slots[pick] for pick in greedy_cover(wants, None)})
    stops = {max(int(part * len(script.steps)) - 1, 0) for part in PARTS}
    for number, step in enumerate(script.steps):
        run.step, run.turn = number, step.turn
        for admission in step.before:
            run.admit(admission)
        run.clear_by_host(step.cleared)
        if number in stops:
            yield run, set().union(*asked[number:])
        for provider in used_segments(script.demand.wants[number]):
            run.heap.touch(script.slots[provider], run.turn)
        for admission in step.reply:
            run.admit(admission)


def _count_plans(run: Simulation, needed: set[int], chance: Random) -> Counter[str]:
    """Victims and needed victims of each target's plan, without and with each class."""
    heap, paths, weights, current = run.heap, run.paths, run.heap.weights, run.paths.current
    roots = find_roots(heap, paths, run.now, Rules())
    candidates = list(compress(range(len(heap)), evictable_mask(heap, roots)))
    liveness = find_liveness(heap, paths, roots)
    size = sum(bool(liveness[slot]) for slot in candidates)
    random = dict.fromkeys(chance.sample(candidates, size), 1)
    blank = replace(weights, current=0.0, named=0.0)
    counts = Counter({"class": size, "candidates": len(candidates)})
    for part in TARGETS:
        target = int(part * heap.resident_tokens)
        victims: dict[str, frozenset[int]] = {}
        for name, these_weights, these in (
            (OWN, weights, current),
            (BLANKED, blank, current),
            (RANDOM, replace(weights, named=0.0), random),
        ):
            heap.weights, paths.current = these_weights, these
            victims[name] = frozenset(victim.slot for victim in plan(heap, paths, target, run.now, Rules()).victims)
            counts[f"victims{name}"] += len(victims[name])
            counts[f"needed{name}"] += len(victims[name] & needed)
        heap.weights, paths.current = weights, current
        if victims[BLANKED]:
            counts["plans"] += 1
            for name in (BLANKED, RANDOM):
                other = victims[OWN] if name == BLANKED else victims[RANDOM]
                counts[f"changed{name}"] += other != victims[BLANKED]
    return counts
