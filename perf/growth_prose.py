"""The words and tables of docs/performance.md, written from the evidence."""

from __future__ import annotations

import re
from textwrap import fill
from typing import Any

from perf.bench_growth import exponent
from perf.growth_plots import duration_text

OPERATIONS = {
    "touch_us": ("touch", "an observed use of a segment", 1e-3),
    "admit_us": ("admit", "a call with references, pending and then answered; the heap's part", 1e-3),
    "turn_p50_ms": ("turn, median", "three segments come in, the window is read, the pacer is asked and rests", 1.0),
    "turn_p99_ms": ("turn, 99 of 100", "the same", 1.0),
    "turn_worst_ms": ("turn, worst of 400", "the same", 1.0),
    "look_ms": ("look", "the pacer weighs every body of the window, with a cold cache", 1.0),
    "plan_1_ms": ("plan 1 %", "victims that free 1 % of the window, proven garbage first", 1.0),
    "plan_30_ms": ("plan 30 %", "victims that free 30 % of the window", 1.0),
    "wake_s": ("wake", "from rows of the stash to the first admission, index of words included", 1e3),
    "collect_frozen_ms": ("Python's collection", "a full one, of a heap that is frozen", 1.0),
}
"""By number: the row's name, what is timed, and the milliseconds of the unit."""
NEIGHBOURS = {
    "plan_cold_{}_ms": "ctxgc: a plan, with roots, liveness, and a reason for each victim",
    "sort_ms": "a sort of everything: all keys of this turn, in Python",
    "sqlite_exact_{}_ms": "SQLite in memory, `ORDER BY` the key as an expression, `LIMIT`",
    "sqlite_index_{}_ms": "SQLite in memory, `ORDER BY` an indexed key, `LIMIT`",
    "redis_{}_ms": "Redis, `ZPOPMIN` of a sorted set",
    "c_{}_ms": "one scan in C that keeps the lowest keys in a heap",
}
ANCESTORS = (
    ("look at everything, 1,000,000 segments", "19 to 27 s", "look_ms", 1.0, "1000000"),
    ("plan of a quarter of the tokens, 1,000,000", "5.8 to 6.9 s", "plan_30_ms", 1.0, "1000000"),
    ("mark of a graph that is reached whole, 1,000,000", "1.3 s", "mark_ms", 1.0, "1000000"),
    ("start with 100,000 segments in its stash", "19.8 s", "wake_s", 1e3, "100000"),
)
"""What the closest ancestor took, and the number here that is nearest to it."""

WIDTH = 120

Evidence = dict[str, Any]


def page(evidence: Evidence) -> str:
    """The page."""
    sections = (_opening, _growth, _memory, _neighbours, _ancestors, _limits, _again)
    blocks = "\n\n".join(section(evidence) for section in sections).split("\n\n")
    return "\n\n".join(map(_wrap_block, blocks)) + "\n"


def _wrap_block(block: str) -> str:
    """A paragraph or a list in lines of the page's width; tables, headings, drawings and programs as they are."""
    if block.startswith(("|", "#", "!", "    ")):
        return block
    items = re.split(r"\n(?=- )", block)
    return "\n".join(_wrap_item(item) for item in items)


