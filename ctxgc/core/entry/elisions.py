"""Elisions: runs of lines that a resident result does not show itself.

    lines of a result ──▶ shown as they are
                     └──▶ elided: the target is resident    a pointer to the lines in the target
                                  the target is evicted     a line tombstone: the lines are in the stash
                                  the target departed       shown as they are: the host's list has changed anyway
                                  no target at all          left out at birth (`core.entry.shortening`): the note stands

A pointer stands from the first request that carries its result, so no provider has to cache the lines twice. The
elisions of a result never change; which of the three forms stands depends on the target's state alone, so the same
session gives the same bytes. Line numbers count from 0 here, and from 1 in every text.

Cost: O(lines of the result). Source: copy instructions of VCDIFF (RFC 3284).
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from ctxgc.core.display_texts import compact_tokens_text
from ctxgc.core.errors import BadParams
from ctxgc.core.heap import EVICTED, RESIDENT
from ctxgc.core.numbered_lines import line_number, shift_number
from ctxgc.core.redaction.redact import redact_text
from ctxgc.core.segment import Address, Kind, Segment, Status

POINTER_NOTE_BEGINS = "[ctxgc: lines "
NOTE_CHARS_MAX = 2000
NUMBER_MAX = 10**9


class Elision(NamedTuple):
    """A run of lines of a result that the result's target shows."""

    first: int
    """The run's first line in the result."""
    lines: int
    target: str
    """Id of the earlier result that shows the run; empty for lines that were left out at birth, and only the stash
    has."""
    target_first: int
    """The run's first line in the target."""
    shift: int
    """Difference between the line numbers of the run and of the target's lines."""
    saved_tokens: int
    """Raw tokens of the run less those of the pointer."""
    note: str
    """The pointer's text."""


class ShownLines(NamedTuple):
    """A run of lines as the window shows it: the line in its place."""

    first: int
    lines: int
    note: str
    target: str = ""
    """The result that the note speaks of: a list without that very content has the lines themselves."""


def is_elidable(segment: Segment) -> bool:
    """Whether something else may stand in the place of lines of a call's result, as far as the call tells.

    A failure is an outcome and stays whole, and so do what a person said, a plan, and what the model called back.
    """
    facts = segment.facts
    if segment.kind is not Kind.TOOL_CALL or segment.status is not Status.OK or segment.has_opaque:
        return False
    return not (facts.holds_words or facts.is_plan or facts.recalls)


def run_lines_text(lines: Sequence[str | None], first: int, count: int) -> str:
    """The lines of a run in words, counted from 1: by the numbers that the lines bear, else by their order."""
    start, end = line_number(lines[first] or ""), line_number(lines[first + count - 1] or "")
    if start is not None and end is not None and end.value - start.value == count - 1:
        return f"{start.value}-{end.value}"
    return f"{first + 1}-{first + count}"


def pointer_text(run: str, target_run: str, target_label: str, calls_above: int) -> str:
    """The text of a pointer: what is unchanged, and where the window shows it. `calls_above` 0: not known."""
    above = "the call above" if calls_above == 1 else f"{calls_above} calls above" if calls_above else "above"
    where = "" if run == target_run else f" lines {target_run} of"
    return f"{POINTER_NOTE_BEGINS}{run} unchanged, see{where} {target_label}, {above}]"


def line_tombstone_text(address: Address, first: int, lines: int, tokens: int, *, can_recall: bool = True) -> str:
    """The text in place of lines whose target was evicted."""
    run = f"{first + 1}-{first + lines}"
    way_back = f"ctxgc recall {address} --lines {run}" if can_recall else "make the call again"
    return f"[evicted by ctxgc: lines {run}, {compact_tokens_text(tokens)} tokens; get them back: {way_back}]"


def shown_lines_of_elisions(
    elisions: Iterable[Elision], state_of: Callable[[str], int], tombstone_of: Callable[[Elision], str]
) -> list[ShownLines]:
    """The elisions of a resident result that stand now, each with its text. `state_of` gives a target's state."""
    shown = []
    for elision in elisions:
        state = state_of(elision.target) if elision.target else RESIDENT
        if state == RESIDENT:
            shown.append(ShownLines(elision.first, elision.lines, elision.note, elision.target))
        elif state == EVICTED:
            shown.append(ShownLines(elision.first, elision.lines, tombstone_of(elision), elision.target))
    return shown


def elided_text(text: str, shown: Iterable[ShownLines]) -> str:
    """A result of a single text as the window shows it. Raises `ValueError` as `elided_texts`."""
    return elided_texts([text], shown)[0]


def elided_texts(texts: Sequence[str], shown: Iterable[ShownLines]) -> tuple[str, ...]:
    """The texts of a result as the window shows them; lines are counted over all texts, joined.

    Raises `ValueError` for runs that overlap, leave the result, or reach from one text into the next.
    """
    runs = list(shown)
    places = run_places(texts, [(run.first, run.lines) for run in runs])
    parts: list[list[str]] = [[] for _ in texts]
    done = [0] * len(texts)
    for run, place in zip(runs, places, strict=True):
        if place is None or place.start < done[place.text]:
            raise ValueError("elided runs overlap, or leave their text")
        parts[place.text] += (texts[place.text][done[place.text] : place.start], run.note)
        done[place.text] = place.end
    return tuple("".join([*part, text[end:]]) for part, text, end in zip(parts, texts, done, strict=True))


