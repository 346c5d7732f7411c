"""A feed: a transcript on the way into its sessions.

    file bytes ──inflate──▶ ──parse──▶ events ──prepare──▶ ──one change per run of a session's events──▶ stash, heap
                       (worker thread)          (worker thread)

A second reading of a transcript changes no state: known segments are passed over before any counting, and so are the
bills of their turns. The host's rewinds and compactions are collected in a `FileReading` and reconciled with the heap,
at a first reading event by event, at a repeated reading at its end: the middle of an old file never undoes its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

from ctxgc.adapters.contract import (
    BodiesCleared,
    Event,
    ReplyBilled,
    SegmentAdmitted,
    SessionOpened,
    Transcript,
    WindowReplaced,
)
from ctxgc.adapters.transcripts.formats import HEAD_BYTES, TRANSCRIPT_FORMATS, detect_format, make_transcript_parser
from ctxgc.adapters.transcripts.inflater import Inflater
from ctxgc.core.errors import BadTranscript, NoTranscript, UnknownFormat
from ctxgc.core.heap import FORGOTTEN, PENDING
from ctxgc.core.reconcile import HostList, reconcile
from ctxgc.core.redaction.redact import redact_text, redact_texts
from ctxgc.core.segment import Departure, Renderer, SessionKey, Status
from ctxgc.daemon.feeds.admission import drop_foreign_additions, is_foreign_file, require_known_refs
from ctxgc.daemon.services import Services, run_on_worker
from ctxgc.daemon.sessions.intake import PreparedSegment
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.transaction import Transaction
from ctxgc.daemon.sessions.window_update import known_session, update_window
from ctxgc.protocol.params import NAME_CHARS_MAX
from ctxgc.protocol.replies.daemon import ImportedReply
from ctxgc.stash.contract import SessionRow
from ctxgc.tokens.calibration import Calibration

FIRST_LOOK_BYTES = 2**16
"""Bytes of a file before the first attempt to detect its format; each further attempt has twice the bytes."""


ANNOUNCED_MAX = 64
"""Events that wait for the first segment of a session: beyond the bound the oldest is dropped."""


@dataclass(slots=True)
class FileReading:
    """A reading of a transcript: the window and the facts of a session so far."""

    session: Session
    places: dict[str, int] = field(default_factory=dict)
    """Place of each id in the window."""
    departed: dict[str, Departure] = field(default_factory=dict)
    changed_ids: dict[str, None] = field(default_factory=dict)
    """Ids whose state or place in the heap may be out of date."""
    is_first: bool = True
    """The session had no segment before this reading."""
    is_foreign: bool = False
    """The session is a mirror that was there before, and the file is none of its agent's."""
    known_turns: int = 0
    """Replies that the session had before this reading, whose bills the calibration has seen."""
    added: int = 0
    is_timed: bool = False
    """The transcript's records have times."""
    dated: int = 0
    """Segments, of `added`, that the session's time takes into account."""
    turn: int = -1
    prompt_tokens: int = 0
    """Raw tokens of the window when this turn began."""
    last_usage: tuple[int, int] = (0, 0)
    """(raw prompt, billed prompt) of the reply before."""


