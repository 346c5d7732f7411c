"""How often does a search find what answers it?

Run: python -m perf.recall [--json] [--record] [LOCOMO_DIR SESSIONS_DIR]

    conversations ──▶ stash ◀── each question, as it is asked          evidence turns among the first 1, 5, 10 hits
    sessions      ──▶ stash ◀── what an agent says as it comes back    a right call among the first 5 hits
                                to what left its window

Everything goes through the stash and the search verb's own code. Plain FTS5 (an OR of the words but for the stop list,
bm25, one column) stands beside each number. Intervals are 95 % bootstraps, over questions of conversations and over
whole sessions. The folds are the conversations and every second session: the weight of a call's input and the
pairs of words were fitted on the first half of the sessions, the other constants on folds of a study before.
Without folders it reads those of CTXGC_CORPUS. Two numbers are gates, and exit 1 below them, whatever the folders are.
`perf.run` starts the same as `perf.bench_recall`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ctxgc.core.search.query import STOP_WORDS
from ctxgc.core.segment import Segment, SessionKey, State, content_digest
from ctxgc.daemon.verbs.stash import search
from ctxgc.protocol.messages import StashSearch
from ctxgc.stash.contract import Put, SegmentRow, SetState
from ctxgc.stash.index_text import searchable_fields
from ctxgc.stash.sqlite import SqliteStash
from perf.recall_sets import CATEGORIES, Conversation, Return, conversations, returns, sessions
from perf.record import record

CUTS = (1, 5, 10)
CODE_CUT = 5
RESAMPLES, FOLDS, SEED = 1_000, 2, 12
GATES = {"locomo.r10": 0.74, "code.hit5_key": 0.65}
NOT_RECORDED = ("interval", "by_fold")
GROUPS = ("by_category", "by_sort")
"""Their names say nothing beside the names in them."""

Shares = dict[str, float]


class PlainIndex:
    """Plain FTS5 over the same segments: the floor."""

    def __init__(self) -> None:
        self._db = sqlite3.connect(":memory:")
        self._db.execute("CREATE VIRTUAL TABLE plain USING fts5(text, tokenize='porter unicode61')")
        self._ids: list[str] = []

    def add(self, segments: Iterable[Segment]) -> None:
        for segment in segments:
            fields = searchable_fields(segment)
            self._db.execute("INSERT INTO plain VALUES (?)", (f"{fields.input}\n{fields.text}",))
            self._ids.append(segment.id)

    def best(self, query: str, among: int, limit: int) -> list[str]:
        words = dict.fromkeys(word.lower() for word in re.findall(r"[^\W_]+", query))
        kept = [word for word in words if word not in STOP_WORDS] or list(words)
        if not kept:
            return []
        match = " OR ".join(f'"{word}"' for word in kept)
        sql = "SELECT rowid FROM plain WHERE plain MATCH ? AND rowid <= ? ORDER BY rank LIMIT ?"
        return [self._ids[row[0] - 1] for row in self._db.execute(sql, (match, among, limit))]


class RealSearch:
    """The stash in a folder of its own, and the search verb on it."""

    def __init__(self, path: Path) -> None:
        self.stash = SqliteStash(path, search_s_max=10.0)  # Quality, not speed: nothing is cut short here.
        self.keys: dict[str, SessionKey] = {}

    async def resolve(self, name: str) -> SessionKey:
        return self.keys[name]

    async def put(self, name: str, segments: Sequence[Segment], first: int = 0) -> None:
        key = self.keys.setdefault(name, SessionKey("client", name))
        rows = [_row(key, seq, segment) for seq, segment in enumerate(segments, first)]
        for start in range(0, len(rows), 200):
            await self.stash.apply([Put(row) for row in rows[start : start + 200]])

    async def evict(self, name: str, seqs: Sequence[int]) -> None:
        if seqs:
            await self.stash.apply([SetState(self.keys[name], seqs, State.EVICTED)])

    async def best(self, query: str, name: str, limit: int, states: Sequence[str] = ()) -> list[tuple[str, str]]:
        """(session, id) of the hits."""
        services: Any = SimpleNamespace(stash=self.stash, registry=self)
        asked = StashSearch(query=query, session=name, states=list(states), limit=limit)
        reply = await search(services, asked)
        return [(hit.session.partition(":")[2], hit.id) for hit in reply.hits]


def _row(key: SessionKey, seq: int, segment: Segment) -> SegmentRow:
    pieces = tuple((piece.name, len(piece.data), len(piece.data) // 4) for piece in segment.body)
    stamp = content_digest(segment.skeleton, segment.body)
    return SegmentRow(
        key=key, seq=seq, segment=segment, digest=stamp, skeleton_tokens=20, pieces=pieces, tombstone_tokens=12
    )


async def chat_recall(folder: Path, talks: Sequence[Conversation]) -> dict[str, Any]:
    """The share of a question's evidence turns among the first hits, the mean over questions."""
    real = RealSearch(folder / "chat" / "stash.db")
    await real.stash.open()
    scores: dict[str, list[tuple[str, str, Shares]]] = {"scoped": [], "global": [], "plain": []}
    for talk in talks:
        await real.put(talk.name, talk.turns)
    for talk in talks:
        plain = PlainIndex()
        plain.add(talk.turns)
        for question in talk.questions:
            scoped = [id_ for _, id_ in await real.best(question.text, talk.name, CUTS[-1])]
            everywhere = [
                id_ if name == talk.name else "" for name, id_ in await real.best(question.text, "", CUTS[-1])
            ]
            floor = plain.best(question.text, len(talk.turns), CUTS[-1])
            for way, hits in (("scoped", scoped), ("global", everywhere), ("plain", floor)):
                share = {f"r{cut}": len(question.evidence & set(hits[:cut])) / len(question.evidence) for cut in CUTS}
                scores[way].append((talk.name, question.category, share))
    await real.stash.close()
    own, floor_scores = scores["scoped"], scores["plain"]
    return {
        **_means(own),
        "questions": len(own),
        "interval": {f"r{cut}": _interval([[share[f"r{cut}"]] for _, _, share in own]) for cut in CUTS},
        "by_category": {name: _means([each for each in own if each[1] == name]) for name in CATEGORIES.values()},
        "by_fold": {talk.name: _means([each for each in own if each[0] == talk.name]) for talk in talks},
        "all_in_one": _means(scores["global"]),
        "plain_fts5": _means(floor_scores)
        | {"by_category": {n: _means([each for each in floor_scores if each[1] == n]) for n in CATEGORIES.values()}},
    }


