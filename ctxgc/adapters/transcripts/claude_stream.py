"""What `claude --print --output-format stream-json` prints: a session of Claude Code as lines, without its log's tree.

system init ─▶ SessionOpened    user ─▶ texts, or results of calls    assistant (one block a line) ─▶ texts, open calls
parent_tool_use_id ─▶ session SESSION/CALL, a child of that call       usage of a message ─▶ ReplyBilled
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ctxgc.adapters.builder import Birth
from ctxgc.adapters.contract import ReplyBilled, SessionOpened
from ctxgc.adapters.host_texts.claude_code import ClaudeTexts
from ctxgc.adapters.json_values import as_count, as_dict, as_text, block_text, clean_name, content_blocks
from ctxgc.adapters.skeletons import SKELETON_DEPTH_MAX, exceeds_depth
from ctxgc.adapters.transcripts.jsonl import LineTranscript, head_objects, parse_json_object
from ctxgc.adapters.transcripts.session_builder import SessionBuilder
from ctxgc.core.segment import Kind, Role

SPOKEN = ("user", "assistant")


def is_claude_stream(head: bytes) -> bool:
    """The beginning of a session, or a message, under the stream's own name of a session."""
    return any(
        "session_id" in value and (_is_session_start(value) or _is_message(value)) for value in head_objects(head)
    )


def _is_session_start(record: dict[str, Any]) -> bool:
    return record.get("type") == "system" and record.get("subtype") == "init"


def _is_message(record: dict[str, Any]) -> bool:
    return record.get("type") in SPOKEN and isinstance(as_dict(record.get("message")).get("content"), str | list)


@dataclass(slots=True)
class _StreamSession:
    """One session of the stream."""

    builder: SessionBuilder
    texts: ClaudeTexts
    reply: str = ""


class ClaudeStream(LineTranscript):
    """Parses one stream: a session with the sub-agents in the stream."""

    source = "claude_code"
    bookkeeping = frozenset({"result", "system.init", "rate_limit_event"})

    def __init__(self) -> None:
        super().__init__()
        self._sessions: dict[str, _StreamSession] = {}
        self._cwd = ""

    def _read_record(self, line: bytes) -> bool:
        record = parse_json_object(line)
        if record is None:
            return False
        kind, name = as_text(record.get("type")), clean_name(as_text(record.get("session_id")))
        if not name or not (_is_session_start(record) or _is_message(record)):
            self._skip_record(f"system.{as_text(record.get('subtype'))}" if kind == "system" else kind or "malformed")
        elif _is_session_start(record):
            self._cwd = clean_name(as_text(record.get("cwd")))
            self._find_or_open_session(name, "").builder.note_session(
                project=self._cwd, model=as_text(record.get("model"))
            )
        elif exceeds_depth(record, SKELETON_DEPTH_MAX):
            self._skip_record("too_deep")
        else:
            session = self._find_or_open_session(name, clean_name(as_text(record.get("parent_tool_use_id"))))
            take = self._take_prompt if kind == "user" else self._take_reply
            take(session, as_dict(record["message"]))
        return True

    def _is_record(self, value: dict[str, Any]) -> bool:
        return "session_id" in value and isinstance(value.get("type"), str)

    def _flush(self) -> None:
        for session in self._sessions.values():
            session.builder.admit_unpaired_calls_and_results()

    def _find_or_open_session(self, name: str, call: str) -> _StreamSession:
        """The session of a record: the stream's own, or the sub-agent's that the call started."""
        side = f"{name}/{call}" if call else name
        if side not in self._sessions:
            builder = SessionBuilder(side, self._events)
            self._sessions[side] = _StreamSession(builder, ClaudeTexts())
            self._events.append(SessionOpened(side, parent=name if call else "", parent_segment=call))
            builder.note_session(project=self._cwd)
        return self._sessions[side]

    def _take_prompt(self, session: _StreamSession, message: dict[str, Any]) -> None:
        builder, birth = session.builder, Birth(session.builder.turn)
        for block in content_blocks(message["content"]):
            fields, text = as_dict(block), block_text(block)
            if fields.get("type") == "tool_result":
                is_error = True if fields.get("is_error") is True else None
                builder.join_call_result(as_text(fields.get("tool_use_id")), fields.get("content"), is_error)
            elif text is not None:
                reading = session.texts.read_user_text(text)
                if reading.words.strip():
                    builder.admit_open_calls_as_late()
                    builder.admit_text(reading.kind, Role.USER, reading.words, birth, facts=reading.facts)
            else:
                self._take_opaque_block(builder, block, Kind.USER, Role.USER, birth)

    def _take_reply(self, session: _StreamSession, message: dict[str, Any]) -> None:
        """A block of a reply, or several: a reply's lines share the id of its message."""
        builder, reply, model = session.builder, as_text(message.get("id")), as_text(message.get("model"))
        if not reply or reply != session.reply:
            session.reply = reply
            builder.end_late_calls()
            builder.turn += 1
        builder.note_session(model=model)
        birth = Birth(builder.turn - 1, reply=clean_name(reply))
        for block in content_blocks(message["content"]):
            fields, text = as_dict(block), block_text(block)
            if fields.get("type") == "tool_use" and as_text(fields.get("id")):
                tool = as_text(fields.get("name"))
                session.texts.note_call(tool, fields.get("input"))
                builder.begin_call(as_text(fields["id"]), tool, fields.get("input"), birth, cwd=self._cwd)
            elif fields.get("type") == "thinking":
                thought, signature = as_text(fields.get("thinking")), as_text(fields.get("signature"))
                if thought or signature:
                    skeleton: dict[str, object] = {"signature": signature} if signature else {}
                    builder.admit_text(Kind.THINKING, Role.ASSISTANT, thought, birth, skeleton)
            elif text is not None:
                if text.strip():
                    builder.admit_text(Kind.ASSISTANT, Role.ASSISTANT, text, birth)
            else:
                self._take_opaque_block(builder, block, Kind.OTHER, Role.ASSISTANT, birth)
        self._emit_bill(builder, as_dict(message.get("usage")), model)

    def _take_opaque_block(self, builder: SessionBuilder, block: object, kind: Kind, role: Role, birth: Birth) -> None:
        """A block of another kind is kept word for word; what is no block is counted."""
        if as_text(as_dict(block).get("type")) in ("", "text", "tool_use"):
            self._skip_record("malformed")
        else:
            builder.admit_text(kind, role, "", birth, {"opaque": [block]})

    def _emit_bill(self, builder: SessionBuilder, usage: dict[str, Any], model: str) -> None:
        """Each line of a reply repeats the bill; the last one counts."""
        names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
        counts = [as_count(usage.get(name)) for name in names]
        if any(counts):
            self._events.append(ReplyBilled(builder.session, builder.turn - 1, clean_name(model), 0.0, *counts))
