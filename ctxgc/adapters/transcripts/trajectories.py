"""Trajectories: runs of agents as lists of OpenAI-style chat messages, in three wrappings.

    mini_swe_agent  {instance_id, info, messages[]}                  one document, one session
    swe_agent       {environment, trajectory[], history[], info}     one document, one session
    tau_bench       {task_id, trial, info, traj[]} a line            each line a session

Each trajectory is brought into the form that the OpenAI wire format reads, so that a run and its requests give the same
segments; facts that only the wrapping knows (directory, times, return codes, usage) are added afterwards.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ctxgc.adapters.contract import RESULT_PIECE, Event, ReplyBilled, SegmentAdmitted, SessionOpened
from ctxgc.adapters.facts.segment_facts import add_facts
from ctxgc.adapters.facts.tool_facts import facts_of_call
from ctxgc.adapters.json_values import as_count, as_dict, as_text, clean_name, encode_json
from ctxgc.adapters.transcripts.json_document import DocumentTranscript, document_digest
from ctxgc.adapters.transcripts.jsonl import LineTranscript, parse_json_object
from ctxgc.adapters.wire.openai_chat import parse_request_with_message_indexes
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Kind, Segment, Status

_WIRE_FIELDS = ("role", "content", "tool_calls", "tool_call_id", "function_call", "reasoning_content")
_RETURN_CODE = re.compile(r"\s*<returncode>(-?\d+)</returncode>")


_MINI_SWE = re.compile(rb'"(?:mini_version|trajectory_format)"\s*:\s*"')
_SWE_START = re.compile(rb'\s*\{\s*"(?:environment|trajectory|history)"\s*:\s*[\["]')
_TAU_START = re.compile(rb'\s*\{\s*"task_id"\s*:')


def is_mini_swe_agent(head: bytes) -> bool:
    """An object with a key for the program's version or the format."""
    return head.lstrip()[:1] == b"{" and _MINI_SWE.search(head) is not None


def is_swe_agent(head: bytes) -> bool:
    """An object that begins with a part of a trajectory."""
    return _SWE_START.match(head) is not None


def is_tau_bench(head: bytes) -> bool:
    """Lines that begin with the task's number."""
    return _TAU_START.match(head) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trajectory:
    """A session in its wrapping. The mappings are by index of the message."""

    opened: SessionOpened
    messages: list[dict[str, Any]]
    kinds: Mapping[int, Kind] = field(default_factory=dict)
    actions: Mapping[int, str] = field(default_factory=dict)
    """The shell command that a message shows the outcome of."""
    walls: Mapping[int, float] = field(default_factory=dict)


class MiniSweAgent(DocumentTranscript):
    """`*.traj.json` of mini-SWE-agent: tool calls of a single bash, results with a return code, usage of each reply."""

    source = "mini_swe_agent"

    def _events_of_document(self, document: Any, digest: str) -> Iterator[Event]:
        messages = _message_list(document, "messages")
        self.records = len(messages)
        config = as_dict(as_dict(document.get("info")).get("config"))
        cwd = as_text(as_dict(config.get("environment")).get("cwd"))
        model = as_text(as_dict(config.get("model")).get("model_name"))
        session = clean_name(as_text(document.get("instance_id"))) or digest
        walls = {index: _wall_s(message) for index, message in enumerate(messages)}
        opened = SessionOpened(session, project=cwd, model=model, title=session)
        yield from _events_of_trajectory(_Trajectory(opened=opened, messages=messages, walls=walls), self.skipped)
        yield from _reply_bills(session, messages)


class SweAgent(DocumentTranscript):
    """`*.traj` of SWE-agent: tool calls, or a thought with an action whose outcome comes as the user's next message."""

    source = "swe_agent"

    def _events_of_document(self, document: Any, digest: str) -> Iterator[Event]:
        messages = _message_list(document, "history")
        self.records = len(messages)
        session = clean_name(as_text(document.get("instance_id"))) or digest
        title = as_text(document.get("environment"))
        kinds, actions = _kinds_and_actions(messages)
        run = _Trajectory(opened=SessionOpened(session, title=title), messages=messages, kinds=kinds, actions=actions)
        yield from _events_of_trajectory(run, self.skipped)