class Feed:
    """Reads a transcript: `feed` the file's bytes in any cuts, then `finish`; a growing file is fed on."""

    def __init__(self, services: Services, format_name: str = "") -> None:
        self._services = services
        self._format = format_name
        self._inflater = Inflater()
        self._head = bytearray()
        self._next_look_bytes = FIRST_LOOK_BYTES
        self._parser: Transcript | None = None
        self.readings: dict[str, FileReading] = {}
        self._announced: dict[str, list[Event]] = {}
        """Events of sessions without a segment: a session of nothing is none."""

    @property
    def parser(self) -> Transcript | None:
        """The parser, once the format is known."""
        return self._parser

    @property
    def session_keys(self) -> list[SessionKey]:
        """Sessions reading so far."""
        return [reading.session.key for reading in self.readings.values()]

    async def feed(self, data: bytes) -> None:
        """Read bytes. Raises `BadTranscript` for an unknown format, `CtxgcError` of the stash."""
        for plain in self._inflater.feed(data):
            await self._feed_inflated_bytes(plain)

    async def _feed_inflated_bytes(self, plain: bytes) -> None:
        if self._parser is None:
            self._head += plain
            if len(self._head) < self._next_look_bytes:
                return
            is_last = len(self._head) >= HEAD_BYTES
            self._next_look_bytes = min(2 * len(self._head), HEAD_BYTES)
            if not await self._open_parser(is_last=is_last):
                return
            plain = self._pop_head()
        await self._apply_events_by_session(await run_on_worker(self._services, self._parse_inflated_bytes, plain))

    @property
    def truncation_reason(self) -> str:
        """Why the input may be only a part of the file, as the end of a sentence; empty for a whole file."""
        packing = self._inflater.compression
        if self._inflater.is_damaged:
            return f"its {packing} is damaged; what came before the damage is in"
        return f"its {packing} is cut off; what came before is in" if self._inflater.is_truncated else ""

    def _pop_head(self) -> bytes:
        head, self._head = bytes(self._head), bytearray()
        return head

    async def _open_parser(self, *, is_last: bool) -> bool:
        """Open the parser that the head calls for; a head without a known format is an error at the last attempt."""
        name: str | None = self._format
        if not name:
            name = await run_on_worker(self._services, partial(detect_format, bytes(self._head), is_all=is_last))
        if name is None and not is_last:
            return False
        if name is None:
            raise UnknownFormat(
                "not a transcript of a format this build reads",
                hint=f"`--format NAME` says what it is, if you know: {', '.join(TRANSCRIPT_FORMATS)}",
            )
        self._parser = make_transcript_parser(name)
        return True

    async def finish(self) -> None:
        """The input ends here for now: read the rest, and bring the window of every session up to date."""
        if self._parser is None:
            await self._open_parser_at_end()
            await self._apply_events_by_session(
                await run_on_worker(self._services, self._parse_inflated_bytes, self._pop_head())
            )
        assert self._parser is not None
        await self._apply_events_by_session(await run_on_worker(self._services, self._parser.finish))
        if self._inflater.is_damaged:
            self._parser.skipped[self._inflater.damage] = 1
        for reading in self.readings.values():
            reading.is_first = False
            async with reading.session.transaction() as tx:
                self._reconcile_changed_ids(reading, tx)
                self._store_ratio_and_skipped_records(reading, tx)
                self._date_session(reading, tx)

    async def _open_parser_at_end(self) -> None:
        """Open the parser for a file that ends in its head. A packed file without a record is damage, not empty."""
        if not self._head.strip(b"\xef\xbb\xbf \t\r\n") and not self.truncation_reason:
            raise NoTranscript("nothing is in it")
        try:
            await self._open_parser(is_last=True)
        except UnknownFormat:
            if not self.truncation_reason:
                raise
            reason = f"{self.truncation_reason.partition(';')[0]} before the first record"
            raise BadTranscript(reason, hint="import a whole copy of the file") from None

    def require_segments(self) -> None:
        """Raise `NoTranscript` or `BadTranscript` for a file that was read to its end and gave no segment."""
        assert self._parser is not None
        skipped = self._parser.skipped
        if self.readings:
            return
        if self._parser.is_bookkeeping(skipped):
            raise NoTranscript("no part of a session is in it")
        counted = ", ".join(f"{count} {kind}" for kind, count in skipped.most_common(4)) or "none of them a message"
        raise BadTranscript(
            f"taken for {self._parser.source}, and no part of a window is in its {self._parser.records} records: "
            f"{counted}",
            hint=f"`--format NAME` says what it is, if you know: {', '.join(TRANSCRIPT_FORMATS)}",
        )

    def _parse_inflated_bytes(self, plain: bytes) -> list[Event]:
        assert self._parser is not None
        return self._parser.feed(plain)

    async def _apply_events_by_session(self, events: Iterable[Event]) -> None:
        for name, run in groupby(events, lambda event: event.session):
            batch = list(run)
            if name not in self.readings:
                batch = self._announced.pop(name, []) + batch
                if not any(isinstance(event, SegmentAdmitted) for event in batch):
                    self._announced[name] = batch[-ANNOUNCED_MAX:]
                    continue
            reading = await self._open_reading(name)
            if reading.is_foreign:
                assert self._parser is not None
                batch = drop_foreign_additions(self._parser, batch, reading.session.heap.slot_of.__contains__)
            async with reading.session.transaction() as tx:
                # Outside the change the heap may hold segments that a failing commit takes back.
                segments = [
                    e.segment for e in batch if isinstance(e, SegmentAdmitted) and self._needs_admission(reading, e)
                ]
                if segments:
                    require_known_refs(reading.session, segments)
                    await reading.session.ensure_word_index()
                prepared = await run_on_worker(self._services, self._services.intake.prepare_segments, segments)
                self._apply_events(reading, tx, batch, iter(prepared))
            self._services.registry.frozen_objects.note_new_segments(len(segments))

    async def _open_reading(self, name: str) -> FileReading:
        reading = self.readings.get(name)
        if reading is None:
            assert self._parser is not None
            key = SessionKey(self._parser.source, redact_text(name))
            if len(str(key)) > NAME_CHARS_MAX:
                raise BadTranscript(
                    f"the name of its session has {len(str(key))} characters or more, {NAME_CHARS_MAX} at most",
                    hint="no command could name that session: give it a shorter id in the file",
                )
            row = SessionRow(key=key, rendered_by=Renderer.AGENT, created_s=self._services.clock())
            session = await self._services.registry.open(row)
            await session.ensure_current()
            is_first = len(session.heap) == 0
            reading = self.readings[name] = FileReading(
                session,
                is_first=is_first,
                is_foreign=not is_first and is_foreign_file(self._parser),
                known_turns=session.row.turn,
            )
        return reading

    @staticmethod
    def _needs_admission(reading: FileReading, event: SegmentAdmitted) -> bool:
        slot = reading.session.heap.slot_of.get(event.segment.id)
        if slot is None:
            # The gateway's requests are the window; a transcript adds facts to its segments, and no segment.
            return not reading.session.is_gateway_managed
        return reading.session.heap.has_flag(slot, PENDING) and event.segment.status is not Status.PENDING

    def _apply_events(
        self, reading: FileReading, tx: Transaction, batch: list[Event], prepared: Iterator[PreparedSegment]
    ) -> None:
        waiting = next(prepared, None)
        for event in batch:
            if isinstance(event, SegmentAdmitted):
                _advance_turn(reading, event.segment.born_turn)
                reading.is_timed |= event.segment.wall_s > 0
                if waiting is not None and waiting.segment.id == event.segment.id:
                    slot = reading.session.heap.slot_of.get(event.segment.id)
                    if reading.session.admit(tx, waiting):
                        reading.added += slot is None
                        if slot is not None:
                            self._services.contents.drop(reading.session.key, [slot])
                    waiting = next(prepared, None)
                reading.places[event.segment.id] = event.segment.place
                reading.departed.pop(event.segment.id, None)
                if not reading.is_first:
                    reading.changed_ids[event.segment.id] = None
            elif isinstance(event, WindowReplaced):
                _apply_window_replacement(reading, event)
            elif isinstance(event, BodiesCleared):
                for id_ in event.ids:
                    if reading.places.pop(id_, None) is not None:
                        reading.departed[id_] = event.reason
                        reading.changed_ids[id_] = None
            elif isinstance(event, SessionOpened):
                _update_session_row(reading.session, tx, event)
            elif event.turn >= reading.known_turns and not reading.session.is_gateway_managed:
                _learn_from_billed_reply(reading, tx, event)
        if reading.is_first:
            self._reconcile_changed_ids(reading, tx)

    @staticmethod
    def _reconcile_changed_ids(reading: FileReading, tx: Transaction) -> None:
        """Reconcile the ids whose state or place changed since the last time."""
        session, heap = reading.session, reading.session.heap
        changed_ids, reading.changed_ids = reading.changed_ids, {}
        if not changed_ids or session.is_gateway_managed:
            return
        is_outdated = not reading.is_first and len(reading.places) + len(reading.departed) < len(
            heap
        ) - heap.state.count(FORGOTTEN)
        host = HostList(
            places={id_: reading.places[id_] for id_ in changed_ids if id_ in reading.places},
            departed={id_: reading.departed[id_] for id_ in changed_ids if id_ in reading.departed},
            is_whole=False,
            is_outdated=is_outdated,
            is_rendered=False,
        )
        update_window(session, tx, reconcile(host, known_session(session)))

    def _store_ratio_and_skipped_records(self, reading: FileReading, tx: Transaction) -> None:
        assert self._parser is not None
        fields: dict[str, Any] = {"ratio": reading.session.calibration.ratio}
        if reading is next(iter(self.readings.values())):
            # Skipped records belong to the file, so the session that the file is named after shows them.
            fields["skipped_records"] = sum(self._parser.skipped.values())
        reading.session.set_row_fields(tx, **fields)

    def _date_session(self, reading: FileReading, tx: Transaction) -> None:
        """Date a session by the reading, where a transcript without times brought segments."""
        is_news = reading.added > reading.dated or not reading.session.row.updated_s
        reading.dated = reading.added
        if is_news and not reading.is_timed:
            tx.note_time(self._services.clock())


