"""The grammar of a shell, as far as facts need a grammar: a command line as pipes of stages.

    cd /w && cat a.py | head -20 > b     Pipe([cd /w])  &&  Pipe([cat a.py], [head -20, to b])

Heuristics, no shell: a line that is too clever yields fewer words, never an error. Linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

COMMAND_CHARS_READ_MAX = 2**16

# A word, a quoted word, an operator, or a redirection; joined pieces ("a"'b') are rare enough to stand apart.
_TOKEN = re.compile(
    r"""(?P<op>\|\|?|&&|;|\n|&(?!>)|\(|\))"""
    r"""|(?P<redirect>(?:\d|&)?>>?\|?(?:&\d?-?)?|<<<|<<-?|<)"""
    r"""|'(?P<single>[^']*)'"""
    r'''|"(?P<double>(?:[^"\\]|\\.)*)"'''
    r"""|(?P<word>(?:[^\s|&;<>()'"\\]|\\.)+)""",
    re.DOTALL,
)
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")


@dataclass(slots=True)
class Stage:
    """A command of a pipe: unquoted words, and the redirections of input and output."""

    words: list[str] = field(default_factory=list)
    quoted: list[bool] = field(default_factory=list)
    """Whether each word was quoted."""
    redirects: list[str] = field(default_factory=list)
    """Operators, `2>&1` and `>` among them."""
    targets: list[str] = field(default_factory=list)
    """Files that output goes to."""


@dataclass(slots=True)
class Pipe:
    """Stages that feed each other, and the operator behind the last one; empty at the end of the line."""

    stages: list[Stage]
    end: str = ""
    end_at: int = 0
    """Where in the text the operator ends."""


@lru_cache(maxsize=2)
def parse_command_line(text: str) -> tuple[Pipe, ...]:
    """The pipes of a command line; `&&`, `;` and newlines separate them, here-documents left out.

    Several facts are asked of the same command in a row, so the last parses are kept. Callers never change the values.
    """
    text = text[:COMMAND_CHARS_READ_MAX]
    return tuple(_parse_pipes(_strip_heredocs(text) if "<<" in text else text))


def _parse_pipes(text: str) -> Iterator[Pipe]:
    stage = Stage()
    pipe = Pipe([stage])
    redirect = ""
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "op":
            redirect = ""
            if token.group() != "|":
                pipe.end, pipe.end_at = token.group(), token.end()
                yield pipe
                pipe = Pipe([])
            stage = Stage()
            pipe.stages.append(stage)
        elif kind == "redirect":
            stage.redirects.append(token.group())
            redirect = "" if token.group().endswith(("&1", "&2", "-")) else token.group()
        else:
            word = token.group(kind or 0)
            if redirect:
                if ">" in redirect:
                    stage.targets.append(word)
                redirect = ""
            else:
                stage.words.append(word)
                stage.quoted.append(kind != "word")
    yield pipe


def _strip_heredocs(text: str) -> str:
    """The text without the bodies of here-documents, which are data."""
    commands: list[str] = []
    end = ""
    for line in text.split("\n"):
        if end:
            end = "" if line.strip() == end else end
            continue
        commands.append(line)
        if match := _HEREDOC.search(line):
            end = match[2]
    return "\n".join(commands)
