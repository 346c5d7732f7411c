"""Codex rollouts: lines of `{timestamp, type, payload}`; the model sees the `response_item`s.

    message developer│user│assistant ─▶ texts            reasoning with a summary ─▶ thinking
    function_call, custom_tool_call, … ──output──▶ tool call
    compacted ─▶ WindowReplaced: its replacement history, matched to known segments by role and text
    session_meta, turn_context ─▶ SessionOpened                  token_count ─▶ ReplyBilled

A turn is a model request: the turn begins with the model's first item after an item of another speaker. User messages
that the host writes are known by their wrappers (host_texts/codex.py): instructions are `system` and so are never
evicted, a shown skill or output is an `attachment`. `event_msg` repeats items for a screen and `world_state` repeats
messages: both are skipped and counted.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ctxgc.adapters.builder import Birth
from ctxgc.adapters.contract import ReplyBilled, SessionOpened
from ctxgc.adapters.facts.codex_results import is_failed_codex_output, parse_call_input
from ctxgc.adapters.facts.tool_facts import NO_CALL_FACTS, Facts
from ctxgc.adapters.host_texts.codex import CodexTexts, kind_and_facts_of_agent_message
from ctxgc.adapters.host_texts.wrappers import TextReading
from ctxgc.adapters.json_values import (
    as_count,
    as_dict,
    as_text,
    block_text,
    canonical_json,
    clean_name,
    content_blocks,
    parse_unix_s,
)
from ctxgc.adapters.skeletons import SKELETON_DEPTH_MAX, exceeds_depth
from ctxgc.adapters.transcripts.jsonl import head_objects, parse_json_object
from ctxgc.adapters.transcripts.session_builder import SessionBuilder
from ctxgc.adapters.transcripts.single_session import SingleSessionLines
from ctxgc.core.segment import Departure, Kind, Role, text_bytes, text_id, tool_call_id

_TYPES = ("session_meta", "response_item", "event_msg", "turn_context", "compacted", "world_state")
_START = re.compile(rb'\s*\{\s*"timestamp"\s*:\s*"[^"]*"\s*,\s*"type"\s*:\s*"(?:%s)"' % "|".join(_TYPES).encode())
_OLD_KEYS = frozenset({"id", "timestamp", "instructions"})
"""The first line of a rollout from before September 2025."""

CALLS = frozenset({"function_call", "custom_tool_call", "local_shell_call", "web_search_call", "tool_search_call"})
OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output", "tool_search_output"})
SELF_ANSWERED = frozenset({"web_search_call"})
"""Calls that the provider runs: no output item follows."""


class CodexRecord(msgspec.Struct):
    """A line."""

    timestamp: Any = None
    type: Any = None
    payload: Any = None


_DECODER = msgspec.json.Decoder(CodexRecord)


BARE_ITEMS = CALLS | OUTPUTS | {"message", "reasoning"}
"""Items that a rollout from before September 2025 holds without the wrapping of today."""


def _wrap_bare_record(value: dict[str, Any]) -> CodexRecord:
    """A record of such a rollout: the first line is today's `session_meta`, every other line an item."""
    if as_text(value.get("type")) in BARE_ITEMS:
        return CodexRecord(value.get("timestamp"), "response_item", value)
    if "record_type" in value:
        return CodexRecord(None, f"record_type.{value['record_type']}", {})
    if "type" not in value and "id" in value and "timestamp" in value:
        base = {"base_instructions": {"text": value.get("instructions")}}
        return CodexRecord(value["timestamp"], "session_meta", value | base)
    return CodexRecord(value.get("timestamp"), value.get("type"), None)


