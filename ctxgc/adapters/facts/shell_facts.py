"""Facts of a shell command beyond its files: a pure read, an attempt, a recall.

cd /w && sed -n 1,40p a.py     pure read: the result is lines of the file and nothing else
cd /w && npm test -- -w a      an attempt at `npm test --`, however the directory was reached
ctxgc recall '#6' | head       recalls `#6`: whatever was printed, the original holds it
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ctxgc.adapters.facts.shell import Pipe, Stage, parse_command_line
from ctxgc.core.segment import COMMAND_CHARS_MAX, Access, PathUse

ATTEMPT_WORDS = 3

_AND_THEN = frozenset({"&&", ";", "\n"})

# Readers of files named in full, and nothing that could print more or less than their lines. Words as the shell has
# them: of quoted ones only the range of `sed`.
_LINES = r"\d+(?:,(?:\d+|\$))?p"
_COUNT = r"(?: -n ?\d+| -\d+)?"
_FILE = r" [\w./@%+:=~][\w./@%+,:=~-]*"
_WHOLE = re.compile(rf"(?:cat(?: -[A-Za-z]+)*|nl(?: -[a-z]+)*|head{_COUNT})((?:{_FILE})+)")
# Of several files a range would count lines through all of them.
_RANGE = re.compile(rf"sed -n {_LINES}{_FILE}|(?:cat|nl)(?: -[A-Za-z]+)*{_FILE} \| (?:head{_COUNT}|sed -n {_LINES})")
_QUOTED = re.compile(_LINES)

_FLAGS = r"(?: --(?:raw|json|(?:piece|lines|budget)[ =][\w.-]+))*"
_RECALL = re.compile(rf"(?:[\w./~-]*/)?ctxgc recall{_FLAGS} (#\d+|[\w.:~-]+){_FLAGS}")
_SHOWERS = frozenset({"head", "tail", "sed", "grep", "rg", "cat", "less", "nl", "cut", "fold"})
_QUIET: tuple[tuple[list[str], list[str]], ...] = (([], []), (["2>&1"], []), (["2>"], ["/dev/null"]))
"""Redirections (operators, targets) that take nothing from the output and add no more than errors."""


def attempt_of_command(command: str) -> str:
    """The first words of a command, behind the moves to a directory in front of it."""
    if moves := _count_leading_directory_changes(command):
        command = command[parse_command_line(command)[moves - 1].end_at :]
    return " ".join(command.split(None, ATTEMPT_WORDS)[:ATTEMPT_WORDS])


def prints_only_file_lines(command: str, paths: Sequence[PathUse]) -> bool:
    """Whether a command prints exactly lines of files, each file named in full.

    False garbage costs a page fault: a doubtful or cut command is no pure read.
    """
    if not 0 < len(command) < COMMAND_CHARS_MAX or not paths or command.count("'") % 2 or command.count('"') % 2:
        return False
    files = 0
    for pipe in parse_command_line(command)[_count_leading_directory_changes(command) :]:
        if pipe.stages == [Stage()] and pipe.end in ("\n", ""):
            continue
        printed = _count_printed_files(pipe.stages)
        if not printed or (pipe.end and pipe.end not in _AND_THEN):
            return False
        files += printed
    # A word that was taken for no file, or a file named twice, leaves lines unaccounted for.
    return files == sum(use.access is Access.READ for use in paths) == len(paths)


def recalled_segment_name(command: str) -> str:
    """The name given to `ctxgc recall`, where the command shows that segment, or a part of the segment, and no more."""
    if "ctxgc recall" not in command or len(command.strip()) >= COMMAND_CHARS_MAX:
        return ""
    pipes = list(parse_command_line(command))
    if len(pipes) == 2 and pipes[0].end == "&&" and _is_directory_change(pipes[0]):
        del pipes[0]
    first, *rest = pipes[0].stages
    if len(pipes) != 1 or pipes[0].end or (first.redirects, first.targets) not in _QUIET:
        return ""
    name = _RECALL.fullmatch(" ".join(first.words))
    return name[1] if name and all(map(_shows_part_of_segment, rest)) else ""


def _count_leading_directory_changes(command: str) -> int:
    """How many pipes at the beginning of a command only move to a directory."""
    if not command.lstrip().startswith("cd "):
        return 0
    pipes = parse_command_line(command)
    return next(
        (at for at, pipe in enumerate(pipes) if not _is_directory_change(pipe) or pipe.end not in _AND_THEN), len(pipes)
    )


def _is_directory_change(pipe: Pipe) -> bool:
    words = pipe.stages[0].words
    return len(pipe.stages) == 1 and len(words) == 2 and words[0] == "cd" and not pipe.stages[0].redirects


def _count_printed_files(stages: list[Stage]) -> int:
    """How many files a pipe prints lines of; 0 for a pipe that may print other text."""
    for stage in stages:
        quoted = (word for word, is_quoted in zip(stage.words, stage.quoted, strict=True) if is_quoted)
        if stage.redirects or not all(map(_QUOTED.fullmatch, quoted)):
            return 0
    line = " | ".join(" ".join(stage.words) for stage in stages)
    whole = _WHOLE.fullmatch(line)
    return len(whole[1].split()) if whole else int(_RANGE.fullmatch(line) is not None)


def _shows_part_of_segment(stage: Stage) -> bool:
    is_plain = not stage.redirects and not any(sign in word for word in stage.words for sign in "`$")
    return is_plain and bool(stage.words) and stage.words[0] in _SHOWERS
