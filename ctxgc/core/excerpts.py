"""Packing recalled text under a budget: whole segments or ranges of lines, each line once, in order of use.

    sources, best first ──matching_ranges──▶ ranges of lines
      1. the best range of every source                  ┐
      2. each source again: whole, else more ranges      ├─▶ Packer ──▶ blocks in order of use: a frame <= the budget
    a segment, its neighbours, a working set: in order   ┘

Pure: the caller counts tokens. A line of the frame costs the same wherever it stands (`core.frame`), so that exact
costs add up; of estimates `Packer.frame` counts the whole, and drops the last choice while that is above the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import NamedTuple

from ctxgc.core.frame import Block, DataLine, render_frame, render_header, render_line
from ctxgc.core.line_ranges import CONTEXT_LINES, LineRange, distinctive_part, matching_ranges

CHARS_PER_TOKEN = 8
"""A text of more characters than this a token is not counted to see whether it fits: hardly any has as many."""
EXCERPT_TOKENS_MIN = 45
"""The least room for one more source: a header and a short line."""
LINE_CHARS_MAX = 600
"""The part of a long line that an excerpt shows, where nobody asked for the line by its number."""
PART_CHARS_MIN = 40
NEIGHBOUR_SHARE = 4
"""A neighbour takes at most a quarter of the budget: the neighbourhood is more than one long result."""

FRAME_CHARS_MAX = 2_000_000
"""A token of blanks has more than a hundred: with its escapes the frame has to fit into a line of the protocol."""
SECTION_TOKENS_MIN = 80
"""A smaller share of a small budget would hold a header and no line."""


Count = Callable[[str], int]
"""Counts tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcerptSource:
    """A segment, or another list of lines, that excerpts are taken from."""

    key: int
    """The source's place in the caller's list, the best first."""
    title: str
    facts: tuple[str, ...]
    lines: Sequence[str]
    tokens: int = 0
    """Raw tokens of the whole text: saves counting what cannot fit."""
    order: tuple[float, ...] = ()
    """Sources are shown in this order: the order of use."""


@dataclass(slots=True)
class ChosenLines:
    """The chosen lines of one source. Mutable while a packer fills the choice."""

    source: ExcerptSource
    lines: dict[int, DataLine] = field(default_factory=dict)
    tokens: int = 0
    """Tokens of header and lines in the frame."""

    def to_block(self) -> Block:
        """The choice as a block of the frame."""
        lines = tuple(self.lines[number] for number in sorted(self.lines))
        return Block(title=self.source.title, facts=self.source.facts, lines=lines)


@dataclass(slots=True)
class _FittingLines:
    """Lines that fit: `count` with the lines that the frame has already, tokens with the header. Mutable."""

    tokens: int
    count: int = 0
    chars: int = 0
    lines: list[DataLine] = field(default_factory=list)


class Frame(NamedTuple):
    """A rendered frame, the frame's tokens, and the choices in the order of the frame."""

    text: str
    tokens: int
    choices: list[ChosenLines]


