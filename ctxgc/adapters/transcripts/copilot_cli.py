"""Copilot CLI logs: events `{type, id, parentId, timestamp, data}`, a session and its sub-agents a file.

    user.message (as the model gets it) ─▶ user; what the host adds ─▶ system, attachment
    assistant.message ─▶ thinking, text, calls          tool.execution_complete ─▶ tool call
    system.message ─▶ system: the host repeats it; a changed one takes the place of the one before
    session.compaction_start … _complete ─▶ WindowReplaced: system, summary, what came since the start
    session.snapshot_rewind ─▶ WindowReplaced: what came before that event
    session.start, .resume, .model_change, .title_changed ─▶ SessionOpened

Messages of a `turnId` are a request, so a turn. Events of a sub-agent name the call that started the sub-agent, and
make a session apart. The log bills only output, so the parser emits no bills.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ctxgc.adapters.builder import Birth
from ctxgc.adapters.contract import SessionOpened
from ctxgc.adapters.facts.tool_facts import NO_CALL_FACTS
from ctxgc.adapters.host_texts.wrappers import output_facts
from ctxgc.adapters.json_values import as_dict, as_list, as_text, clean_name, parse_unix_s
from ctxgc.adapters.skeletons import SKELETON_DEPTH_MAX, exceeds_depth
from ctxgc.adapters.transcripts.jsonl import LineTranscript, head_objects, parse_json_object
from ctxgc.adapters.transcripts.session_builder import SessionBuilder, Slots
from ctxgc.core.segment import Departure, Kind, Role

NO_SESSION = "session"
"""The session of a file that does not begin with its start."""

SKILL_SOURCE = "skill-"
"""A user message in which the host shows a skill. The host's other texts in the user's name are instructions, and
stay."""

_STARTS = ("session.start", "session.resume")
_EXIT_CODE = re.compile(r"<shellId: [^<>\n]{1,200} completed with exit code (-?\d{1,10})>\s*$")


def is_copilot_cli(head: bytes) -> bool:
    """A record that starts, or resumes, a session."""
    return any(value.get("type") in _STARTS and "data" in value for value in head_objects(head))


@dataclass(slots=True)
class _Thread:
    """The window of the session, or of a sub-agent, while the log is read."""

    builder: SessionBuilder
    reply: str = ""
    """The request whose messages come now."""
    system: tuple[str, int, str] | None = None
    """The system message: its id, place and text."""
    summary_place: int | None = None
    """Kept free since a compaction began: later segments survive the compaction."""
    starts: dict[str, int] = field(default_factory=dict)
    """The next place of the window when a message came, by its event."""


class CopilotCli(LineTranscript):
    """Parses an `events.jsonl`."""

    source = "copilot_cli"

    def __init__(self) -> None:
        super().__init__()
        self._threads: dict[str, _Thread] = {}
        self._cwd = ""

    def _read_record(self, line: bytes) -> bool:
        record = parse_json_object(line)
        if record is None:
            return False
        kind, data = record.get("type"), record.get("data")
        if exceeds_depth(record, SKELETON_DEPTH_MAX):
            self._skip_record("too_deep")
        elif not isinstance(kind, str) or not isinstance(data, dict):
            self._skip_record(kind)
        elif kind.startswith("session."):
            self._take_session_event(kind, data, parse_unix_s(record.get("timestamp")))
        else:
            agent = as_text(data.get("parentToolCallId")) or as_text(record.get("agentId"))
            self._take_event(kind, record, data, agent)
        return True

    def _is_record(self, value: dict[str, Any]) -> bool:
        return isinstance(value.get("type"), str) and isinstance(value.get("data"), dict)

    def _flush(self) -> None:
        for thread in self._threads.values():
            thread.builder.admit_unpaired_calls_and_results()

    def _ensure_main_thread(self) -> _Thread:
        return self._threads.get("") or self._open_main_thread(NO_SESSION)

    def _open_main_thread(self, session: str) -> _Thread:
        thread = self._threads[""] = _Thread(SessionBuilder(session, self._events))
        thread.builder.known["project"] = self._cwd
        self._events.append(SessionOpened(session, self._cwd))
        return thread

    def _find_or_open_thread(self, agent: str) -> _Thread:
        """The window these events belong to: the session's, or a sub-agent's."""
        main = self._ensure_main_thread()
        if not agent:
            return main
        thread = self._threads.get(agent)
        if thread is None:
            session = clean_name(f"{main.builder.session}.{agent}")
            thread = self._threads[agent] = _Thread(SessionBuilder(session, self._events))
            parent_segment = main.builder.names.newest_id_of_call(agent) or ""
            self._events.append(SessionOpened(session, self._cwd, main.builder.session, parent_segment))
        return thread

    def _take_session_event(self, kind: str, data: dict[str, Any], wall_s: float) -> None:
        if kind in ("session.start", "session.resume"):
            self._take_session_start(data)
        elif kind == "session.model_change":
            self._ensure_main_thread().builder.note_session(model=as_text(data.get("newModel")))
        elif kind == "session.title_changed":
            self._ensure_main_thread().builder.note_session(title=as_text(data.get("title")))
        elif kind == "session.context_changed":
            self._cwd = clean_name(as_text(data.get("cwd"))) or self._cwd
        elif kind == "session.compaction_start":
            main = self._ensure_main_thread()
            main.summary_place = main.builder.claim_place()
        elif kind == "session.compaction_complete":
            self._take_compaction(data, wall_s)
        elif kind == "session.snapshot_rewind":
            self._rewind_before_event(as_text(data.get("upToEventId")))
        else:
            self._skip_record(kind)

    def _take_session_start(self, data: dict[str, Any]) -> None:
        """The first start event names the session."""
        self._cwd = clean_name(as_text(as_dict(data.get("context")).get("cwd"))) or self._cwd
        session = clean_name(as_text(data.get("sessionId")))
        main = self._threads.get("") or self._open_main_thread(session or NO_SESSION)
        main.builder.note_session(model=as_text(data.get("selectedModel")))

    def _take_event(self, kind: str, record: dict[str, Any], data: dict[str, Any], agent: str) -> None:
        wall_s = parse_unix_s(record.get("timestamp"))
        if kind not in ("user.message", "assistant.message", "system.message", "tool.execution_complete"):
            self._skip_record(kind)
            return
        thread = self._find_or_open_thread(agent)
        if kind == "tool.execution_complete":
            self._take_result(thread, data, wall_s)
            return
        if event_id := as_text(record.get("id")):
            thread.starts[event_id] = thread.builder.next_place
        if kind == "user.message":
            self._take_prompt(thread, data, wall_s)
        elif kind == "assistant.message":
            self._take_reply(thread, data, wall_s)
        else:
            self._take_system_message(thread, as_text(data.get("content")), wall_s)

    def _take_prompt(self, thread: _Thread, data: dict[str, Any], wall_s: float) -> None:
        """The model gets the transformed content: the user's words, with reminders around the words."""
        text = as_text(data.get("transformedContent")) or as_text(data.get("content"))
        source = as_text(data.get("source"))
        if not text.strip():
            self._skip_record("user.message.empty")
            return
        kind, facts = Kind.SYSTEM, NO_CALL_FACTS
        if source.startswith(SKILL_SOURCE):
            kind, facts = Kind.ATTACHMENT, output_facts(source.removeprefix(SKILL_SOURCE) or "skill", "skill")
        if source in ("", "user"):
            kind = Kind.USER
            thread.builder.admit_open_calls_as_late()
        thread.builder.admit_text(kind, Role.USER, text, Birth(thread.builder.turn, wall_s), facts=facts)

    def _take_system_message(self, thread: _Thread, text: str, wall_s: float) -> None:
        builder, before = thread.builder, thread.system
        if not text.strip() or (before is not None and before[2] == text):
            self._skip_record("system.message.repeated")
            return
        place = None
        if before is not None:
            place = before[1]
            builder.admit_pending_calls()
            builder.replace_window([slot for slot in builder.window if slot[0] != before[0]], Departure.HOST_CLEARED)
        segment_id = builder.admit_text(Kind.SYSTEM, Role.SYSTEM, text, Birth(builder.turn, wall_s, place=place))
        builder.sort_window()
        thread.system = (segment_id, dict(builder.window)[segment_id], text)

    def _take_reply(self, thread: _Thread, data: dict[str, Any], wall_s: float) -> None:
        """A message of a request: several messages share a request, the earlier ones often empty."""
        builder = thread.builder
        reply = _reply_id(data)
        if not reply or reply != thread.reply:
            builder.end_late_calls()
            builder.turn += 1
            thread.reply = reply = reply or f"turn-{builder.turn - 1}"
        builder.note_session(model=as_text(data.get("model")))
        for kind, key in ((Kind.THINKING, "reasoningText"), (Kind.ASSISTANT, "content")):
            text = as_text(data.get(key))
            if text.strip():
                builder.admit_text(kind, Role.ASSISTANT, text, Birth(builder.turn - 1, wall_s, reply))
        for request in _tool_requests(data):
            self._take_call(thread, request, wall_s)

    def _take_call(self, thread: _Thread, request: dict[str, Any], wall_s: float) -> None:
        call_id, tool, value = (
            as_text(request.get("toolCallId")),
            as_text(request.get("name")),
            request.get("arguments"),
        )
        if not call_id:
            self._skip_record("malformed")
            return
        birth = Birth(thread.builder.turn - 1, wall_s, thread.reply)
        thread.builder.begin_call(call_id, tool, value, birth, cwd=self._cwd, is_text=isinstance(value, str))

    def _take_result(self, thread: _Thread, data: dict[str, Any], wall_s: float) -> None:
        content: object = as_dict(data.get("result")).get("content")
        if content is None:
            content = as_dict(data.get("error")).get("message")
        exit_code = _EXIT_CODE.search(content[-300:]) if isinstance(content, str) else None
        is_failure = data.get("success") is False or (exit_code is not None and int(exit_code[1]) != 0)
        call_id = as_text(data.get("toolCallId"))
        thread.builder.join_call_result(call_id, content, True if is_failure else None, wall_s)

    def _take_compaction(self, data: dict[str, Any], wall_s: float) -> None:
        """The host summarises while the session goes on: segments since the beginning of the summary stay behind the
        summary.
        """
        thread = self._ensure_main_thread()
        builder = thread.builder
        place, thread.summary_place = thread.summary_place, None
        text = as_text(data.get("summaryContent"))
        if data.get("success") is False or not text.strip():
            self._skip_record("session.compaction_complete")
            return
        place = builder.claim_place() if place is None else place
        builder.admit_unpaired_calls_and_results()
        system = thread.system[0] if thread.system else ""
        kept: Slots = [slot for slot in builder.window if slot[0] == system or slot[1] > place]
        builder.replace_window(kept, Departure.HOST_COMPACTED)
        builder.admit_text(Kind.SUMMARY, Role.USER, text, Birth(builder.turn, wall_s, place=place))
        builder.sort_window()

    def _rewind_before_event(self, event_id: str) -> None:
        """The user went back: this event and all later events are gone."""
        builder = self._ensure_main_thread().builder
        start = self._ensure_main_thread().starts.get(event_id)
        if start is None:
            self._skip_record("session.snapshot_rewind")
            return
        builder.end_unpaired_calls_and_results()
        builder.replace_window([slot for slot in builder.window if slot[1] < start], Departure.REWOUND)


def _reply_id(data: dict[str, Any]) -> str:
    """The request a message belongs to: turns are numbered anew in every interaction."""
    turn = as_text(data.get("turnId"))
    return clean_name(f"{as_text(data.get('interactionId'))}.{turn}" if turn else as_text(data.get("messageId")))


def _tool_requests(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from map(as_dict, as_list(data.get("toolRequests")))
