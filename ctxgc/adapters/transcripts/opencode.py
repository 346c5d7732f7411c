"""OpenCode exports: one document `{info, messages[{info, parts[]}]}`, one session; those of version 2 lie beside.

    user       text ─▶ user     synthetic text ─▶ attachment if it shows a file, else system
               file ─▶ attachment, if it is no text
    assistant  reasoning ─▶ thinking    text ─▶ assistant    tool (call and result in one part) ─▶ tool call
               step-start … step-finish: one model request, one turn; its tokens ─▶ ReplyBilled
    compaction (a user's part) and the summary that answers it ─▶ WindowReplaced: summary, kept tail, what came since
    state.time.compacted of a tool part ─▶ BodiesCleared      info.revert ─▶ WindowReplaced: what was taken back departs

A request that failed without output is no turn. Text of a file that the user mentioned comes as a synthetic call of
`read` followed by its result: the result then knows its file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ctxgc.adapters.builder import Birth
from ctxgc.adapters.contract import Event, ReplyBilled, SessionOpened
from ctxgc.adapters.facts.tool_facts import NO_CALL_FACTS, Facts
from ctxgc.adapters.host_texts.opencode import OpenCodeTexts
from ctxgc.adapters.host_texts.wrappers import TextReading
from ctxgc.adapters.json_values import as_count, as_dict, as_text, clean_name
from ctxgc.adapters.skeletons import SKELETON_DEPTH_MAX, exceeds_depth
from ctxgc.adapters.transcripts.json_document import DocumentTranscript
from ctxgc.adapters.transcripts.opencode_2 import events_of_version_2, is_version_2
from ctxgc.adapters.transcripts.session_builder import SessionBuilder
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Departure, Kind, Role

_START = re.compile(rb'\s*\{\s*"info"\s*:\s*\{')
_OWN_KEY = re.compile(rb'"(?:projectID|sessionID|slug)"\s*:\s*"')

SILENT_PARTS = frozenset({"step-start", "step-finish", "compaction"})
"""Parts with facts that are no segments."""

SENT_AS_TEXT = ("text/plain", "application/x-directory")
"""Files of these types go to the model as synthetic text; the part itself does not."""


def is_opencode(head: bytes) -> bool:
    """An object that begins with the session's info, under OpenCode's own keys."""
    return _START.match(head) is not None and _OWN_KEY.search(head) is not None


class OpenCode(DocumentTranscript):
    """`opencode export SESSION`."""

    source = "opencode"

    def _events_of_document(self, document: Any, digest: str) -> Iterator[Event]:
        info = as_dict(as_dict(document).get("info"))
        messages = as_dict(document).get("messages")
        if not isinstance(messages, list):
            raise BadTranscript("no list `messages` in this document")
        self.records = len(messages)
        session = clean_name(as_text(info.get("id"))) or digest
        if any(is_version_2(message) for message in messages):
            yield from events_of_version_2(info, session, messages, self.skipped)
            return
        reader = _MessageReader(info, session, self.skipped)
        for message in messages:
            reader.take_message(as_dict(message))
        yield from reader.finish()


@dataclass(slots=True)
class _RequestStep:
    """A model request while its parts are read."""

    reply: str
    wall_s: float
    done_s: float
    model: str
    is_summary: bool
    number: int = 0
    """Earlier requests of the message: hosts before 2026 put all requests of a prompt into one message."""
    has_begun: bool = False
    is_billed: bool = False


@dataclass(slots=True)
class _MessageReader:
    """Reads the messages of a session in order."""

    info: dict[str, Any]
    session: str
    skipped: Counter[str]
    events: list[Event] = field(default_factory=list)
    cwd: str = ""
    starts: dict[str, int] = field(default_factory=dict)
    """How many segments there were when a message, or a part, began: its id to a count."""
    ids: list[str] = field(default_factory=list)
    """All segments, in order."""
    markers: dict[str, str] = field(default_factory=dict)
    """Prompts that asked for a compaction: the id of each to the message its kept tail starts with."""
    clears: list[tuple[float, str]] = field(default_factory=list)
    """When the host dropped which result."""
    builder: SessionBuilder = field(init=False)

    def __post_init__(self) -> None:
        """Open the session."""
        self.builder = SessionBuilder(self.session, self.events)
        self.cwd = clean_name(as_text(self.info.get("directory")))
        model = clean_name(as_text(as_dict(self.info.get("model")).get("id")))
        title = clean_name(as_text(self.info.get("title")))
        self.builder.known.update(project=self.cwd, model=model, title=title)
        parent = clean_name(as_text(self.info.get("parentID")))
        self.events.append(SessionOpened(self.session, self.cwd, parent, model=model, title=title))

    def take_message(self, message: dict[str, Any]) -> None:
        """A message with all parts."""
        info = as_dict(message.get("info"))
        parts = message.get("parts")
        role = info.get("role")
        if role not in ("user", "assistant") or not isinstance(parts, list):
            self.skipped["malformed"] += 1
            return
        wall_s = _seconds_of_ms(as_dict(info.get("time")).get("created"))
        self._clear_bodies_until(wall_s)
        self._note_start(info)
        kept = [part for part in map(as_dict, parts) if self._check_part_depth(part)]
        if role == "user":
            self._take_user_message(info, kept, wall_s)
        else:
            self._take_assistant_message(info, kept, wall_s)

    def finish(self) -> list[Event]:
        """The document ends: open calls are pending, segments taken back depart."""
        self.builder.admit_unpaired_calls_and_results()
        self._clear_bodies_until(float("inf"))
        revert = as_dict(self.info.get("revert"))
        start = self.starts.get(as_text(revert.get("partID")), self.starts.get(as_text(revert.get("messageID"))))
        if start is not None:
            gone = set(self.ids[start:])
            self.builder.replace_window(
                [slot for slot in self.builder.window if slot[0] not in gone], Departure.REWOUND
            )
        return self.events

    def _note_start(self, owner: dict[str, Any]) -> None:
        """A message or a part begins here."""
        if name := as_text(owner.get("id")):
            self.starts.setdefault(name, len(self.ids))

    def _check_part_depth(self, part: dict[str, Any]) -> bool:
        if exceeds_depth(part, SKELETON_DEPTH_MAX):
            self.skipped["too_deep"] += 1
            return False
        return True

    def _take_user_message(self, info: dict[str, Any], parts: list[dict[str, Any]], wall_s: float) -> None:
        self.builder.end_late_calls()
        texts = OpenCodeTexts(self.cwd)
        for part in parts:
            self._note_start(part)
            kind, text = part.get("type"), as_text(part.get("text"))
            if kind == "text" and part.get("ignored") is not True:
                if text.strip():
                    is_synthetic = part.get("synthetic") is True
                    self._admit_user_text(texts.read_user_text(text, is_synthetic=is_synthetic), is_synthetic, wall_s)
            elif kind == "file" and part.get("mime") not in SENT_AS_TEXT:
                opaque = {key: part[key] for key in ("type", "mime", "filename", "url") if key in part}
                self._admit_block(
                    Kind.ATTACHMENT, Role.USER, "", Birth(self.builder.turn, wall_s), {"opaque": [opaque]}
                )
            elif kind == "compaction":
                self.markers[as_text(info.get("id"))] = as_text(part.get("tail_start_id"))
            else:
                self._skip_part(kind)

    def _admit_user_text(self, reading: TextReading, is_synthetic: bool, wall_s: float) -> None:
        if not is_synthetic:
            self.builder.admit_open_calls_as_late()
        # What a person typed is theirs, however it looks.
        kind = reading.kind if is_synthetic else Kind.USER
        facts = reading.facts if is_synthetic else NO_CALL_FACTS
        self._admit_block(kind, Role.USER, reading.words, Birth(self.builder.turn, wall_s), facts=facts)

    def _take_assistant_message(self, info: dict[str, Any], parts: list[dict[str, Any]], wall_s: float) -> None:
        self.builder.end_late_calls()
        before = len(self.ids)
        model = clean_name(as_text(info.get("modelID")))
        self.builder.note_session(model=model)
        self.cwd = clean_name(as_text(as_dict(info.get("path")).get("cwd"))) or self.cwd
        done_s = _seconds_of_ms(as_dict(info.get("time")).get("completed")) or wall_s
        step = _RequestStep(clean_name(as_text(info.get("id"))), wall_s, done_s, model, info.get("summary") is True)
        for part in parts:
            self._note_start(part)
            if part.get("type") == "step-start" and step.has_begun:
                step = self._next_step(step)
            self._take_assistant_part(step, part)
        if step.number == 0:
            self._emit_bill(step, as_dict(info.get("tokens")))
        is_whole = bool(info.get("finish")) and not info.get("error")
        if step.is_summary and is_whole:
            self._take_compaction(as_text(info.get("parentID")), before)

    def _next_step(self, step: _RequestStep) -> _RequestStep:
        number = step.number + 1
        head = step.reply.removesuffix(f".{step.number}")
        return replace(step, reply=f"{head}.{number}", number=number, has_begun=False, is_billed=False)

    def _take_assistant_part(self, step: _RequestStep, part: dict[str, Any]) -> None:
        kind = part.get("type")
        text = as_text(part.get("text"))
        if kind in ("text", "reasoning"):
            if text.strip():
                what = Kind.THINKING if kind == "reasoning" else Kind.SUMMARY if step.is_summary else Kind.ASSISTANT
                wall_s = _seconds_of_ms(as_dict(part.get("time")).get("end")) or step.wall_s
                self._ensure_turn(step)
                self._admit_block(what, Role.ASSISTANT, text, Birth(self.builder.turn - 1, wall_s, step.reply))
        elif kind == "tool":
            self._take_tool_call(step, part)
        elif kind == "step-finish":
            self._emit_bill(step, as_dict(part.get("tokens")))
        elif as_text(kind) not in SILENT_PARTS:
            self._skip_part(kind)

    def _ensure_turn(self, step: _RequestStep) -> None:
        """Note output of the model: a turn, if the request had none before."""
        if not step.has_begun:
            step.has_begun = True
            self.builder.turn += 1

    def _admit_block(
        self,
        kind: Kind,
        role: Role,
        text: str,
        birth: Birth,
        skeleton: dict[str, object] | None = None,
        facts: Facts = NO_CALL_FACTS,
    ) -> None:
        self.ids.append(self.builder.admit_text(kind, role, text, birth, skeleton, facts))

    def _take_tool_call(self, step: _RequestStep, part: dict[str, Any]) -> None:
        """A call with the result, as far as the call got."""
        call_id, tool = as_text(part.get("callID")), as_text(part.get("tool"))
        state = as_dict(part.get("state"))
        if not call_id:
            self.skipped["malformed"] += 1
            return
        self._ensure_turn(step)
        value = as_dict(state.get("input"))
        times = as_dict(state.get("time"))
        birth = Birth(self.builder.turn - 1, _seconds_of_ms(times.get("start")) or step.wall_s, step.reply)
        segment_id = self.builder.begin_call(call_id, tool, value, birth, cwd=self.cwd)
        self.ids.append(segment_id)
        if state.get("status") in ("completed", "error"):
            self.builder.join_call_result(
                call_id,
                _result_of_tool_state(state),
                True if _is_failed_tool_state(state) else None,
                _seconds_of_ms(times.get("end")),
            )
        if cleared_s := _seconds_of_ms(times.get("compacted")):
            self.clears.append((cleared_s, segment_id))

    def _emit_bill(self, step: _RequestStep, tokens: dict[str, Any]) -> None:
        """Once a request: the message repeats the last step's bill."""
        cache = as_dict(tokens.get("cache"))
        fresh, read, written = as_count(tokens.get("input")), as_count(cache.get("read")), as_count(cache.get("write"))
        if step.is_billed or not fresh + read + written:
            return
        self._ensure_turn(step)
        step.is_billed = True
        output = as_count(tokens.get("output")) + as_count(tokens.get("reasoning"))
        turn = self.builder.turn - 1
        self.events.append(ReplyBilled(self.session, turn, step.model, step.done_s, fresh, read, written, output))

    def _take_compaction(self, marker: str, before: int) -> None:
        """The summary is whole: the window becomes the summary, the tail that the host kept, and the segments after the
        request.
        """
        asked_at = self.starts.get(marker, before)
        tail_at = self.starts.get(self.markers.get(marker, ""), asked_at)
        ids = self.ids[before:] + self.ids[tail_at:asked_at] + self.ids[asked_at:before]
        # What the host had taken from the window before does not come back with the tail.
        present = {name for name, _ in self.builder.window}
        self.builder.end_unpaired_calls_and_results()
        self.builder.replace_window_at_fresh_places([name for name in ids if name in present], Departure.HOST_COMPACTED)

    def _clear_bodies_until(self, wall_s: float) -> None:
        """Report the bodies cleared by the host before the moment."""
        due = [name for cleared_s, name in self.clears if cleared_s <= wall_s]
        if due:
            self.clears = [entry for entry in self.clears if entry[0] > wall_s]
            present = {name for name, _ in self.builder.window}
            if gone := [name for name in due if name in present]:
                self.builder.clear_bodies(gone, Departure.HOST_CLEARED)

    def _skip_part(self, kind: object) -> None:
        self.skipped[f"part.{kind[:48]}" if isinstance(kind, str) else "malformed"] += 1


def _result_of_tool_state(state: dict[str, Any]) -> object:
    """The result as the model got it: the output, with attachments if there are any, or the error."""
    if state.get("status") == "error":
        return as_text(state.get("error"))
    output, attachments = as_text(state.get("output")), state.get("attachments")
    if isinstance(attachments, list) and attachments:
        return [{"type": "text", "text": output}, *attachments]
    return output


def _is_failed_tool_state(state: dict[str, Any]) -> bool:
    """The host's word, or a shell's exit code other than 0."""
    code = as_dict(state.get("metadata")).get("exit")
    return state.get("status") == "error" or (isinstance(code, int) and not isinstance(code, bool) and code != 0)


def _seconds_of_ms(value: object) -> float:
    """Unix time of a stamp in milliseconds, 0.0 for any other value."""
    return as_count(value) / 1000
