"""Gemini CLI's sessions (`~/.gemini/tmp/PROJECT/chats/session-*`): lines today, one document before.

    {sessionId, projectHash, …}             the header (ConversationRecord without its messages)
    {id, type: user │ gemini, content, …}   a message (MessageRecord); the same id again: the message has grown
        gemini: thoughts ─▶ thinking   content ─▶ assistant   toolCalls (call and result in one record) ─▶ tool call
        tokens ─▶ ReplyBilled                 info, error, warning ─▶ notes of the screen, skipped
    {$set: {summary │ directories}} ─▶ SessionOpened
    {$set: {messages}} ─▶ WindowReplaced: the host shortened its history
    {$rewindTo: id} ─▶ WindowReplaced: what came before that message

The names are those of `chatRecordingTypes.ts` in google-gemini/gemini-cli. A list of `Content` (a checkpoint of
`/chat save`, a logged request of the GenAI API) is read as a document too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ctxgc.adapters.builder import Birth
from ctxgc.adapters.contract import Event, ReplyBilled, SessionOpened
from ctxgc.adapters.json_values import as_count, as_dict, as_list, as_text, clean_name, parse_unix_s
from ctxgc.adapters.skeletons import SKELETON_DEPTH_MAX, exceeds_depth
from ctxgc.adapters.transcripts.genai_content import (
    HOST,
    MODEL,
    SUMMARY,
    USER,
    ContentReader,
    is_genai_content,
    parts_of_content,
    response_content,
)
from ctxgc.adapters.transcripts.json_document import DocumentTranscript
from ctxgc.adapters.transcripts.jsonl import LineTranscript, head_objects, parse_json_object
from ctxgc.adapters.transcripts.resync import decode_stretch, salvage_records
from ctxgc.adapters.transcripts.session_builder import SessionBuilder
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Departure, Kind, Role

NO_SESSION = "session"
"""The session of a log whose header is lost."""

SCREEN_NOTES = frozenset({"info", "error", "warning"})
"""Types of messages that no request holds."""

ENDED = frozenset({"success", "error", "cancelled"})
"""The statuses of a tool call that has run."""

CONTENT_KEYS = ("contents", "history")
"""The members of a document that hold a list of `Content`."""

_HEADER = re.compile(rb'\s*\{\s*(?:"[A-Za-z]+"\s*:\s*(?:"[^"\\]*"|\d+)\s*,\s*)*?"projectHash"\s*:\s*"')
_MESSAGES = re.compile(rb'"messages"\s*:\s*\[')
_CONTENTS = re.compile(rb'(?:^\s*\[|"(?:contents|history)"\s*:\s*\[)\s*\{\s*"(?:role|parts)"\s*:')


def is_gemini_lines(head: bytes) -> bool:
    """A header of Gemini CLI alone on the first line."""
    keys = {"sessionId", "projectHash"}
    return any(keys <= value.keys() and "messages" not in value for value in head_objects(head))


def is_gemini_document(head: bytes) -> bool:
    """A conversation of Gemini CLI in one document, or a list of contents of the GenAI API."""
    if _HEADER.match(head):
        return _MESSAGES.search(head) is not None
    if not _CONTENTS.search(head):
        return False
    found = salvage_records(decode_stretch(head), lambda value: "parts" in value, is_final=True).records
    values = [item for record in found for key in CONTENT_KEYS for item in as_list(record.get(key))] + found
    return any(is_genai_content(value) and "role" in value for value in values if isinstance(value, dict))


@dataclass(slots=True)
class _GeminiMessage:
    """A message that was taken."""

    ids: list[str] = field(default_factory=list)
    turn: int = 0
    calls: set[tuple[str, int]] = field(default_factory=set)
    """The tool calls so far: the id of each, and how many calls of the message had that id before."""
    answered: set[tuple[str, int]] = field(default_factory=set)
    is_billed: bool = False


class _SessionReader:
    """Reads the records of one session in order. Mutable."""

    def __init__(self, session: str, events: list[Event], skipped: Counter[str]) -> None:
        self.builder = SessionBuilder(session, events)
        self.content = ContentReader(self.builder)
        self.skipped = skipped
        self._messages: dict[str, _GeminiMessage] = {}
        """Messages of the history, in order."""

    def take_header_or_change(self, record: dict[str, Any]) -> None:
        """Take a header, or a change of the header: the project, the title, and the history."""
        folders = as_list(record.get("directories"))
        self.builder.note_session(project=as_text(folders[0]) if folders else "", title=as_text(record.get("summary")))
        if isinstance(record.get("messages"), list):
            self._replace_history(record["messages"])

    def take_message(self, record: dict[str, Any]) -> None:
        """A message, or a message that has grown since it was written first."""
        kind, name = as_text(record.get("type")), as_text(record.get("id"))
        if kind in SCREEN_NOTES:
            self.skipped[f"message.{kind}"] += 1
        elif kind not in ("user", "gemini") or not name:
            self.skipped[f"message.{kind[:32]}" if kind else "malformed"] += 1
        elif exceeds_depth(record, SKELETON_DEPTH_MAX):
            self.skipped["too_deep"] += 1
        else:
            known = self._messages.get(name)
            if kind == "user":
                self._take_user_message(record, known or self._open_message(name, is_reply=False), is_new=known is None)
            else:
                self._take_reply(record, known or self._open_message(name, is_reply=True), is_new=known is None)
            self._count_skipped_parts()

    def rewind(self, name: str) -> None:
        """The history ends before the message; an unknown message empties the history."""
        names = list(self._messages)
        kept = names[: names.index(name)] if name in self._messages else []
        gone = {id_ for key in names if key not in kept for id_ in self._messages[key].ids}
        self._messages = {key: self._messages[key] for key in kept}
        self.builder.end_unpaired_calls_and_results()
        self.builder.replace_window([slot for slot in self.builder.window if slot[0] not in gone], Departure.REWOUND)

    def take_contents(self, contents: Iterable[object], instruction: object = None) -> None:
        """A bare list of contents."""
        if instruction is not None:
            self.content.admit_content(instruction, HOST._replace(role=Role.SYSTEM), Birth(0))
        is_model = False
        for content in map(as_dict, contents):
            if not is_genai_content(content):
                self.skipped["malformed"] += 1
                continue
            if content.get("role") == "model":
                self.builder.end_late_calls()
                self.builder.turn += not is_model
                is_model = True
                self.content.admit_content(content, MODEL, Birth(self.builder.turn - 1, reply=f"m{self.builder.turn}"))
            else:
                is_model = False
                self._admit_user_content(content, Birth(self.builder.turn))
        self._count_skipped_parts()

    def _open_message(self, name: str, *, is_reply: bool) -> _GeminiMessage:
        message = self._messages[name] = _GeminiMessage(turn=self.builder.turn)
        if is_reply:
            self.builder.end_late_calls()
            self.builder.turn += 1
        return message

    def _take_user_message(self, record: dict[str, Any], message: _GeminiMessage, *, is_new: bool) -> None:
        if is_new:
            message.ids += self._admit_user_content(
                record.get("content"), Birth(message.turn, parse_unix_s(record.get("timestamp")))
            )

    def _admit_user_content(self, content: object, birth: Birth) -> list[str]:
        if any(as_text(part.get("text")).strip() for part in parts_of_content(content)):
            self.builder.admit_open_calls_as_late()
        return self.content.admit_content(content, USER, birth)

    def _take_reply(self, record: dict[str, Any], message: _GeminiMessage, *, is_new: bool) -> None:
        model, wall_s = as_text(record.get("model")), parse_unix_s(record.get("timestamp"))
        self.builder.note_session(model=model)
        birth = Birth(message.turn, wall_s, clean_name(as_text(record.get("id"))))
        if is_new:
            for thought in map(as_dict, as_list(record.get("thoughts"))):
                said = "\n".join(filter(None, map(as_text, (thought.get("subject"), thought.get("description")))))
                if said:
                    message.ids.append(self.builder.admit_text(Kind.THINKING, Role.ASSISTANT, said, birth))
        calls = [as_dict(call) for call in as_list(record.get("toolCalls"))]
        if is_new:
            # A history that the host rewrote holds the calls as parts too: the records know more of them.
            parts = [part for part in parts_of_content(record.get("content")) if not (calls and "functionCall" in part)]
            message.ids += self.content.admit_content(parts, MODEL, birth)
        counts: Counter[str] = Counter()
        for call in calls:
            call_id = as_text(call.get("id"))
            self._take_call(call, (call_id, counts[call_id]), message, birth)
            counts[call_id] += 1
        self._emit_bill(as_dict(record.get("tokens")), model, message, wall_s)

    def _take_call(self, call: dict[str, Any], key: tuple[str, int], message: _GeminiMessage, birth: Birth) -> None:
        """A `ToolCallRecord`, as far as the call got."""
        wall_s = parse_unix_s(call.get("timestamp"))
        if not key[0]:
            self.skipped["malformed"] += 1
            return
        if key not in message.calls:
            message.calls.add(key)
            message.ids += self.content.open_call(call, birth._replace(wall_s=wall_s or birth.wall_s))
        content, is_error = _result_of_call(call)
        if content is not None and key not in message.answered:
            message.answered.add(key)
            self.builder.join_call_result(key[0], content, is_error, wall_s)

    def _emit_bill(self, tokens: dict[str, Any], model: str, message: _GeminiMessage, wall_s: float) -> None:
        """A `TokensSummary`, once a reply."""
        prompt, cached = as_count(tokens.get("input")), as_count(tokens.get("cached"))
        if message.is_billed or not prompt:
            return
        message.is_billed = True
        output = as_count(tokens.get("output")) + as_count(tokens.get("thoughts"))
        fresh, session = max(prompt - cached, 0), self.builder.session
        self.builder.events.append(
            ReplyBilled(session, message.turn, clean_name(model), wall_s, fresh, cached, 0, output)
        )

    def _replace_history(self, records: list[Any]) -> None:
        """The host shortened the history: the window is the list, whose new messages sum up the departed segments."""
        kept: dict[str, _GeminiMessage] = {}
        self.builder.end_unpaired_calls_and_results()
        before = len(self.builder.window)
        for record in map(as_dict, records):
            name = as_text(record.get("id"))
            if name not in self._messages:
                if record.get("type") == "user":
                    birth = Birth(self.builder.turn, parse_unix_s(record.get("timestamp")))
                    self._messages[name] = message = _GeminiMessage(turn=self.builder.turn)
                    message.ids = self._admit_summary(record.get("content"), birth)
                else:
                    self.take_message(record)
            if name in self._messages:
                kept[name] = self._messages[name]
        self._count_skipped_parts()
        self._messages = kept
        present = {id_ for id_, _ in self.builder.window}
        ids = [id_ for message in kept.values() for id_ in message.ids if id_ in present]
        if ids != [id_ for id_, _ in self.builder.window] or len(self.builder.window) != before:
            self.builder.replace_window_at_fresh_places(list(dict.fromkeys(ids)), Departure.HOST_COMPACTED)

    def _admit_summary(self, content: object, birth: Birth) -> list[str]:
        """A synthetic message of the host; a copy of results alone brings nothing."""
        known = self.content.copied_segment_ids(content, USER)
        return self.content.admit_content(self.content.new_parts(content), SUMMARY, birth) if known is None else known

    def _count_skipped_parts(self) -> None:
        self.skipped.update(self.content.skipped)
        self.content.skipped.clear()


def _result_of_call(call: dict[str, Any]) -> tuple[object, bool | None]:
    """(What the model was told, whether the call failed); `None` without a result so far."""
    status = as_text(call.get("status"))
    is_failed = status in ("error", "cancelled")
    parts = list(parts_of_content(call["result"])) if call.get("result") is not None else []
    answers = [part for part in parts if isinstance(part.get("functionResponse"), dict)]
    if not parts:
        return ("" if status in ENDED else None), True if is_failed else None
    content, is_error = response_content(answers[0]) if answers else ("", None)
    rest = [{"type": "text", "text": as_text(part["text"])} if "text" in part else part for part in parts
            if not isinstance(part.get("functionResponse"), dict)]  # fmt: skip
    if rest:
        first = [{"type": "text", "text": content}] if isinstance(content, str) and content else content
        content = [*as_list(first), *rest]
    return content, True if is_failed else is_error


class GeminiCli(LineTranscript):
    """A session of today's Gemini CLI: a header, then a message or a change a line."""

    source = "gemini_cli"
    bookkeeping = frozenset(f"message.{kind}" for kind in SCREEN_NOTES)
    nest = '{"$set"'

    def __init__(self) -> None:
        super().__init__()
        self._session: _SessionReader | None = None

    def _read_record(self, line: bytes) -> bool:
        record = parse_json_object(line)
        if record is None:
            return False
        if isinstance(record.get("$rewindTo"), str):
            self._ensure_reader().rewind(record["$rewindTo"])
        elif isinstance(record.get("$set"), dict):
            self._ensure_reader().take_header_or_change(record["$set"])
        elif "projectHash" in record:
            self._ensure_reader(clean_name(as_text(record.get("sessionId")))).take_header_or_change(record)
        elif "content" in record:
            self._ensure_reader().take_message(record)
        else:
            self._skip_record(record.get("type"))
        return True

    def _is_record(self, value: dict[str, Any]) -> bool:
        return bool({"$set", "$rewindTo", "projectHash"} & value.keys()) or ("id" in value and "content" in value)

    def _flush(self) -> None:
        if self._session is not None:
            self._session.builder.admit_unpaired_calls_and_results()

    def _ensure_reader(self, name: str = "") -> _SessionReader:
        if self._session is None:
            self._session = _SessionReader(name or NO_SESSION, self._events, self.skipped)
            self._events.append(SessionOpened(name or NO_SESSION))
        return self._session


class GeminiCliDocument(DocumentTranscript):
    """A `ConversationRecord` in one document, or a list of `Content`."""

    source = "gemini_cli"

    def _events_of_document(self, document: Any, digest: str) -> Iterator[Event]:
        holder = {"contents": document} if isinstance(document, list) else as_dict(document)
        session = clean_name(as_text(holder.get("sessionId"))) or digest
        model = clean_name(as_text(holder.get("model")))
        events: list[Event] = [SessionOpened(session, model=model)]
        reader = _SessionReader(session, events, self.skipped)
        messages = next((holder[key] for key in ("messages", *CONTENT_KEYS) if isinstance(holder.get(key), list)), None)
        if messages is None:
            raise BadTranscript("no list of messages in this document")
        self.records = len(messages)
        if "messages" in holder:
            reader.take_header_or_change({key: value for key, value in holder.items() if key != "messages"})
            for message in messages:
                reader.take_message(as_dict(message))
        else:
            reader.take_contents(messages, holder.get("systemInstruction") or holder.get("system_instruction"))
        reader.builder.admit_unpaired_calls_and_results()
        yield from events
