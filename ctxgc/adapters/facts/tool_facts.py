"""Facts of a tool call by its input: paths with ranges, texts an edit must have seen, the shell command, the attempt.

    call ──facts_of_call──▶ Facts ──answered(result)──▶ Facts ──▶ Segment          stored row ──add_row_facts──▶ Segment

A single table for all agents: tools are known by their lower-cased name, paths by their key. A path in the input of an
unknown tool counts as a mention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ctxgc.adapters.facts.patch_paths import files_of_patch, has_patch, parse_script
from ctxgc.adapters.facts.result_words import has_protected_words, is_question_tool
from ctxgc.adapters.facts.shell_facts import attempt_of_command, prints_only_file_lines, recalled_segment_name
from ctxgc.adapters.facts.shell_paths import (
    PATH_CHARS_MAX,
    TouchedFiles,
    files_of_command,
    resolve_path,
    unique_path_uses,
)
from ctxgc.core.numbered_lines import line_number
from ctxgc.core.segment import (
    COMMAND_CHARS_MAX,
    LINE_MAX,
    NO_FACTS,
    Access,
    CallFacts,
    Kind,
    PathUse,
    Segment,
    SegmentHeader,
)

EDIT_SOURCES_MAX = 64
SNIPPET = b"cat -n"
"""In front of the lines around an edit, as some hosts show them."""
READ_LINES_DEFAULT = 2000
"""Lines that Claude Code's Read returns when it is not told how many."""
UNCHANGED = b"unchanged since last read"
"""Claude Code's answer in place of a file that the window has already."""
UNCHANGED_WITHIN_BYTES = 100
CUT_PHRASES = (b"tokens truncated", b"lines truncated", b"characters truncated", b"utput truncated")
CUT_SIGNS = (b"elided", b"<persisted-output>", UNCHANGED)
"""Hosts' phrases for a shortened output."""

PATH_KEYS = ("file_path", "filePath", "absolute_path", "notebook_path", "path", "filename", "paths")
FILE_TOOLS = {
    "read": Access.READ,
    "notebookread": Access.READ,
    "view": Access.READ,
    "read_file": Access.READ,
    "edit": Access.EDIT,
    "multiedit": Access.EDIT,
    "notebookedit": Access.EDIT,
    "write": Access.WRITE,
    "replace": Access.EDIT,
    "replace_in_file": Access.EDIT,
    "apply_diff": Access.EDIT,
    "write_file": Access.WRITE,
    "write_to_file": Access.WRITE,
    "create": Access.WRITE,
}
EDITOR_TOOLS = frozenset({"str_replace_editor", "str_replace_based_edit_tool"})
"""A single tool for all work on a file; the shell's work stands under `command`."""

EDITOR_COMMANDS = {
    "view": Access.READ,
    "create": Access.WRITE,
    "str_replace": Access.EDIT,
    "insert": Access.EDIT,
}
PLAN_TOOLS = frozenset({"todowrite", "todo_write", "write_todos", "update_plan", "exitplanmode"})
SUB_AGENT_TOOLS = frozenset({"task", "agent", "spawn_agent"})
SEARCH_TOOLS = frozenset({"grep", "glob", "grep_search", "search_file_content", "search_files"})
SHELL_TOOLS = frozenset(
    {
        "bash",
        "shell",
        "exec_command",
        "local_shell",
        "container.exec",
        "run_shell_command",
        "execute",
        "execute_command",
    }
)
OLD_KEYS = ("old_string", "oldString", "old_str", "old_text", "oldText")


