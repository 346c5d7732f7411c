"""Commands that go on running: Codex lets go of one that takes long, and asks for the rest of its output by a number.

    exec_command `cargo test` ──▶ "… running with session ID 4711"      write_stdin {"session_id": 4711} ──▶ the rest
    exec `tools.exec_command(…)` ──▶ "… running with cell ID 3"         wait {"cell_id": "3"} ──▶ the rest

Such a call says nothing of what it is about, so its command is told as the one that it goes on with: `…cargo test`.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ctxgc.adapters.facts.tool_facts import COMMAND_CHARS_MAX, Facts
from ctxgc.adapters.session_builder import block_text, blocks
from ctxgc.core.bounded_dict import drop_oldest

RUNNING_MAX = 256
GOES_ON = "…"
"""Before a command of which a call has the rest: that is no other attempt at it."""
HEAD_CHARS = 600
TAIL_CHARS = 300

_SIGNS = ("cell ID", "ession ID", "ession_id", "ESSION_ID")
"""One of them stands where `_LEFT` finds something; to look for them costs next to nothing."""
_LEFT = re.compile(r"\bcell ID (\w+)|\bsession[_ ]id\W{1,6}(\d+)", re.IGNORECASE)
"""In the host's words, in its JSON, or as a script of the model's prints it."""
_ASKED = re.compile(r"""\bsession_id["']?\s*:\s*(\d+)""")


class Running:
    """What runs on, by number. Bounded: of the oldest nothing is known any more (I12)."""

    def __init__(self) -> None:
        self._commands: dict[str, str] = {}

    def goes_on(self, tool: str, value: object, facts: Facts) -> Facts:
        """The facts of a call; with the command that it asks for the rest of, if it asks for one."""
        name = ""
        if tool == "wait" and isinstance(value, dict):
            name = f"cell {value.get('cell_id')}"
        elif tool == "write_stdin" and isinstance(value, dict):
            name = str(value.get("session_id"))
        elif isinstance(value, str) and facts.command == "write_stdin" and (asked := _ASKED.search(value)):
            name = asked[1]
        command = self._commands.get(name, "")
        return replace(facts, command=f"{GOES_ON}{command}"[:COMMAND_CHARS_MAX]) if command else facts

    def ended(self, command: str, output: object) -> None:
        """A call of this command came back: note what it left running."""
        if not command:
            return
        for text in filter(None, map(block_text, blocks(output))):
            for part in (text[:HEAD_CHARS], text[max(HEAD_CHARS, len(text) - TAIL_CHARS) :]):
                for left in _LEFT.finditer(part) if any(sign in part for sign in _SIGNS) else ():
                    self._commands[f"cell {left[1]}" if left[1] else left[2]] = command.removeprefix(GOES_ON)
        drop_oldest(self._commands, RUNNING_MAX)
