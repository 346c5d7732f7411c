"""The tables of docs/design/judge.md, from the numbers of a run.  Run: python -m perf.judge.page [JSON]

    a run's --json ──▶ perf/judge/evidence.json (no verdict of a single body, no session) ──▶ the tables of the page

Without a file the tables are written again from the kept numbers. The prose around the tables is by hand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from perf.judge.groups import LEXICAL, STATISTICS

PAGE = Path(__file__).parents[2] / "docs" / "design" / "judge.md"
EVIDENCE = Path(__file__).with_name("evidence.json")
BEGIN, END = "<!-- tables: python -m perf.judge.page -->", "<!-- end of the tables -->"
HEADS = {
    "nats": "nats a body",
    "nats_clipped": "clipped",
    "nats_per_1000": "nats / 1,000 tokens",
    "better_percent": "better than placebo, %",
    "used_later_percent": "used later, %",
    "used_later_by_placebo_percent": "… by the placebo's count, %",
}


def main(argv: Sequence[str]) -> None:
    """Keep the numbers of a run, if a file of one is named, and write the tables."""
    if argv:
        numbers = json.loads(Path(argv[0]).read_text())
        del numbers["verdicts"]
        EVIDENCE.write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(with_tables(PAGE.read_text(), json.loads(EVIDENCE.read_text())))


def with_tables(page: str, numbers: Mapping[str, Any]) -> str:
    """The page with its tables made of these numbers. Raises `ValueError` for a page without the places of tables."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{before}{begin}\n\n{tables(numbers)}\n{end}{after}"


def tables(numbers: Mapping[str, Any]) -> str:
    """Groups, differences of matched bodies, and the lexical count, each as a table of Markdown."""
    groups = [[name, *_facts(row), *_cells(row, STATISTICS)] for name, row in numbers["table"].items()]
    differences = [
        [name, str(row["pairs"]), str(row["same_body"]), *_cells(row, STATISTICS)]
        for name, row in numbers["differences"].items()
    ]
    lexical = [[name, str(row["bodies"]), *_cells(row, LEXICAL)] for name, row in numbers["lexical"].items()]
    return "\n".join(
        [
            _table(["group", "bodies", "sessions", "raw tokens", "age, turns", *map(HEADS.get, STATISTICS)], groups),
            _table(["difference", "pairs", "of one body", *map(HEADS.get, STATISTICS)], differences),
            _table(["lexical count", "bodies drawn", *map(HEADS.get, LEXICAL)], lexical),
        ]
    )


def _facts(row: Mapping[str, Any]) -> list[str]:
    return [str(row["bodies"]), str(row["sessions"]), f"{row['tokens']:,}", f"{row['age_turns']:.0f}"]


def _cells(row: Mapping[str, Any], statistics: Iterable[str]) -> list[str]:
    cells = []
    for name in statistics:
        ends = row[f"{name}_interval"]
        cells.append(f"{row[name]:.1f}" + (f" [{ends[0]:.1f}, {ends[1]:.1f}]" if ends else ""))
    return cells


def _table(heads: Sequence[str | None], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


if __name__ == "__main__":
    main(sys.argv[1:])
