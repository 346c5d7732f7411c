"""Pi session files: lines `{type, id, parentId, timestamp, …}`, a tree whose newest leaf is the session.

    message user ─▶ user        assistant (thinking, text, toolCall) ──toolResult──▶ tool call; its usage ─▶ ReplyBilled
            bashExecution, custom ─▶ attachment          branchSummary, compactionSummary ─▶ summary
    session, model_change, session_info ─▶ SessionOpened
    compaction ─▶ WindowReplaced: its summary, then all from the first entry kept
    an entry whose parent is not the entry before it ─▶ WindowReplaced: the path from the root to that parent

An assistant message is a request, so a turn. A failed or stopped reply is skipped and counted: Pi leaves such a reply
out of later prompts. The parser keeps entry and segment ids, about 300 bytes an entry, never texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain as joined
from typing import Any

from ctxgc.adapters.builder import Birth
from ctxgc.adapters.contract import ReplyBilled, SessionOpened
from ctxgc.adapters.facts.tool_facts import NO_CALL_FACTS, Facts, facts_of_call
from ctxgc.adapters.json_values import as_count, as_dict, as_text, block_text, clean_name, content_blocks, parse_unix_s
from ctxgc.adapters.skeletons import SKELETON_DEPTH_MAX, exceeds_depth
from ctxgc.adapters.transcripts.jsonl import head_objects, parse_json_object
from ctxgc.adapters.transcripts.session_builder import SessionBuilder
from ctxgc.adapters.transcripts.single_session import SingleSessionLines
from ctxgc.core.segment import Departure, Kind, Role

NOT_SENT = frozenset({"error", "aborted"})
"""How a reply stopped that no later prompt holds."""

_START = re.compile(rb'\s*\{\s*"type"\s*:\s*"session"\s*,\s*"(?:version|id)"\s*:')
_FILE_ID = re.compile(r"([^/\\_]+)\.jsonl$")


def is_pi(head: bytes) -> bool:
    """A record that is a session's header, with a version or among entries of a tree."""
    if _START.match(head) is not None:
        return True
    return any(value.get("type") == "session" and {"id", "cwd"} <= value.keys() for value in head_objects(head))


@dataclass(slots=True)
class _PiEntry:
    """A node of the tree."""

    parent: str
    ids: list[str] = field(default_factory=list)
    is_compaction: bool = False
    first_kept: str = ""
    """For a compaction: the oldest entry that stays."""


