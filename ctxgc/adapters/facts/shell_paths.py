"""Paths and line ranges out of shell commands.

    sed -n '10,40p' src/a.rs          read  src/a.rs 10–40
    nl -ba a.py | sed -n '5,9p'       read  a.py 5–9        (a range later in the pipe narrows what came before)
    rg -n 'word' src/a.rs             mention
    cat x > y                         read x, write y

Heuristics, no shell: a command that is too clever yields fewer paths, never an error. Linear in the text.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ctxgc.adapters.facts.shell import Stage, parse_command_line
from ctxgc.core.paths import canonical_path, is_windows_path
from ctxgc.core.segment import LINE_MAX, Access, PathUse

PATHS_MAX = 64
PATH_CHARS_MAX = 1024


class TouchedFiles(NamedTuple):
    """Files that a call touched, and texts that the call had to see first."""

    paths: tuple[PathUse, ...] = ()
    edit_sources: tuple[str, ...] = ()


_SED_RANGE = re.compile(r"^(\d+)(?:,(\d+|\$|\+\d+))?p(?:;\s*\d+q)?$")
_COUNT = re.compile(r"^-(?:n\s*|c\s*|-lines=)?(\d+)$")
_PLAIN_PATH = re.compile(r"^[~\w./@%+,:=\[\]-]+$")
_HAS_EXTENSION = re.compile(r"\.[A-Za-z]\w{0,9}$")

READERS = frozenset({"cat", "nl", "head", "sed", "bat", "tac", "xxd", "awk", "jq"})
# The last lines of a file are not known by number: of a tail nothing can be named but the file.
MENTIONERS = frozenset(
    {"tail", "rg", "grep", "egrep", "fgrep", "ag", "wc", "ls", "stat", "diff", "rm", "chmod", "find"}
)
WRITERS = frozenset({"tee", "touch"})
SCRIPT_FIRST = frozenset({"sed", "awk", "jq", "rg", "grep", "egrep", "fgrep", "ag"})
SHELLS = frozenset({"bash", "sh", "zsh"})
GIT_WITH_PATHS = frozenset({"diff", "show", "log", "blame", "add", "checkout", "restore", "rm"})
PREFIXES = frozenset({"sudo", "time", "env", "command", "nohup", "then", "do", "else", "!", "{"})
_GREP_FLAGS = frozenset(
    {
        "-e",
        "-f",
        "-g",
        "-A",
        "-B",
        "-C",
        "-m",
        "-t",
        "-T",
        "--glob",
        "--type",
        "--include",
        "--exclude",
        "--exclude-dir",
    }
)
_COUNT_FLAGS = frozenset({"-n", "-c"})
VALUE_FLAGS = {
    "head": _COUNT_FLAGS,
    "tail": _COUNT_FLAGS,
    "sed": frozenset({"-e", "-f"}),
    "awk": frozenset({"-F", "-v", "-f"}),
    "nl": frozenset({"-b", "-v", "-w", "-s"}),
    "rg": _GREP_FLAGS,
    "grep": _GREP_FLAGS,
    "egrep": _GREP_FLAGS,
    "fgrep": _GREP_FLAGS,
    "ag": _GREP_FLAGS,
}


DRIVE = re.compile(r"[a-z]:/")
_MOUNTED_DRIVE = re.compile(r"^/(?:mnt/|cygdrive/)?([A-Za-z])/")
"""A drive of Windows in Git Bash, WSL or Cygwin. On any other system such a folder is a folder."""


def resolve_path(path: str, cwd: str) -> str:
    """The path made absolute under `cwd` if the path is relative, without `.` and `..`; unchanged without a `cwd`."""
    path = canonical_path(path)
    if is_windows_path(cwd):
        path = _MOUNTED_DRIVE.sub(r"\1:/", path)
        path = path if path.startswith(("/", "~")) else path.replace("\\", "/").lower()
    path, cwd = canonical_path(path), canonical_path(cwd)
    if path.startswith(("/", "~")) or not cwd or DRIVE.match(path):
        return posixpath.normpath(path) if path else path
    return posixpath.normpath(posixpath.join(cwd, path))


def unique_path_uses(uses: Iterable[PathUse]) -> tuple[PathUse, ...]:
    """Each use once, in order, at most `PATHS_MAX`."""
    return tuple(dict.fromkeys(uses))[:PATHS_MAX]


def files_of_command(command: str, cwd: str) -> TouchedFiles:
    """The files of a shell command, each with the access and the lines shown."""
    uses: list[PathUse] = []
    for pipe in parse_command_line(command):
        moved = _cd_target(pipe.stages[0], cwd)
        if moved:
            cwd = moved
        uses += _path_uses_of_pipe(pipe.stages, cwd)
        if len(uses) > PATHS_MAX:
            break
    return TouchedFiles(unique_path_uses(uses))


def _cd_target(stage: Stage, cwd: str) -> str:
    """The directory after `cd DIR`; empty for any other command."""
    if len(stage.words) == 2 and stage.words[0] == "cd":
        return resolve_path(stage.words[1], cwd)
    return ""


def _path_uses_of_pipe(stages: list[Stage], cwd: str) -> list[PathUse]:
    """Uses of a pipe. `nl a | sed -n 5,9p` and `cat a | head -20` read the lines that come out at the end."""
    uses: list[PathUse] = []
    for stage in stages:
        paths, lines = _uses_and_lines_of_stage(stage, cwd)
        if lines and not paths:
            uses = [_narrow_lines(use, lines) for use in uses]
        uses += paths
        for target in stage.targets:
            if _can_be_path(target, is_quoted=True):
                uses.append(PathUse(resolve_path(target, cwd), Access.WRITE))
    return uses


def _narrow_lines(use: PathUse, lines: tuple[int, int]) -> PathUse:
    if use.access is not Access.READ:
        return use
    first = min(use.first_line + lines[0] - 1, LINE_MAX)
    last = min(use.first_line + lines[1] - 1, use.last_line)
    # Beyond what came before in the pipe nothing is shown.
    return use._replace(first_line=first, last_line=last) if first <= last else PathUse(use.path, Access.MENTION)


def _uses_and_lines_of_stage(stage: Stage, cwd: str) -> tuple[list[PathUse], tuple[int, int] | None]:
    """Uses of a command, and the lines of its range."""
    words, quoted = stage.words, stage.quoted
    at = 0
    while at < len(words) and (words[at] in PREFIXES or ("=" in words[at] and not quoted[at])):
        at += 1
    if at >= len(words):
        return [], None
    verb = posixpath.basename(words[at])
    rest, are_quoted = words[at + 1 :], quoted[at + 1 :]
    if verb == "git":
        return [PathUse(path, Access.MENTION) for path in _git_paths(rest, cwd)], None
    if verb in SHELLS:
        inner = next((word for word, is_quoted in zip(rest, are_quoted, strict=True) if is_quoted), "")
        return list(files_of_command(inner, cwd).paths), None
    if verb in ("cp", "mv") and len(rest) >= 2:
        operands = [resolve_path(word, cwd) for word in _file_operands(verb, rest, are_quoted)]
        return [PathUse(path, Access.READ) for path in operands[:-1]] + [
            PathUse(path, Access.WRITE) for path in operands[-1:]
        ], None
    if verb not in READERS and verb not in MENTIONERS and verb not in WRITERS:
        return [], None
    lines, access = _lines_and_access(verb, rest)
    paths = [resolve_path(word, cwd) for word in _file_operands(verb, rest, are_quoted)]
    first, last = lines or (1, LINE_MAX)
    if access is not Access.READ:
        first, last = 1, LINE_MAX
    return [PathUse(path, access, first, last) for path in paths], lines


def _lines_and_access(verb: str, rest: list[str]) -> tuple[tuple[int, int] | None, Access]:
    """The range of lines that a command shows, and the access to its files."""
    if verb in WRITERS:
        return None, Access.WRITE
    if verb == "sed":
        if any(word.startswith("-i") or word == "--in-place" for word in rest):
            return None, Access.EDIT
        return next((found for word in rest if (found := _parse_sed_range(word))), None), Access.READ
    if verb == "head":
        return (1, _head_line_count(rest)), Access.READ
    if verb in MENTIONERS:
        return None, Access.MENTION
    return None, Access.READ


def _parse_sed_range(word: str) -> tuple[int, int] | None:
    match = _SED_RANGE.match(word)
    if not match:
        return None
    first, last = _parse_line_number(match[1]), match[2]
    if last is None:
        return first, first
    if last == "$":
        return first, LINE_MAX
    return first, min(first + _parse_line_number(last[1:]), LINE_MAX) if last[0] == "+" else max(
        first, _parse_line_number(last)
    )


def _head_line_count(rest: list[str]) -> int:
    """How many lines `head` shows."""
    for at, word in enumerate(rest):
        if match := _COUNT.match(word):
            return _parse_line_number(match[1])
        if word == "-n" and at + 1 < len(rest) and rest[at + 1].isascii() and rest[at + 1].isdigit():
            return _parse_line_number(rest[at + 1])
    return 10


def _parse_line_number(digits: str) -> int:
    return min(int(digits[:12]), LINE_MAX) or 1


def _file_operands(verb: str, rest: list[str], are_quoted: list[bool]) -> Iterator[str]:
    """The words that are files: no flags, no values of flags, not the script or pattern that comes first."""
    awaits_script = verb in SCRIPT_FIRST
    takes_value = VALUE_FLAGS.get(verb, frozenset())
    is_value = False
    for word, is_quoted in zip(rest, are_quoted, strict=True):
        if is_value:
            is_value = False
        elif word.startswith("-") and not is_quoted:
            if verb == "find":
                return
            is_value = word in takes_value
            if word in ("-e", "-f", "--files"):
                awaits_script = False
        elif awaits_script:
            awaits_script = False
        elif _can_be_path(word, is_quoted):
            yield word


def _git_paths(rest: list[str], cwd: str) -> Iterator[str]:
    verb = next((word for word in rest if not word.startswith("-")), "")
    if verb not in GIT_WITH_PATHS:
        return
    tail = rest[rest.index(verb) + 1 :]
    words = tail[tail.index("--") + 1 :] if "--" in tail else [w for w in tail if ":" in w or _HAS_EXTENSION.search(w)]
    for word in words:
        # `git show REV:path` names a file too.
        path = word.partition(":")[2] or word
        if (
            not word.startswith("-")
            and _can_be_path(path, is_quoted=False)
            and (".." not in path or path.startswith("../"))
        ):
            yield resolve_path(path, cwd)


def _can_be_path(word: str, is_quoted: bool) -> bool:
    """Whether a word can be a file's name: no globs, no variables, no devices."""
    if not word.isprintable() or not 0 < len(word) <= PATH_CHARS_MAX:
        return False
    if word.startswith(("/dev/", "-", "&", "$", "+", "http:", "https:")):
        return False
    if not _PLAIN_PATH.match(word) and not (is_quoted and "/" in word and "\n" not in word and "*" not in word):
        return False
    return not word.replace(".", "").replace(",", "").isdigit() and word not in (".", "..", "/")