def _means(scores: Sequence[tuple[str, str, Shares]]) -> Shares:
    return {f"r{cut}": _share([share[f"r{cut}"] for _, _, share in scores]) for cut in CUTS}


def _share(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0


async def code_recall(folder: Path, sessions_folder: Path) -> dict[str, Any]:
    """The share of returns for which a right call is among the first hits, with evicted segments as candidates."""
    real = RealSearch(folder / "code" / "stash.db")
    await real.stash.open()
    by_session: dict[str, list[dict[str, float]]] = {}
    for name, segments in sessions(sessions_folder):
        asked = list(returns(segments))
        if not asked:
            continue
        plain, filled, evicted = PlainIndex(), 0, 0
        for each in asked:
            await real.put(name, segments[filled : each.at], filled)
            plain.add(segments[filled : each.at])
            await real.evict(name, range(evicted, each.evicted))
            filled, evicted = each.at, each.evicted
            by_session.setdefault(name, []).append(await _code_hits(real, plain, name, each))
    await real.stash.close()
    if not by_session:
        return {}
    groups = list(by_session.values())
    everything = [each for group in groups for each in group]
    ways = ("hit1", "hit5", "hit10", "hit1_key", "hit5_key", "hit10_key", "plain_fts5_hit5", "plain_fts5_hit5_key")
    return {
        "queries": len(everything),
        "reads": int(sum(each["is_read"] for each in everything)),
        **{way: _share([each[way] for each in everything]) for way in ways},
        "interval": {
            way: _interval([[each[way] for each in group] for group in groups]) for way in ("hit5", "hit5_key")
        },
        "by_sort": {
            sort: {
                way: _share([each[way] for each in everything if each["is_read"] == is_read])
                for way in ("hit5", "hit5_key")
            }
            for sort, is_read in (("reads", 1.0), ("commands", 0.0))
        },
        "by_fold": [
            {way: _share([each[way] for group in groups[n::FOLDS] for each in group]) for way in ("hit5", "hit5_key")}
            for n in range(FOLDS)
        ],
    }


async def _code_hits(real: RealSearch, plain: PlainIndex, name: str, asked: Return) -> dict[str, float]:
    found: dict[str, float] = {"is_read": float(asked.is_read)}
    for suffix, query in (("", asked.said), ("_key", asked.with_key)):
        hits = [id_ for _, id_ in await real.best(query[:4096], name, CUTS[-1], ["evicted"])]
        for cut in CUTS:
            found[f"hit{cut}{suffix}"] = float(not asked.targets.isdisjoint(hits[:cut]))
        floor = plain.best(query[:4096], asked.evicted, CODE_CUT)
        found[f"plain_fts5_hit5{suffix}"] = float(not asked.targets.isdisjoint(floor))
    return found


def _interval(groups: Sequence[Sequence[float]]) -> list[float]:
    """The 95 % bootstrap interval of the mean, whole groups drawn."""
    if not groups:
        return [0.0, 0.0]
    dice = random.Random(SEED)
    sums = [(sum(group), len(group)) for group in groups]
    means = []
    for _ in range(RESAMPLES):
        drawn = dice.choices(sums, k=len(sums))
        means.append(sum(total for total, _ in drawn) / sum(number for _, number in drawn))
    means.sort()
    return [round(means[int(RESAMPLES * share)], 4) for share in (0.025, 0.975)]


def _lines(found: dict[str, Any]) -> Iterable[str]:
    chat, code = found["locomo"], found["code"]
    if chat:
        yield f"conversations, {chat['questions']} questions: evidence among the first 1 / 5 / 10 hits"
        for name, shares in (
            ("search", chat),
            ("search, all conversations at once", chat["all_in_one"]),
            ("plain FTS5", chat["plain_fts5"]),
            *(("  " + name, shares) for name, shares in chat["by_category"].items()),
            *(("  " + name + ", plain FTS5", shares) for name, shares in chat["plain_fts5"]["by_category"].items()),
            *(("  fold " + name, shares) for name, shares in chat["by_fold"].items()),
        ):
            yield f"  {name:<36}" + "  ".join(f"{100 * shares[f'r{cut}']:5.1f}" for cut in CUTS)
        yield f"  95 % intervals: {chat['interval']}"
    if code:
        yield f"sessions, {code['queries']} returns ({code['reads']} reads): a right call among the first 5 hits"
        yield f"  {'':<36}said   with path or command"
        for name, pair in (
            ("search", ("hit5", "hit5_key")),
            ("plain FTS5", ("plain_fts5_hit5", "plain_fts5_hit5_key")),
            ("search, first hit", ("hit1", "hit1_key")),
            ("search, 10 hits", ("hit10", "hit10_key")),
        ):
            yield f"  {name:<36}" + "  ".join(f"{100 * code[way]:5.1f}" for way in pair)
        for name, shares in [*code["by_sort"].items(), *((f"fold {n}", s) for n, s in enumerate(code["by_fold"], 1))]:
            yield f"    {name:<34}" + "  ".join(f"{100 * shares[way]:5.1f}" for way in ("hit5", "hit5_key"))
        yield f"  95 % intervals, by session: {code['interval']}"


def below_gates(found: dict[str, Any]) -> list[str]:
    """The gates that the numbers miss, as sentences."""
    missed = []
    for name, least in GATES.items():
        part, _, way = name.partition(".")
        if found[part] and found[part][way] < least:
            missed.append(f"{name} is {found[part][way]}, below the gate of {least}")
    return missed


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--record", action="store_true", help="append to perf/history.jsonl")
    parser.add_argument("folders", nargs="*", metavar="DIR", help="LOCOMO_DIR SESSIONS_DIR")
    args = parser.parse_args(argv)
    if len(args.folders) not in (0, 2):
        parser.error("two folders or none: LOCOMO_DIR SESSIONS_DIR")
    corpus = os.environ.get("CTXGC_CORPUS", "")
    if not args.folders and not corpus:
        parser.error("CTXGC_CORPUS is not set: name two folders, LOCOMO_DIR SESSIONS_DIR")
    found = measure(*map(Path, args.folders or (Path(corpus) / "locomo", corpus)))
    print(json.dumps(found) if args.json else "\n".join(_lines(found)))
    if args.record:
        sys.stdout = sys.stderr  # The record's own line is for the history.
        record("recall", flat(found))
    return told_missed(found)


def measure(chat_folder: Path, code_folder: Path) -> dict[str, Any]:
    """All numbers of both folders; of a folder without questions none."""
    with tempfile.TemporaryDirectory(prefix="ctxgc-recall-") as name:
        talks = conversations(chat_folder)
        return {
            "locomo": asyncio.run(chat_recall(Path(name), talks)) if talks else {},
            "code": asyncio.run(code_recall(Path(name), code_folder)),
        }


def flat(found: Mapping[str, Any], before: str = "") -> dict[str, float]:
    """The numbers under names of one level, as the history takes them: without intervals and folds."""
    numbers: dict[str, float] = {}
    for name, value in found.items():
        if isinstance(value, dict) and name not in NOT_RECORDED:
            numbers |= flat(value, before if name in GROUPS else f"{before}{name}_")
        elif isinstance(value, float | int):
            numbers[before + name] = value
    return numbers


def told_missed(found: dict[str, Any]) -> int:
    """Print the gates that are missed; 1 if any is."""
    missed = below_gates(found)
    for sentence in missed:
        print(sentence, file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
