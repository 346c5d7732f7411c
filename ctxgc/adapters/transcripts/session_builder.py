"""A session while its log is read: its window, and when an open call is admitted or ends.

    admit_text() ────────────────────────────▶ SegmentAdmitted
    begin_call() ──▶ open ──join_call_result()▶ SegmentAdmitted (call and result together, I3)
                └─ a user text comes first ──▶ SegmentAdmitted (pending: a late result still completes it)
                      └─ the next reply ─────▶ SegmentAdmitted (error, empty result)
    replace_window(), clear_bodies() ────────▶ WindowReplaced, BodiesCleared
    join_call_result() of no open call ──▶ kept ──begin_call()──▶ SegmentAdmitted (the call came late)
                                 └─ admit_unpaired_calls_and_results() ──▶ SegmentAdmitted (as an attachment)

A session builder keeps ids, places and open calls, never the text of an admitted segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

from ctxgc.adapters.builder import Birth, Draft, SegmentBuilder
from ctxgc.adapters.contract import BodiesCleared, Event, SegmentAdmitted, SessionOpened, WindowReplaced
from ctxgc.adapters.facts.tool_facts import NO_CALL_FACTS, Facts
from ctxgc.adapters.host_texts.wrappers import LONE_RESULT_FACTS
from ctxgc.adapters.json_values import canonical_json, clean_name
from ctxgc.adapters.skeletons import split_result
from ctxgc.core.segment import Departure, Kind, Role, Segment, Status, text_bytes

OPEN_CALLS_MAX = 4096
"""More call ids than that with open calls in one session: the oldest are ended."""
SAME_ID_MAX = 64
"""More open calls than that under one id: the oldest is ended."""

LONE_RESULTS_MAX = 256
LONE_BYTES_MAX = 16 * 2**20
"""Results that wait for a late call, and their bytes: beyond either the oldest is admitted on its own."""

Slots = list[tuple[str, int]]


class LoneResult(NamedTuple):
    """A result whose call has not come: a log may hold both in the wrong order, or have lost the call."""

    call_id: str
    content: object
    is_error: bool | None
    birth: Birth
    size: int


class SessionBuilder(SegmentBuilder):
    """A session of a log. `events` takes the events; the transcript empties the list."""

    def __init__(self, session: str, events: list[Event]) -> None:
        super().__init__()
        self.session = session
        self.events = events
        self.turn = 0
        """Assistant replies seen so far."""
        self.window: Slots = []
        self.cleared: set[str] = set()
        self.known: dict[str, str] = {}
        """The last `project`, `model` and `title` of the session: an event names each when it changes."""
        self._lone: list[LoneResult] = []
        self._lone_bytes = 0

    def note_session(self, *, project: str = "", model: str = "", title: str = "") -> None:
        """Note the log's facts about the session; a new fact becomes an event. Empty values add nothing."""
        noted = {"project": clean_name(project), "model": clean_name(model), "title": clean_name(title)}
        news = {key: value for key, value in noted.items() if value and self.known.get(key) != value}
        if news:
            self.known.update(news)
            opened = SessionOpened(
                self.session, news.get("project", ""), model=news.get("model", ""), title=news.get("title", "")
            )
            self.events.append(opened)

    def admit_text(
        self,
        kind: Kind,
        role: Role,
        text: str,
        birth: Birth,
        skeleton: dict[str, object] | None = None,
        facts: Facts = NO_CALL_FACTS,
    ) -> str:
        """Admit a text (or, with `opaque` in the skeleton and no text, an opaque block); its id.

        At a reserved place the text stands before all others.
        """
        draft = self.draft_text_or_opaque(kind, role, text_bytes(text), birth, skeleton or {}, facts)
        self.window.insert(len(self.window) if birth.place is None else 0, (draft.id, draft.place))
        self._admit_draft(draft)
        return draft.id

    def begin_call(
        self, call_id: str, tool: str, value: object, birth: Birth, *, cwd: str = "", is_text: bool = False
    ) -> str:
        """A call begins, and is admitted with its result, a user text, or the end of the input. Returns the call's
        id."""
        for draft in [draft for draft in self._open.get(call_id, ()) if draft.birth.turn != birth.turn]:
            self._end_call(call_id, draft)
        if len(self._open.get(call_id, ())) >= SAME_ID_MAX:
            self._end_call(call_id, self._open[call_id][0])
        while len(self._open) >= OPEN_CALLS_MAX and call_id not in self._open:
            oldest = next(iter(self._open))
            self._end_call(oldest, self._open[oldest][0])
        draft = self.open_call(call_id, tool, value, birth, is_text=is_text, cwd=cwd)
        self.window.append((draft.id, draft.place))
        if self._lone and (lone := next((one for one in self._lone if one.call_id == call_id), None)):
            self._drop_lone_result(lone)
            self.join_call_result(call_id, lone.content, lone.is_error, lone.birth.wall_s)
        return draft.id

    def join_call_result(self, call_id: str, content: object, is_error: bool | None, wall_s: float = 0.0) -> None:
        """A result arrives: the tool call is admitted whole; a result of no open call waits for its call."""
        draft = self.join_result(call_id, content, is_error)
        if draft is None:
            birth = Birth(self.turn, wall_s, place=self.claim_place())
            self.claim_place()  # For what is no text in it.
            lone = LoneResult(call_id, content, is_error, birth, len(canonical_json(content)))
            self._lone.append(lone)
            self._lone_bytes += lone.size
            while len(self._lone) > LONE_RESULTS_MAX or self._lone_bytes > LONE_BYTES_MAX:
                self._admit_lone_result(self._lone[0])
            return
        draft.birth = draft.birth._replace(wall_s=wall_s or draft.birth.wall_s)
        self._admit_draft(draft)

    def admit_unpaired_calls_and_results(self) -> None:
        """The input ends here for now: open calls are pending, results without a call stand for themselves."""
        self.admit_pending_calls()
        for lone in list(self._lone):
            self._admit_lone_result(lone)

    def _drop_lone_result(self, lone: LoneResult) -> None:
        self._lone.remove(lone)
        self._lone_bytes -= lone.size

    def _admit_lone_result(self, lone: LoneResult) -> None:
        """The call of this result is lost: the result's text is an attachment at its own place, opaque blocks stand
        beside.
        """
        self._drop_lone_result(lone)
        extra, text = split_result(lone.content)
        place, opaque = lone.birth.place or 0, extra.get("opaque")
        parts: list[tuple[bytes, dict[str, object]]] = [(text, {})] if text.strip() else []
        parts += [(b"", {"opaque": opaque})] if opaque else []
        for at, (data, skeleton) in enumerate(parts):
            birth = lone.birth._replace(place=place + at)
            draft = self.draft_text_or_opaque(Kind.ATTACHMENT, Role.USER, data, birth, skeleton, LONE_RESULT_FACTS)
            self.window.append((draft.id, draft.place))
            self._admit_draft(draft)
        self.sort_window()

    def sort_window(self) -> None:
        """Put the window's slots in the order of their places: a slot was appended that belongs further ahead."""
        self.window.sort(key=itemgetter(1))

    def is_call_open(self, call_id: str) -> bool:
        """Whether a call of this id is pending."""
        return call_id in self._open

    def oldest_open_call_id(self, tool: str) -> str:
        """The id of the oldest open call of this tool, or an empty one: some logs give calls no id."""
        open_calls = (call_id for call_id, draft in self._open_calls() if draft.skeleton.get("name") == tool)
        return next(open_calls, "")

    def admit_open_calls_as_late(self) -> None:
        """A user text arrives: an open call will hardly get a result."""
        for _, draft in self._open_calls():
            draft.is_late = True
        self.admit_pending_calls()

    def end_late_calls(self) -> None:
        """The next reply begins: the late results have had their chance."""
        for call_id, draft in [entry for entry in self._open_calls() if entry[1].is_late]:
            self._end_call(call_id, draft)

    def end_unpaired_calls_and_results(self) -> None:
        """The window is another window: no result is awaited any more, and no call stays open."""
        self.admit_open_calls_as_late()
        self.end_late_calls()
        for lone in list(self._lone):
            self._admit_lone_result(lone)

    def admit_pending_calls(self) -> None:
        """Admit the open calls as pending, each once."""
        for _, draft in self._open_calls():
            if not draft.is_shown:
                draft.is_shown = True
                self._admit_draft(draft)

    def replace_window(self, slots: Slots, reason: Departure) -> None:
        """From now on the window is exactly `slots`."""
        self.window = [slot for slot in slots if slot[0] not in self.cleared]
        self.events.append(WindowReplaced(self.session, tuple(self.window), reason))

    def replace_window_at_fresh_places(self, ids: Iterable[str], reason: Departure) -> None:
        """From now on the window is these segments, at fresh places, in this order."""
        self.replace_window([(segment_id, self.claim_place()) for segment_id in ids], reason)

    def clear_bodies(self, ids: Sequence[str], reason: Departure) -> None:
        """The host dropped these bodies; no branch brings the bodies back."""
        self.cleared.update(ids)
        self.window = [slot for slot in self.window if slot[0] not in self.cleared]
        self.events.append(BodiesCleared(self.session, tuple(ids), reason))

    def _open_calls(self) -> Iterator[tuple[str, Draft]]:
        for call_id, drafts in self._open.items():
            for draft in drafts:
                yield call_id, draft

    def _admit_draft(self, draft: Draft) -> Segment:
        segment = draft.build_segment()
        self.events.append(SegmentAdmitted(self.session, segment))
        return segment

    def _end_call(self, call_id: str, draft: Draft) -> None:
        """The call ends without a result: an error without output."""
        waiting = self._open[call_id]
        waiting.remove(draft)
        if not waiting:
            del self._open[call_id]
        draft.join_result(None, None)
        draft.status = Status.ERROR
        self._admit_draft(draft)