@dataclass(frozen=True, slots=True)
class Facts:
    """The source of references and proofs."""

    paths: tuple[PathUse, ...] = ()
    edit_sources: tuple[str, ...] = ()
    command: str = ""
    """The shell command; of a text that shows an output, the output's name."""
    tool: str = ""
    """The name of a text's content, where a host gives more than an attachment: `skill`."""
    call: CallFacts = NO_FACTS
    reads_to_default: bool = False
    """A read that named no limit: only its result tells whether it reached the end of the file."""

    def with_result(self, result: bytes) -> Facts:
        """The same facts once the result is known: a read cut at the default length did not cover the rest.

        A read that only reports an unchanged file shows no line: the earlier read must stay. An edit holds the lines
        that its result shows.
        """
        paths = self.paths
        if not self.command and UNCHANGED in result[:UNCHANGED_WITHIN_BYTES]:
            paths = tuple(use._replace(access=Access.MENTION) for use in paths)
        elif self.reads_to_default and result.count(b"\n") >= READ_LINES_DEFAULT - 1:
            paths = tuple(use._replace(last_line=use.first_line + READ_LINES_DEFAULT - 1) for use in paths)
        elif SNIPPET in result and len(paths) == 1 and paths[0].access is Access.EDIT:
            paths = (_edit_with_shown_lines(paths[0], result),)
        is_cut = self.call.is_pure_read and _is_result_cut(result)
        has_words = self.call.holds_words or has_protected_words(result)
        if paths is self.paths and not is_cut and has_words == self.call.holds_words:
            return self
        return replace(self, paths=paths, call=self.call._replace(is_cut=is_cut, holds_words=has_words))


NO_CALL_FACTS = Facts()


def _edit_with_shown_lines(edit: PathUse, result: bytes) -> PathUse:
    """The edit with the range of the numbered lines that its result shows, if the numbers are one run."""
    lines = result.partition(SNIPPET)[2].decode("utf-8", "replace").split("\n")[1:]
    numbers = [number.value for line in lines if (number := line_number(line))]
    is_run = bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return edit._replace(first_line=numbers[0], last_line=numbers[-1]) if is_run and numbers[0] > 0 else edit


def _is_result_cut(result: bytes) -> bool:
    for sign in CUT_SIGNS:
        if sign in result:
            return True
    return b" truncated" in result and any(phrase in result for phrase in CUT_PHRASES)


def facts_of_call(tool: str, value: object, cwd: str) -> Facts:
    """The facts of a call. `value` is the call's input, an object or free text; `cwd` resolves relative paths."""
    facts = _facts_of_input(tool.lower(), value, cwd)
    call = call_facts_without_input(tool, facts.command, facts.paths)
    return Facts(facts.paths, facts.edit_sources, facts.command, "", call, facts.reads_to_default)


def call_facts_without_input(tool: str, command: str, paths: Sequence[PathUse]) -> CallFacts:
    """The attempt of a call, by tool, command and files, which a stored row has."""
    name = tool.lower()
    access = paths[0].access if paths and name in EDITOR_TOOLS else FILE_TOOLS.get(name)
    return CallFacts(
        attempt=attempt_of_command(command) or name or "call",
        recalls=recalled_segment_name(command) if command else "",
        is_pure_read=prints_only_file_lines(command, paths) if command else access is Access.READ,
        is_pure_write=access is Access.WRITE and not command,
        is_plan=name in PLAN_TOOLS,
        is_search=name in SEARCH_TOOLS,
        is_delegation=name in SUB_AGENT_TOOLS,
        holds_words=is_question_tool(tool),
    )


def add_row_facts(header: SegmentHeader) -> SegmentHeader:
    """A stored tool call with its facts; a stash of an older version kept none, and then the row's columns give the
    facts."""
    if header.kind is not Kind.TOOL_CALL or header.facts.attempt:
        return header
    return header._replace(facts=call_facts_without_input(header.tool, header.command, header.paths))


def add_client_facts(segment: Segment, paths: tuple[PathUse, ...], command: str) -> Segment:
    """A tool call whose client says the files or the command: both count as the call's own."""
    paths, command = paths or segment.paths, command or segment.command
    if (paths, command) == (segment.paths, segment.command):
        return segment
    facts = segment.facts
    if segment.kind is Kind.TOOL_CALL:
        before = segment.facts
        facts = call_facts_without_input(segment.tool, command, paths)._replace(
            is_cut=before.is_cut, holds_words=before.holds_words
        )
    return replace(segment, paths=paths, command=command, facts=facts)


