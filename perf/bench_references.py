"""Which references are there, true, and worth following, on recorded sessions?  Run: python -m perf.bench_references

    existence  edges of each kind for 100 segments
    placebo    the same segment referred to another session's index of the same age, as a part of its own edges: in the
               same project, which shares a code base and so is an upper bound, and in another project, which is chance
    lift       how much more often a target of roots is needed later than its like: bodies of the same age, size and
               tool. Beside it: the same of edges whose targets are other bodies nearby (shuffled), of a random class,
               and of current bodies
    again      a file is read again: where does the edge of what is replaced lead?

Recorded sessions are those below $CTXGC_CORPUS.
"""

import gzip
import os
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from ctxgc.adapters.contract import SegmentAdmitted
from ctxgc.adapters.transcripts.formats import make_transcript_parser
from ctxgc.core.reference import ReferenceIndex
from ctxgc.core.segment import Access, EdgeKind, Kind, PathUse, Segment, Status
from perf.lifts import lifts
from perf.record import Number, record

AGENTS = ("claude_code", "codex")
DERIVED = (
    EdgeKind.PATH_LINE,
    EdgeKind.PATH_SPOKEN,
    EdgeKind.PLAN_ITEM,
    EdgeKind.DEFINITION,
    EdgeKind.REPLACES,
)
Sessions = dict[str, list[Segment]]


def main(argv: list[str]) -> None:
    folder = os.environ.get("CTXGC_CORPUS", "")
    for agent in AGENTS:
        paths = sorted(Path(folder, agent).glob("*.jsonl.gz")) if folder else []
        if not paths:
            why = {"skipped": "CTXGC_CORPUS is not set: no recorded sessions to look at"}
            record(f"references/{agent}", why)
            record(f"references/{agent}/again", why)
            record(f"references/{agent}/placebo", why)
            continue
        sessions = {path.name: segments for path in paths if (segments := told(path, agent))}
        record(f"references/{agent}", found(sessions))
        record(f"references/{agent}/again", read_again(sessions))
        for kind, numbers in placebos(sessions).items():
            record(f"references/{agent}/placebo/{kind.name.lower()}", numbers)
    for name, numbers in lifts(folder).items():
        record(f"references/lift/{name}", numbers)


def told(path: Path, agent: str) -> list[Segment]:
    """The completed segments of a transcript's main session, in the order in which they were admitted."""
    transcript = make_transcript_parser(agent)
    with gzip.open(path) as file:
        events = transcript.feed(file.read()) + transcript.finish()
    admitted = [event for event in events if isinstance(event, SegmentAdmitted)]
    main_session = admitted[0].session if admitted else ""
    last = {event.segment.id: event.segment for event in admitted if event.session == main_session}
    return list(last.values())


def grown(segments: list[Segment]) -> Iterator[tuple[int, Segment, ReferenceIndex]]:
    """Each segment with the index of those before it."""
    index = ReferenceIndex()
    for slot, segment in enumerate(segments):
        yield slot, segment, index
        if segment.status is not Status.PENDING:
            index.add_paths(slot, segment)
            index.add_words(slot, segment)


def found(sessions: Sessions) -> dict[str, Number]:
    """How many tool calls have an edge of each kind."""
    having: Counter[EdgeKind] = Counter()
    exchanges = edges = 0
    for segments in sessions.values():
        for slot, segment, index in grown(segments):
            refs = index.derive_references(slot, segment)
            edges += len(refs)
            if segment.kind is Kind.TOOL_CALL:
                exchanges += 1
                having.update({EdgeKind(kind) for _, kind in refs})
    shares = {f"{kind.name.lower()}_percent": percent(having[kind], exchanges) for kind in DERIVED}
    segments_all = sum(map(len, sessions.values()))
    return {"sessions": len(sessions), "exchanges": exchanges, "edges_per_segment": edges / segments_all, **shares}


def read_again(sessions: Sessions) -> dict[str, Number]:
    """Of the reads of lines that an earlier read showed: where does the same-file edge lead?"""
    led: Counter[str] = Counter()
    for segments in sessions.values():
        reads: list[tuple[int, PathUse]] = []
        for slot, segment, index in grown(segments):
            refs = index.derive_references(slot, segment)
            holders = {target for target, kind in refs if kind is EdgeKind.REPLACES}
            uses = [use for use in segment.paths if use.access is Access.READ and segment.status is Status.OK]
            for use in uses:
                before = [old for old, was in reads if overlap(was, use)]
                if before:
                    led["rereads"] += 1
                    is_newer = any(holder > before[-1] for holder in holders)
                    led["read" if before[-1] in holders else "newer" if is_newer else "missed"] += 1
            reads += [(slot, use) for use in uses]
    total = led["rereads"]
    return {
        "rereads": total,
        "to_newest_read_percent": percent(led["read"], total),
        "to_newer_change_percent": percent(led["newer"], total),
        "missed_percent": percent(led["missed"], total),
    }


def overlap(one: PathUse, other: PathUse) -> bool:
    """Whether both are of lines of one file that they share."""
    return one.path == other.path and one.first_line <= other.last_line and other.first_line <= one.last_line


def placebos(sessions: Sessions) -> dict[EdgeKind, dict[str, Number]]:
    """Of each derived kind: edges for 100 segments, and the placebo's edges as a part of the session's own."""
    names = sorted(sessions)
    same = [(one, other) for one, other in pairwise(names) if project(one) == project(other)]
    apart = [(one, other) for one, other in zip(names, reversed(names), strict=True) if project(one) != project(other)]
    numbers: dict[EdgeKind, dict[str, Number]] = {kind: {} for kind in DERIVED}
    for what, pairs in (("same_project", same), ("other_project", apart)):
        own: Counter[int] = Counter()
        placebo: Counter[int] = Counter()
        segments = sum(_count_placebo(sessions[one], sessions[other], own, placebo) for one, other in pairs)
        for kind, told_numbers in numbers.items():
            if segments:
                told_numbers["edges_per_100_segments"] = percent(own[kind], segments)
                told_numbers[f"placebo_{what}_percent"] = percent(placebo[kind], own[kind])
    return numbers


def _count_placebo(segments: list[Segment], others: list[Segment], own: Counter[int], placebo: Counter[int]) -> int:
    """Refer each segment to both indexes, as old as the segment; how many segments there are."""
    count = 0
    for (slot, segment, index), (_, _, other) in zip(grown(segments), grown(others), strict=False):
        own.update(kind for _, kind in index.derive_references(slot, segment))
        placebo.update(kind for _, kind in other.derive_references(slot, segment))
        count += 1
    return count


def project(name: str) -> str:
    """The code base a transcript belongs to."""
    return name.partition("__")[0]


def percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0


if __name__ == "__main__":
    main(sys.argv[1:])
