"""The gate of the benchmarks: counted work above its limit fails, times never do."""

import json
import sys
import tomllib
from pathlib import Path

import pytest

from ctxgc.core.heap import Now
from perf import bench_mark, bench_mcp, bench_plan, bench_recall, recall
from perf import record as record_module
from perf import run as run_module
from perf.bench_bills import SESSIONS
from perf.heaps import session_like
from perf.record import record
from perf.run import broken_limits, main

LIMITS = {"mark/10k": {"scanned": 10_000}}


def results(**numbers):
    return [{"bench": "mark/10k", "numbers": numbers}]


def test_counted_work_up_to_its_limit_passes_and_times_are_not_looked_at():
    assert broken_limits(results(scanned=10_000, took_ms=9e9), LIMITS, are_all=True) == []


def test_counted_work_above_its_limit_is_named_with_both_numbers():
    (fault,) = broken_limits(results(scanned=10_001), LIMITS, are_all=True)

    assert fault == "mark/10k: scanned is 10001, the limit is 10000"


def test_a_limit_cannot_be_passed_by_not_reporting():
    assert broken_limits(results(took_ms=1), LIMITS, are_all=True)
    assert broken_limits([], LIMITS, are_all=True)
    assert not broken_limits([], LIMITS, are_all=False)


def test_what_cannot_run_here_is_not_held_to_its_limits():
    assert broken_limits(results(skipped="no redis-server"), LIMITS, are_all=True) == []


READS_CORPUS = [
    path.stem.removeprefix("bench_")
    for path in sorted(Path(run_module.__file__).parent.glob("bench_*.py"))
    if "CTXGC_CORPUS" in path.read_text()
]


@pytest.mark.slow
@pytest.mark.parametrize("has_corpus", [False, True], ids=["no corpus", "an empty one"])
@pytest.mark.parametrize("bench", READS_CORPUS)
def test_a_benchmark_of_recorded_sessions_passes_where_there_are_none(bench, has_corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CTXGC_CORPUS", str(tmp_path) if has_corpus else "")

    assert main([bench]) == 0
    assert "skipped" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["--fast"], ["no_such_bench"]])
def test_a_misspelt_word_runs_nothing(argv, capsys):
    assert main(argv) == 2
    assert "there are" in capsys.readouterr().err


def test_a_result_is_a_line_for_people_or_an_object_for_programs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench"])
    record("mark/10k", {"took_ms": 1.23456789, "scanned": 10_000})
    monkeypatch.setattr(sys, "argv", ["bench", "--json"])
    record("mark/10k", {"took_ms": 1.23456789, "scanned": 10_000})

    people, programs = capsys.readouterr().out.splitlines()

    assert people.split() == ["mark/10k", "took_ms", "1.235", "scanned", "10000"]
    assert json.loads(programs) == {"bench": "mark/10k", "numbers": {"took_ms": 1.235, "scanned": 10_000}}


def test_history_is_written_only_when_asked_and_says_on_what(monkeypatch, tmp_path):
    monkeypatch.setattr(record_module, "HISTORY", tmp_path / "history.jsonl")
    monkeypatch.setattr(sys, "argv", ["bench"])
    record("mark", {"n": 1})
    assert not list(tmp_path.iterdir())

    monkeypatch.setattr(sys, "argv", ["bench", "--record"])
    record("mark", {"n": 1})

    entry = json.loads(Path(tmp_path / "history.jsonl").read_text())
    assert set(entry) == {"date", "commit", "machine", "bench", "numbers"}
    assert set(entry["machine"]) == {"cpu", "cores", "python"}


# A limit that nothing can pass is no gate: work that is done twice must break it.


def broken(bench, numbers):
    limits = tomllib.loads((Path(bench_mark.__file__).parent / "limits.toml").read_text())
    assert bench in limits
    return broken_limits([{"bench": bench, "numbers": numbers}], {bench: limits[bench]}, are_all=False)


