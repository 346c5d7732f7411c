"""Where a benchmark's numbers go: a line for people, `--json` for programs, and with `--record` the history.

A benchmark only calls `record(bench, numbers)`; how it was started decides the rest. Numbers say their unit in their
name (`plan_ms`, `count_mb_per_s`, `segments_scanned`). A benchmark that cannot run here says so with the one number
`{"skipped": "why"}`.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
HISTORY = Path(__file__).parent / "history.jsonl"

Number = int | float | str


def record(bench: str, numbers: Mapping[str, Number]) -> None:
    """Report what `bench` measured. Call it once for each thing measured, under names like `plan/10k`."""
    result = {"bench": bench, "numbers": {key: _rounded(value) for key, value in numbers.items()}}
    print(json.dumps(result) if "--json" in sys.argv else line(result), flush=True)
    if "--record" in sys.argv:
        entry = {"date": time.strftime("%Y-%m-%d"), "commit": _commit(), "machine": machine(), **result}
        with HISTORY.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def best_s(work: Callable[[], object], repeats: int = 5) -> float:
    """The shortest of some runs, in seconds: what the work costs when nothing else disturbs it."""
    took_s = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        took_s.append(time.perf_counter() - started)
    return min(took_s)


def median_cpu_s(work: Callable[[], object], repeats: int = 5, before: Callable[[], object] | None = None) -> float:
    """The median of some runs, in seconds of the thread's CPU: neighbours on the machine are not in it.

    `before` comes before each run and is not timed.
    """
    took_s = []
    for _ in range(repeats):
        if before is not None:
            before()
        started = time.thread_time()
        work()
        took_s.append(time.thread_time() - started)
    return median(took_s)


def line(result: Mapping[str, object]) -> str:
    """One result as a line of a table."""
    numbers = result["numbers"]
    assert isinstance(numbers, Mapping)
    return f"{result['bench']:<24}" + "  ".join(f"{key} {value}" for key, value in numbers.items())


def machine() -> dict[str, Number]:
    """What a number must be read beside: processor, cores it may use, Python."""
    return {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((each.partition(":")[2].strip() for each in lines if each.startswith("model name")), platform.machine())


def _commit() -> str:
    head = _git("rev-parse", "--short=12", "HEAD")
    return head + ("+" if _git("status", "--porcelain", "--", "ctxgc") else "") if head else "unknown"


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _rounded(value: Number) -> Number:
    return float(f"{value:.4g}") if isinstance(value, float) else value
