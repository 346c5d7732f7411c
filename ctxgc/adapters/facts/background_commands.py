"""Commands in the background: Codex lets go of a command that takes long, and asks for the rest of its output by a
number.

    exec_command `cargo test` ──▶ "… running with session ID 4711"      write_stdin {"session_id": 4711} ──▶ the rest
    exec `tools.exec_command(…)` ──▶ "… running with cell ID 3"         wait {"cell_id": "3"} ──▶ the rest

A poll names no command, so a poll's command is the polled command, behind an ellipsis: `…cargo test`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from ctxgc.adapters.facts.tool_facts import Facts, call_facts_without_input
from ctxgc.core.bounded_dict import drop_oldest_entries
from ctxgc.core.segment import COMMAND_CHARS_MAX

COMMANDS_MAX = 256
POLL_PREFIX = "…"
"""Before a command of which a call has the rest: a poll is no other attempt."""
HEAD_CHARS = 600
TAIL_CHARS = 300

_SIGNS = ("cell ID", "ession ID", "ession_id", "ESSION_ID")
"""A sign stands wherever `_NUMBER` finds a number; the search for signs costs next to nothing."""
_BYTE_SIGNS = tuple(sign.encode() for sign in _SIGNS)
_NUMBER = re.compile(r"\bcell ID (\w+)|\bsession[_ ]id\W{1,6}(\d+)", re.IGNORECASE)
"""In the host's words, in its JSON, or as a script of the model's prints it."""
_POLLED = re.compile(r"""\bsession_id["']?\s*:\s*(\d+)""")


class BackgroundCommands:
    """A session's commands in the background, by number. Bounded: the oldest are dropped first (I12)."""

    def __init__(self) -> None:
        self._commands: dict[str, str] = {}

    def facts_with_polled_command(self, tool: str, value: object, facts: Facts) -> Facts:
        """The facts of a call; where the call polls a command that runs on, with that command."""
        number = ""
        if tool == "wait" and isinstance(value, dict):
            number = f"cell {value.get('cell_id')}"
        elif tool == "write_stdin" and isinstance(value, dict):
            number = str(value.get("session_id"))
        elif isinstance(value, str) and facts.command == "write_stdin" and (polled := _POLLED.search(value)):
            number = polled[1]
        command = self._commands.get(number, "")
        if not command:
            return facts
        command = f"{POLL_PREFIX}{command}"[:COMMAND_CHARS_MAX]
        return replace(facts, command=command, call=call_facts_without_input(tool, command, facts.paths))

    def note_running_commands(self, command: str, texts: Iterable[str]) -> None:
        """Note the commands that a call left running, by the texts of its output."""
        if not command:
            return
        for text in texts:
            for part in (text[:HEAD_CHARS], text[max(HEAD_CHARS, len(text) - TAIL_CHARS) :]):
                for number in _NUMBER.finditer(part) if any(sign in part for sign in _SIGNS) else ():
                    key = f"cell {number[1]}" if number[1] else number[2]
                    self._commands[key] = command.removeprefix(POLL_PREFIX)
        drop_oldest_entries(self._commands, COMMANDS_MAX)


def may_name_running_command(output: bytes) -> bool:
    """Whether an output may hold the number of a command that runs on."""
    return any(sign in output for sign in _BYTE_SIGNS)