def _apply_window_replacement(reading: FileReading, event: WindowReplaced) -> None:
    places = dict(event.slots)
    for id_ in reading.places:
        if id_ not in places:
            reading.departed[id_] = event.reason
            reading.changed_ids[id_] = None
    for id_ in places:
        reading.departed.pop(id_, None)
        reading.changed_ids[id_] = None
    reading.places = places


def _update_session_row(session: Session, tx: Transaction, event: SessionOpened) -> None:
    row = session.row
    project, parent, parent_segment, model, title = redact_texts(
        (event.project, event.parent, event.parent_segment, event.model or row.model, event.title)
    )
    if model != row.model:
        session.calibration = Calibration.from_prior(model)
    session.set_row_fields(
        tx,
        project=row.project if row.forgotten else project or row.project,
        parent=row.parent if row.forgotten else parent or row.parent,
        parent_segment=row.parent_segment if row.forgotten else parent_segment or row.parent_segment,
        model=model,
        title=row.title if row.forgotten else title or row.title,
        hidden_tokens=event.hidden_tokens or row.hidden_tokens,
    )


def _advance_turn(reading: FileReading, born_turn: int) -> None:
    if born_turn > reading.turn:
        reading.turn = born_turn
        reading.prompt_tokens = reading.session.heap.resident_tokens