@pytest.mark.parametrize("name", [name + ending for name in SESSIONS for ending in ("", "_entry")])
def test_a_bill_of_a_session_that_is_not_collected_or_is_refused_breaks_its_limit(name):
    limits = tomllib.loads((Path(bench_mark.__file__).parent / "limits.toml").read_text())
    at_limits = limits[f"bills/{name}"]
    never_collected = at_limits | {"of_straight_percent": 100.0}
    refused = at_limits | {"refused_requests": 1}
    unforetold = at_limits | {"unforetold_requests": 4}

    assert not broken(f"bills/{name}", at_limits)
    assert all(broken(f"bills/{name}", numbers) for numbers in (never_collected, refused, unforetold))


def twice(function):
    return lambda *given: (function(*given), function(*given))[1]


def test_a_mark_that_looks_at_a_reference_twice_breaks_its_limit(monkeypatch):
    heap, _ = session_like(200)
    roots = bytearray(len(heap) - 1) + b"\1"
    assert not broken("mark/10k", bench_mark.counted(heap.refs, roots))

    monkeypatch.setattr(bench_mark, "mark", twice(bench_mark.mark))

    assert broken("mark/10k", bench_mark.counted(heap.refs, roots))


@pytest.mark.slow
def test_the_servers_benchmark_measures_recalls_that_bring_the_text_and_no_others(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "--json"])
    monkeypatch.setattr(bench_mcp, "STARTS", 1)
    monkeypatch.setattr(bench_mcp, "RECALLS", 3)
    bench_mcp.main([])

    numbers = json.loads(capsys.readouterr().out)["numbers"]
    assert set(numbers) == {"ready_ms_p50", "ready_ms_max", "rss_mb", "recall_ms_p50", "recall_ms_p99"}
    assert all(number > 0 for number in numbers.values())

    monkeypatch.setattr(bench_mcp, "TEXT", "another text")
    with pytest.raises(AssertionError, match="another text"):
        bench_mcp.main([])


@pytest.mark.parametrize("gate", recall.GATES)
def test_a_search_that_finds_less_than_its_gate_breaks_it_wherever_the_questions_are_from(gate, monkeypatch, capsys):
    part, _, way = gate.partition(".")
    kept, other = {"locomo": {"r10": 1.0}, "code": {"hit5_key": 1.0}}, ["locomo", "code"]
    monkeypatch.setattr(recall, "_lines", lambda found: [])
    monkeypatch.setattr(recall, "measure", lambda *folders: kept)
    assert recall.main(other) == 0

    monkeypatch.setitem(kept, part, {way: recall.GATES[gate] - 0.01})

    assert recall.main(other) == 1
    assert capsys.readouterr().err.startswith(gate)
    monkeypatch.setattr(bench_recall, "measure", recall.measure)
    monkeypatch.setenv("CTXGC_CORPUS", "recorded")
    assert bench_recall.main([]) == 1


def test_the_history_takes_every_share_of_a_search_under_a_name_of_one_level():
    shares = {"r5": 0.7, "r10": 0.8}
    found = {
        "locomo": {**shares, "by_category": {"multi_hop": shares}, "interval": {"r5": [0, 1]}, "by_fold": {"a": shares}}
    }

    assert recall.flat(found) == {
        **{f"locomo_{name}": share for name, share in shares.items()},
        **{f"locomo_multi_hop_{name}": share for name, share in shares.items()},
    }


@pytest.mark.parametrize("work", ["scans", "scored_per_evictable", "made_per_victim", "over_target_tokens"])
def test_a_plan_that_does_a_part_of_its_work_twice_breaks_its_limit(work):
    heap, paths = session_like(600)
    numbers = bench_plan.work_of(heap, paths, Now(201), 30)

    assert not broken("plan/10k/30%", numbers)
    assert broken("plan/10k/30%", numbers | {work: 2 * numbers[work] + 1})
