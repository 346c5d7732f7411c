"""Demand: the earlier segments that each turn's output shows the model to have needed.

A *code word* has six characters or more with an underscore, a digit or a camel hump; a path stands for its base name.
Of what a turn says, demand are the code words that no fixed text before it contains and that one to three earlier
segments hold (weight 1), and the lines an edit quotes that are in no fixed text (weight 2). *Providers* of an item are
the earlier segments that hold it; a body that the host had cleared is no provider, because the model did not have the
body. *Uses* are a greedy weighted cover of the demand by providers: the same cover over the items without a resident
provider are a policy's faults. What no segment holds is invention, and ignored.

Evidence is lexical: a paraphrase is missed, a coincidence counted. The placebo measures the coincidences: another
session's outputs take the place of each turn's, both as demand and as the fixed text of later turns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ctxgc.core.segment import Kind
from ctxgc.core.spoken_words import code_words, quotable_lines
from ctxgc.replay.trace import CountedSegment, Episode, Turn

HOLDERS_MAX = 3
LINE_CHARS_MIN = 16
LINE_WEIGHT = 2
THRESHOLD = 2
"""Uncovered weight that makes a use: one edited line, or two rare words."""

WORDS_CACHED_MAX = 4096
"""Texts whose words are kept: a long session's, not a corpus of them."""

_FOLDERS = re.compile(r"(?:[\w.~-]*/)+")


@dataclass(frozen=True, slots=True)
class EvictionScope:
    """The bodies that a collector may evict: always results, and by switches old tool inputs and old thinking."""

    inputs: bool = False
    thinking: bool = False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds whose bodies may go."""
        return (Kind.TOOL_CALL, Kind.THINKING) if self.thinking else (Kind.TOOL_CALL,)


RESULTS = EvictionScope()
ALL = EvictionScope(inputs=True, thinking=True)


@dataclass(frozen=True, slots=True)
class Want:
    """An item of demand: its weight and its possible providers, as indexes of evictable segments, oldest first."""

    weight: int
    providers: tuple[int, ...]
    text: str = ""
    """The word or line itself, for people who ask why."""


@dataclass(frozen=True, slots=True)
class Demand:
    """An episode's demand. `wants[n]` belongs to the n-th turn; `ids` name the evictable segments by index."""

    ids: tuple[str, ...]
    wants: tuple[tuple[Want, ...], ...]


@lru_cache(maxsize=WORDS_CACHED_MAX)
def _cached_words_without_folders(text: str) -> tuple[str, ...]:
    return tuple(code_words(_FOLDERS.sub(" ", text)))


def code_words_without_folders(text: str) -> tuple[str, ...]:
    """Distinct code words, paths by their base names."""
    return _cached_words_without_folders(text)


def distinctive_lines(text: str) -> list[str]:
    """Distinct lines long enough to tell one place from another."""
    return [line for line in quotable_lines(text) if len(line) >= LINE_CHARS_MIN]


def _split_evictable_text(sized: CountedSegment, scope: EvictionScope) -> tuple[str, str]:
    """(fixed text, evictable text) of a segment under a scope."""
    segment = sized.segment
    if segment.has_opaque or segment.kind not in scope.kinds:
        return "\n".join([_skeleton_text(sized), *(piece.text for piece in segment.body)]), ""
    fixed: list[str] = [_skeleton_text(sized)]
    body: list[str] = []
    for piece in segment.body:
        stays = piece.name.startswith("input.") and not scope.inputs
        (fixed if stays else body).append(piece.text)
    return "\n".join(fixed), "\n".join(body)


def _skeleton_text(sized: CountedSegment) -> str:
    """A call's text besides its large inputs. Its id is no word of anyone: pairs are no demand."""
    if sized.segment.kind is not Kind.TOOL_CALL:
        return ""
    call = json.loads(sized.segment.skeleton)
    return "\n".join((str(call.get("name", "")), *_strings_of_json(call.get("input"))))


def _strings_of_json(value: object) -> Iterator[str]:
    """Keys and strings of a JSON value, unescaped: in escaped text a line's first word begins with the `n` of `\\n`."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _strings_of_json(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings_of_json(inner)


class WordsAndLines(NamedTuple):
    """Words and lines of a voice of a reply."""

    words: tuple[str, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Output:
    """A reply's words and quotes: the whole reply but the results."""

    spoken: WordsAndLines
    """Text, and calls without their large inputs."""
    inputs: WordsAndLines
    thinking: WordsAndLines
    edit_lines: tuple[str, ...]

    @property
    def words(self) -> Iterable[str]:
        """Distinct words of all voices, in order."""
        return dict.fromkeys((*self.spoken.words, *self.inputs.words, *self.thinking.words))

    def fixed_voices(self, scope: EvictionScope) -> list[WordsAndLines]:
        """The voices whose text no collector may evict."""
        return [
            self.spoken,
            *([] if scope.inputs else [self.inputs]),
            *([] if scope.thinking else [self.thinking]),
        ]


def output_of(turn: Turn) -> Output:
    """The words of a turn's reply."""
    spoken: list[str] = []
    inputs: list[str] = []
    thinking: list[str] = []
    quoted: dict[str, None] = {}
    for sized in turn.reply:
        segment = sized.segment
        spoken.append(_skeleton_text(sized))
        for piece in segment.body:
            if piece.name == "result":
                continue
            is_input = piece.name.startswith("input.") and not segment.has_opaque
            is_thought = segment.kind is Kind.THINKING and not segment.has_opaque
            (inputs if is_input else thinking if is_thought else spoken).append(piece.text)
        for source in segment.edit_sources:
            quoted.update(dict.fromkeys(distinctive_lines(source)))
    return Output(_words_and_lines(spoken), _words_and_lines(inputs), _words_and_lines(thinking), tuple(quoted))