def _learn_from_billed_reply(reading: FileReading, tx: Transaction, event: ReplyBilled) -> None:
    """Learn the model's tokens per raw token from how the billed prompt grew; and the hidden prefix from the first."""
    session = reading.session
    billed = event.input_tokens + event.cache_read_tokens + event.cache_creation_tokens
    if event.model and event.model != session.row.model:
        session.calibration = Calibration.from_prior(event.model)
        session.set_row_fields(tx, model=redact_text(event.model))
    raw, last_raw, last_billed = reading.prompt_tokens, *reading.last_usage
    if event.turn == reading.turn and billed and raw:
        if last_billed:
            session.calibration = session.calibration.observe(raw - last_raw, billed - last_billed)
        elif not session.row.hidden_tokens:
            session.set_row_fields(tx, hidden_tokens=session.calibration.unexplained_tokens(billed, raw))
        reading.last_usage = (raw, billed)
    if reading.is_first:
        session.set_row_fields(tx, turn=max(session.row.turn, event.turn))


def imported_replies(feed: Feed, path: str) -> list[ImportedReply]:
    """`ImportedReply` of each session of a feed."""
    parser = feed.parser
    replies = []
    for number, reading in enumerate(feed.readings.values()):
        session, row = reading.session, reading.session.row
        is_main = number == 0 and parser is not None
        skipped = dict(parser.skipped) if is_main and parser else {}
        replies.append(
            ImportedReply(
                session=str(session.key),
                path=path,
                source=session.key.source,
                segments=len(session.heap),
                added=reading.added,
                records=parser.records if is_main and parser else 0,
                skipped_records=sum(skipped.values()),
                skipped=skipped,
                resident_tokens=session.heap.resident_tokens,
                parent=f"{session.key.source}:{row.parent}" if row.parent else "",
            )
        )
    return replies