class Pi(SingleSessionLines):
    """Parses a session file."""

    source = "pi"

    def __init__(self) -> None:
        super().__init__()
        self._cwd = ""
        self._entries: dict[str, _PiEntry] = {}
        self._leaf = ""

    def _read_record(self, line: bytes) -> bool:
        record = parse_json_object(line)
        if record is None:
            return False
        kind = record.get("type")
        if exceeds_depth(record, SKELETON_DEPTH_MAX):
            self._skip_record("too_deep")
        elif kind == "session":
            self._take_header(record)
        elif not isinstance(kind, str) or not kind:
            self._skip_record("malformed")
        else:
            self._add_entry(record)
            self._take_entry(kind, record)
        return True

    def _is_record(self, value: dict[str, Any]) -> bool:
        return isinstance(value.get("type"), str) and ("parentId" in value or "timestamp" in value)

    def _take_header(self, record: dict[str, Any]) -> None:
        session = clean_name(as_text(record.get("id")))
        if self._builder is not None or not session:
            self._skip_record("session")
            return
        self._builder = SessionBuilder(session, self._events)
        self._cwd = clean_name(as_text(record.get("cwd")))
        self._builder.known["project"] = self._cwd
        # A fork names the file it was copied from; that ends in the session's id.
        origin = _FILE_ID.search(as_text(record.get("parentSession")))
        self._events.append(SessionOpened(session, self._cwd, clean_name(origin[1]) if origin else ""))

    def _add_entry(self, record: dict[str, Any]) -> None:
        """Add the entry to the tree; an entry that does not follow the entry before begins another window.

        The first version of the format had no ids: all its entries follow each other, as do entries with a lost parent.
        """
        entry_id = as_text(record.get("id"))
        if not entry_id or entry_id in self._entries:
            return
        parent = as_text(record.get("parentId"))
        is_known = parent in self._entries or ("parentId" in record and record["parentId"] is None)
        if is_known and parent != self._leaf:
            self._leaf = parent
            self._rebuild_window(Departure.REWOUND)
        self._entries[entry_id] = _PiEntry(self._leaf)
        self._leaf = entry_id

    def _rebuild_window(self, reason: Departure) -> None:
        """The window becomes the entries on the path to the leaf, unless the path is as before."""
        builder = self._ensure_builder()
        ids = self._window_segment_ids()
        if ids != [name for name, _ in builder.window]:
            builder.end_unpaired_calls_and_results()
            builder.replace_window_at_fresh_places(ids, reason)

    def _window_segment_ids(self) -> list[str]:
        """Segments on the path to the leaf: the newest compaction's summary, then all from its first kept entry."""
        path = list(self._entries_from_leaf())
        head: list[str] = []
        newest = next((at for at, (_, entry) in enumerate(path) if entry.is_compaction), None)
        if newest is not None:
            summary = path[newest][1]
            older = range(newest, len(path))
            first = next((at for at in older if path[at][0] == summary.first_kept), newest)
            head, path = summary.ids, path[: first + 1]
        kept = (entry.ids for _, entry in reversed(path) if not entry.is_compaction)
        return [*head, *joined.from_iterable(kept)]

    def _entries_from_leaf(self) -> Iterator[tuple[str, _PiEntry]]:
        """From the leaf to the root."""
        name = self._leaf
        while (entry := self._entries.get(name)) is not None:
            yield name, entry
            name = entry.parent

    def _take_entry(self, kind: str, record: dict[str, Any]) -> None:
        wall_s = parse_unix_s(record.get("timestamp"))
        if kind == "message":
            self._take_message(record, wall_s)
        elif kind == "custom_message":
            # An extension says so: neither a file nor an output that anybody knows of.
            self._take_blocks(record.get("content"), Kind.SYSTEM, wall_s)
        elif kind == "branch_summary":
            self._admit_text(Kind.SUMMARY, as_text(record.get("summary")), wall_s)
        elif kind == "compaction":
            self._take_compaction(record, wall_s)
        elif kind == "model_change":
            self._ensure_builder().note_session(model=as_text(record.get("modelId")))
        elif kind == "session_info":
            self._ensure_builder().note_session(title=as_text(record.get("name")))
        else:
            self._skip_record(kind)

    def _take_message(self, record: dict[str, Any], wall_s: float) -> None:
        message = as_dict(record.get("message"))
        role = message.get("role")
        if role == "user":
            self._ensure_builder().admit_open_calls_as_late()
            self._take_blocks(message.get("content"), Kind.USER, wall_s)
        elif role == "assistant":
            self._take_reply(message, as_text(record.get("id")), wall_s)
        elif role == "toolResult":
            self._take_result(message, wall_s)
        elif role == "bashExecution":
            self._take_shell_command(message, wall_s)
        elif role in ("custom", "hookMessage"):
            self._take_blocks(message.get("content"), Kind.SYSTEM, wall_s)
        elif role in ("branchSummary", "compactionSummary"):
            self._admit_text(Kind.SUMMARY, as_text(message.get("summary")), wall_s)
        else:
            self._skip_record(f"message.{role}" if isinstance(role, str) and role else "malformed")

    def _add_segment_to_entry(self, segment_id: str) -> None:
        """The segment belongs to the entry that is being read."""
        entry = self._entries.get(self._leaf)
        if entry is not None:
            entry.ids.append(segment_id)

    def _make_birth(self, wall_s: float) -> Birth:
        return Birth(self._ensure_builder().turn, wall_s)

    def _admit_text(self, kind: Kind, text: str, wall_s: float, facts: Facts = NO_CALL_FACTS) -> None:
        """A text that the model is told."""
        if text.isspace():
            self._skip_record("blank")
        elif text:
            self._add_segment_to_entry(
                self._ensure_builder().admit_text(kind, Role.USER, text, self._make_birth(wall_s), facts=facts)
            )

    def _take_blocks(self, content: object, kind: Kind, wall_s: float) -> None:
        if not isinstance(content, str | list):
            self._skip_record("malformed")
            return
        for block in content_blocks(content):
            text = block_text(block)
            if text is not None:
                self._admit_text(kind, text, wall_s)
            elif as_text(as_dict(block).get("type")):
                self._add_segment_to_entry(
                    self._ensure_builder().admit_text(
                        kind, Role.USER, "", self._make_birth(wall_s), {"opaque": [block]}
                    )
                )
            else:
                self._skip_record("malformed")

    def _take_shell_command(self, message: dict[str, Any], wall_s: float) -> None:
        """A command the user ran; its output is told to the model unless the user said otherwise."""
        if message.get("excludeFromContext") is True:
            self._skip_record("message.bashExecution")
            return
        command, output = as_text(message.get("command")), as_text(message.get("output"))
        facts = facts_of_call("bash", {"command": command}, self._cwd)
        self._admit_text(Kind.ATTACHMENT, f"Ran `{command}`\n```\n{output}\n```", wall_s, facts)

    def _take_reply(self, message: dict[str, Any], entry_id: str, wall_s: float) -> None:
        """A request: the blocks share a turn and a reply."""
        stop = as_text(message.get("stopReason"))
        if stop in NOT_SENT:
            self._skip_record(f"assistant.{stop}")
            return
        builder = self._ensure_builder()
        builder.end_late_calls()
        builder.turn += 1
        turn = builder.turn - 1
        reply = entry_id or f"turn-{turn}"
        model = clean_name(as_text(message.get("model")))
        builder.note_session(model=model)
        for block in map(as_dict, content_blocks(message.get("content"))):
            kind = block.get("type")
            if kind == "toolCall" and as_text(block.get("id")):
                self._take_call(block, Birth(turn, wall_s, reply))
            elif kind in ("text", "thinking"):
                text = as_text(block.get(kind))
                if text.strip():
                    what = Kind.ASSISTANT if kind == "text" else Kind.THINKING
                    self._add_segment_to_entry(
                        builder.admit_text(what, Role.ASSISTANT, text, Birth(turn, wall_s, reply))
                    )
            else:
                self._skip_record(f"block.{kind}" if isinstance(kind, str) and kind != "toolCall" else "malformed")
        self._emit_bill(as_dict(message.get("usage")), model, turn, wall_s)

    def _take_call(self, block: dict[str, Any], birth: Birth) -> None:
        tool, value = as_text(block.get("name")), block.get("arguments")
        self._add_segment_to_entry(
            self._ensure_builder().begin_call(as_text(block["id"]), tool, value, birth, cwd=self._cwd)
        )

    def _take_result(self, message: dict[str, Any], wall_s: float) -> None:
        is_error = True if message.get("isError") is True else None
        call_id = as_text(message.get("toolCallId"))
        self._ensure_builder().join_call_result(call_id, message.get("content"), is_error, wall_s)

    def _emit_bill(self, usage: dict[str, Any], model: str, turn: int, wall_s: float) -> None:
        counts = {key: as_count(usage.get(key)) for key in ("input", "cacheRead", "cacheWrite", "output")}
        if not any(counts.values()):
            return
        self._events.append(
            ReplyBilled(
                session=self._ensure_builder().session,
                turn=turn,
                model=model,
                wall_s=wall_s,
                input_tokens=counts["input"],
                cache_read_tokens=counts["cacheRead"],
                cache_creation_tokens=counts["cacheWrite"],
                output_tokens=counts["output"],
            )
        )

    def _take_compaction(self, record: dict[str, Any], wall_s: float) -> None:
        entry = self._entries.get(self._leaf)
        if entry is None or not as_text(record.get("id")):
            self._skip_record("compaction")
            return
        entry.is_compaction = True
        entry.first_kept = as_text(record.get("firstKeptEntryId"))
        self._admit_text(Kind.SUMMARY, as_text(record.get("summary")), wall_s)
        self._rebuild_window(Departure.HOST_COMPACTED)
