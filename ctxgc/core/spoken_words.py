"""Code words, files and lines that a text names, and the words of a speaker.

A code word has six characters or more and an underscore, a digit or a camel hump. Every scan is bounded (I12).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from ctxgc.core.segment import Kind, Segment

WORDS_PER_SEGMENT_MAX = 4096
TEXT_CHARS_MAX = 2**20
"""Of each piece, only so much is looked through for words, files and lines."""
TOKENS_MAX = 512
"""Names of files in a text that are looked at."""
LINE_CHARS_MIN = 8
CONVENTIONAL_NAMES = frozenset(
    (
        *("readme.md", "changelog.md", "license.md", "contributing.md", "agents.md", "claude.md", "skill.md"),
        *("cargo.toml", "cargo.lock", "go.mod", "go.sum", "package.json", "package-lock.json", "tsconfig.json"),
        *("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "conftest.py", "__init__.py", "dockerfile"),
        *("settings.toml", "settings.json", "config.toml", "config.json", "config.yaml", "config.yml"),
        *("mod.rs", "lib.rs", "main.rs", "main.go", "main.py", "index.ts", "index.js", "index.html"),
    )
)
"""Names of files that most projects have: without a folder such a name says nothing."""
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{5,63}")
# Keys are the tool's words, not the speaker's; an escape would stick to the word behind it (`\\nfoo_bar`).
_JSON_SYNTAX = re.compile(r'\\(?:u[0-9a-fA-F]{4}|.)|"[^"\\]*":')
_LINE_NUMBER = re.compile(r"^\s*\d+(?:→|\t|: ?)")
# Each pattern is linear in a text without a match: a run of its characters is entered at its beginning alone.
_PATH = (
    r"(?<![\w.@~+/\\-])(?:[A-Za-z]:)?[/\\]?(?:[\w.@~+-]{1,255}[/\\]){0,32}[\w.@+-]{0,255}\.[A-Za-z][A-Za-z0-9]{0,7}\b"
)
_FILE = re.compile(_PATH)
_FILE_LINE = re.compile(f"({_PATH}):(\\d{{1,9}})")
_TRACE_LINE = re.compile(r'File "([^"\n]{1,512})", line (\d{1,9})')
_DEFINITION = re.compile(
    r"\b(?:def|class|func|fn|type|struct|enum|trait|interface|const|var|let|static|mod|function)[ \t]{1,16}"
    r"(?:\([^)\n]{0,80}\)[ \t]{0,16})?([A-Za-z_][A-Za-z0-9_]{5,63})"
    r"|^(?:[ \t]{0,16}\d{1,9}(?:→|\t|: ?|\| ?))?([A-Z][A-Z0-9_]{5,63})[ \t]{0,16}(?::[^=\n]{1,80})?=(?![=>])",
    re.MULTILINE,
)


def code_words(text: str) -> list[str]:
    """Distinct code words of a text, in order of appearance, at most `WORDS_PER_SEGMENT_MAX`."""
    words = []
    for word in dict.fromkeys(_WORD.findall(text, 0, TEXT_CHARS_MAX)):
        # Plain words are lower, UPPER or Capitalised letters; what is left has a digit, an underscore or a hump.
        if word.isalpha() and (word[1:].islower() or word.isupper()):
            continue
        words.append(word)
        if len(words) == WORDS_PER_SEGMENT_MAX:
            break
    return words


def quotable_lines(text: str) -> list[str]:
    """Distinct lines as an edit would quote them: without line numbers and outer space, 8 characters or more."""
    stripped = (_LINE_NUMBER.sub("", line).strip() for line in text[:TEXT_CHARS_MAX].splitlines())
    return list(dict.fromkeys(line for line in stripped if len(line) >= LINE_CHARS_MIN))


def defined_words(text: str) -> list[str]:
    """Distinct code words that a text defines, in order of appearance, at most `WORDS_PER_SEGMENT_MAX`."""
    names = dict.fromkeys(name or constant for name, constant in _DEFINITION.findall(text, 0, TEXT_CHARS_MAX))
    return [word for name in islice(names, WORDS_PER_SEGMENT_MAX) for word in code_words(name)]


def named_files(text: str) -> Iterator[str]:
    """The files that a text names, in order of appearance, at most `TOKENS_MAX`; of most projects' files only with a
    folder."""
    for found in islice(_FILE.finditer(text, 0, TEXT_CHARS_MAX), TOKENS_MAX):
        if found[0].lstrip("./").lower() not in CONVENTIONAL_NAMES:
            yield found[0]


def named_lines(text: str) -> Iterator[tuple[str, int]]:
    """(file, line) of each line of a file that a text names, those of Python's tracebacks first, at most `TOKENS_MAX`
    of each form."""
    for pattern in (_TRACE_LINE, _FILE_LINE):
        for found in islice(pattern.finditer(text, 0, TEXT_CHARS_MAX), TOKENS_MAX):
            if found[1].lstrip("./").lower() not in CONVENTIONAL_NAMES:
                yield found[1], int(found[2])


def spoken_text(segment: Segment) -> str:
    """The speaker's words: of a tool call the call, not the result; else the whole text."""
    pieces = [piece.text for piece in segment.body if piece.name != "result"]
    if segment.kind is Kind.TOOL_CALL:
        pieces.append(_JSON_SYNTAX.sub(" ", segment.skeleton.decode("utf-8", "replace")))
    return "\n".join(pieces)