def _wrap_item(item: str) -> str:
    indent = "  " if item.startswith("- ") else ""
    words = " ".join(item.split())
    return fill(words, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _sizes(evidence: Evidence, name: str) -> list[int]:
    return sorted(map(int, evidence["numbers"][name]))


def _value(evidence: Evidence, name: str, size: int | str, factor: float = 1.0) -> float:
    value: float = evidence["numbers"][name][str(size)][0]
    return value * factor


def _time(evidence: Evidence, name: str, size: int | str, factor: float = 1.0) -> str:
    found = evidence["numbers"].get(name, {})
    return duration_text(_value(evidence, name, size, factor)) if str(size) in found else "–"


def _fit(evidence: Evidence, name: str) -> float:
    return exponent([(size, _value(evidence, name, size)) for size in _sizes(evidence, name)])


def _size_text(size: int) -> str:
    return f"{size // 1_000_000} M" if size >= 1_000_000 else f"{size // 1000} k"


def _opening(evidence: Evidence) -> str:
    dates = sorted({run["date"] for runs in evidence["runs"].values() for run in runs.values()})
    rounds = evidence["runs"]["core"]
    told = ", ".join(f"{run['rounds']} at {_size_text(int(size))}" for size, run in _by_size(rounds))
    days = " and ".join(dict.fromkeys((dates[0], dates[-1])))
    return f"""# Growth, limits, neighbours

How the cost of a session grows with its segments, where growth ends, and what a plain scan, a sort, SQLite and Redis
take
for the same question. This page and its drawings are made by `python -m perf.growth_page` from `perf/growth.json`; a
test
fails when they differ.

Measured on {evidence["cores"]} cores that other work shared, Python {evidence["python"]}, {days}. Times are CPU of
the thread,
so that neighbours on the machine are not in them; caches that neighbours empty are. Each size has a process of its
own
and some rounds ({told}); a number is the median of the rounds, and a whisker runs from the lowest to the
highest. A round of a large heap is long, and one round has no whisker. Take a ratio of this page for known to a
fifth, and a
single time for known to a third. Heaps are made from a seed, like recorded sessions
(`perf/heaps.py`): calls that are pending first, touches, pins, rewinds, ids of 30 characters."""


def _by_size(runs: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(runs.items(), key=lambda item: int(item[0]))


def _growth(evidence: Evidence) -> str:
    sizes = _sizes(evidence, "turn_p50_ms")
    head = "| what | " + " | ".join(map(_size_text, sizes)) + " | exponent |"
    rows = [
        f"| {name} | "
        + " | ".join(_time(evidence, key, size, factor) for size in sizes)
        + f" | {_fit(evidence, key):.2f} |"
        for key, (name, _, factor) in OPERATIONS.items()
    ]
    told = "; ".join(f"*{name}*: {what}" for name, what, _ in OPERATIONS.values() if what != "the same")
    return f"""## Growth

![Times of a session by its size](performance-growth.svg)

{head}
|---|{"---|" * len(sizes)}---|
{chr(10).join(rows)}

{told}.

An exponent is the slope of the line of least squares through the logarithms of sizes and times: 0 does not grow, 1
is linear.
What happens in every turn hardly grows: a median turn takes {_ratio(evidence, "turn_p50_ms"):.1f} times as long at
{_size_text(sizes[-1])} as at {_size_text(sizes[0])}, for {sizes[-1] // sizes[0]} times the segments. Worst turns do
grow. Which step makes them is not
taken apart here: a full column is copied, and a rewind takes slots out of every order.
What
looks at the whole heap is linear; a plan of 30 % is a little more than linear, because victims are ordered. A plan
of 1 %
takes {_value(evidence, "plan_1_ms", sizes[-1]) / _value(evidence, "plan_30_ms", sizes[-1]) * 100:.0f} % of the time
of a plan of 30 %
at {_size_text(sizes[-1])}; masks over all slots, at C speed, are what remains of the scan.
The goals at 1 M were a turn's p99 under 0.5 ms and worst under 2 ms, plans under 50 and 500 ms, and a wake of 100 k
under
1.5 s: {_met(evidence)}."""


def _ratio(evidence: Evidence, name: str) -> float:
    sizes = _sizes(evidence, name)
    return _value(evidence, name, sizes[-1]) / _value(evidence, name, sizes[0])


def _met(evidence: Evidence) -> str:
    goals = (
        ("the p99", "turn_p99_ms", 1_000_000, 0.5),
        ("the worst turn", "turn_worst_ms", 1_000_000, 2.0),
        ("the plan of 1 %", "plan_1_ms", 1_000_000, 50.0),
        ("the plan of 30 %", "plan_30_ms", 1_000_000, 500.0),
        ("the wake", "wake_s", 100_000, 1.5),
    )
    there = [goal for goal in goals if str(goal[2]) in evidence["numbers"][goal[1]]]
    missed = [name for name, key, size, most in there if _value(evidence, key, size) > most]
    met = [name for name, *_ in there if name not in missed]
    return f"met: {', '.join(met) or 'none'}; missed: {', '.join(missed) or 'none'}"


def _memory(evidence: Evidence) -> str:
    sizes = _sizes(evidence, "heap_bytes")
    totals = [(size, _value(evidence, "heap_bytes", size) * size) for size in sizes]
    words = _value(evidence, "words_bytes", _sizes(evidence, "words_bytes")[0])
    cells = " | ".join(f"{_value(evidence, 'heap_bytes', size):.0f} B" for size in sizes)
    return f"""## Memory

| a segment takes | {" | ".join(map(_size_text, sizes))} | exponent of the whole |
|---|{"---|" * len(sizes)}---|
| columns, ids and their map, references, paths | {cells} | {exponent(totals):.2f} |

That is memory which the system holds for the process, allocator included. The index of words and lines adds
{words:.0f} B for a
segment that reads two thousand characters of code. A session of {_size_text(sizes[-1])} thus takes about
{(totals[-1][1] + words * sizes[-1]) / 1e9:.1f} GB. Texts are not in memory; they lie in the stash. The daemon keeps
a million segments
of all sessions together (`daemon.heap_segments_max`) and lets the heap that was used least recently go."""


def _neighbours(evidence: Evidence) -> str:
    size = max(_sizes(evidence, "plan_cold_1_ms"))
    rows = []
    for key, name in NEIGHBOURS.items():
        names = [key.format(percent) for percent in (1, 30)]
        ours = [_value(evidence, f"plan_cold_{percent}_ms", size) for percent in (1, 30)]
        cells = [
            f"{_time(evidence, one, size)} | × {_value(evidence, one, size) / mine:.2g}"
            if str(size) in evidence["numbers"].get(one, {})
            else "– | –"
            for one, mine in zip(names, ours, strict=True)
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    victims = [f"{_value(evidence, f'victims_{percent}', size):,.0f}" for percent in (1, 30)]
    return f"""## Neighbours

The question: which bodies go, so that a part of the window is free? The heap has no proofs here, so that victims are
the
bodies with the lowest keys, and every neighbour is asked for as many. A neighbour that finds other keys stops the
measurement; of the sums that SQLite rounds in another order, 99 in 100 must agree. All stand in one process, on one
heap, one after the other.

![A plan and its neighbours](performance-neighbours.svg)

At {_size_text(size)} segments ({victims[0]} victims for 1 %, {victims[1]} for 30 %):

| who | 1 % | to ctxgc | 30 % | to ctxgc |
|---|---|---|---|---|
{chr(10).join(rows)}

Neighbours rank numbers that somebody handed to them; times of Redis are the server's own, without the socket. A key
moves
with two ages until they are 4,096 turns old. An index over keys is therefore right for one turn. To stay right,
SQLite rewrites the keys
of the younger bodies in {_time(evidence, "sqlite_rekey_ms", size)} and Redis in
{_time(evidence, "redis_rekey_ms", size)}, *every turn*, where a whole turn
of ctxgc takes {_time(evidence, "turn_p50_ms", size)}. The rewriting of {_break_even(evidence, "sqlite", size)} turns
by SQLite, or of {_break_even(evidence, "redis", size)} by Redis, costs as
much as one plan of 1 %: an index pays where plans come more often than that, and most turns of a session have no
plan.
SQLite with the key as an expression needs no such work, finds the same bodies, and is {_beaten(evidence, size)} than
ctxgc: a plan of ctxgc also finds roots, liveness, and the reason of every victim, and makes an object of each
victim, in Python.
C shows the room that is left: a scan of everything is
{_value(evidence, "plan_cold_30_ms", size) / _value(evidence, "c_30_ms", size):.0f} times
faster than a plan of 30 %. No native code is shipped all the same: the recorded sessions
with a hundred segments or more have up to 217 candidates, and a plan of 30 % took 0.15 ms at most (35 sessions,
November 2026).

A mark over a heap in which every reference is a client's word, which no session has, takes
{_time(evidence, "mark_ms", size)}, and the
same scan in C {_time(evidence, "mark_c_ms", size)}. Sessions have few such references, and the mark looks at no
other."""


def _break_even(evidence: Evidence, who: str, size: int) -> str:
    if f"{who}_rekey_ms" not in evidence["numbers"]:
        return "–"
    turns = _value(evidence, "plan_cold_1_ms", size) / _value(evidence, f"{who}_rekey_ms", size)
    return f"{turns:.0f}" if turns >= 1.5 else "one or two"


def _beaten(evidence: Evidence, size: int) -> str:
    ratios = [
        _value(evidence, f"plan_cold_{percent}_ms", size) / _value(evidence, f"sqlite_exact_{percent}_ms", size)
        for percent in (1, 30)
    ]
    words = [f"{r:.1f} times faster" if r >= 1 else f"{1 / r:.1f} times slower" for r in ratios]
    return f"{words[0]} for 1 % and {words[1]} for 30 %"


def _ancestors(evidence: Evidence) -> str:
    rows = [
        f"| {what} | {theirs} | {_time(evidence, key, size, factor)} ({key.partition('_')[0]}) |"
        for what, theirs, key, factor, size in ANCESTORS
    ]
    memory = f"{_value(evidence, 'heap_bytes', max(_sizes(evidence, 'heap_bytes'))):.0f} B without words"
    return f"""## Ancestors

Systems that ctxgc's design grew from were run in November 2026, on a machine of the same size with other load, and
are quoted, not measured in
this run. The closest is a context collector behind an MCP server; its engine was run as of December 2025, the last
version
that had one. Its work is not ours to the letter: read orders of magnitude.

| what | ancestor | here |
|---|---|---|
{chr(10).join(rows)}
| memory a segment | 1.8 kB | {memory} |
| one segment more in a stash of 100,000 | 8.3 s: the file is written anew | no rewrite: rows of a transaction |
| search with one hit among 100,000 | 4.8 s: the file is parsed anew | an index on disk: [search](design/search.md) |

Of the others, a memory of neurons and synapses on SQLite takes 23, 48 and 191 ms to take in one memory among 1,000,
10,000
and 50,000 (medians, November 2026): there an admission grows with the session. Here an admission's heap part has
exponent
{_fit(evidence, "admit_us"):.2f}. A plain sort of a million scores took 972 ms there, and a heap of the lowest
thousand 114 ms."""


def _limits(evidence: Evidence) -> str:
    wake = max(_sizes(evidence, "wake_s"))
    each_us = _value(evidence, "wake_s", wake) / wake * 1e6
    gap = evidence["numbers"]["wake_gap_ms"][str(wake)][0]
    return f"""## Where growth ends

- **Waking** is what a large session feels first: {each_us:.0f} µs of CPU a segment,
  {_time(evidence, "wake_s", wake, 1e3)} at
  {_size_text(wake)}, linear. Rows are read as columns, and keys of the texts stand for the texts. The loop's longest
  gap was
  {gap:.0f} ms on the clock of the wall, with other work on the same cores.
- **A look** of the pacer weighs every body: linear, {_time(evidence, "look_ms", 100_000)} at 100 k. The pacer looks
  only when some thousand
  tokens have come, one in 128 of a huge window, so the cost a turn stays flat in the middle and not in the worst
  case.
- **A deep plan** orders its victims: a sort. Beyond two fifths of the bodies the cells are left, and all is sorted.
  Plans of large heaps run
  beside the loop, so other sessions are answered; the plan's own session waits.
- **Masks** over all slots are one byte a slot at C speed. They set the floor of any plan:
  {_time(evidence, "plan_1_ms", 1_000_000)} for 1 % at 1 M.
- **Memory**: a million segments in all awake heaps; one process, one writer, one machine. A hundred sessions of 10 k
  cost as much as
  one of a million.
- **Bounds with names**: 100,000 files and 4,096 uses of a file in the index of a session, 65,535 tools; what is
  beyond them stays in the heap and in the stash, and is no longer found by that name.
- **Ages** end at 4,096 turns: older bodies are alike, and their keys stand still.
- **Python's collector** would stop everything for {_time(evidence, "collect_python_ms", 1_000_000)} at 1 M; the
  daemon freezes the objects of a heap
  after a wake, and a full collection takes {_time(evidence, "collect_frozen_ms", 1_000_000)}.

Recorded sessions are far from all of this: 70 turns and 80 tool results in the middle. What grows there is the bill
([policy](design/policy.md)), not the collector."""


def _again(evidence: Evidence) -> str:
    return """## To measure again

    python -m perf.growth_page --measure                  # everything: an hour
    python -m perf.growth_page --measure core 10000       # one size; the other numbers stay
    python -m perf.growth_page                            # the page and the drawings alone

`perf/growth.py` times one size in a process of its own, `perf/neighbours.py` holds the neighbours. Redis and the C
scans are left
out where there is no `redis-server` and no compiler. Counted work, which is the same on every machine, is held to
limits elsewhere:
`python -m perf.run`."""
