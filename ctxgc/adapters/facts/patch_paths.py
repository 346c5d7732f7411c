r"""Paths and seen lines out of apply_patch envelopes, and the commands inside a script that runs them.

*** Begin Patch
*** Update File: a.py      edit a.py
@@
 context                   what the edit had seen: context and removed lines, hunk by hunk
-removed
+added
*** End Patch

tools.exec_command({cmd: "cat a.py"})     a script: its string literals are commands and patches
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ctxgc.adapters.facts.shell_paths import TouchedFiles, resolve_path, unique_path_uses
from ctxgc.core.segment import Access, PathUse

SCRIPT_CHARS_READ_MAX = 2**18
HUNKS_MAX = 64
LITERALS_MAX = 64


class Script(NamedTuple):
    """A script's commands and patches, the first command, and the working directory."""

    parts: tuple[str, ...]
    command: str
    """Without a command: the first tool that the script calls. Empty where it does neither, or applies a patch."""
    workdir: str


_PATCH_FILE = re.compile(r"^\*\*\* (Update|Add|Delete) File: (.+?)\s*$|^\*\*\* Move to: (.+?)\s*$", re.MULTILINE)
_WRITTEN_FILE = re.compile(r"\*\*\* (?:Update|Add) File: (.+?)\s*$")
_PATCH_BEGIN = "*** Begin Patch"
_PATCH_ACCESS = {"Update": Access.EDIT, "Add": Access.WRITE, "Delete": Access.EDIT}


def has_patch(text: str) -> bool:
    """Whether the text holds an apply_patch envelope."""
    return _PATCH_BEGIN in text


def files_of_patch(text: str, cwd: str) -> TouchedFiles:
    """Files of an apply_patch envelope, and for each hunk the lines that the edit must have seen: context and removed
    lines.
    """
    uses = [
        PathUse(resolve_path(match[2] or match[3], cwd), _PATCH_ACCESS.get(match[1] or "Add", Access.WRITE))
        for match in _PATCH_FILE.finditer(text)
        if (match[2] or match[3]).isprintable()
    ]
    sources: list[str] = []
    seen: list[str] = []
    is_update = False
    for line in text.split("\n"):
        if line.startswith(("***", "@@")):
            _flush_hunk_lines(seen, sources)
            is_update = line.startswith("*** Update") or (is_update and line.startswith("@@"))
        elif is_update and line[:1] in (" ", "-"):
            seen.append(line[1:])
    _flush_hunk_lines(seen, sources)
    return TouchedFiles(unique_path_uses(uses), tuple(sources[:HUNKS_MAX]))


def _flush_hunk_lines(seen: list[str], sources: list[str]) -> None:
    text = "\n".join(seen)
    if text.strip():
        sources.append(text)
    seen.clear()


_LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"|\'((?:[^\'\\\n]|\\.)*)\'|`((?:[^`\\]|\\.)*)`', re.DOTALL)
_WORKDIR = re.compile(r"""\bworkdir["']?\s*:\s*["'`]([^"'`\n]+)["'`]""")
_CMD_BEFORE = re.compile(r"""\bcmd["']?\s*:\s*$""")
_TOOL = re.compile(r"\btools\.(\w{1,100})\(")
_ESCAPE = re.compile(r"\\(?:u\{?([0-9a-fA-F]{4,6})\}?|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\n": ""}


def parse_script(script: str) -> Script:
    """Commands and patches of JavaScript text: the literals behind `cmd:`, or all, where a list is run later."""
    text = script[:SCRIPT_CHARS_READ_MAX]
    literals: list[str] = []
    commands: list[str] = []
    for match in _LITERAL.finditer(text):
        body = match[1] or match[2] or match[3]
        if body and (" " in body or "\n" in body):
            literals.append(_ESCAPE.sub(_character_of_escape, body) if "\\" in body else body)
            if _CMD_BEFORE.search(text[max(0, match.start() - 16) : match.start()]):
                commands.append(literals[-1])
        if len(literals) >= LITERALS_MAX:
            break
    patches = [literal for literal in literals if has_patch(literal)]
    parts = commands + patches if commands else literals
    place = _WORKDIR.search(text)
    called = _TOOL.search(text) if not commands and not patches else None
    command = commands[0] if commands else called[1] if called else ""
    return Script(tuple(parts), command, place[1] if place else "")


def _character_of_escape(match: re.Match[str]) -> str:
    digits = match[1] or match[2]
    if digits:
        code = int(digits, 16)
        return chr(code) if code <= 0x10FFFF else ""
    return _ESCAPES.get(match[3], match[3])


def text_added_by_patch(patch: str, path: str) -> str:
    """The lines that an apply_patch envelope adds to a file."""
    added, is_wanted = [], False
    for line in patch.split("\n"):
        if match := _WRITTEN_FILE.match(line):
            is_wanted = f"/{path}".endswith(f"/{match[1].lstrip('./')}")
        elif is_wanted and line.startswith("+"):
            added.append(line[1:])
    return "\n".join(added)
