"""Shortening: the runs of lines that a long result leaves out at birth, before any request has carried the result.

    a long result ──▶ head, tail, lines of failures and places     always shown
                 └──▶ pages of the rest ──gain > 0──▶ left out      one note for a run of such pages, with an outline
                                        └─gain ≤ 0──▶ shown

Nothing is cached yet, so no rewrite is paid, and the equation of the pacer (`core.pacing.pacer`) has two terms for a
page:

    gain = freed · (w + r · H)  −  p · (r · P + 300 + w · (size + 60) + Φ)

`p` is the chance that the model asks for the page: a fit on recorded sessions, as that of `core.reuse`. Ranged reads,
failures, plans, recalls and words of people stay whole. Lines are counted from 0 here, and from 1 in every text.

Pure and deterministic: the runs follow from the result and the prices alone. Cost: O(characters of the result).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from math import log
from operator import attrgetter, mul
from typing import NamedTuple

from ctxgc.core.display_texts import compact_tokens_text
from ctxgc.core.entry.elisions import Elision, is_elidable
from ctxgc.core.frame import HEAD
from ctxgc.core.numbered_lines import line_content
from ctxgc.core.pacing.pacer import FAULT_CALL_TOKENS, FAULT_FIXED_TOKENS, TUNED
from ctxgc.core.pacing.price_profiles import Prices
from ctxgc.core.reuse import probability_of_logit
from ctxgc.core.segment import LINE_MAX, Access, Segment
from ctxgc.core.spoken_words import code_words, spoken_text

LINES_MIN = 80
"""A result of fewer lines stays whole."""
HEAD_LINES, TAIL_LINES = 30, 15
"""Lines that always stay at the two ends."""
PAGE_LINES = 40
"""Lines of a page: what a fault brings back alone."""
RUN_LINES_MIN = 8
"""A shorter run between lines that stay is shown."""
OUTLINE_MAX, OUTLINE_ENTRY_CHARS, OUTLINE_CHARS_MAX = 40, 60, 1200
"""Definitions of an outline, characters of one, and of all."""
SAID_TURNS = 1
"""What was said in a result's own turn, or so many before, tells what the model looks for."""
PROMPT_TYPICAL_TOKENS = 80_000
"""P of the equation. A constant, so that the same result is shortened alike whenever the result is sent again."""

HIDDEN_NOTE_BEGINS = "[left out by ctxgc: lines "
_RECALL_COMMAND = "ctxgc recall"
_PROSE = (".md", ".rst", ".txt", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".lock", ".csv", ".log")
_TELLING = re.compile(
    r"error|fail|warning|panic|traceback|exception|assert|fatal|(?:^|[\s\"'(])[\w@./\\-]*\w\.[A-Za-z]\w{0,5}:\d+",
    re.IGNORECASE,
)
"""A line of an output that says what went wrong, or a place in a file."""
_DEFINITION = re.compile(
    r"\s{0,8}(?:(?:export|pub(?:\([a-z]*\))?|public|private|protected|static|async|default|abstract|final|unsafe|const"
    r"|override|open|inline|virtual) )*"
    r"(?:def|class|func|fn|fun|function|type|struct|enum|trait|interface|impl|mod|module|namespace|object|record)\b"
    r"|#{1,4} \S"
)
"""A line of a file that begins a definition, or a heading."""


class ResultPage(NamedTuple):
    """Lines of a result that stay or go together."""

    first: int
    lines: int


class HiddenRun(NamedTuple):
    """A run of lines that a result leaves out."""

    first: int
    lines: int
    tokens: int
    outline: str
    """The definitions in the run with their line numbers; empty for an output."""


class BirthFacts(NamedTuple):
    """The facts of a result, besides its text, that the estimate rests upon."""

    is_read: bool = False
    """The result is text of files: whole ones, a ranged read never comes here."""
    is_delegation: bool = False
    is_prose: bool = False
    """Of a file of prose or data."""
    namings: int = 0
    """How many earlier segments named its file."""
    subject: str = ""
    """The request of a call: the files that the call reads, else its command. Whoever asks for the same again gets all
    of it."""
    said: frozenset[str] = frozenset()
    """Code words that user and model said within `SAID_TURNS`, the calls of this reply included."""


