"""Claude Code's session logs: a JSON object a line, an assistant record a content block.

    user ──▶ prompt, attachment, or results ──close──▶ tool call      compact_boundary ─▶ WindowReplaced, then a summary
    assistant (blocks of one message.id = one reply) ─▶ texts, thinking, open calls      microcompact ─▶ BodiesCleared
    attachment ─▶ what the host put beside a prompt                  isSidechain ─▶ session PARENT/AGENT

A record's part in the prompt is its `message`; `toolUseResult`, 43 % of the bytes, is the screen's copy and is never
built. `born_turn` of a reply's segments, and `turn` of the reply's bill, is the number of replies before. A new root is
an empty window, as for the host; `/clear` begins another session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from ctxgc.adapters.builder import Birth
from ctxgc.adapters.contract import ReplyBilled, SessionOpened
from ctxgc.adapters.host_texts.claude_code import ClaudeTexts
from ctxgc.adapters.host_texts.folds import split_folds
from ctxgc.adapters.host_texts.wrappers import TextReading
from ctxgc.adapters.json_values import (
    as_count,
    as_dict,
    as_list,
    as_text,
    block_text,
    clean_name,
    content_blocks,
    parse_unix_s,
)
from ctxgc.adapters.skeletons import SKELETON_DEPTH_MAX, exceeds_depth
from ctxgc.adapters.transcripts.claude_attachments import read_attachment
from ctxgc.adapters.transcripts.claude_record import BOOKKEEPING, ClaudeRecord, decode_record
from ctxgc.adapters.transcripts.claude_tree import Tree, hash64
from ctxgc.adapters.transcripts.jsonl import LineTranscript
from ctxgc.adapters.transcripts.session_builder import SessionBuilder
from ctxgc.core.segment import Departure, Kind, Role

AGENT_CALLS_MAX = 1024
"""Prompts of sub-agent calls remembered, to find the call that a side chain answers."""


@dataclass(slots=True)
class _ReplyBill:
    """The bill of a reply: every record repeats the bill, and the last record has the most output."""

    turn: int
    model: str = ""
    wall_s: float = 0.0
    output_tokens: int = -1
    raw: dict[str, Any] = field(default_factory=dict)
    is_news: bool = False


@dataclass(slots=True)
class _ClaudeSession:
    """A session of the file."""

    builder: SessionBuilder
    tree: Tree = field(default_factory=Tree)
    last_uuid: str = ""
    reply: str = ""
    usage: _ReplyBill | None = None
    turns: dict[int, int] = field(default_factory=dict)
    """Turn of each reply, by the stamp of its message id."""
    texts: ClaudeTexts = field(default_factory=ClaudeTexts)
    summary_place: int | None = None
    """A place that a compaction keeps free for its summary."""


class ClaudeCode(LineTranscript):
    """Parses a file of `~/.claude/projects`: a session, its side chains, or several sessions."""

    source = "claude_code"
    bookkeeping = BOOKKEEPING

    def __init__(self) -> None:
        super().__init__()
        self._sessions: dict[str, _ClaudeSession] = {}
        self._last_session = ""
        self._lineages: dict[str, str] = {}
        """Session ids that go on with another one's window, by the parents of their records: a resumed session."""
        self._sides: dict[int, str] = {}
        self._agent_calls: dict[int, tuple[str, str]] = {}

    def _read_record(self, line: bytes) -> bool:
        record = decode_record(line)
        if record is None:
            return False
        self._take_record(record)
        return True

    def _is_record(self, value: dict[str, Any]) -> bool:
        return isinstance(value.get("type"), str) and ("sessionId" in value or "uuid" in value)

    def _flush(self) -> None:
        for session in self._sessions.values():
            session.builder.admit_unpaired_calls_and_results()
            self._emit_bill(session)

    def _take_record(self, record: ClaudeRecord) -> None:
        session = self._find_or_open_session(record)
        if session is None:
            self._skip_record(record.type if isinstance(record.type, str) and record.type else "no_session")
            return
        kind = record.type
        uuid = as_text(record.uuid)
        if uuid and uuid in session.tree:
            self._skip_record("duplicate")
            return
        above = 0
        if uuid:
            parent = session.last_uuid if record.parentUuid is msgspec.UNSET else as_text(record.parentUuid)
            is_solid = kind in ("user", "assistant") or record.subtype == "compact_boundary"
            above = session.tree.add_node(uuid, parent, is_solid, session.builder.next_place)
            session.last_uuid = uuid
        if kind == "user":
            self._take_user_record(session, record, above)
        elif kind == "assistant":
            self._take_assistant_record(session, record)
        elif kind == "attachment":
            self._take_attachment(session, record)
        elif kind == "system":
            self._take_system_record(session, record)
        elif kind in ("ai-title", "custom-title"):
            session.builder.note_session(title=as_text(record.aiTitle) or as_text(record.customTitle))
        else:
            self._skip_record(kind)

    def _find_or_open_session(self, record: ClaudeRecord) -> _ClaudeSession | None:
        """The session of a record, opened if the session is new; `None` before any record has named a session."""
        name = clean_name(as_text(record.sessionId))
        name = self._lineages.get(name, name) or self._last_session
        if not name:
            return None
        if name != self._last_session and record.isSidechain is not True:
            name = self._resolve_session_name(name, as_text(record.parentUuid))
        self._last_session = name
        parent = ""
        if record.isSidechain is True:
            parent, name = name, self._name_side_chain(name, record)
        session = self._sessions.get(name)
        if session is None:
            if record.type not in ("user", "assistant", "attachment", "system"):
                return None  # Bookkeeping alone opens no session.
            session = self._sessions[name] = _ClaudeSession(SessionBuilder(name, self._events))
            if parent:
                self._events.append(
                    SessionOpened(name, clean_name(as_text(record.cwd)), parent, self._starting_call_id(parent, record))
                )
                session.builder.known["project"] = clean_name(as_text(record.cwd))
        if not session.builder.known.get("project"):
            session.builder.note_session(project=as_text(record.cwd))
        return session

    def _resolve_session_name(self, name: str, parent: str) -> str:
        """The session continued by a record with another id: the parent's session, if the file holds the parent."""
        own = self._sessions.get(name)
        if not parent or (own is not None and parent in own.tree):
            return name
        for known, session in self._sessions.items():
            if parent in session.tree and "/" not in known:
                self._lineages[name] = known
                return known
        return name

    def _name_side_chain(self, parent: str, record: ClaudeRecord) -> str:
        """The session of a side chain: named by its agent, else by its first record."""
        uuid = as_text(record.uuid)
        agent = clean_name(as_text(record.agentId))
        above = self._sides.get(hash64(as_text(record.parentUuid))) if record.parentUuid else None
        name = f"{parent}/{agent}" if agent else above or f"{parent}/{clean_name(uuid[:8]) or 'side'}"
        if uuid and not agent:
            self._sides[hash64(uuid)] = name
        return name

    def _starting_call_id(self, parent: str, record: ClaudeRecord) -> str:
        """The tool call of the parent that started a side chain: the call whose prompt is the chain's first text."""
        for block in content_blocks(as_dict(record.message).get("content")):
            session, call = self._agent_calls.get(hash64(block_text(block) or ""), ("", ""))
            if session == parent:
                return call
        return ""

    def _take_user_record(self, session: _ClaudeSession, record: ClaudeRecord, above: int) -> None:
        builder = session.builder
        content = as_dict(record.message).get("content")
        if not isinstance(content, str | list):
            self._skip_record("malformed")
            return
        wall_s = parse_unix_s(record.timestamp)
        if record.isCompactSummary is True:
            self._take_summary(session, content, wall_s)
            return
        if record.isVisibleInTranscriptOnly is True:
            self._skip_record("not_sent")
            return
        has_result = False
        rest: list[object] = []
        for block in content_blocks(content):
            if as_dict(block).get("type") == "tool_result":
                has_result = True
                self._take_result(session, as_dict(block), wall_s)
            else:
                rest.append(block)
        is_meta = record.isMeta is True
        said = [(block, session.texts.read_user_text(block_text(block) or "", is_meta=is_meta)) for block in rest]
        is_prompt = not is_meta and any(reading.kind is Kind.USER for _, reading in said)
        if is_prompt:
            builder.admit_open_calls_as_late()
        if said and not has_result and session.last_uuid:
            self._rewind_window_at_fork(session, above, is_prompt=is_prompt)
        for block, reading in said:
            self._take_user_block(builder, block, reading, Birth(builder.turn, wall_s))

    def _take_user_block(self, builder: SessionBuilder, block: object, reading: TextReading, birth: Birth) -> None:
        """Turn a block of a user record into a segment, of the kind that its host texts give."""
        if block_text(block) is None:
            self._take_block(builder, block, Kind.USER, Role.USER, birth)
        elif reading.words.strip():
            builder.admit_text(reading.kind, Role.USER, reading.words, birth, facts=reading.facts)
        elif reading.words:
            self._skip_record("blank")

    def _rewind_window_at_fork(self, session: _ClaudeSession, above: int, is_prompt: bool) -> None:
        slots = session.tree.switch_branch_at_text(above, session.builder.window, is_prompt)
        if slots is not None:
            session.builder.end_unpaired_calls_and_results()
            session.builder.replace_window(slots, Departure.REWOUND)

    def _take_result(self, session: _ClaudeSession, block: dict[str, Any], wall_s: float) -> None:
        builder, content = session.builder, block.get("content")
        if exceeds_depth(content, SKELETON_DEPTH_MAX):
            self._skip_record("too_deep")
            return
        is_error = block.get("is_error")
        call_id = as_text(block.get("tool_use_id"))
        result = split_folds(content)
        builder.join_call_result(call_id, result.content, is_error if isinstance(is_error, bool) else None, wall_s)
        for reading in map(session.texts.read_fold, result.folds):
            builder.admit_text(reading.kind, Role.USER, reading.words, Birth(builder.turn, wall_s), facts=reading.facts)

    def _take_assistant_record(self, session: _ClaudeSession, record: ClaudeRecord) -> None:
        builder = session.builder
        message = as_dict(record.message)
        content = message.get("content")
        if not isinstance(content, str | list):
            self._skip_record("malformed")
            return
        model = as_text(message.get("model"))
        if model == "<synthetic>" or record.isApiErrorMessage is True:
            self._skip_record("synthetic")
            return
        reply = as_text(message.get("id")) or as_text(record.uuid)
        wall_s = parse_unix_s(record.timestamp)
        turn = self._begin_reply(session, reply)
        birth = Birth(turn, wall_s, reply)
        builder.note_session(model=model)
        self._note_usage(session, turn, model, message.get("usage"), wall_s)
        for block in content_blocks(content):
            kind = as_dict(block).get("type")
            if kind == "tool_use":
                self._take_call(builder, as_dict(block), as_text(record.cwd), birth)
            elif kind == "thinking":
                self._take_thinking(builder, as_dict(block), birth)
            else:
                text = block_text(block)
                what = Kind.ASSISTANT if text is not None else Kind.OTHER
                self._take_block(builder, block, what, Role.ASSISTANT, birth)

    def _begin_reply(self, session: _ClaudeSession, reply: str) -> int:
        """The turn of a reply; a new reply ends the wait for the reply before."""
        key = hash64(reply)
        if key not in session.turns:
            self._emit_bill(session)
            session.builder.end_late_calls()
            session.turns[key] = session.builder.turn
            session.usage = _ReplyBill(session.builder.turn)
            session.builder.turn += 1
        return session.turns[key]

    def _note_usage(self, session: _ClaudeSession, turn: int, model: str, usage: object, wall_s: float) -> None:
        kept = session.usage
        if kept is None or kept.turn != turn or not isinstance(usage, dict):
            return
        output_tokens = as_count(usage.get("output_tokens"))
        if output_tokens > kept.output_tokens:
            session.usage = _ReplyBill(turn, model, wall_s, output_tokens, usage, is_news=True)

    def _emit_bill(self, session: _ClaudeSession) -> None:
        """Emit the bill of the current reply; again for the same turn if later records know better."""
        usage = session.usage
        if usage is None or not usage.is_news:
            return
        usage.is_news = False
        self._events.append(
            ReplyBilled(
                session=session.builder.session,
                turn=usage.turn,
                model=usage.model,
                wall_s=usage.wall_s,
                input_tokens=as_count(usage.raw.get("input_tokens")),
                cache_read_tokens=as_count(usage.raw.get("cache_read_input_tokens")),
                cache_creation_tokens=as_count(usage.raw.get("cache_creation_input_tokens")),
                output_tokens=usage.output_tokens,
            )
        )

    def _take_call(self, builder: SessionBuilder, block: dict[str, Any], cwd: str, birth: Birth) -> None:
        call_id, tool, value = block.get("id"), block.get("name"), block.get("input")
        if not (isinstance(call_id, str) and call_id and isinstance(tool, str)):
            self._skip_record("malformed")
            return
        if exceeds_depth(value, SKELETON_DEPTH_MAX):
            self._skip_record("too_deep")
            return
        self._sessions[builder.session].texts.note_call(tool, value)
        segment_id = builder.begin_call(call_id, tool, value, birth, cwd=cwd)
        prompt = as_dict(value).get("prompt")
        if isinstance(prompt, str) and len(self._agent_calls) < AGENT_CALLS_MAX:
            self._agent_calls[hash64(prompt)] = (builder.session, segment_id)

    def _take_thinking(self, builder: SessionBuilder, block: dict[str, Any], birth: Birth) -> None:
        text, signature = as_text(block.get("thinking")), as_text(block.get("signature"))
        if not text and not signature:
            self._skip_record("thinking_empty")
            return
        builder.admit_text(Kind.THINKING, Role.ASSISTANT, text, birth, {"signature": signature} if signature else None)

    def _take_block(self, builder: SessionBuilder, block: object, kind: Kind, role: Role, birth: Birth) -> None:
        """A text, or an opaque block: kept verbatim. White space alone is sent to no model."""
        text = block_text(block)
        if text is not None:
            if text.isspace() and role is Role.USER:
                self._skip_record("blank")
            elif text and not text.isspace():
                builder.admit_text(kind, role, text, birth)
        elif not isinstance(block, dict) or not isinstance(block.get("type"), str) or block["type"] == "text":
            self._skip_record("malformed")
        elif exceeds_depth(block, SKELETON_DEPTH_MAX):
            self._skip_record("too_deep")
        else:
            builder.admit_text(kind, role, "", birth, {"opaque": [block]})

    def _take_attachment(self, session: _ClaudeSession, record: ClaudeRecord) -> None:
        attachment = as_dict(record.attachment)
        found = read_attachment(attachment, as_text(record.cwd), session.texts)
        if found is None:
            self._skip_record(f"attachment.{as_text(attachment.get('type'))}")
            return
        kind, words, facts = found
        birth = Birth(session.builder.turn, parse_unix_s(record.timestamp))
        session.builder.admit_text(kind, Role.USER, words, birth, facts=facts)

    def _take_system_record(self, session: _ClaudeSession, record: ClaudeRecord) -> None:
        if record.subtype == "compact_boundary":
            self._take_compaction(session, as_dict(record.compactMetadata))
        elif record.subtype == "microcompact_boundary":
            calls = as_list(as_dict(record.microcompactMetadata).get("compactedToolIds"))
            self._clear_bodies_of_calls(session.builder, calls)
        else:
            self._skip_record(f"system.{as_text(record.subtype)}")

    def _clear_bodies_of_calls(self, builder: SessionBuilder, calls: list[object]) -> None:
        """Only an answered call has a body to clear."""
        known = [
            builder.names.newest_id_of_call(call)
            for call in calls
            if isinstance(call, str) and not builder.is_call_open(call)
        ]
        ids = [segment_id for segment_id in known if segment_id is not None]
        if ids:
            builder.clear_bodies(ids, Departure.HOST_CLEARED)

    def _take_compaction(self, session: _ClaudeSession, metadata: dict[str, Any]) -> None:
        """The window is the segments that the host preserved, behind a place for the summary that comes next."""
        builder = session.builder
        builder.end_unpaired_calls_and_results()
        kept = as_dict(metadata.get("preservedSegment"))
        head = session.tree.node(as_text(kept.get("headUuid")))
        end = session.tree.place_after(as_text(kept.get("tailUuid")), builder.next_place)
        ids = [name for name, place in builder.window if head and head.place <= place < end]
        left = builder.window
        session.summary_place = builder.claim_place()
        builder.replace_window_at_fresh_places(ids, Departure.HOST_COMPACTED)
        session.tree.begin_compacted_branch(left, builder.window)

    def _take_summary(self, session: _ClaudeSession, content: str | list[Any], wall_s: float) -> None:
        if session.summary_place is None:
            self._take_compaction(session, {})
        text = "\n".join(text for block in content_blocks(content) if (text := block_text(block)))
        place, session.summary_place = session.summary_place, None
        session.builder.admit_text(Kind.SUMMARY, Role.USER, text, Birth(session.builder.turn, wall_s, place=place))
