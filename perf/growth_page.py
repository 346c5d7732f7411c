"""How ctxgc grows, beside its neighbours, as a page.  Run: python -m perf.growth_page [--measure [WHAT [SIZE…]]]

    perf.growth, a process each ──--measure──▶ perf/growth.json ──▶ docs/performance.md and its drawings

WHAT is `core`, `wake` or `words`.

Without `--measure` the page is written again from the numbers that are in the project. A measurement of all takes an
hour; a part of it (`--measure core 10000 100000`) leaves all other numbers as they are. Of the rounds of a size the
median counts; the lowest and the highest stand beside it.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from perf.growth_plots import Line, Panel, log_log
from perf.growth_prose import page
from perf.record import ROOT

EVIDENCE = Path(__file__).parent / "growth.json"
PAGE = ROOT / "docs" / "performance.md"
ROUNDS = {
    "core": {10_000: 5, 30_000: 5, 100_000: 3, 300_000: 2, 1_000_000: 1},
    "wake": {10_000: 3, 30_000: 2, 100_000: 1, 300_000: 1},
    "words": {5_000: 1},
}
"""Rounds by measurement and size: the larger a heap, the more work a round is an average of."""
RUN_TIMEOUT_S = 3_600

TIMES = {
    "wake_s": ("wake", 1e3),
    "look_ms": ("look", 1.0),
    "plan_30_ms": ("plan 30 %", 1.0),
    "plan_1_ms": ("plan 1 %", 1.0),
    "turn_p50_ms": ("turn", 1.0),
    "admit_us": ("admit", 1e-3),
    "touch_us": ("touch", 1e-3),
}
"""What is drawn, with the milliseconds of the number's unit."""
NEIGHBOURS = {
    "plan_cold_{}_ms": "ctxgc: plan",
    "sort_ms": "sort of everything",
    "sqlite_exact_{}_ms": "SQLite, exact",
    "sqlite_index_{}_ms": "SQLite, index",
    "redis_{}_ms": "Redis ZPOPMIN",
    "c_{}_ms": "C scan",
}


def main(argv: Sequence[str]) -> None:
    """Measure if told to, and write the page and its drawings."""
    if argv[:1] == ["--measure"]:
        measure(argv[1] if argv[1:] else "", [int(word) for word in argv[2:]])
    evidence = json.loads(EVIDENCE.read_text())
    PAGE.write_text(page(evidence))
    for name, drawing in drawings(evidence).items():
        PAGE.with_name(name).write_text(drawing)


def drawings(evidence: dict[str, Any]) -> dict[str, str]:
    """The drawings of the page, by the name of the file."""
    numbers = evidence["numbers"]
    times = [_line(name, numbers[key], factor) for key, (name, factor) in TIMES.items()]
    panels = [
        Panel(
            f"The coldest {percent} % of the window",
            [
                _line(name, numbers[key.format(percent)])
                for key, name in NEIGHBOURS.items()
                if key.format(percent) in numbers
            ],
        )
        for percent in (1, 30)
    ]
    return {
        "performance-growth.svg": log_log("What a session costs by its size", [Panel("", times)]),
        "performance-neighbours.svg": log_log("A plan and its neighbours", panels),
    }


def _line(name: str, by_size: dict[str, list[float]], factor: float = 1.0) -> Line:
    rows = sorted((int(size), values) for size, values in by_size.items())
    return Line(name, [(size, *(value * factor for value in values)) for size, values in rows])  # type: ignore[misc]


def measure(only: str, sizes: Sequence[int]) -> None:
    """Run what was asked for, size by size, and put what a size came to beside the evidence."""
    evidence = json.loads(EVIDENCE.read_text()) if EVIDENCE.exists() else {"runs": {}, "numbers": {}}
    evidence |= {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}
    for what, rounds in ROUNDS.items():
        for size in (sizes or rounds) if only in ("", what) else ():
            found: dict[str, list[float]] = {}
            for at in range(rounds.get(size, 1)):
                print(f"{what} {size:,}, round {at + 1}", file=sys.stderr, flush=True)
                for name, value in _run(what, size).items():
                    found.setdefault(name, []).append(value)
            take(evidence, what, size, found)
            EVIDENCE.write_text(json.dumps(evidence, separators=(",", ":"), sort_keys=True) + "\n")


def take(evidence: dict[str, Any], what: str, size: int, found: dict[str, list[float]]) -> None:
    """Put the median, lowest and highest of a size's rounds into the evidence."""
    rounds = max(len(values) for values in found.values())
    evidence["runs"].setdefault(what, {})[str(size)] = {"rounds": rounds, "date": time.strftime("%Y-%m-%d")}
    for name, values in found.items():
        of_rounds = (median(values), min(values), max(values))
        evidence["numbers"].setdefault(name, {})[str(size)] = [float(f"{value:.4g}") for value in of_rounds]


def _run(what: str, size: int) -> dict[str, float]:
    command = ["nice", sys.executable, "-m", "perf.growth", what, str(size)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=RUN_TIMEOUT_S, check=True)
    numbers: dict[str, float] = json.loads(done.stdout)
    return numbers


if __name__ == "__main__":
    main(sys.argv[1:])
