"""Every benchmark, each in a process of its own, then the gate.  Run: python -m perf.run [--json] [--record] [NAME…]

    bench_*.py ──numbers──▶ table or JSON lines ──counted work──▶ held against limits.toml

Exits 1 if a counted number is above its limit, if a limit's number was not reported, or if a benchmark failed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perf.record import ROOT, line

HERE = Path(__file__).parent
BENCH_TIMEOUT_S = 900
FLAGS = ("--json", "--record")

Result = dict[str, Any]
Limits = Mapping[str, Mapping[str, float]]


def main(argv: Sequence[str]) -> int:
    """Run the named benchmarks, or all; the process's exit code."""
    flags = [word for word in argv if word.startswith("-")]
    if unknown := [word for word in flags if word not in FLAGS]:
        print(f"unknown option {unknown[0]}; there are {', '.join(FLAGS)}", file=sys.stderr)
        return 2
    known = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    names = [word.removeprefix("bench_") for word in argv if word not in flags] or known
    if unknown := [name for name in names if name not in known]:
        print(f"no benchmark {unknown[0]!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    results: list[Result] = []
    faults: list[str] = []
    for name in names:
        found, failures = run_one(name, [flag for flag in flags if flag != "--json"])
        for result in found:
            print(json.dumps(result) if "--json" in flags else line(result), flush=True)
        results += found
        faults += failures
    limits = tomllib.loads((HERE / "limits.toml").read_text())
    faults += broken_limits(results, limits, are_all=names == known)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def run_one(name: str, flags: Sequence[str]) -> tuple[list[Result], list[str]]:
    """One benchmark's results, and what went wrong with it."""
    command = [sys.executable, "-m", f"perf.bench_{name}", "--json", *flags]
    try:
        # Its standard error is ours, so that progress and tracebacks are seen as they come.
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=BENCH_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return [], [f"{name}: not done after {BENCH_TIMEOUT_S} s"]
    found = [json.loads(each) for each in done.stdout.splitlines() if each.startswith('{"bench"')]
    if done.returncode:
        return found, [f"{name}: exit code {done.returncode}"]
    return found, [] if found else [f"{name}: reported nothing; does it call main()?"]


def broken_limits(results: Sequence[Result], limits: Limits, *, are_all: bool) -> list[str]:
    """Counted numbers above their limit, and limits whose number is missing, in words."""
    numbers: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        numbers.setdefault(result["bench"], []).append(result["numbers"])
    broken: list[str] = []
    for bench, keys in limits.items():
        if bench not in numbers and are_all:
            broken.append(f"{bench}: has a limit, but was not reported")
        for reported in numbers.get(bench, ()):
            if "skipped" not in reported:
                broken += [fault for key, most in keys.items() if (fault := _fault(bench, key, most, reported))]
    return broken


def _fault(bench: str, key: str, most: float, reported: Mapping[str, Any]) -> str:
    if key not in reported:
        return f"{bench}: {key} has a limit, but was not reported"
    return f"{bench}: {key} is {reported[key]}, the limit is {most}" if reported[key] > most else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