class Packer:
    """Fills one frame: `room` is what is left of the budget, and no choice takes more."""

    def __init__(self, budget_tokens: int, count: Count, *, is_exact: bool = True) -> None:
        self.budget_tokens = budget_tokens
        self.choices: dict[int, ChosenLines] = {}
        self._count = count
        self._is_exact = is_exact
        """Whether counts add up; estimates do not."""
        self._headers: dict[int, int] = {}
        self._costs: dict[tuple[int, int, int], int] = {}
        """Tokens of each line that was tried, by source, number and length."""
        self._chars = 0
        self._shown: set[str] = set()
        """The telling text of every chosen line."""
        self.room = budget_tokens - count(render_frame([]))

    def take_all_lines(self, source: ExcerptSource, lines: Sequence[DataLine]) -> bool:
        """Take all lines, or no line where all do not fit; whether the lines are taken."""
        fitting = self._fitting_lines(source, lines, self.room)
        if fitting.count == len(lines):
            self._add_lines(source, fitting)
        return fitting.count == len(lines)

    def take_first_lines(self, source: ExcerptSource, lines: Iterable[DataLine], room: int | None = None) -> int:
        """Take lines in order up to the first line beyond `room`; how many of the lines are in the frame now."""
        fitting = self._fitting_lines(source, lines, self.room if room is None else min(room, self.room))
        self._add_lines(source, fitting)
        return fitting.count

    def take_line_beginning(self, source: ExcerptSource, line: DataLine) -> bool:
        """Take as much of a line's beginning as fits, in halves; whether any of it is taken."""
        text = line.text[: CHARS_PER_TOKEN * max(self.room, 0)]
        while len(text) >= PART_CHARS_MIN:
            text = text[: len(text) // 2]
            if self.take_all_lines(source, [DataLine(line.number, text, is_part=True)]):
                return True
        return False

    def repeated_share(self, lines: Iterable[DataLine]) -> float:
        """The share of the telling lines of these that the frame holds already: 0 to 1."""
        keys = [key for line in lines if (key := distinctive_part(line.text))]
        return sum(map(self._shown.__contains__, keys)) / len(keys) if keys else 0.0

    def build_frame(self) -> Frame:
        """The frame, at most `budget_tokens`, with the choices as shown; empty where nothing fits."""
        kept = list(self.choices.values())
        while kept:
            shown = sorted(kept, key=lambda choice: (choice.source.order, choice.source.key))
            text = render_frame(choice.to_block() for choice in shown)
            tokens = self.budget_tokens - self.room if self._is_exact else self._count(text)
            if tokens <= self.budget_tokens:
                return Frame(text, tokens, shown)
            kept.pop()
        return Frame("", 0, [])

    def _fitting_lines(self, source: ExcerptSource, lines: Iterable[DataLine], room: int) -> _FittingLines:
        """The first lines that fit into some room: their number, the new lines, and the cost of the new lines."""
        fitting = _FittingLines(tokens=self._header_tokens(source))
        known = self.choices[source.key].lines if source.key in self.choices else {}
        for line in lines:
            if line.number not in known:
                chars = self._chars + fitting.chars + len(line.text)
                tokens = self._line_tokens(source, line) if chars <= FRAME_CHARS_MAX else room + 1
                if fitting.tokens + tokens > room:
                    break
                fitting.lines.append(line)
                fitting.tokens += tokens
                fitting.chars += len(line.text)
            fitting.count += 1
        return fitting

    def _line_tokens(self, source: ExcerptSource, line: DataLine) -> int:
        name = (source.key, line.number, len(line.text))
        if name not in self._costs:
            self._costs[name] = self._count(render_line(line) + "\n")
        return self._costs[name]

    def _header_tokens(self, source: ExcerptSource) -> int:
        if source.key in self.choices:
            return 0
        if source.key not in self._headers:
            self._headers[source.key] = self._count(render_header(source.title, source.facts) + "\n")
        return self._headers[source.key]

    def _add_lines(self, source: ExcerptSource, fitting: _FittingLines) -> None:
        if not fitting.lines:
            return
        choice = self.choices.setdefault(source.key, ChosenLines(source))
        choice.lines.update((line.number, line) for line in fitting.lines)
        choice.tokens += fitting.tokens
        self.room -= fitting.tokens
        self._chars += fitting.chars
        self._shown.update(filter(None, (distinctive_part(line.text) for line in fitting.lines)))


def data_lines_in_range(lines: Sequence[str], span: LineRange) -> list[DataLine]:
    """The lines of a range, whole."""
    return [DataLine(number, lines[number - 1]) for number in range(span.first, min(span.last, len(lines)) + 1)]


def cut_long_line(line: DataLine, words: Iterable[str] = ()) -> DataLine:
    """A line, or of a long line the part around the longest word that it has, or its beginning."""
    if len(line.text) <= LINE_CHARS_MAX:
        return line
    lowered = line.text.lower()
    at = lowered.find(max((word for word in words if word in lowered), key=len, default=""))
    start = max(0, min(at - LINE_CHARS_MAX // 3, len(line.text) - LINE_CHARS_MAX))
    return DataLine(line.number, line.text[start : start + LINE_CHARS_MAX], is_part=True)


def pack_matches(packer: Packer, sources: Sequence[ExcerptSource], words: Sequence[str]) -> int:
    """Pack the best excerpts for these words, sources the best first; the number of sources that did not fit.

    Breadth before depth: each source gives its best range before any source gives more. A range of which the frame
    holds every line already is left out.
    """
    further: dict[int, list[LineRange]] = {}
    left_out = 0
    for at, source in enumerate(sources):
        if packer.room < EXCERPT_TOKENS_MIN:
            left_out += len(sources) - at
            break
        head = LineRange(1, 1 + 2 * CONTEXT_LINES)  # The words may stand in the path, or in the text said before.
        best, *further[source.key] = matching_ranges(source.lines, words) or [head]
        left_out += not _pack_range(packer, source, best, words)
    for choice in list(packer.choices.values()):
        if not _pack_rest_of_source(packer, choice):
            for span in further[choice.source.key]:
                _pack_range(packer, choice.source, span, words)
    return left_out


def lines_of_source(source: ExcerptSource) -> list[DataLine]:
    """Every line of a source, whole."""
    return data_lines_in_range(source.lines, LineRange(1, len(source.lines)))


def _pack_rest_of_source(packer: Packer, choice: ChosenLines) -> bool:
    """Pack the rest of a source, unless that does not fit, or the frame holds most of it from other sources."""
    source = choice.source
    if source.tokens - choice.tokens > packer.room:
        return False
    rest = [line for line in lines_of_source(source) if line.number not in choice.lines]
    return 2 * packer.repeated_share(rest) <= 1 and packer.take_all_lines(source, rest)


def _pack_range(packer: Packer, source: ExcerptSource, span: LineRange, words: Sequence[str]) -> bool:
    """Pack a range; where that does not fit, the best line with fewer lines around it, or a part of the line.

    True for a range that the frame holds already.
    """
    lines = [cut_long_line(line, words) for line in data_lines_in_range(source.lines, span)]
    if not lines or packer.repeated_share(lines) == 1:
        return True
    may_fit = sum(len(line.text) for line in lines) <= CHARS_PER_TOKEN * packer.room
    if may_fit and packer.take_all_lines(source, lines):
        return True
    at = max(range(len(lines)), key=lambda at: sum(word in lines[at].text.lower() for word in words))
    near = lines[max(0, at - CONTEXT_LINES) : at + CONTEXT_LINES + 1]
    return (
        packer.take_all_lines(source, near)
        or packer.take_all_lines(source, [lines[at]])
        or packer.take_line_beginning(source, lines[at])
    )


def pack_lines(packer: Packer, source: ExcerptSource, span: LineRange) -> int:
    """Pack lines in order, as many as fit, of the first at least a part; the number of the first line left out.

    0 where every line of the range is in the frame whole.
    """
    lines = data_lines_in_range(source.lines, span)
    taken = packer.take_first_lines(source, lines)
    if not taken and lines and packer.take_line_beginning(source, lines[0]):
        taken = 1
    return lines[taken].number if taken < len(lines) else 0


def pack_segment_and_neighbours(
    packer: Packer, source: ExcerptSource, before: Sequence[ExcerptSource], after: Sequence[ExcerptSource]
) -> int:
    """Pack a segment and its neighbours, the nearest first, each as far as it fits; how many neighbours did not fit."""
    packer.take_first_lines(source, map(cut_long_line, lines_of_source(source)), room=packer.room // 2)
    left_out = 0
    for neighbour in [one for pair in zip_longest(before, after) for one in pair if one is not None]:
        has_room = packer.room >= EXCERPT_TOKENS_MIN
        lines = map(cut_long_line, lines_of_source(neighbour)) if has_room else ()
        is_taken = packer.take_first_lines(neighbour, lines, room=packer.budget_tokens // NEIGHBOUR_SHARE)
        left_out += not is_taken and bool(neighbour.lines)
    return left_out


class Section(NamedTuple):
    """A source, its lines in the order of their worth, and the source's first share of the budget."""

    source: ExcerptSource
    lines: Sequence[DataLine]
    share: float


def pack_sections(packer: Packer, sections: Sequence[Section]) -> int:
    """Pack sections, the most needed first: each its share, then each what is left; how many do not fit at all."""
    for section in sections:
        share = max(int(packer.budget_tokens * section.share), SECTION_TOKENS_MIN)
        packer.take_first_lines(section.source, section.lines, room=share)
    for section in sections:
        packer.take_first_lines(section.source, section.lines)
    return sum(bool(section.lines) and section.source.key not in packer.choices for section in sections)