class Codex(SingleSessionLines):
    """Parses a rollout file: a session."""

    unnamed_session = "rollout"
    source = "codex"
    bookkeeping = frozenset({"event_msg.task_started", "event_msg.thread_settings_applied", "world_state"})

    def __init__(self) -> None:
        super().__init__()
        self._cwd = ""
        self._model = ""
        self._is_bare = False
        """The rollout is an old one, of bare items."""
        self._is_replying = False
        self._billed_turn = 0
        self._billed_total = -1
        self._kinds: dict[str, Kind] = {}
        self._texts = CodexTexts()

    def _read_record(self, line: bytes) -> bool:
        try:
            record = _DECODER.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            found = parse_json_object(line)
            if found is None:
                return False
            record = CodexRecord(found.get("timestamp"), found.get("type"), found.get("payload"))
        if record.payload is None:
            record = _wrap_bare_record(parse_json_object(line) or {})
            self._is_bare |= record.type in ("response_item", "session_meta")
        self._take_record(record)
        return True

    def _is_record(self, value: dict[str, Any]) -> bool:
        kind = value.get("type")
        return isinstance(kind, str) and (
            isinstance(value.get("payload"), dict) or (self._is_bare and kind in BARE_ITEMS)
        )

    def _take_record(self, record: CodexRecord) -> None:
        payload = as_dict(record.payload)
        wall_s = parse_unix_s(record.timestamp)
        if record.type == "session_meta":
            self._take_session_meta(payload, wall_s)
        elif record.type == "turn_context":
            self._take_turn_context(payload)
        elif record.type == "response_item":
            self._take_response_item(payload, wall_s)
        elif record.type == "compacted":
            self._take_compaction(payload, wall_s)
        elif record.type == "event_msg":
            self._take_event(payload, wall_s)
        else:
            self._skip_record(record.type)

    def _take_session_meta(self, payload: dict[str, Any], wall_s: float) -> None:
        """The first `session_meta` names the session; a later one, after a resume or from the forked session, adds
        nothing.
        """
        session = clean_name(as_text(payload.get("id")) or as_text(payload.get("session_id")))
        if self._builder is not None or not session:
            return
        self._builder = SessionBuilder(session, self._events)
        self._cwd = clean_name(as_text(payload.get("cwd")))
        self._builder.known["project"] = self._cwd
        spawned = as_dict(as_dict(as_dict(payload.get("source")).get("subagent")).get("thread_spawn"))
        parent = as_text(spawned.get("parent_thread_id")) or as_text(payload.get("forked_from_id"))
        self._events.append(SessionOpened(session, self._cwd, clean_name(parent)))
        instructions = as_text(as_dict(payload.get("base_instructions")).get("text"))
        if instructions.strip():
            self._admit_text(Kind.SYSTEM, Role.SYSTEM, instructions, wall_s)

    def _take_turn_context(self, payload: dict[str, Any]) -> None:
        builder = self._ensure_builder()
        self._cwd = clean_name(as_text(payload.get("cwd"))) or self._cwd
        self._model = clean_name(as_text(payload.get("model"))) or self._model
        builder.note_session(project="" if builder.known.get("project") else self._cwd, model=self._model)

    def _take_response_item(self, payload: dict[str, Any], wall_s: float) -> None:
        kind = as_text(payload.get("type"))
        if exceeds_depth(payload, SKELETON_DEPTH_MAX):
            self._skip_record("too_deep")
        elif kind == "message":
            self._take_message(payload, wall_s)
        elif kind == "agent_message":
            self._is_replying = False
            kind, facts = kind_and_facts_of_agent_message(
                as_text(payload.get("author")), as_text(payload.get("recipient"))
            )
            self._take_blocks(payload.get("content"), Role.USER, TextReading(kind, "", facts), wall_s)
        elif kind == "reasoning":
            self._begin_reply()
            self._take_reasoning(payload, wall_s)
        elif kind in CALLS:
            self._begin_reply()
            self._take_call(payload, wall_s)
        elif kind in OUTPUTS:
            self._is_replying = False
            self._take_output(payload, wall_s)
        elif kind in ("compaction", "compaction_summary"):
            self._admit_summary("", {"opaque": [payload]}, wall_s)
        else:
            self._skip_record(f"response_item.{kind}")

    def _begin_reply(self) -> None:
        """The model speaks: a new turn if the item before was another speaker's."""
        if not self._is_replying:
            self._is_replying = True
            builder = self._ensure_builder()
            builder.end_late_calls()
            builder.turn += 1

    def _birth_turn(self) -> int:
        """The turn in which a segment is born: a reply's own items belong to the reply's turn."""
        return self._ensure_builder().turn - (1 if self._is_replying else 0)

    def _reply_id(self) -> str:
        return f"turn-{self._birth_turn()}" if self._is_replying else ""

    def _admit_text(
        self,
        kind: Kind,
        role: Role,
        text: str,
        wall_s: float,
        skeleton: dict[str, object] | None = None,
        facts: Facts = NO_CALL_FACTS,
    ) -> str:
        birth = Birth(self._birth_turn(), wall_s, self._reply_id() if role is Role.ASSISTANT else "")
        segment_id = self._ensure_builder().admit_text(kind, role, text, birth, skeleton, facts)
        self._kinds[segment_id] = kind
        return segment_id

    def _take_message(self, payload: dict[str, Any], wall_s: float) -> None:
        role = as_text(payload.get("role"))
        if role == "assistant":
            self._begin_reply()
            self._take_blocks(payload.get("content"), Role.ASSISTANT, TextReading(Kind.ASSISTANT, ""), wall_s)
        elif role in ("developer", "system"):
            self._is_replying = False
            self._take_blocks(payload.get("content"), Role(role), TextReading(Kind.SYSTEM, ""), wall_s)
        elif role == "user":
            self._is_replying = False
            self._take_blocks(payload.get("content"), Role.USER, None, wall_s)
        else:
            self._skip_record("malformed")

    def _take_blocks(self, content: object, role: Role, speaker: TextReading | None, wall_s: float) -> None:
        """Each block is a segment; without a speaker, the host's own texts are told from the user's."""
        if not isinstance(content, str | list):
            self._skip_record("malformed")
            return
        for block in content_blocks(content):
            text = block_text(block)
            kind, _, facts = speaker or self._texts.read_user_text(text or "")
            if kind is Kind.USER:
                self._ensure_builder().admit_open_calls_as_late()
            if text is None and not as_text(as_dict(block).get("type")):
                self._skip_record("malformed")
            elif text is None:
                self._admit_text(kind, role, "", wall_s, {"opaque": [block]})
            elif text.strip():
                self._admit_text(kind, role, text, wall_s, facts=facts)
            elif text and role is Role.USER:
                self._skip_record("blank")

    def _take_reasoning(self, payload: dict[str, Any], wall_s: float) -> None:
        """The readable part of the reasoning; most reasoning is encrypted for the provider."""
        parts = [payload.get("summary"), payload.get("content")]
        items = [as_text(as_dict(item).get("text")) for part in parts if isinstance(part, list) for item in part]
        text = "\n\n".join(item for item in items if item.strip())
        if text:
            self._admit_text(Kind.THINKING, Role.ASSISTANT, text, wall_s)
        else:
            self._skip_record("reasoning_encrypted")

    def _take_call(self, payload: dict[str, Any], wall_s: float) -> None:
        kind = as_text(payload.get("type"))
        call_id = _id_of_call(payload)
        if not call_id:
            self._skip_record("malformed")
            return
        tool = as_text(payload.get("name")) or kind.removesuffix("_call")
        value, is_text = parse_call_input(payload)
        builder = self._ensure_builder()
        birth = Birth(self._birth_turn(), wall_s, self._reply_id())
        builder.begin_call(call_id, tool, value, birth, cwd=self._cwd, is_text=is_text)
        if kind in SELF_ANSWERED:
            builder.join_call_result(call_id, None, None, wall_s)

    def _take_output(self, payload: dict[str, Any], wall_s: float) -> None:
        output = payload.get("output", payload.get("tools"))
        call_id = as_text(payload.get("call_id"))
        self._ensure_builder().join_call_result(
            call_id, output, True if is_failed_codex_output(output) else None, wall_s
        )

    def _take_event(self, payload: dict[str, Any], wall_s: float) -> None:
        kind = as_text(payload.get("type"))
        if kind == "token_count":
            self._emit_bill(as_dict(payload.get("info")), wall_s)
        elif kind == "thread_rolled_back":
            self._rewind_prompts(as_count(payload.get("num_turns")))
        else:
            self._skip_record(f"event_msg.{kind}")

    def _emit_bill(self, info: dict[str, Any], wall_s: float) -> None:
        """Once a turn: the event comes again for rate limits, after a resume, and as a guess after a compaction."""
        total = as_count(as_dict(info.get("total_token_usage")).get("total_tokens"))
        last = as_dict(info.get("last_token_usage"))
        builder = self._ensure_builder()
        if not last or builder.turn == self._billed_turn or total == self._billed_total:
            return
        self._billed_turn, self._billed_total = builder.turn, total
        self._is_replying = False
        cached = as_count(last.get("cached_input_tokens"))
        written = as_count(last.get("cache_write_input_tokens"))
        self._events.append(
            ReplyBilled(
                session=builder.session,
                turn=builder.turn - 1,
                model=self._model,
                wall_s=wall_s,
                input_tokens=max(0, as_count(last.get("input_tokens")) - cached - written),
                cache_read_tokens=cached,
                cache_creation_tokens=written,
                output_tokens=as_count(last.get("output_tokens")),
            )
        )

    def _rewind_prompts(self, turns: int) -> None:
        """The user took back the last prompts: the window ends before the first of these."""
        builder = self._ensure_builder()
        prompts = [at for at, (name, _) in enumerate(builder.window) if self._kinds.get(name) is Kind.USER]
        if turns and prompts:
            builder.end_unpaired_calls_and_results()
            cut = prompts[-min(turns, len(prompts))]
            builder.replace_window(builder.window[:cut], Departure.REWOUND)

    def _take_compaction(self, payload: dict[str, Any], wall_s: float) -> None:
        """The window becomes the replacement history; without `replacement_history`, the user's and the host's texts
        stay."""
        self._is_replying = False
        builder = self._ensure_builder()
        builder.end_unpaired_calls_and_results()
        history = payload.get("replacement_history")
        before = [name for name, _ in builder.window]
        if isinstance(history, list):
            ids = self._admit_history(history, wall_s)
        else:
            ids = [name for name in before if self._kinds.get(name) in (Kind.SYSTEM, Kind.USER)]
        message = as_text(payload.get("message"))
        if message.strip():
            ids.append(self._admit_text(Kind.SUMMARY, Role.USER, message, wall_s))
        if before[:1] and before[0] not in ids and self._kinds.get(before[0]) is Kind.SYSTEM:
            ids.insert(0, before[0])  # The base instructions are no item: they are sent with every request.
        builder.replace_window_at_fresh_places(ids, Departure.HOST_COMPACTED)

    def _admit_history(self, history: list[Any], wall_s: float) -> list[str]:
        """Ids for a replacement history: known texts keep their ids, new texts are admitted."""
        builder = self._ensure_builder()
        used: dict[str, int] = {}
        ids: list[str] = []
        for item in map(as_dict, history):
            kind = as_text(item.get("type"))
            if exceeds_depth(item, SKELETON_DEPTH_MAX):
                self._skip_record("too_deep")
            elif kind == "message":
                ids += self._admit_history_message(item, used, wall_s)
            elif kind in ("compaction", "compaction_summary"):
                ids.append(self._admit_summary("", {"opaque": [item]}, wall_s))
            elif kind in CALLS and (known := builder.names.newest_id_of_call(_id_of_call(item))):
                ids.append(known)
            elif kind not in OUTPUTS:
                self._skip_record(f"history.{kind}")
        return list(dict.fromkeys(ids))

    def _admit_history_message(self, item: dict[str, Any], used: dict[str, int], wall_s: float) -> list[str]:
        builder = self._ensure_builder()
        role = as_text(item.get("role"))
        if role not in ("developer", "system", "user", "assistant"):
            self._skip_record("malformed")
            return []
        ids: list[str] = []
        for block in content_blocks(item.get("content")):
            text = block_text(block)
            read = self._texts.read_user_text(text or "")
            kind = {"assistant": Kind.ASSISTANT, "user": read.kind}.get(role, Kind.SYSTEM)
            skeleton: dict[str, object] | None = None if text is not None else {"opaque": [block]}
            data = canonical_json(skeleton) if skeleton else text_bytes(text or "")
            if not data.strip():
                continue
            first = text_id(Role(role), kind, data, 1)
            ordinal = used[first] = used.get(first, 0) + 1
            if ordinal <= builder.names.use_count(first):
                ids.append(tool_call_id(first, ordinal))
            else:
                facts = read.facts if role == "user" else NO_CALL_FACTS
                ids.append(self._admit_text(kind, Role(role), text or "", wall_s, skeleton, facts))
        return ids

    def _admit_summary(self, text: str, skeleton: dict[str, object], wall_s: float) -> str:
        return self._admit_text(Kind.SUMMARY, Role.USER, text, wall_s, skeleton)


def _id_of_call(item: dict[str, Any]) -> str:
    """The id that pairs call and output; a call that the provider answers needs no id, and has the type's."""
    kind = as_text(item.get("type"))
    return as_text(item.get("call_id")) or as_text(item.get("id")) or (kind if kind in SELF_ANSWERED else "")


def is_codex(head: bytes) -> bool:
    """Codex rollouts: lines of `{timestamp, type, payload}`; the first, with its instructions, may be long."""
    if _START.match(head):
        return True
    return any(
        (value.get("type") in _TYPES and "payload" in value) or (value.keys() >= _OLD_KEYS and "type" not in value)
        for value in head_objects(head)
    )
