"""How often does a search find what answers a question?  Run: CTXGC_CORPUS=… python -m perf.bench_retrieval

    conversations, a segment for each turn ──▶ stash ◀── each question of theirs, as it is asked, as the query
    recall = the share of a question's evidence turns that are among the first ten hits, the mean over questions

Asked in the question's own conversation (`scoped`), and among all of them at once (`global`). No model takes part: the
questions use other words than the answers, so this says what words alone can do. It holds the planner's bounds
(`stash/search.py`) against what they cost, and is recorded, not limited. Reads `locomo/` of the corpus; for evaluation
only. Not answerable questions are left out, and so is evidence that is no turn.
"""

import asyncio
import gzip
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from ctxgc.core.segment import SessionKey
from ctxgc.stash.contract import PutSession, Query, SessionRow
from ctxgc.stash.sqlite import SqliteStash
from perf.bench_stash import put
from perf.record import record

HITS = 10
NOT_ANSWERABLE = 5


class Question(NamedTuple):
    """A question, and the seqs in its conversation that answer it."""

    key: SessionKey
    text: str
    evidence: frozenset[int]


def main(argv: list[str]) -> None:
    corpus = os.environ.get("CTXGC_CORPUS", "")
    files = sorted((Path(corpus) / "locomo").glob("*.json.gz")) if corpus else []
    if not files:
        record("retrieval/locomo", {"skipped": "CTXGC_CORPUS is not set, or has no locomo folder"})
        return
    with tempfile.TemporaryDirectory(prefix="ctxgc-bench-") as folder:
        said = [json.loads(gzip.decompress(file.read_bytes())) for file in files]
        asyncio.run(measure(Path(folder) / "stash" / "stash.db", said))


async def measure(path: Path, conversations: list[Mapping[str, Any]]) -> None:
    stash = SqliteStash(path)
    await stash.open()
    questions = [asked for said in conversations for asked in await taken_in(stash, said)]
    numbers: dict[str, float | int] = {"questions": len(questions)}
    for name in ("scoped", "global"):
        found, took_s = [], []
        for question in questions:
            query = Query(text=question.text, key=question.key if name == "scoped" else None, limit=HITS)
            started_s = time.perf_counter()
            reply = await stash.search(query)
            took_s.append(time.perf_counter() - started_s)
            hits = {hit.row.seq for hit in reply.hits if hit.row.key == question.key}
            found.append(len(question.evidence & hits) / len(question.evidence))
        numbers[f"{name}_recall_percent"] = 100 * sum(found) / len(found)
        numbers[f"{name}_ms_p50"] = median(took_s) * 1e3
    await stash.close()
    record("retrieval/locomo", numbers)


async def taken_in(stash: SqliteStash, said: Mapping[str, Any]) -> list[Question]:
    """Put a conversation into the stash; its questions."""
    key = SessionKey("client", said["sample_id"])
    await stash.apply([PutSession(SessionRow(key=key))])
    turns = list(turns_of(said["conversation"]))
    await stash.apply([put(key, seq, f"{turn['speaker']}: {turn['text']}") for seq, turn in enumerate(turns)])
    seqs = {turn["dia_id"]: seq for seq, turn in enumerate(turns)}
    questions = []
    for asked in said["qa"]:
        evidence = frozenset(seqs[turn] for turn in asked.get("evidence", ()) if turn in seqs)
        if evidence and asked["category"] != NOT_ANSWERABLE:
            questions.append(Question(key, asked["question"], evidence))
    return questions


def turns_of(conversation: Mapping[str, Any]) -> Iterator[Mapping[str, str]]:
    number = 1
    while (turns := conversation.get(f"session_{number}")) is not None:
        yield from turns
        number += 1


if __name__ == "__main__":
    main(sys.argv[1:])
