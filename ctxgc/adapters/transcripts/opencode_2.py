"""Messages of OpenCode 2: `{type, id, time, …}`, each whole in one object (`Session.Message` of packages/core).

user ─▶ user, its files beside    synthetic, system ─▶ system    shell ─▶ attachment, an output of its command
assistant: reasoning ─▶ thinking   text ─▶ assistant   tool (call and result in one block) ─▶ tool call
           tokens ─▶ ReplyBilled          time.pruned of a tool ─▶ BodiesCleared
compaction ─▶ WindowReplaced: its summary, and the recent text that the host kept
agent-switched, model-switched ─▶ SessionOpened
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from ctxgc.adapters.builder import Birth
from ctxgc.adapters.contract import Event, ReplyBilled, SessionOpened
from ctxgc.adapters.facts.tool_facts import facts_of_call
from ctxgc.adapters.json_values import as_count, as_dict, as_list, as_text, clean_name, parse_unix_s
from ctxgc.adapters.skeletons import SKELETON_DEPTH_MAX, exceeds_depth
from ctxgc.adapters.transcripts.session_builder import SessionBuilder
from ctxgc.core.segment import Departure, Kind, Role

TYPES = frozenset(
    {"user", "synthetic", "system", "shell", "assistant", "compaction", "agent-switched", "model-switched"}
)


def is_version_2(message: object) -> bool:
    """A message with a type of its own, where version 1 has an `info`."""
    return isinstance(message, dict) and as_text(message.get("type")) in TYPES and "info" not in message


def events_of_version_2(info: dict[str, Any], session: str, messages: list[Any], skipped: Counter[str]) -> list[Event]:
    """All events of a session of version 2."""
    reader = _Version2Reader(info, session, skipped)
    for message in messages:
        reader.take_message(as_dict(message))
    reader.builder.admit_unpaired_calls_and_results()
    return reader.events


class _Version2Reader:
    """Reads the messages of a session in order."""

    def __init__(self, info: dict[str, Any], session: str, skipped: Counter[str]) -> None:
        self.events: list[Event] = []
        self.builder = SessionBuilder(session, self.events)
        self._skipped = skipped
        folder = as_text(as_dict(info.get("location")).get("directory")) or as_text(info.get("directory"))
        self._cwd = clean_name(folder)
        model = clean_name(as_text(as_dict(info.get("model")).get("id")))
        title = clean_name(as_text(info.get("title")))
        self.builder.known.update(project=self._cwd, model=model, title=title)
        parent = clean_name(as_text(info.get("parentID")))
        self.events.append(SessionOpened(session, self._cwd, parent, model=model, title=title))

    def take_message(self, message: dict[str, Any]) -> None:
        """One message."""
        kind, wall_s = as_text(message.get("type")), parse_unix_s(as_dict(message.get("time")).get("created"))
        birth = Birth(self.builder.turn, wall_s)
        if not is_version_2(message):
            self._skipped[f"message.{kind[:32]}" if kind else "malformed"] += 1
        elif exceeds_depth(message, SKELETON_DEPTH_MAX):
            self._skipped["too_deep"] += 1
        elif kind == "user":
            self._take_prompt(message, birth)
        elif kind in ("synthetic", "system"):
            self._admit_text(Kind.SYSTEM, Role.USER, as_text(message.get("text")), birth)
        elif kind == "shell":
            self._take_shell_command(message, birth)
        elif kind == "assistant":
            self._take_reply(message, wall_s)
        elif kind == "compaction":
            self._take_compaction(message, birth)
        else:
            self.builder.note_session(model=as_text(as_dict(message.get("model")).get("id")))

    def _admit_text(self, kind: Kind, role: Role, text: str, birth: Birth) -> list[str]:
        return [self.builder.admit_text(kind, role, text, birth)] if text.strip() else []

    def _take_prompt(self, message: dict[str, Any], birth: Birth) -> None:
        self.builder.admit_open_calls_as_late()
        self._admit_text(Kind.USER, Role.USER, as_text(message.get("text")), birth)
        for file in map(as_dict, as_list(message.get("files"))):
            self.builder.admit_text(Kind.ATTACHMENT, Role.USER, "", birth, {"opaque": [{"type": "file"} | file]})

    def _take_shell_command(self, message: dict[str, Any], birth: Birth) -> None:
        """A command that the user ran, which the model is told of."""
        command, output = as_text(message.get("command")), as_text(message.get("output"))
        facts = facts_of_call("bash", {"command": command}, self._cwd)
        text = f"Ran `{command}`\n```\n{output}\n```"
        self.builder.admit_text(Kind.ATTACHMENT, Role.USER, text, birth, facts=facts)

    def _take_reply(self, message: dict[str, Any], wall_s: float) -> None:
        builder, content = self.builder, message.get("content")
        builder.end_late_calls()
        tokens = as_dict(message.get("tokens"))
        if not isinstance(content, list) or not (content or tokens):
            self._skipped["message.empty" if isinstance(content, list) else "malformed"] += 1
            return
        model = clean_name(as_text(as_dict(message.get("model")).get("id")))
        builder.note_session(model=model)
        builder.turn += 1
        birth = Birth(builder.turn - 1, wall_s, clean_name(as_text(message.get("id"))))
        for block in map(as_dict, content):
            self._take_assistant_block(block, birth)
        cache = as_dict(tokens.get("cache"))
        fresh, read, written = as_count(tokens.get("input")), as_count(cache.get("read")), as_count(cache.get("write"))
        if fresh + read + written:
            output = as_count(tokens.get("output")) + as_count(tokens.get("reasoning"))
            done_s = parse_unix_s(as_dict(message.get("time")).get("completed")) or wall_s
            self.events.append(ReplyBilled(builder.session, birth.turn, model, done_s, fresh, read, written, output))

    def _take_assistant_block(self, block: dict[str, Any], birth: Birth) -> None:
        kind = block.get("type")
        if kind == "tool" and as_text(block.get("id")):
            self._take_tool_call(block, birth)
        elif kind in ("text", "reasoning"):
            if block.get("ignored") is not True:
                what = Kind.ASSISTANT if kind == "text" else Kind.THINKING
                self._admit_text(what, Role.ASSISTANT, as_text(block.get("text")), birth)
        else:
            self._skipped[f"block.{kind[:32]}" if isinstance(kind, str) and kind != "tool" else "malformed"] += 1

    def _take_tool_call(self, block: dict[str, Any], birth: Birth) -> None:
        """A call with the result, as far as the call got."""
        builder, call_id = self.builder, as_text(block["id"])
        state, times = as_dict(block.get("state")), as_dict(block.get("time"))
        birth = birth._replace(wall_s=parse_unix_s(times.get("created")) or birth.wall_s)
        segment_id = builder.begin_call(call_id, as_text(block.get("name")), state.get("input"), birth, cwd=self._cwd)
        if state.get("status") in ("completed", "error"):
            is_error = True if state["status"] == "error" else None
            builder.join_call_result(call_id, _result_content(state), is_error, parse_unix_s(times.get("completed")))
            if parse_unix_s(times.get("pruned")):
                builder.clear_bodies([segment_id], Departure.HOST_CLEARED)

    def _take_compaction(self, message: dict[str, Any], birth: Birth) -> None:
        """The window becomes the summary, and the recent text that the host kept."""
        texts = [as_text(message.get(key)) for key in ("summary", "recent", "include")]
        self.builder.end_unpaired_calls_and_results()
        ids = [name for text in texts for name in self._admit_text(Kind.SUMMARY, Role.USER, text, birth)]
        if ids:
            self.builder.replace_window_at_fresh_places(ids, Departure.HOST_COMPACTED)
        else:
            self._skipped["malformed"] += 1


def _result_content(state: dict[str, Any]) -> object:
    """The result as the model saw it: the content's blocks, the old spelling's output, or the error."""
    content, error = state.get("content"), state.get("error")
    if isinstance(content, list) and content:
        return content
    if state.get("status") == "error":
        return as_text(as_dict(error).get("message")) or as_text(error)
    return as_text(state.get("output"))
