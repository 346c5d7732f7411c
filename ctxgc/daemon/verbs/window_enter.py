"""`window.enter`: the elisions of results that no request has carried yet, before their request goes upstream.

    new results ──redact──▶ ──find_pointer_elisions──▶ the runs that the window shows, a pointer for each
                   │              ▲
                   │     the session's resident results
                   └──shortened_result_elisions──▶ the lines that a long result leaves out, if the user has chosen that

The verb changes no session: `window.sync` brings the results, with the pointers that the request went out with. A
renderer that does not wait for the answer sends the results whole, and nothing is lost but the saving.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import NamedTuple

from ctxgc.adapters.skeletons import result_texts
from ctxgc.core.entry.elisions import Elision
from ctxgc.core.heap import KINDS
from ctxgc.core.segment import Kind, Segment, SessionKey, content_digest
from ctxgc.daemon.services import Services, run_on_worker
from ctxgc.daemon.sessions.entry_index import (
    NewResult,
    SessionLines,
    add_result,
    can_be_target,
    find_pointer_elisions,
)
from ctxgc.daemon.sessions.entry_shortening import (
    birth_facts_of_result,
    birth_price_of,
    can_elide_result,
    is_excepted_from_entry,
    read_recent_code_words,
    shortened_result_elisions,
)
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.verbs.window_sync_intake import decode_new_segments, has_complete_segment
from ctxgc.protocol.wire import EnterReply, WindowEnter

INLINE_CHARS_MAX = 32 * 1024
"""So much text is looked at within two milliseconds, and on a busy machine a hop to another thread takes longer."""
_TOOL_CALL = KINDS.index(Kind.TOOL_CALL)


async def enter(services: Services, params: WindowEnter) -> EnterReply:
    """`window.enter`."""
    source, _, name = params.session.partition(":")
    session = services.registry.peek(SessionKey(source, name))
    entry = services.config.entry
    if session is None or is_excepted_from_entry(entry, session) or not (entry.references or entry.shorten == "on"):
        return EnterReply(params.session, {})
    given = decode_new_segments(params)  # Of new results alone, which is quick.
    segments = [one.segment for one in given]
    found = await find_new_result_elisions(
        services, session, segments, after=params.after, has_references=entry.references
    )
    return EnterReply(str(session.key), {id_: [list(elision) for elision in found[id_]] for id_ in found})


async def find_new_result_elisions(
    services: Services,
    session: Session,
    segments: Sequence[Segment],
    *,
    after: str | None,
    has_references: bool = True,
) -> dict[str, tuple[Elision, ...]]:
    """The elisions of new tool calls, by id; calls without any are left out.

    `after` is the last tool call of the window before these calls, where the caller knows it: then pointers count the
    calls between.
    """
    entry = services.config.entry
    texts = [(one, _elidable_texts(session, one)) for one in segments if one.tool not in entry.tools_except]
    # A result that the session has went upstream before: as it went then, it goes now.
    known = {one.id: session.heap.slot_of[one.id] for one in segments if has_complete_segment(session, one.id)}
    elisions = session.indexes.elisions
    same = {one.id for one in segments if one.id in known and _is_stored_content(session, one)}
    stored = {id_: elisions[slot] for id_, slot in known.items() if slot in elisions and id_ in same}
    results = [NewResult(one, of_one) for one, of_one in texts if of_one and one.id not in known]
    if not results:
        return stored
    lines = await services.entries.bring_index_up_to_date(session)
    calls = [one.id for one in segments if one.kind is Kind.TOOL_CALL]
    is_shortened = entry.shorten == "on" and not is_excepted_from_entry(entry, session)
    said = await read_recent_code_words(session, services.contents, segments) if is_shortened else None
    request = _Entry(services, session, lines, _Choice(has_references, said), calls, after)
    if sum(len(result.text) for result in results) <= INLINE_CHARS_MAX:
        return stored | request.find_result_elisions(results)
    return stored | await run_on_worker(services, request.find_result_elisions, results)


def _elidable_texts(session: Session, segment: Segment) -> tuple[str, ...]:
    """The texts of a new call's result, if something else may stand in the place of their lines."""
    return result_texts(segment) if can_elide_result(session, segment) else ()


class _Choice(NamedTuple):
    """What may stand in the place of lines of new results."""

    has_references: bool
    said: frozenset[str] | None
    """Words said lately; None where no result is shortened."""


def _is_stored_content(session: Session, segment: Segment) -> bool:
    """Whether the session has this very content under the id: some hosts number their calls anew after a rewind."""
    slot = session.heap.slot_of[segment.id]
    return session.indexes.digest_of(slot) == content_digest(segment.skeleton, segment.body)


class _Entry:
    """The new tool calls of one request. Its methods run on the worker, on a heap that the loop may grow meanwhile."""

    def __init__(
        self,
        services: Services,
        session: Session,
        lines: SessionLines,
        choice: _Choice,
        calls: Sequence[str],
        after: str | None,
    ) -> None:
        self._intake = services.intake
        self._session = session
        self._lines = lines
        self._window = session.heap.window()
        self._choice = choice
        ledger = session.ledger
        self._price = birth_price_of(ledger.pacer if ledger and ledger.pacer else services.pacer)
        self._can_recall = ledger is None or ledger.can_recall
        self._calls = calls
        self._after = after
        self._entered: set[str] = set()
        """Results of this request that are looked at already: a later result may point to them."""

    def find_result_elisions(self, results: Sequence[NewResult]) -> dict[str, tuple[Elision, ...]]:
        """The pointers of the results, in the request's order. Heavy."""
        found: dict[str, tuple[Elision, ...]] = {}
        for result in results:
            if self._intake.redact(result.segment)[1]:
                continue  # The stash could not give the host's own lines back.
            id_ = result.segment.id
            distance = partial(self._count_calls_above, call=id_)
            count = self._intake.counter.count
            elisions: tuple[Elision, ...] = ()
            # A recall counts the lines of large inputs too, and a line tombstone could not name the result's own.
            if self._choice.has_references and len(result.segment.body) == 1:
                elisions = find_pointer_elisions(self._lines, result, self._is_shown, distance, count)
            elisions = self._add_shortening_elisions(result, elisions)
            if elisions:
                found[id_] = elisions
            add_result(self._lines, result.segment, result.text, elisions)
            self._lines.expected.add(id_)
            self._entered.add(id_)
        return found

    def _add_shortening_elisions(self, result: NewResult, pointers: tuple[Elision, ...]) -> tuple[Elision, ...]:
        said = self._choice.said
        birth = birth_facts_of_result(self._session, result.segment, said) if said is not None else None
        if birth is None or birth.subject in self._lines.shortened:
            return pointers
        return shortened_result_elisions(
            result, birth, self._price, self._intake, pointers, can_recall=self._can_recall
        )

    def _is_shown(self, target: str) -> bool:
        """Whether the window shows a target. No new result is its own target: the session does not have it yet."""
        return target in self._entered or can_be_target(self._session, target)

    def _count_calls_above(self, target: str, call: str) -> int:
        """How many calls above a new call a target stands; 0 where the session does not know all calls between."""
        return self._call_positions.get(call, 0) - self._call_positions[target] if target in self._call_positions else 0

    @cached_property
    def _call_positions(self) -> dict[str, int]:
        heap = self._session.heap
        known = [heap.ids[slot] for slot in self._window if heap.kind[slot] == _TOOL_CALL]
        is_whole = bool(known) and known[-1] == self._after
        return {id_: place for place, id_ in enumerate([*(known if is_whole else ()), *self._calls])}
