"""Sessions of Factory's Droid (`~/.factory/sessions/*/*.jsonl`): a header, then a record a line.

    session_start {id, cwd, title}                          ─▶ SessionOpened
    message user ─▶ user, or the host's reminder, or results   message assistant ─▶ texts, thinking, open calls
    compaction_state ─▶ WindowReplaced: its summary, then what follows its anchor

Messages have the blocks of Anthropic's API. Droid is closed; the shape is that of programs that read its files
(session_start, message, todo_state, session_settings, agent_turn_outcome, compaction_state), without any token counts.
"""

from __future__ import annotations

from typing import Any

from ctxgc.adapters.builder import Birth
from ctxgc.adapters.contract import SessionOpened
from ctxgc.adapters.host_texts.wrappers import parse_wrappers
from ctxgc.adapters.json_values import as_dict, as_text, block_text, clean_name, content_blocks, parse_unix_s
from ctxgc.adapters.skeletons import SKELETON_DEPTH_MAX, exceeds_depth
from ctxgc.adapters.transcripts.jsonl import head_objects, parse_json_object
from ctxgc.adapters.transcripts.session_builder import SessionBuilder
from ctxgc.adapters.transcripts.single_session import SingleSessionLines
from ctxgc.core.segment import Departure, Kind, Role

HOST_TAG = "system-reminder"

_HEADER_KEYS = frozenset({"id", "cwd"})


def is_droid(head: bytes) -> bool:
    """A record that is a session's header."""
    return any(value.get("type") == "session_start" and value.keys() >= _HEADER_KEYS for value in head_objects(head))


class Droid(SingleSessionLines):
    """Parses a session file."""

    source = "droid"
    bookkeeping = frozenset({"todo_state", "session_settings", "agent_turn_outcome"})

    def __init__(self) -> None:
        super().__init__()
        self._cwd = ""
        self._messages: dict[str, int] = {}
        """How many segments there were before each message."""
        self._ids: list[str] = []
        """All segments, in order."""

    def _read_record(self, line: bytes) -> bool:
        record = parse_json_object(line)
        if record is None:
            return False
        kind = record.get("type")
        if exceeds_depth(record, SKELETON_DEPTH_MAX):
            self._skip_record("too_deep")
        elif kind == "session_start" and self._builder is None:
            self._take_header(record)
        elif kind == "message":
            self._take_message(record)
        elif kind == "compaction_state":
            self._take_compaction(record)
        else:
            self._skip_record(kind if isinstance(kind, str) and kind else "malformed")
        return True

    def _is_record(self, value: dict[str, Any]) -> bool:
        return value.get("type") in ("session_start", "message", "compaction_state", *self.bookkeeping)

    def _take_header(self, record: dict[str, Any]) -> None:
        session = clean_name(as_text(record.get("id"))) or self.unnamed_session
        self._builder = SessionBuilder(session, self._events)
        self._cwd = clean_name(as_text(record.get("cwd")))
        title = clean_name(as_text(record.get("sessionTitle")) or as_text(record.get("title")))
        self._builder.known.update(project=self._cwd, title=title)
        parent = clean_name(as_text(record.get("parentSessionId")) or as_text(record.get("callingSessionId")))
        self._events.append(SessionOpened(session, self._cwd, parent, title=title))

    def _take_message(self, record: dict[str, Any]) -> None:
        message, builder = as_dict(record.get("message")), self._ensure_builder()
        role, content = message.get("role"), message.get("content")
        if role not in ("user", "assistant") or not isinstance(content, str | list):
            self._skip_record("malformed")
            return
        wall_s, name = parse_unix_s(record.get("timestamp")), clean_name(as_text(record.get("id")))
        self._messages.setdefault(name, len(self._ids))
        if role == "assistant":
            builder.note_session(model=as_text(message.get("model")))
            builder.end_late_calls()
            builder.turn += 1
            birth = Birth(builder.turn - 1, wall_s, name)
        else:
            texts = [text for block in content_blocks(content) if (text := block_text(block))]
            if any(text.strip() and not _is_host_reminder(text) for text in texts):
                builder.admit_open_calls_as_late()
            birth = Birth(builder.turn, wall_s)
        for block in content_blocks(content):
            self._take_block(builder, as_dict(block), Role(role), birth)

    def _take_block(self, builder: SessionBuilder, block: dict[str, Any], role: Role, birth: Birth) -> None:
        kind, text = block.get("type"), block_text(block)
        if kind == "tool_result":
            is_error = True if block.get("is_error") is True else None
            builder.join_call_result(as_text(block.get("tool_use_id")), block.get("content"), is_error, birth.wall_s)
        elif kind == "tool_use" and as_text(block.get("id")):
            call_id, tool = as_text(block["id"]), as_text(block.get("name"))
            self._ids.append(builder.begin_call(call_id, tool, block.get("input"), birth, cwd=self._cwd))
        elif kind == "thinking":
            thought, signature = as_text(block.get("thinking")), as_text(block.get("signature"))
            if thought or signature:
                skeleton: dict[str, object] = {"signature": signature} if signature else {}
                self._ids.append(builder.admit_text(Kind.THINKING, role, thought, birth, skeleton))
        elif text is not None:
            if text.strip():
                said = Kind.SYSTEM if _is_host_reminder(text) else Kind.USER
                what = Kind.ASSISTANT if role is Role.ASSISTANT else said
                self._ids.append(builder.admit_text(what, role, text, birth))
        elif isinstance(kind, str) and kind not in ("tool_use", "text"):
            what = Kind.OTHER if role is Role.ASSISTANT else Kind.USER
            self._ids.append(builder.admit_text(what, role, "", birth, {"opaque": [block]}))
        else:
            self._skip_record("malformed")

    def _take_compaction(self, record: dict[str, Any]) -> None:
        """The window is the summary, then the messages from the anchor on; without a known anchor, nothing else."""
        builder = self._ensure_builder()
        summary = as_text(record.get("summaryText")) or as_text(record.get("summary"))
        if not summary.strip():
            self._skip_record("compaction_state")
            return
        anchor = as_dict(record.get("anchorMessage"))
        start = self._messages.get(as_text(anchor.get("id")), len(self._ids))
        builder.end_unpaired_calls_and_results()
        present = {name for name, _ in builder.window}
        kept = [name for name in self._ids[start:] if name in present]
        birth = Birth(builder.turn, parse_unix_s(record.get("timestamp")))
        summary_id = builder.admit_text(Kind.SUMMARY, Role.USER, summary, birth)
        self._ids.append(summary_id)
        builder.replace_window_at_fresh_places([summary_id, *kept], Departure.HOST_COMPACTED)


def _is_host_reminder(text: str) -> bool:
    """Whether the text is the host's reminders and nothing else."""
    found = parse_wrappers(text)
    return bool(found) and all(wrapper.tag == HOST_TAG for wrapper in found)