@dataclass(frozen=True, slots=True)
class PageWeights:
    """The terms of the estimate, in log-odds. Those from `lines` on multiply a natural logarithm."""

    bias: float
    read: float
    delegation: float
    prose: float
    lines: float
    words: float
    """Of the distinct code words of the page."""
    said: float
    """Of those that were said lately."""
    known: float


FITTED = PageWeights(
    bias=-4.389,
    read=1.682,
    delegation=-0.021,
    prose=0.677,
    lines=-0.209,
    words=0.682,
    said=0.707,
    known=-0.529,
)
"""Fitted on recorded sessions of two agents, out of fold judged: `python -m perf.tune_entry`."""


class BirthPrice(NamedTuple):
    """The saving of a token that is left out, and the cost of asking a page back."""

    prices: Prices
    fault_price_tokens: float
    horizon_turns: float

    @property
    def saving_per_token(self) -> float:
        """Of a token left out: a write, and a cached read a turn of the horizon."""
        return self.prices.write + self.prices.read * self.horizon_turns

    def page_gain(self, tokens: int, chance: float) -> float:
        """The equation at the top of this file."""
        read, write, _ = self.prices
        fault = read * PROMPT_TYPICAL_TOKENS + FAULT_FIXED_TOKENS + self.fault_price_tokens
        return tokens * self.saving_per_token - chance * (fault + write * (tokens + FAULT_CALL_TOKENS))


PART_FAULT_PRICE_TOKENS = 4_000.0
"""Φ of a part. Less than that of a whole body: a note says right where the model reads what is missing, and how to get
exactly that."""


def birth_price(prices: Prices, profile: str) -> BirthPrice:
    """The terms of a price profile."""
    return BirthPrice(prices, PART_FAULT_PRICE_TOKENS, TUNED[profile].horizon_turns)


def is_shortenable(segment: Segment) -> bool:
    """Whether lines of a call's result may be left out at all: neither of a ranged read, nor of a recall's output."""
    if not is_elidable(segment) or _RECALL_COMMAND in segment.command:
        return False
    reads = (use for use in segment.paths if use.access is Access.READ)
    return all(use.first_line == 1 and use.last_line == LINE_MAX for use in reads)


def birth_facts(segment: Segment, namings: int, said: frozenset[str]) -> BirthFacts:
    """The facts of a call's result. `namings`: of the best known of its files, earlier segments that named the file."""
    reads = [use.path for use in segment.paths if use.access is Access.READ]
    is_prose = bool(reads) and reads[0].lower().endswith(_PROSE)
    return BirthFacts(bool(reads), segment.facts.is_delegation, is_prose, namings, subject_of(segment), said)


def subject_of(segment: Segment) -> str:
    """What a call asks for, in a text that calls for the same have in common; empty where nobody can tell."""
    reads = [use.path for use in segment.paths if use.access is Access.READ]
    return "\n".join(reads) or segment.command


class SaidWords:
    """The code words that user and model said lately, in the order of the window. Mutable."""

    def __init__(self) -> None:
        self._turns: dict[int, set[str]] = {}

    def add(self, segment: Segment) -> None:
        """Record what a segment says: of a call the call, not its result."""
        self._turns.setdefault(segment.born_turn, set()).update(code_words(spoken_text(segment)))

    def take_recent_words(self, turn: int) -> frozenset[str]:
        """The words said at a turn or lately before. Words of earlier turns are forgotten."""
        self._turns = {said: words for said, words in self._turns.items() if said >= turn - SAID_TURNS}
        return frozenset().union(*(words for said, words in self._turns.items() if said <= turn))


def hideable_pages(lines: Sequence[str], *, is_read: bool, taken: Iterable[tuple[int, int]] = ()) -> list[ResultPage]:
    """The pages of a long result that may be left out; none of a short one.

    `taken` are runs (first line, lines) that something else stands for already. O(characters).
    """
    if len(lines) <= LINES_MIN:
        return []
    stays = bytearray(len(lines))
    for first, count in taken:
        stays[first : first + count] = b"\1" * count
    end = len(lines) - TAIL_LINES
    pages: list[ResultPage] = []
    start = at = HEAD_LINES
    for at in range(HEAD_LINES, end + 1):
        if at == end or stays[at] or (not is_read and _TELLING.search(lines[at])):
            pages += split_into_pages(start, at)
            start = at + 1
    return pages