def _facts_of_input(name: str, value: object, cwd: str) -> Facts:
    if isinstance(value, str):
        return _facts_of_free_text(value, cwd)
    if not isinstance(value, dict):
        return Facts()
    if name not in EDITOR_TOOLS and (name in SHELL_TOOLS or "cmd" in value or "command" in value):
        return _facts_of_shell_call(value, cwd)
    patch = value.get("patch", value.get("input"))
    if isinstance(patch, str) and has_patch(patch):
        return _facts_of_touched_files(files_of_patch(patch, cwd), "")
    path = next((value[key] for key in PATH_KEYS if isinstance(value.get(key), str)), "")
    if not path.isprintable() or not 0 < len(path) <= PATH_CHARS_MAX:
        return Facts()
    return _facts_of_file_call(_access_of_tool(name, value), resolve_path(path, cwd), value)


def _access_of_tool(name: str, value: dict[str, Any]) -> Access:
    if name in EDITOR_TOOLS:
        command = value.get("command")
        return EDITOR_COMMANDS.get(command, Access.MENTION) if isinstance(command, str) else Access.MENTION
    return FILE_TOOLS.get(name, Access.MENTION)


def _facts_of_file_call(access: Access, path: str, value: dict[str, Any]) -> Facts:
    if access is not Access.READ:
        return Facts((PathUse(path, access),), edit_sources=_edit_source_texts(value))
    view = value.get("view_range")
    if isinstance(view, list) and len(view) == 2:
        # [first, last]; a last of -1 reads to the end.
        first = _line_number_or_default(view[0], 1)
        return Facts((PathUse(path, access, first, max(first, _line_number_or_default(view[1], LINE_MAX))),))
    first = _line_number_or_default(value.get("offset"), 1)
    limit = _line_number_or_default(value.get("limit"), 0)
    last = min(first + limit - 1, LINE_MAX) if limit else LINE_MAX
    return Facts((PathUse(path, access, first, last),), reads_to_default=not limit)


def _edit_source_texts(value: dict[str, Any]) -> tuple[str, ...]:
    edits = value.get("edits")
    steps = [value, *(step for step in edits if isinstance(step, dict))] if isinstance(edits, list) else [value]
    texts = (step.get(key) for step in steps for key in OLD_KEYS)
    return tuple(text for text in texts if isinstance(text, str) and text)[:EDIT_SOURCES_MAX]


def _facts_of_shell_call(value: dict[str, Any], cwd: str) -> Facts:
    command = value.get("cmd", value.get("command"))
    if isinstance(command, list):
        words = [word for word in command if isinstance(word, str)]
        # ["bash", "-lc", "the command"]: the last word is what runs.
        is_wrapped = len(words) == 3 and words[1] in ("-c", "-lc")
        command = words[-1] if is_wrapped else " ".join(words)
    if not isinstance(command, str):
        return Facts()
    place = value.get("workdir")
    return _facts_of_touched_files(
        _files_of_patch_or_command(command, resolve_path(place, cwd) if isinstance(place, str) else cwd), command
    )


def _facts_of_free_text(text: str, cwd: str) -> Facts:
    """Free text is a patch, or a script whose string literals are commands and patches."""
    if text.lstrip().startswith("***"):
        return _facts_of_touched_files(_files_of_patch_or_command(text, cwd), "")
    script = parse_script(text)
    parts = [_files_of_patch_or_command(part, script.workdir or cwd) for part in script.parts]
    touched = TouchedFiles(
        unique_path_uses(use for part in parts for use in part.paths),
        tuple(source for part in parts for source in part.edit_sources),
    )
    return _facts_of_touched_files(touched, script.command or ("" if has_patch(text) else text))


def _files_of_patch_or_command(text: str, cwd: str) -> TouchedFiles:
    return files_of_patch(text, cwd) if has_patch(text) else files_of_command(text, cwd)


def _facts_of_touched_files(touched: TouchedFiles, command: str) -> Facts:
    return Facts(touched.paths, touched.edit_sources[:EDIT_SOURCES_MAX], command[:COMMAND_CHARS_MAX])


def _line_number_or_default(value: object, default: int) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < LINE_MAX
    return int(value) if is_number else default  # type: ignore[call-overload]
