"""`heap.why`: the plan's own reason for the place of a segment, as a sentence and in numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ctxgc.core.collector import COLD, CURRENT_COLD, LIVE_LAST, NAMED_COLD
from ctxgc.core.display_texts import tokens_text
from ctxgc.core.heap import DEPARTED, EVICTED, FORGOTTEN
from ctxgc.core.segment import LINE_MAX, NAMING_EDGES, SAID_EDGES, EdgeKind
from ctxgc.core.standing import Standing, find_standing
from ctxgc.daemon.serialize import labels_by_seq
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.elided_results import elided_lines_clause
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.verbs.mutation import look_at_heap, session_with_segment
from ctxgc.protocol.messages import HeapWhy
from ctxgc.protocol.replies.heap import KeyTermReply, StepReply, WhyReply

VERDICTS = (
    *("root", "protected", "garbage", LIVE_LAST, NAMED_COLD, CURRENT_COLD, COLD),
    *("evicted", "departed", "forgotten"),
)
"""Every verdict: of a segment in the window, and of a segment that is out."""
ROOT_REASONS = {
    "system": "it is a system prompt",
    "user": "it is what the user said",
    "pinned": "it is pinned",
    "recent": "the segment is among the newest turns",
    "pending": "the call has no result yet",
    "plan": "it is the newest plan",
    "file": "it is the newest read of a file in use",
    "summary": "it is the newest summary",
    "task": "the segment belongs to the current task",
    "open": "its file is open in front of the user",
    "protected": "the configuration protects it",
    "recalled": "the segment was recalled a moment ago",
    "pointed": "a protected segment shows lines of it by a pointer",
}
PROTECTIONS = {
    "small": "evicting the body would free next to nothing",
    "opaque": "the body holds an image or a document, or the host's list cannot be edited there",
}
"""Reasons of bodies that no plan takes, besides their kinds."""
LINES_SHOWN_MAX = 3
"""Ranges of lines that a sentence names."""


async def why(services: Services, params: HeapWhy) -> WhyReply:
    """`heap.why`."""
    session = await session_with_segment(services, params, params.id)
    heap, slot = session.heap, session.slot(params.id)
    if heap.state[slot] in (EVICTED, DEPARTED, FORGOTTEN):
        standing, answer = Standing(), await _verdict_outside_window(services, session, slot)
        labels = await read_labels(services, session, [slot])
    else:
        standing = await look_at_heap(
            services, session, find_standing, heap, session.reference_index.paths, slot, session.now(), session.rules
        )
        labels = await read_labels(services, session, [slot, *_slots_of_standing(standing)])
        answer = _verdict_in_window(session, slot, standing, labels)
        if words := elided_lines_clause(session, slot):
            answer = answer._replace(explanation=f"{answer.explanation}; {words}")
    trail = _reference_path(standing, slot)
    return WhyReply(
        session=str(session.key),
        id=heap.ids[slot],
        label=labels.get(slot, ""),
        state=heap.state_of(slot).value,
        verdict=answer.verdict,
        root=standing.root,
        path=path_steps(session, trail, labels),
        reason=answer.reason,
        by=answer.by,
        collection=answer.collection,
        wall_s=answer.wall_s,
        rank=standing.rank,
        ranked=standing.ranked,
        terms=[KeyTermReply(term.name, round(term.log_odds, 2)) for term in standing.terms],
        explanation=answer.explanation,
        next=answer.next,
    )


class _Verdict(NamedTuple):
    """Why a segment is in the window, or why not."""

    verdict: str
    explanation: str
    reason: str = ""
    by: str = ""
    collection: int = 0
    wall_s: float = 0.0
    next: str | None = None


async def read_labels(services: Services, session: Session, slots: Iterable[int]) -> dict[int, str]:
    """The labels of slots."""
    return labels_by_seq(await services.stash.rows(session.key, sorted(set(slots))))


def path_steps(session: Session, trail: Sequence[int], labels: dict[int, str]) -> list[StepReply]:
    """A path of references, a step for each of its slots, the root first."""
    steps = []
    for at, slot in enumerate(trail):
        name = _edge_name(session, trail[at - 1], slot) if at else ""
        steps.append(StepReply(session.heap.ids[slot], labels.get(slot, ""), name))
    return steps


def _edge_name(session: Session, source: int, target: int) -> str:
    """The kind of the reference that joins two slots; of several kinds the kind that liveness follows."""
    kinds = [kind for slot, kind in session.heap.refs_with_edge_kinds(source) if slot == target]
    followed = [kind for of in (SAID_EDGES, NAMING_EDGES) for kind in kinds if kind in of]
    return next((EdgeKind(kind).name.lower() for kind in (*followed, *kinds)), "")


def _slots_of_standing(standing: Standing) -> list[int]:
    by = standing.proof.by if standing.proof else -1
    return [slot for slot in (*standing.path, standing.namer, by) if slot >= 0]


def _reference_path(standing: Standing, slot: int) -> Sequence[int]:
    if standing.path or standing.root:
        return standing.path or [slot]
    return [standing.namer, slot] if standing.namer >= 0 else []


def _verdict_in_window(session: Session, slot: int, standing: Standing, labels: dict[int, str]) -> _Verdict:
    proof = standing.proof
    by = session.heap.ids[proof.by] if proof and proof.by >= 0 else ""
    if standing.root:
        sentence = f"in the window, and kept: {ROOT_REASONS[standing.root]}"
        if proof:
            sentence += f"; the body looks like garbage ({proof.reason.replace('_', ' ')}), but a root is never evicted"
        return _Verdict("root", sentence, proof.reason if proof else "", by)
    if not standing.rank:
        kept = PROTECTIONS.get(standing.protection, f"no collection takes a segment of kind {standing.protection}")
        return _Verdict("protected", f"in the window, and kept: {kept}", standing.protection)
    turn = f"{_ordinal(standing.rank)} of {standing.ranked} to go when room is needed"
    if proof:
        cause = f" because of {labels.get(proof.by, by)} ({by})" if by else ""
        sentence = f"in the window, but garbage: {proof.reason.replace('_', ' ')}{cause}; {turn}"
        return _Verdict("garbage", sentence, proof.reason, by)
    clauses = _standing_clauses(session, slot, standing, labels)
    known = "; ".join(clauses) if clauses else "cold: no root names the body, and no file is as the body shows"
    return _Verdict(standing.reason, f"in the window; {known}; {turn}", standing.reason)


def _standing_clauses(session: Session, slot: int, standing: Standing, labels: dict[int, str]) -> list[str]:
    """What speaks for a body that is no root."""
    clauses = []
    if standing.reason == LIVE_LAST:
        start, *between, _ = standing.path
        steps = f", {len(between)} between" if between else ""
        clauses.append(f"{labels.get(start, '')} refers to the body{steps}, so a collection takes the body last")
    lines = session.reference_index.paths.current_ranges(slot)
    if lines and standing.reason != LIVE_LAST:
        clauses.append(f"the current view of {_line_ranges_text(lines[:LINES_SHOWN_MAX])}")
    edited = session.reference_index.paths.files_with_unseen_edits(slot)
    if edited and standing.reason != LIVE_LAST:
        clauses.append(f"an edit of {', '.join(edited[:LINES_SHOWN_MAX])} that no later view shows")
    if standing.namer >= 0:
        heap, namer = session.heap, standing.namer
        clauses.append(f"named by {labels.get(namer, '')} ({heap.ids[namer]}) at turn {heap.born[namer]}")
    return clauses


def _line_ranges_text(lines: Sequence[tuple[str, int, int]]) -> str:
    """Files with their ranges of lines; a file that is shown whole has none."""
    ranges: dict[str, list[str]] = {}
    for path, first, last in lines:
        is_whole = (first, last) == (1, LINE_MAX)
        ranges.setdefault(path, []).extend([] if is_whole else [f"{first}–{'end' if last == LINE_MAX else last}"])
    return ", ".join(path + (f":{', '.join(shown)}" if shown else "") for path, shown in ranges.items())


def _ordinal(number: int) -> str:
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


async def _verdict_outside_window(services: Services, session: Session, slot: int) -> _Verdict:
    heap = session.heap
    rows = await services.stash.rows(session.key, [slot])
    state, name = heap.state[slot], heap.ids[slot]
    if state == FORGOTTEN:
        return _Verdict("forgotten", "forgotten at the user's word; only the id is left")
    if state == DEPARTED:
        reason = rows[0].departure.value if rows and rows[0].departure else "host"
        sentence = f"left the window by the host's hand ({reason.replace('_', ' ')}); stored: `ctxgc recall {name}`"
        return _Verdict("departed", sentence, reason)
    number = rows[0].collection if rows else 0
    record = await services.stash.collection(session.key, number)
    entry = next((e for e in record.evictions if e.seq == slot), None) if record else None
    if record is None or entry is None:
        return _Verdict("evicted", f"evicted; `ctxgc recall {name}` brings it back")
    by = heap.ids[entry.by] if entry.by >= 0 else ""
    cause = f" because of {by}" if by else ""
    freed = tokens_text(session.calibration.to_billed_tokens(entry.freed_tokens))
    sentence = (
        f"evicted by collection {number} at turn {record.turn}: {entry.reason.replace('_', ' ')}{cause}, "
        f"freed {freed} tokens; `ctxgc recall {name}` brings it back"
    )
    return _Verdict("evicted", sentence, entry.reason, by, number, record.wall_s, next=f"ctxgc recall {name}")