def _words_and_lines(texts: Sequence[str]) -> WordsAndLines:
    return WordsAndLines(
        tuple(dict.fromkeys(word for text in texts for word in code_words_without_folders(text))),
        tuple(dict.fromkeys(line for text in texts for line in distinctive_lines(text))),
    )


class _DemandIndex:
    """The holders of words and lines so far."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.words: dict[str, list[int]] = {}
        self.lines: dict[str, list[int]] = {}
        self.fixed_words: set[str] = set()
        self.fixed_lines: set[str] = set()
        self.cleared: set[int] = set()

    def add_segment(self, sized: CountedSegment, scope: EvictionScope) -> None:
        fixed, body = _split_evictable_text(sized, scope)
        self.add_fixed_text(WordsAndLines(code_words_without_folders(fixed), tuple(distinctive_lines(fixed))))
        self.add_body(sized, body)

    def add_result(self, sized: CountedSegment, scope: EvictionScope) -> None:
        """Of a reply whose voices another's took the place of."""
        self.add_body(sized, _split_evictable_text(sized, scope)[1])
        if sized.segment.has_opaque:
            self.add_fixed_text(
                _words_and_lines([piece.text for piece in sized.segment.body if piece.name == "result"])
            )

    def add_fixed_text(self, said: WordsAndLines) -> None:
        """This text stays in every prompt."""
        self.fixed_words.update(said.words)
        self.fixed_lines.update(said.lines)

    def add_body(self, sized: CountedSegment, body: str) -> None:
        """This text may go."""
        if not body:
            return
        at = len(self.ids)
        self.ids.append(sized.segment.id)
        for word in code_words_without_folders(body):
            self.words.setdefault(word, []).append(at)
        for line in distinctive_lines(body):
            self.lines.setdefault(line, []).append(at)

    def clear_bodies(self, ids: Iterable[str]) -> None:
        """The host dropped these bodies: later replies did not have them."""
        gone = set(ids)
        self.cleared.update(at for at, id_ in enumerate(self.ids) if gone and id_ in gone)

    def demand_of_output(self, output: Output) -> tuple[Want, ...]:
        """The demand of an output in earlier segments; rare words are words that few segments hold, cleared or not."""
        found = []
        for word in output.words:
            holders = self.words.get(word, ())
            if word not in self.fixed_words and len(holders) <= HOLDERS_MAX:
                found.append(Want(1, self._uncleared_providers(holders), word))
        for line in output.edit_lines:
            holders = self.lines.get(line, ())
            if line not in self.fixed_lines:
                found.append(Want(LINE_WEIGHT, self._uncleared_providers(holders), line))
        return tuple(want for want in found if want.providers)

    def _uncleared_providers(self, holders: Iterable[int]) -> tuple[int, ...]:
        return tuple(holder for holder in holders if holder not in self.cleared)


def demand_of(episode: Episode, scope: EvictionScope, outputs: Sequence[Output] | None = None) -> Demand:
    """The demand of each turn; with `outputs` those instead of the episode's own (the placebo)."""
    index = _DemandIndex()
    wants = []
    for number, turn in enumerate(episode.turns):
        for sized in turn.before:
            index.add_segment(sized, scope)
        index.clear_bodies(turn.cleared)
        output = output_of(turn) if outputs is None else outputs[number % len(outputs)]
        wants.append(index.demand_of_output(output))
        for said in output.fixed_voices(scope):
            index.add_fixed_text(said)
        for sized in turn.reply:
            if outputs is None:
                index.add_segment(sized, scope)
            else:
                index.add_result(sized, scope)
    return Demand(tuple(index.ids), tuple(wants))


def greedy_cover(
    wants: Iterable[Want], is_resident: Callable[[int], bool] | None, threshold: int = THRESHOLD
) -> list[int]:
    """Segments that a greedy weighted cover picks, in order.

    Without `is_resident` the cover gives the uses; with it, only wants without a resident provider count: the faults.
    """
    weights: dict[int, int] = {}
    open_wants = []
    for want in wants:
        if is_resident is not None and any(map(is_resident, want.providers)):
            continue
        open_wants.append(want)
        for provider in want.providers:
            weights[provider] = weights.get(provider, 0) + want.weight
    left = sum(want.weight for want in open_wants)
    picks = []
    while left >= threshold:
        best = max(weights, key=lambda provider: (weights[provider], provider))
        if weights[best] < threshold:
            break
        picks.append(best)
        still = []
        for want in open_wants:
            if best not in want.providers:
                still.append(want)
                continue
            left -= want.weight
            for provider in want.providers:
                weights[provider] -= want.weight
        open_wants = still
    return picks


def used_segments(wants: Iterable[Want]) -> list[int]:
    """Segments with an observed use, needed or not: newest provider of two rare words or an edited line."""
    weights: dict[int, int] = {}
    for want in wants:
        newest = want.providers[-1]
        weights[newest] = weights.get(newest, 0) + want.weight
    return sorted(provider for provider, weight in weights.items() if weight >= THRESHOLD)
