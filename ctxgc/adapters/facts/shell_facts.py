"""What a shell command is, beyond the files it names: a pure read, an attempt at something, a recall.

cd /w && sed -n 1,40p a.py     pure read: the result is lines of the file and nothing else
cd /w && npm test -- -w a      an attempt at `npm test --`, however the directory was reached
ctxgc recall '#6' | head       recalls `#6`: whatever was printed, the original holds it
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from ctxgc.adapters.facts.shell import Pipe, Stage, pipes_of
from ctxgc.core.segment import COMMAND_CHARS_MAX, Access, PathUse

ATTEMPT_WORDS = 3

_AND_THEN = frozenset({"&&", ";", "\n"})
_FILE = re.compile(r"[\w./@%+:=~][\w./@%+,:=~-]*")
_FLAGS = {"cat": re.compile(r"-[A-Za-z]+"), "nl": re.compile(r"-[a-z]+")}
_SED_LINES = re.compile(r"\d+(?:,(?:\d+|\$))?p")
_DIGITS = re.compile(r"[0-9]+")

_NAME = re.compile(r"#\d+|[\w.:~-]+")
_RECALL_FLAGS = frozenset({"--raw", "--json"})
_SHOWERS = frozenset({"head", "tail", "sed", "grep", "rg", "cat", "less", "nl", "cut", "fold"})
_QUIET: tuple[tuple[list[str], list[str]], ...] = (([], []), (["2>&1"], []), (["2>"], ["/dev/null"]))
"""Redirections (operators, targets) that take nothing from the output and add no more than errors."""


def attempt_of(command: str) -> str:
    """The first words of a command, behind the moves to a directory in front of it."""
    if moves := _moves(command):
        command = command[pipes_of(command)[moves - 1].end_at :]
    return " ".join(command.split(None, ATTEMPT_WORDS)[:ATTEMPT_WORDS])


def is_pure_read(command: str, paths: Sequence[PathUse]) -> bool:
    """Whether a command prints lines of files that it names in full, and nothing that could be more or less.

    False garbage costs a page fault: where a command is in doubt, or was cut, it is no pure read.
    """
    if not 0 < len(command) < COMMAND_CHARS_MAX or not paths or command.count("'") % 2 or command.count('"') % 2:
        return False
    files = 0
    for pipe in pipes_of(command)[_moves(command) :]:
        if pipe.stages == [Stage()] and pipe.end in ("\n", ""):
            continue
        printed = _files_printed(pipe.stages)
        if not printed or (pipe.end and pipe.end not in _AND_THEN):
            return False
        files += printed
    # A word that was taken for no file, or a file named twice, leaves lines unaccounted for.
    return files == sum(use.access is Access.READ for use in paths) == len(paths)


def recalls(command: str) -> str:
    """The name that `ctxgc recall` is given, where the command shows that segment, or a part of it, and no more."""
    if "ctxgc recall" not in command or len(command.strip()) >= COMMAND_CHARS_MAX:
        return ""
    pipes = list(pipes_of(command))
    if len(pipes) == 2 and pipes[0].end == "&&" and _is_move(pipes[0]):
        del pipes[0]
    if len(pipes) != 1 or pipes[0].end:
        return ""
    first, *rest = pipes[0].stages
    if (first.redirects, first.targets) not in _QUIET or not all(map(_shows_a_part, rest)):
        return ""
    return _name_recalled(first.words)


def _moves(command: str) -> int:
    """How many pipes at the beginning of a command only move to a directory."""
    if not command.lstrip().startswith("cd "):
        return 0
    pipes = pipes_of(command)
    return next((at for at, pipe in enumerate(pipes) if not _is_move(pipe) or pipe.end not in _AND_THEN), len(pipes))


def _is_move(pipe: Pipe) -> bool:
    words = pipe.stages[0].words
    return len(pipe.stages) == 1 and len(words) == 2 and words[0] == "cd" and not pipe.stages[0].redirects


def _files_printed(stages: list[Stage]) -> int:
    """How many files a pipe prints lines of; 0 for a pipe that may print something else."""
    if any(stage.redirects or not stage.words for stage in stages) or len(stages) > 2:
        return 0
    first = stages[0]
    if len(stages) == 1:
        files, is_range = _read_by(first)
        # Of several files a range would count lines through all of them.
        return files if not is_range or files == 1 else 0
    narrow = stages[1]
    is_narrowed = _is_sed_range(narrow.words) or _is_head_count(narrow.words)
    return 1 if is_narrowed and first.words[0] in _FLAGS and _read_by(first)[0] == 1 else 0


def _read_by(stage: Stage) -> tuple[int, bool]:
    """(files, whether a range of lines) of a reader with nothing but flags and files behind it."""
    verb, *rest = stage.words
    quoted = stage.quoted[1:]
    if verb == "sed":
        return (_files(rest[2:], quoted[2:]), True) if _is_sed_range(stage.words[:3]) else (0, True)
    if verb == "head":
        skipped = _count_words(rest)
        return _files(rest[skipped:], quoted[skipped:]), False
    flag = _FLAGS.get(verb)
    flags = 0
    while flag and flags < len(rest) and flag.fullmatch(rest[flags]):
        flags += 1
    return (_files(rest[flags:], quoted[flags:]), False) if flag else (0, False)


def _is_sed_range(words: Sequence[str]) -> bool:
    return len(words) == 3 and list(words[:2]) == ["sed", "-n"] and _SED_LINES.fullmatch(words[2]) is not None


def _is_head_count(words: Sequence[str]) -> bool:
    return bool(words) and words[0] == "head" and _count_words(words[1:]) == len(words) - 1


def _count_words(words: Sequence[str]) -> int:
    """How many words say how many lines: `-20`, `-n20`, `-n 20`."""
    if words and _DIGITS.fullmatch(words[0].removeprefix("-n" if words[0].startswith("-n") else "-")):
        return int(words[0].startswith("-"))
    return 2 if len(words) > 1 and words[0] == "-n" and _DIGITS.fullmatch(words[1]) else 0


def _files(words: Sequence[str], quoted: Sequence[bool]) -> int:
    """How many files these words are, 0 if a word is none."""
    is_all = all(_FILE.fullmatch(word) and not is_quoted for word, is_quoted in zip(words, quoted, strict=True))
    return len(words) if is_all else 0


def _shows_a_part(stage: Stage) -> bool:
    is_plain = not stage.redirects and not any(sign in word for word in stage.words for sign in "`$")
    return is_plain and bool(stage.words) and stage.words[0] in _SHOWERS


def _name_recalled(words: list[str]) -> str:
    if len(words) < 3 or posixpath.basename(words[0]) != "ctxgc" or words[1] != "recall":
        return ""
    names: list[str] = []
    is_value = False
    for word in words[2:]:
        if is_value:
            is_value = False
        elif word == "--piece":
            is_value = True
        elif word not in _RECALL_FLAGS and not word.startswith("--piece="):
            names.append(word)
    return names[0] if len(names) == 1 and not is_value and _NAME.fullmatch(names[0]) else ""