class TauBench(LineTranscript):
    """Result lines of tau-bench. Several models run the same trials: a digest of the line tells their runs apart."""

    source = "tau_bench"

    def _read_record(self, line: bytes) -> bool:
        record = parse_json_object(line)
        if record is None:
            return False
        if "traj" not in record:
            self._skip_record(record.get("type"))
            return True
        task, trial = _number_text(record.get("task_id")), _number_text(record.get("trial"))
        session = f"task{task}-trial{trial}-{document_digest(line)[:8]}"
        try:
            messages = _message_list(record, "traj")
            self._events += _events_of_trajectory(
                _Trajectory(opened=SessionOpened(session, title=session), messages=messages), self.skipped
            )
        except (BadTranscript, ValueError, RecursionError):
            self._skip_record("malformed")
        return True

    def _is_record(self, value: dict[str, Any]) -> bool:
        return "traj" in value


def _message_list(document: Any, key: str) -> list[dict[str, Any]]:
    """The list of messages under this key. Raises `BadTranscript` where there is none."""
    messages = document.get(key) if isinstance(document, dict) else None
    if not isinstance(messages, list):
        raise BadTranscript(f"no list `{key}` in this document")
    return [as_dict(message) for message in messages]


def _events_of_trajectory(run: _Trajectory, skipped: Counter[str]) -> list[Event]:
    """The session with all segments, or no event at all."""
    request = encode_json([_wire_message(message) for message in run.messages])
    window, indexes = parse_request_with_message_indexes(request, run.kinds)
    skipped.update(window.skipped)
    session = run.opened.session
    known = add_facts(window.segments, run.opened.project)
    segments = (_add_trajectory_fields(run, segment, index) for segment, index in zip(known, indexes, strict=True))
    return [run.opened, *(SegmentAdmitted(session, segment) for segment in segments)]


def _wire_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message in the API's form: SWE-agent names the answered call in a list of its own."""
    wire = {key: message[key] for key in _WIRE_FIELDS if message.get(key) is not None}
    answered = message.get("tool_call_ids")
    if "tool_call_id" not in wire and isinstance(answered, list) and answered:
        wire["tool_call_id"] = answered[0]
    return wire


def _add_trajectory_fields(run: _Trajectory, segment: Segment, index: int) -> Segment:
    """The segment with the facts that only the wrapping knows."""
    wall_s = run.walls.get(index, 0.0)
    action = run.actions.get(index, "")
    if action:
        facts = facts_of_call("bash", {"command": action}, run.opened.project)
        return replace(segment, wall_s=wall_s, paths=facts.paths, command=facts.command)
    command = segment.command or ("demonstration" if segment.kind is Kind.ATTACHMENT else "")
    return replace(segment, wall_s=wall_s, status=_shell_status(segment), command=command)


def _shell_status(segment: Segment) -> Status:
    """A shell's return code other than 0 is an error, against the host's own word."""
    result = next((piece for piece in segment.body if piece.name == RESULT_PIECE), None)
    code = _RETURN_CODE.match(result.text[:64]) if result else None
    return Status.ERROR if code and code[1].strip("-0") else segment.status


def _kinds_and_actions(messages: list[dict[str, Any]]) -> tuple[dict[int, Kind], dict[int, str]]:
    """The user's messages that show the outcome of an action, or a demonstration, and the actions shown."""
    kinds: dict[int, Kind] = {}
    actions: dict[int, str] = {}
    action = ""
    for index, message in enumerate(messages):
        if message.get("is_demo") is True:
            kinds[index] = Kind.ATTACHMENT
        elif message.get("role") == "user" and action:
            kinds[index] = Kind.ATTACHMENT
            actions[index] = action
        action = as_text(message.get("action")) if message.get("role") == "assistant" else ""
    return kinds, actions


def _reply_bills(session: str, messages: list[dict[str, Any]]) -> Iterator[Event]:
    """The bill of each reply that has a bill."""
    replies = (message for message in messages if message.get("role") == "assistant")
    for turn, message in enumerate(replies):
        response = as_dict(as_dict(message.get("extra")).get("response"))
        usage = as_dict(response.get("usage"))
        if usage:
            cached = as_count(as_dict(usage.get("prompt_tokens_details")).get("cached_tokens"))
            yield ReplyBilled(
                session,
                turn,
                as_text(response.get("model")),
                _wall_s(message),
                input_tokens=max(as_count(usage.get("prompt_tokens")) - cached, 0),
                cache_read_tokens=cached,
                cache_creation_tokens=0,
                output_tokens=as_count(usage.get("completion_tokens")),
            )


def _wall_s(message: Mapping[str, Any]) -> float:
    stamp = as_dict(message.get("extra")).get("timestamp")
    return float(stamp) if isinstance(stamp, int | float) and 0 < stamp < 2**40 else 0.0


def _number_text(value: object) -> str:
    return str(value) if isinstance(value, int) else "?"
