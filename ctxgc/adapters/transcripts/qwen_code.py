"""Qwen Code's sessions (`~/.qwen/projects/*/chats/*.jsonl`): a tree of `ChatRecord`s, whose newest leaf is the session.

    user │ assistant │ tool_result: `message`, a Content of the GenAI API ─▶ texts, thinking, calls with their results
    usageMetadata ─▶ ReplyBilled           system: custom_title, parent_session, session_model ─▶ SessionOpened
    system chat_compression ─▶ WindowReplaced: its compressedHistory, whose new contents sum up what left
    a record whose parent is not the record before it ─▶ WindowReplaced: the path from the root to that parent
    isSidechain with an agentId ─▶ session SESSION/AGENT

The names are those of `chatRecordingService.ts` in QwenLM/qwen-code, the window that of its
`buildApiHistoryFromConversation`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ctxgc.adapters.builder import Birth
from ctxgc.adapters.contract import ReplyBilled, SessionOpened
from ctxgc.adapters.json_values import as_count, as_dict, as_text, clean_name, parse_unix_s
from ctxgc.adapters.skeletons import SKELETON_DEPTH_MAX, exceeds_depth
from ctxgc.adapters.transcripts.genai_content import (
    HOST,
    MODEL,
    SUMMARY,
    USER,
    ContentReader,
    is_genai_content,
    parts_of_content,
)
from ctxgc.adapters.transcripts.jsonl import LineTranscript, head_objects, parse_json_object
from ctxgc.adapters.transcripts.session_builder import SessionBuilder
from ctxgc.core.segment import Departure

SPOKEN = frozenset({"user", "assistant", "tool_result"})
TYPED_SUBTYPES = frozenset({"", "mid_turn_user_message", "realtime_message", "user_text_elements"})
"""Subtypes of a user's record that a person wrote; any other subtype is the host's own."""

HOST_PROVENANCES = frozenset({"goal_control", "goal_runtime", "system"})


def is_qwen_code(head: bytes) -> bool:
    """A line of a session whose message is a Content of the GenAI API, or whose note has its payload."""
    return any(
        "sessionId" in value
        and "uuid" in value
        and ("systemPayload" in value or is_genai_content(value.get("message")))
        for value in head_objects(head)
    )


@dataclass(slots=True)
class _QwenRecord:
    """A node of the tree."""

    parent: str
    ids: list[str] = field(default_factory=list)
    is_compression: bool = False


@dataclass(slots=True)
class _QwenSession:
    """A session of the file."""

    builder: SessionBuilder
    content: ContentReader
    records: dict[str, _QwenRecord] = field(default_factory=dict)
    leaf: str = ""
    reply: str = ""


class QwenCode(LineTranscript):
    """Parses one file: a session, and the sub-agents whose records lie in the file."""

    source = "qwen_code"

    def __init__(self) -> None:
        super().__init__()
        self._sessions: dict[str, _QwenSession] = {}

    def _read_record(self, line: bytes) -> bool:
        record = parse_json_object(line)
        if record is None:
            return False
        name, uuid = clean_name(as_text(record.get("sessionId"))), as_text(record.get("uuid"))
        if not name or not uuid:
            self._skip_record(record.get("type") if "type" in record else "no_session")
        elif exceeds_depth(record, SKELETON_DEPTH_MAX + 4):
            self._skip_record("too_deep")
        else:
            session = self._find_or_open_session(name, record)
            self._add_record(session, uuid, record)
            if record.get("type") == "system":
                self._take_system_record(session, record)
            else:
                self._take_record(session, record)
            for kind in session.content.skipped:
                self._skip_record(kind)
            session.content.skipped.clear()
        return True

    def _is_record(self, value: dict[str, Any]) -> bool:
        return "sessionId" in value and "uuid" in value

    def _flush(self) -> None:
        for session in self._sessions.values():
            session.builder.admit_unpaired_calls_and_results()

    def is_bookkeeping(self, kinds: Any) -> bool:
        """Notes of the host alone make no session."""
        return all(kind.startswith("system.") for kind in kinds)

    def _find_or_open_session(self, name: str, record: dict[str, Any]) -> _QwenSession:
        agent = clean_name(as_text(record.get("agentId"))) if record.get("isSidechain") is True else ""
        parent, name = (name, f"{name}/{agent}") if agent else ("", name)
        if name not in self._sessions:
            builder = SessionBuilder(name, self._events)
            self._sessions[name] = _QwenSession(builder, ContentReader(builder))
            cwd = clean_name(as_text(record.get("cwd")))
            builder.known["project"] = cwd
            self._events.append(SessionOpened(name, cwd, parent))
        return self._sessions[name]

    def _add_record(self, session: _QwenSession, uuid: str, record: dict[str, Any]) -> None:
        """Add the record to the tree; a record that does not follow the record before begins another window.

        Several records of one `uuid` are one node, and a record whose parent was lost follows the record before.
        """
        if uuid in session.records:
            return
        parent = as_text(record.get("parentUuid"))
        is_known = parent in session.records or ("parentUuid" in record and record["parentUuid"] is None)
        if is_known and parent != session.leaf and session.leaf:
            session.leaf = parent
            self._rebuild_window(session, Departure.REWOUND)
        session.records[uuid] = _QwenRecord(session.leaf)
        session.leaf = uuid

    @staticmethod
    def _rebuild_window(session: _QwenSession, reason: Departure) -> None:
        """The window becomes the records on the path to the leaf, from the newest compression on."""
        ids: list[str] = []
        for record in _records_from_leaf(session):
            ids = [*record.ids, *ids]
            if record.is_compression:
                break
        ids = list(dict.fromkeys(ids))
        builder = session.builder
        if ids != [name for name, _ in builder.window]:
            builder.end_unpaired_calls_and_results()
            builder.replace_window_at_fresh_places(ids, reason)

    def _take_record(self, session: _QwenSession, record: dict[str, Any]) -> None:
        """A record that a request holds."""
        kind, content, builder = as_text(record.get("type")), record.get("message"), session.builder
        if kind not in SPOKEN or not is_genai_content(content):
            self._skip_record(f"record.{kind[:32]}" if kind and kind not in SPOKEN else "malformed")
            return
        wall_s, cwd = parse_unix_s(record.get("timestamp")), clean_name(as_text(record.get("cwd")))
        node = session.records[as_text(record.get("uuid"))]
        if kind == "assistant":
            self._take_reply(session, record, node, wall_s)
            return
        session.reply = ""
        is_said = any(as_text(part.get("text")).strip() for part in parts_of_content(content))
        is_typed = as_text(record.get("subtype")) in TYPED_SUBTYPES
        is_host = not is_typed or as_text(record.get("provenance")) in HOST_PROVENANCES
        if kind == "user" and is_said and not is_host:
            builder.admit_open_calls_as_late()
        node.ids += session.content.admit_content(content, HOST if is_host else USER, Birth(builder.turn, wall_s), cwd)

    def _take_reply(self, session: _QwenSession, record: dict[str, Any], node: _QwenRecord, wall_s: float) -> None:
        builder, uuid = session.builder, as_text(record.get("uuid"))
        if uuid != session.reply:
            builder.end_late_calls()
            builder.turn += 1
            session.reply = uuid
        model = clean_name(as_text(record.get("model")))
        builder.note_session(model=model)
        birth = Birth(builder.turn - 1, wall_s, clean_name(uuid))
        cwd = clean_name(as_text(record.get("cwd")))
        node.ids += session.content.admit_content(record.get("message"), MODEL, birth, cwd)
        usage = as_dict(record.get("usageMetadata"))
        prompt, cached = as_count(usage.get("promptTokenCount")), as_count(usage.get("cachedContentTokenCount"))
        if prompt:
            output = as_count(usage.get("candidatesTokenCount")) + as_count(usage.get("thoughtsTokenCount"))
            fresh = max(prompt - cached, 0)
            self._events.append(ReplyBilled(builder.session, builder.turn - 1, model, wall_s, fresh, cached, 0, output))

    def _take_system_record(self, session: _QwenSession, record: dict[str, Any]) -> None:
        """A system record: the host's note, or a compression."""
        subtype, payload = as_text(record.get("subtype")), as_dict(record.get("systemPayload"))
        name = session.builder.session
        if subtype == "chat_compression" and isinstance(payload.get("compressedHistory"), list):
            self._take_compression(session, record, payload["compressedHistory"])
        elif subtype == "custom_title":
            session.builder.note_session(title=as_text(payload.get("customTitle")))
        elif subtype == "session_model":
            session.builder.note_session(model=as_text(payload.get("modelId")))
        elif subtype == "parent_session" and (parent := clean_name(as_text(payload.get("parentSessionId")))):
            self._events.append(SessionOpened(name, parent=parent))
        else:
            self._skip_record(f"system.{subtype}")

    def _take_compression(self, session: _QwenSession, record: dict[str, Any], history: list[Any]) -> None:
        """The window becomes the history: copies keep their segments, new contents sum up the departed segments."""
        builder, wall_s = session.builder, parse_unix_s(record.get("timestamp"))
        builder.end_unpaired_calls_and_results()
        ids: list[str] = []
        for content in filter(is_genai_content, history):
            is_model = content.get("role") == "model"
            known = session.content.copied_segment_ids(content, MODEL if is_model else USER)
            if known is None:
                news = session.content.new_parts(content)
                known = session.content.admit_content(news, MODEL if is_model else SUMMARY, Birth(builder.turn, wall_s))
            ids += known
        node = session.records[as_text(record.get("uuid"))]
        node.ids, node.is_compression = list(dict.fromkeys(ids)), True
        self._rebuild_window(session, Departure.HOST_COMPACTED)


def _records_from_leaf(session: _QwenSession) -> Iterator[_QwenRecord]:
    """From the leaf to the root."""
    name = session.leaf
    while (record := session.records.get(name)) is not None:
        yield record
        name = record.parent
