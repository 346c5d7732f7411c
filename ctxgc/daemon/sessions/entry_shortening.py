"""What a session knows of a new long result before any request carries the result: for `core.entry.shortening`.

    words said in the last turns ──┐
    earlier namings of its files ──┼─▶ BirthFacts ──hidden_runs──▶ elisions without a target
    what was shortened before ─────┘

The notes are fixed at birth and name the call's id: no address is known then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePath

from ctxgc.config_sections import EntryConfig
from ctxgc.core.entry.elisions import Elision, is_elidable, run_places
from ctxgc.core.entry.shortening import (
    PART_FAULT_PRICE_TOKENS,
    SAID_TURNS,
    BirthFacts,
    BirthPrice,
    HiddenRun,
    SaidWords,
    birth_facts,
    hidden_elision,
    hidden_runs,
    is_shortenable,
)
from ctxgc.core.line_ranges import split_pieces_into_lines
from ctxgc.core.pacing.pacer import PacerRules
from ctxgc.core.roots import is_protected_by_rules
from ctxgc.core.segment import Kind, Role, Segment
from ctxgc.daemon.sessions.content_cache import ContentCache
from ctxgc.daemon.sessions.entry_index import NewResult
from ctxgc.daemon.sessions.intake import Intake
from ctxgc.daemon.sessions.session import Session

SAID_SLOTS_MAX = 64
"""The newest segments whose words are looked at."""


async def read_recent_code_words(session: Session, contents: ContentCache, calls: Iterable[Segment]) -> frozenset[str]:
    """The code words of the session's last turns and of the calls whose results are new."""
    heap = session.heap
    slots = range(max(len(heap) - SAID_SLOTS_MAX, 0), len(heap))
    newest = max((heap.born[slot] for slot in slots), default=0)
    late = [slot for slot in slots if heap.born[slot] >= newest - SAID_TURNS]
    said = SaidWords()
    for slot, (skeleton, body) in (await contents.get(session.key, late)).items() if late else ():
        said.add(_bare_segment(heap.kind_of(slot), skeleton, body, newest))
    for call in calls:
        said.add(replace(call, born_turn=newest))
    return said.take_recent_words(newest)


def _bare_segment(kind: Kind, skeleton: bytes, body: Sequence, turn: int) -> Segment:  # type: ignore[type-arg]
    return Segment(id="", kind=kind, role=Role.ASSISTANT, place=0, born_turn=turn, skeleton=skeleton, body=tuple(body))


def birth_price_of(pacer: PacerRules) -> BirthPrice:
    """The terms of a session's prices."""
    return BirthPrice(pacer.prices, PART_FAULT_PRICE_TOKENS, pacer.horizon_turns)


def birth_facts_of_result(session: Session, segment: Segment, said: frozenset[str]) -> BirthFacts | None:
    """The facts of a new result; None for a result that stays whole."""
    if not is_shortenable(segment):
        return None
    histories = session.reference_index.paths.histories
    namings = max((len(histories[use.path].namers) for use in segment.paths if use.path in histories), default=0)
    return birth_facts(segment, namings, said)


def find_hidden_runs(
    result: NewResult, birth: BirthFacts, price: BirthPrice, intake: Intake, pointers: Sequence[Elision]
) -> list[HiddenRun]:
    """The runs that a result leaves out beside its pointers. Heavy."""
    taken = [(elision.first, elision.lines) for elision in pointers]
    runs = hidden_runs(result.text, birth, price, intake.counter.count, taken=taken)
    places = run_places(result.texts, [(run.first, run.lines) for run in runs])
    return [run for run, place in zip(runs, places, strict=True) if place is not None]


def shortened_result_elisions(
    result: NewResult,
    birth: BirthFacts,
    price: BirthPrice,
    intake: Intake,
    pointers: Sequence[Elision],
    *,
    can_recall: bool,
) -> tuple[Elision, ...]:
    """A result's pointers, and between them the runs that the result leaves out, in order. Heavy."""
    call = result.segment.id if can_recall else ""
    # As `ctxgc recall --lines` counts: the pieces of a call's input come first.
    before = len(split_pieces_into_lines(piece.text for piece in result.segment.body if piece.name != "result"))
    hidden = [
        hidden_elision(run, call, before, intake.counter.count)
        for run in find_hidden_runs(result, birth, price, intake, pointers)
    ]
    worth = [elision for elision in hidden if elision.saved_tokens > 0]
    return tuple(sorted([*pointers, *worth], key=lambda elision: elision.first))


def is_excepted_from_entry(entry: EntryConfig, session: Session) -> bool:
    """Whether the new results of a session enter whole, as the user has configured."""
    folder, agent = PurePath(session.row.project), session.key.source
    is_excepted = any(folder == project or project in folder.parents for project in entry.projects_except)
    return is_excepted or agent in entry.agents_except


def can_elide_result(session: Session, segment: Segment) -> bool:
    """Whether something else may stand in the place of lines of a call's result, and the user does not protect it."""
    return is_elidable(segment) and not is_protected_by_rules(segment, session.rules)
