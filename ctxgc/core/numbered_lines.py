"""Lines of a tool's result, and the line numbers that readers of files put in front of them.

"     7→def f():"  ──line_content──▶ "def f():"      ──shift_number(+3)──▶ "    10→def f():"

A file read twice shows the same lines under other numbers once lines were put in before: the contents are equal, and
every number differs by the same shift.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NUMBERED = re.compile(r"( *)(\d{1,9})(→|\t|\| ?)")
"""The number and separator of Claude Code and `cat -n` (`     7→`, tab), and of OpenCode (`00007| `)."""
_MAYBE_NUMBERED = frozenset(" 0123456789")


class LineNumber(NamedTuple):
    """The number in front of a line."""

    value: int
    width: int
    """Characters of the number with its padding."""
    is_zero_padded: bool
    separator: str

    def render(self, shift: int) -> str:
        """The number moved by `shift`, in the same form."""
        fill = "0" if self.is_zero_padded else ""
        return f"{self.value + shift:{fill}{self.width}d}{self.separator}"


def line_number(line: str) -> LineNumber | None:
    """The number in front of a line; None for a line without."""
    found = _NUMBERED.match(line) if line[:1] in _MAYBE_NUMBERED else None
    if found is None:
        return None
    padding, digits, separator = found.groups()
    return LineNumber(int(digits), len(padding) + len(digits), not padding and digits[0] == "0", separator)


def line_content(line: str) -> str:
    """The line behind its number; the whole line where no number stands."""
    if line[:1] not in _MAYBE_NUMBERED:
        return line
    found = _NUMBERED.match(line)
    return line if found is None else line[found.end() :]


def shift_number(line: str, shift: int) -> str:
    """The line with its number moved by `shift`; the same line where no number stands, or the number stays."""
    number = line_number(line) if shift else None
    return line if number is None else number.render(shift) + line_content(line)


def shift_between(old: str, new: str) -> int:
    """The shift from an old line's number to a new line's; 0 where either has no number."""
    before, after = line_number(old), line_number(new)
    return 0 if before is None or after is None else after.value - before.value