def split_into_pages(first: int, end: int) -> Iterator[ResultPage]:
    """Pages of a stretch of lines; the last one takes a remainder that is less than half a page."""
    while end - first >= RUN_LINES_MIN:
        count = PAGE_LINES if end - first >= PAGE_LINES + PAGE_LINES // 2 else end - first
        yield ResultPage(first, count)
        first += count


_WEIGHTS = attrgetter(*[field.name for field in fields(PageWeights)])


def page_factors(facts: BirthFacts, result_lines: int, page_text: str) -> tuple[float, ...]:
    """The factors of the weights, in their order."""
    words = code_words(page_text)
    return (
        1.0,
        float(facts.is_read),
        float(facts.is_delegation),
        float(facts.is_prose),
        log(max(result_lines, 1)),
        log(1 + len(words)),
        log(1 + sum(word in facts.said for word in words)),
        log(1 + facts.namings),
    )


def page_fault_chance(terms: Sequence[float], weights: PageWeights = FITTED) -> float:
    """The chance that the model asks for a page."""
    return probability_of_logit(sum(map(mul, _WEIGHTS(weights), terms)))


def hidden_runs(
    text: str,
    facts: BirthFacts,
    price: BirthPrice,
    count: Callable[[str], int],
    *,
    taken: Iterable[tuple[int, int]] = (),
    weights: PageWeights = FITTED,
) -> list[HiddenRun]:
    """The runs that a result leaves out, in order: pages with a gain, those that touch as one run."""
    lines = text.split("\n")
    runs: list[HiddenRun] = []
    if HEAD in text:
        return runs  # What was recalled was asked for.
    for page in hideable_pages(lines, is_read=facts.is_read, taken=taken):
        page_text = "\n".join(lines[page.first : page.first + page.lines])
        tokens = count(page_text)
        if price.page_gain(tokens, page_fault_chance(page_factors(facts, len(lines), page_text), weights)) <= 0:
            continue
        last = runs[-1] if runs else None
        if last is not None and last.first + last.lines == page.first:
            runs[-1] = last._replace(lines=last.lines + page.lines, tokens=last.tokens + tokens)
        else:
            runs.append(HiddenRun(page.first, page.lines, tokens, ""))
    return [run._replace(outline=outline_of(lines, run)) for run in runs] if facts.is_read else runs


def outline_of(lines: Sequence[str], run: HiddenRun) -> str:
    """The definitions of a run with their line numbers, the least indented ones where there are too many."""
    found = []
    for at in range(run.first, run.first + run.lines):
        content = line_content(lines[at])
        if _DEFINITION.match(content):
            found.append((len(content) - len(content.lstrip()), at, content))
    shown, chars = [], 0
    for _, at, content in sorted(found)[:OUTLINE_MAX]:
        entry = f"{at + 1} {' '.join(content.split())[:OUTLINE_ENTRY_CHARS].rstrip(' {:(')}"
        chars += len(entry) + 2
        if chars > OUTLINE_CHARS_MAX:
            break
        shown.append((at, entry))
    return "; ".join(entry for _, entry in sorted(shown))


def hidden_note(run: HiddenRun, call: str, lines_before: int = 0) -> str:
    """The text in place of a run: what is missing, and how to get exactly that.

    `call` is empty where the agent cannot run `ctxgc recall`. `lines_before`: lines of the call's inputs, which
    `ctxgc recall` counts first.
    """
    first, last = run.first + 1, run.first + run.lines
    outline = f" ({run.outline})" if run.outline else ""
    recall = f"ctxgc recall {call} --lines {lines_before + first}-{lines_before + last}, or " if call else ""
    return (
        f"{HIDDEN_NOTE_BEGINS}{first}-{last}, {compact_tokens_text(run.tokens)} tokens{outline}; "
        f"get them or a part: {recall}make the call again with a range]"
    )


def hidden_elision(run: HiddenRun, call: str, lines_before: int, count: Callable[[str], int]) -> Elision:
    """A run that a result leaves out, as the session keeps it."""
    note = hidden_note(run, call, lines_before)
    return Elision(run.first, run.lines, "", run.first, 0, max(run.tokens - count(note), 0), note)
