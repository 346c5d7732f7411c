"""What a tool call says about files: paths with ranges, texts an edit must have seen, the shell command.

One table for all agents: tools are known by their lower-cased name, paths by the key they stand under. What is
not in the table but carries a path counts as a mention of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ctxgc.adapters.facts.patch_paths import is_patch, patch_touches, script_parts
from ctxgc.adapters.facts.shell_paths import PATH_CHARS_MAX, Touched, resolve, shell_touches, unique
from ctxgc.core.segment import LINE_MAX, Access, PathUse

EDIT_SOURCES_MAX = 64
COMMAND_CHARS_MAX = 200
READ_LINES_DEFAULT = 2000
"""Lines that Claude Code's Read returns when it is not told how many."""
UNCHANGED = b"unchanged since last read"
"""What Claude Code answers instead of a file that it has shown already."""
UNCHANGED_WITHIN_BYTES = 100

PATH_KEYS = ("file_path", "filePath", "notebook_path", "path", "filename", "paths")
FILE_TOOLS = {
    "read": Access.READ,
    "notebookread": Access.READ,
    "view": Access.READ,
    "read_file": Access.READ,
    "edit": Access.EDIT,
    "multiedit": Access.EDIT,
    "notebookedit": Access.EDIT,
    "write": Access.WRITE,
    "write_file": Access.WRITE,
    "create": Access.WRITE,
}
EDITOR_TOOLS = frozenset({"str_replace_editor", "str_replace_based_edit_tool"})
"""One tool for all that is done to a file; what it does stands under `command`."""

EDITOR_COMMANDS = {
    "view": Access.READ,
    "create": Access.WRITE,
    "str_replace": Access.EDIT,
    "insert": Access.EDIT,
}
SHELL_TOOLS = frozenset({"bash", "shell", "exec_command", "local_shell", "container.exec", "run_shell_command"})
OLD_KEYS = ("old_string", "oldString", "old_str", "old_text", "oldText")


@dataclass(frozen=True, slots=True)
class Facts:
    """What references are derived from."""

    paths: tuple[PathUse, ...] = ()
    edit_sources: tuple[str, ...] = ()
    command: str = ""
    """The shell command; of a text that shows an output, the name of what it shows."""
    tool: str = ""
    """What a text shows, where it is more than an attachment: `skill`."""
    reads_to_default: bool = False
    """A read that named no limit: only its result tells whether it reached the end of the file."""

    def answered(self, result: bytes) -> Facts:
        """The same facts once the result is known: a read cut at the default length did not cover the rest.

        A read that only says the file is what it was shows no line of it: what it points to must not be replaced.
        """
        if not self.command and UNCHANGED in result[:UNCHANGED_WITHIN_BYTES]:
            return replace(self, paths=tuple(use._replace(access=Access.MENTION) for use in self.paths))
        if not self.reads_to_default or result.count(b"\n") < READ_LINES_DEFAULT - 1:
            return self
        cut = (use._replace(last_line=use.first_line + READ_LINES_DEFAULT - 1) for use in self.paths)
        return replace(self, paths=tuple(cut))


def facts_of(tool: str, value: object, cwd: str) -> Facts:
    """The facts of one call. `value` is its input, an object or free text; `cwd` resolves relative paths."""
    name = tool.lower()
    if isinstance(value, str):
        return _of_text(value, cwd)
    if not isinstance(value, dict):
        return Facts()
    if name not in EDITOR_TOOLS and (name in SHELL_TOOLS or "cmd" in value or "command" in value):
        return _of_shell(value, cwd)
    patch = value.get("patch", value.get("input"))
    if isinstance(patch, str) and is_patch(patch):
        return _of_touched(patch_touches(patch, cwd), "")
    path = next((value[key] for key in PATH_KEYS if isinstance(value.get(key), str)), "")
    if not path.isprintable() or not 0 < len(path) <= PATH_CHARS_MAX:
        return Facts()
    return _of_file(_access(name, value), resolve(path, cwd), value)


def _access(name: str, value: dict[str, Any]) -> Access:
    if name in EDITOR_TOOLS:
        command = value.get("command")
        return EDITOR_COMMANDS.get(command, Access.MENTION) if isinstance(command, str) else Access.MENTION
    return FILE_TOOLS.get(name, Access.MENTION)


def _of_file(access: Access, path: str, value: dict[str, Any]) -> Facts:
    if access is not Access.READ:
        return Facts((PathUse(path, access),), edit_sources=_old_texts(value))
    view = value.get("view_range")
    if isinstance(view, list) and len(view) == 2:
        # [first, last]; a last of -1 reads to the end.
        first = _line(view[0], 1)
        return Facts((PathUse(path, access, first, max(first, _line(view[1], LINE_MAX))),))
    first = _line(value.get("offset"), 1)
    limit = _line(value.get("limit"), 0)
    last = min(first + limit - 1, LINE_MAX) if limit else LINE_MAX
    return Facts((PathUse(path, access, first, last),), reads_to_default=not limit)


def _old_texts(value: dict[str, Any]) -> tuple[str, ...]:
    edits = value.get("edits")
    steps = [value, *(step for step in edits if isinstance(step, dict))] if isinstance(edits, list) else [value]
    found = (step.get(key) for step in steps for key in OLD_KEYS)
    return tuple(text for text in found if isinstance(text, str) and text)[:EDIT_SOURCES_MAX]


def _of_shell(value: dict[str, Any], cwd: str) -> Facts:
    command = value.get("cmd", value.get("command"))
    if isinstance(command, list):
        words = [word for word in command if isinstance(word, str)]
        # ["bash", "-lc", "the command"]: the last word is what runs.
        is_wrapped = len(words) == 3 and words[1] in ("-c", "-lc")
        command = words[-1] if is_wrapped else " ".join(words)
    if not isinstance(command, str):
        return Facts()
    place = value.get("workdir")
    return _of_touched(_touches(command, resolve(place, cwd) if isinstance(place, str) else cwd), command)


def _of_text(text: str, cwd: str) -> Facts:
    """Free text is a patch, or a script whose string literals are commands and patches."""
    if text.lstrip().startswith("***"):
        return _of_touched(_touches(text, cwd), "")
    script = script_parts(text)
    parts = [_touches(part, script.workdir or cwd) for part in script.parts]
    touched = Touched(
        unique(use for part in parts for use in part.paths),
        tuple(source for part in parts for source in part.edit_sources),
    )
    return _of_touched(touched, script.command or ("" if is_patch(text) else text))


def _touches(text: str, cwd: str) -> Touched:
    return patch_touches(text, cwd) if is_patch(text) else shell_touches(text, cwd)


def _of_touched(touched: Touched, command: str) -> Facts:
    return Facts(touched.paths, touched.edit_sources[:EDIT_SOURCES_MAX], command[:COMMAND_CHARS_MAX])


def _line(value: object, default: int) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < LINE_MAX
    return int(value) if is_number else default  # type: ignore[call-overload]
