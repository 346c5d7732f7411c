"""Does a run of words that was copied out of a result find a segment that holds it?

Run: python -m perf.bench_phrases [--json] [--record] [--seeds N] [--missed] [SESSIONS_DIR]

    results of recorded sessions ──▶ stash ◀── runs of 4 to 7 adjacent words, as they stand, with the signs between them
                                           ◀── the same runs, words alone

A hit holds the run: the query's words stand side by side in its text or in its call's input. Sixty runs a seed, of
results drawn alike however long they are. Without a folder the sessions are those of CTXGC_CORPUS.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ctxgc.core.search.lexemes import lexemes
from ctxgc.core.segment import Kind, Segment
from ctxgc.stash.index_text import searchable_fields
from perf.recall import RealSearch
from perf.recall_sets import sessions
from perf.record import record

RUNS, WORDS_MIN, WORDS_MAX, HITS = 60, 4, 7, 10
WAYS = {True: "as_they_stand", False: "words"}
"""The sorts of runs, by whether the signs between the words stand in them."""
_WORD = re.compile(r"\w+")
_SPACED = re.compile(r"\S+")


def _run_of(text: str, dice: random.Random, *, has_signs: bool) -> str:
    """A run of words of a text; of a text with fewer words nothing."""
    places = [match.span() for match in (_SPACED if has_signs else _WORD).finditer(text)]
    count = dice.randint(WORDS_MIN, WORDS_MAX)
    if len(places) < count:
        return ""
    first = dice.randrange(len(places) - count + 1)
    run = places[first : first + count]
    return text[run[0][0] : run[-1][1]] if has_signs else " ".join(text[start:end] for start, end in run)


def _runs(results: Sequence[str], seed: int, *, has_signs: bool) -> list[str]:
    dice = random.Random(seed)
    runs: list[str] = []
    while len(runs) < RUNS:
        run = _run_of(dice.choice(results), dice, has_signs=has_signs)
        if len(lexemes(run)) >= WORDS_MIN:
            runs.append(run)
    return runs


def _holds(segment: Segment, run: str) -> bool:
    fields = searchable_fields(segment)
    return any(_words(run) in _words(text) for text in (fields.text, fields.input))


def _words(text: str) -> str:
    """The words' lexemes with spaces around them: a ✓ between words is none of them."""
    return f" {' '.join(lexeme for lexeme in lexemes(text) if lexeme[0].isalnum())} "


async def measure(folder: Path, seeds: int, *, shows_missed: bool) -> None:
    """Print and record the share of runs with a holder at the first hit and among ten, for each seed."""
    with tempfile.TemporaryDirectory(prefix="ctxgc-phrases-") as name:
        real = RealSearch(Path(name) / "stash.db")
        await real.stash.open()
        segments: dict[tuple[str, str], Segment] = {}
        for session, listed in sessions(folder):
            await real.put(session, listed)
            segments |= {(session, segment.id): segment for segment in listed}
        texts = [searchable_fields(segment).text for segment in segments.values() if segment.kind is Kind.TOOL_CALL]
        for has_signs, way in WAYS.items() if texts else ():
            shares = []
            for seed in range(seeds):
                places = []
                for run in _runs(texts, seed, has_signs=has_signs):
                    hits = await real.best(run, "", HITS)
                    held = [at for at, hit in enumerate(hits) if _holds(segments[hit], run)]
                    places.append(held[0] if held else HITS)
                    if shows_missed and places[-1]:
                        print(f"seed {seed}, place {places[-1]} of {len(hits)}: {run!r}")
                shares.append([sum(place < cut for place in places) / RUNS for cut in (1, HITS)])
            numbers = {
                "segments": len(segments),
                "seeds": seeds,
                "hit1_percent": round(100 * sum(share[0] for share in shares) / seeds, 1),
                "hit1_least_percent": round(100 * min(share[0] for share in shares), 1),
                "hit10_least_percent": round(100 * min(share[1] for share in shares), 1),
            }
            record(f"phrases/{way}", numbers)
        await real.stash.close()
    if not texts:
        skip()


def skip() -> None:
    for way in WAYS.values():
        record(f"phrases/{way}", {"skipped": "CTXGC_CORPUS names no recorded sessions"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--record", action="store_true", help="append to perf/history.jsonl")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--missed", action="store_true", help="print the runs that no first hit holds")
    parser.add_argument("folder", nargs="?", default=os.environ.get("CTXGC_CORPUS", ""), metavar="SESSIONS_DIR")
    args = parser.parse_args()
    if not args.folder:
        skip()
        return
    asyncio.run(measure(Path(args.folder), args.seeds, shows_missed=args.missed))


if __name__ == "__main__":
    main()