class RunPlace(NamedTuple):
    """Where a run of lines lies: the number of its text, and its characters there, without the last newline."""

    text: int
    start: int
    end: int


def run_places(texts: Sequence[str], runs: Iterable[tuple[int, int]]) -> list[RunPlace | None]:
    """The place of each run (first line, lines) in the texts of a result.

    None for a run that leaves them, or lies in more than one. O(texts + runs).
    """
    starts = list(accumulate((len(line) + 1 for line in "".join(texts).split("\n")), initial=0))
    begins = list(accumulate(map(len, texts), initial=0))
    places: list[RunPlace | None] = []
    for first, lines in runs:
        if first < 0 or lines <= 0 or first + lines >= len(starts):
            places.append(None)
            continue
        start, end = starts[first], starts[first + lines] - 1
        number = bisect_right(begins, start, hi=len(texts)) - 1
        is_inside = number >= 0 and end <= begins[number + 1]
        places.append(RunPlace(number, start - begins[number], end - begins[number]) if is_inside else None)
    return places


def is_elided_form_of(
    listed: Sequence[str],
    texts: Sequence[str],
    elisions: Sequence[Elision],
    tombstones_of: Callable[[Elision], Sequence[str]],
) -> bool:
    """Whether a listed result is a result with these elisions: each a pointer, a line tombstone, or its lines."""
    if len(listed) != len(texts):
        return False
    at, done = [0] * len(texts), [0] * len(texts)
    places = run_places(texts, [(one.first, one.lines) for one in elisions])
    for elision, place in zip(elisions, places, strict=True):
        if place is None:
            return False
        text, shown = texts[place.text], listed[place.text]
        gap = text[done[place.text] : place.start]
        begin = at[place.text] + len(gap)
        forms = (elision.note, *tombstones_of(elision), text[place.start : place.end])
        form = next((form for form in forms if shown.startswith(form, begin)), None)
        if form is None or not shown.startswith(gap, at[place.text]):
            return False
        at[place.text], done[place.text] = begin + len(form), place.end
    return all(shown[a:] == text[d:] for shown, text, a, d in zip(listed, texts, at, done, strict=True))


def is_elision_shown_by_target(elision: Elision, lines: Sequence[str], target_lines: Sequence[str]) -> bool:
    """Whether a target shows the lines of an elision: following the pointer gives them, byte for byte."""
    there = target_lines[elision.target_first : elision.target_first + elision.lines]
    here = lines[elision.first : elision.first + elision.lines]
    return len(here) == elision.lines and [shift_number(line, elision.shift) for line in there] == [*here]


def restore_elided_text(text: str, elisions: Sequence[Elision], bodies: Mapping[str, str]) -> str:
    """The host's own result, from the result as shown and the targets' results: the inverse of `elided_text`.

    `bodies` are the targets' results as the host sent them; under the empty id, the result itself as the stash has it,
    for lines left out at birth. The law of pointers: byte for byte the result again.
    """
    shown = text.split("\n")
    lines: list[str] = []
    at = 0
    for elision in elisions:
        gap = elision.first - len(lines)
        lines += shown[at : at + gap]
        at += gap + 1
        target = bodies[elision.target].split("\n")[elision.target_first : elision.target_first + elision.lines]
        lines += [shift_number(line, elision.shift) for line in target]
    return "\n".join(lines + shown[at:])


def parse_client_elisions(value: object) -> tuple[Elision, ...]:
    """Elisions as a client sends them: lists of the fields of an `Elision`, in the order of the result.

    Raises `BadParams` for a list that names no runs of lines in order.
    """
    found: list[Elision] = []
    end = 0
    for fields in value if isinstance(value, list) else ():
        elision = _parse_client_elision(fields)
        if elision is None or elision.first < end:
            raise BadParams(
                "`elisions` are lists of first line, lines, target, its first line, shift, saved tokens and note",
                hint="send them as `window.enter` gave them",
                field="new",
            )
        end = elision.first + elision.lines
        found.append(elision)
    return tuple(found)


def _parse_client_elision(fields: object) -> Elision | None:
    if not isinstance(fields, list) or len(fields) != len(Elision._fields):
        return None
    first, lines, target, target_first, shift, saved, note = fields
    numbers = (first, lines, target_first, shift, saved)
    are_numbers = all(isinstance(number, int) and abs(number) <= NUMBER_MAX for number in numbers)
    are_texts = isinstance(target, str) and isinstance(note, str) and len(note) <= NOTE_CHARS_MAX
    if not (are_numbers and are_texts and first >= 0 and lines > 0 and target_first >= 0 and saved >= 0):
        return None
    return Elision(first, lines, target, target_first, shift, saved, redact_text(note))


def pack_elisions(elisions: Sequence[Elision]) -> str:
    """Elisions as JSON; none are the empty string."""
    return json.dumps([list(elision) for elision in elisions], separators=(",", ":")) if elisions else ""


def unpack_elisions(packed: str) -> tuple[Elision, ...]:
    """The elisions that `pack_elisions` wrote."""
    return tuple(Elision(*fields) for fields in json.loads(packed)) if packed else ()
