"""The provider's prompt cache, modelled: the prefixes that a provider holds, and the prefixes that a request will find.

    request, as sent ──answered 200──▶ noted ──▶ entries: prefix, life, last use
                                                    │
    request, to be sent ──────────────findable──────┴──▶ Readable ──bill(edit)──▶ tokens read, written, plain

    Anthropic   an entry stands at each breakpoint of a request, for five minutes or an hour from its last use. A later
                request finds it where everything before is the same and a breakpoint of its own stands at most twenty
                positions on, the block of the breakpoint counted as the first.
    OpenAI      the beginning that two requests share is read in steps of 128 tokens, from 1,024 on. No breakpoints.
    shared      the beginning that two requests share, to the token, in Anthropic's wire format. No breakpoints are
    prefix      needed.
    OpenAI,     the prefixes up to a request's last four breakpoints are written; the latest eighty entries are
    breakpoints considered, however far back the entries lie.

Positions are blocks and tokens of the prompt in the provider's order (tools, system, messages). An entry dies by itself
where an edit, another model, other tools or another system prompt change a byte before its end: the entry's prefix then
equals no prefix of the request. A failed request leaves no entry, so only answered requests are noted.

All types here are values. A time is an argument. Source: the providers' documentation of prompt caching, 2026-11.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

SHORT_LIFE_S, LONG_LIFE_S = 300.0, 3600.0
"""Lives that Anthropic's API sells; the long one is written at a price of its own."""
OPENAI_LIFE_S, OPENAI_BREAKPOINT_LIFE_S = 300.0, 1800.0
"""OpenAI keeps an unused prefix for five to ten minutes, and a breakpoint of the newest models for thirty."""
BREAKPOINTS_MAX = 4
LOOKBACK_BLOCKS = 20
"""Positions that a breakpoint looks at, its own block first. A run of tool calls or of results may count as one
position: the model counts blocks, which loses no money where a provider looks further, and learns from the bill."""
LEAST_MIN_TOKENS, LEAST_MAX_TOKENS = 1024, 4096
STEP_TOKENS = 128
CONSIDERED_MAX = 80
ENTRIES_MAX = 16_384
"""Entries remembered of one thread. The least recently used are forgotten first: the model is then too gloomy."""
AGREES_PART, AGREES_TOKENS = 0.05, 128
"""Billed read tokens agree with the model within this part, or within this many tokens."""


class PromptPlace(NamedTuple):
    """A position in a prompt: the blocks and tokens before."""

    blocks: int
    tokens: int


START = PromptPlace(0, 0)


class Unit(NamedTuple):
    """A stretch of a prompt that an edit changes or leaves as a whole: a block, or the blocks of a segment."""

    prefix: Hashable
    """The identity of the prompt up to the unit's end, bodies that are out included."""
    end: PromptPlace


class CacheBreakpoint(NamedTuple):
    """A cache breakpoint. `blocks` counts the prompt's blocks up to and with the breakpoint's own."""

    blocks: int
    life_s: float = SHORT_LIFE_S


class Prompt(NamedTuple):
    """A request as a cache sees it. Breakpoints stand in the provider's order; a predicted breakpoint may lie beyond
    the end."""

    units: Sequence[Unit]
    breakpoints: Sequence[CacheBreakpoint] = ()

    @property
    def end(self) -> PromptPlace:
        """Where the prompt ends."""
        return self.units[-1].end if self.units else START


class Part(NamedTuple):
    """A unit's own part of a prompt. Equal keys stand for equal bytes: a bare string and a single text block are the
    same.
    """

    key: Hashable
    tokens: int
    blocks: int = 1


_SETTING = -1
"""Sets a setting apart in a prefix: a number, so that prefixes of numbers are the same in every process."""


class Layer(NamedTuple):
    """Parts that share a setting. A changed setting ends every entry from the layer on: the model's name belongs to the
    tools' layer, `thinking` and `tool_choice` to the messages'."""

    parts: Iterable[Part]
    setting: Hashable = None


def units_of(layers: Iterable[Layer], before: Sequence[Unit] = ()) -> tuple[Unit, ...]:
    """The units of a prompt from its layers, in the provider's order. O(parts).

    `before`: the units that a prompt shares with an earlier prompt. Units behind these need not be made from the start.
    """
    units = list(before)
    prefix, (blocks, tokens) = units[-1] if units else Unit(0, START)
    for layer in layers:
        if layer.setting is not None:
            prefix = hash((prefix, _SETTING, layer.setting))
        for part in layer.parts:
            prefix = hash((prefix, part.key))
            blocks, tokens = blocks + part.blocks, tokens + part.tokens
            units.append(Unit(prefix, PromptPlace(blocks, tokens)))
    return tuple(units)


@dataclass(frozen=True, slots=True)
class Provider:
    """The rules of a provider's cache."""

    name: str
    least_tokens: int = LEAST_MIN_TOKENS
    """A shorter prefix is not cached."""
    lookback_blocks: int = 0
    """Positions that a breakpoint looks at, its own block first; 0: no limit."""
    breakpoints_max: int = 0
    """Breakpoints that a request may have, or of which entries are written; 0: the provider caches without
    breakpoints."""
    considered_max: int = ENTRIES_MAX
    """Entries that a lookup considers, the deepest first."""
    step_tokens: int = 1
    """The tokens that are read are a multiple of this step."""
    life_s: float = 0.0
    """The least life of an entry; 0: the provider has no cache."""


ANTHROPIC = Provider("anthropic", lookback_blocks=LOOKBACK_BLOCKS, breakpoints_max=BREAKPOINTS_MAX, life_s=SHORT_LIFE_S)
OPENAI = Provider("openai", step_tokens=STEP_TOKENS, life_s=OPENAI_LIFE_S)
OPENAI_BREAKPOINTS = Provider(
    "openai_marked", breakpoints_max=BREAKPOINTS_MAX, considered_max=CONSIDERED_MAX, life_s=OPENAI_BREAKPOINT_LIFE_S
)
UNCACHED = Provider("uncached")
SHARED_PREFIX = Provider("unmarked", life_s=SHORT_LIFE_S)
"""A provider that speaks Anthropic's wire format and reads the beginning that two requests share, with breakpoints or
without."""

_LEAST_TOKENS = (
    (re.compile(r"opus-4-[5-9]|haiku-4"), 4096),
    (re.compile(r"haiku"), 2048),
)
"""Anthropic's table by model, 2026-11; all others cache from 1,024 tokens on."""


def anthropic_provider(model: str) -> Provider:
    """Anthropic's cache for this model."""
    least = next((tokens for names, tokens in _LEAST_TOKENS if names.search(model.lower())), LEAST_MIN_TOKENS)
    return replace(ANTHROPIC, least_tokens=least)


class CacheEntry(NamedTuple):
    """A provider's entry for a prefix."""

    life_s: float
    used_s: float
    """When the prefix was last written or read."""

    def is_alive(self, now_s: float) -> bool:
        """Whether the entry can be read at this time."""
        return now_s - self.used_s <= self.life_s


Entries = Mapping[Hashable, CacheEntry]
"""By prefix, the least recently used first."""


def entries_after_request(
    provider: Provider, entries: Entries, prompt: Prompt, now_s: float
) -> dict[Hashable, CacheEntry]:
    """The entries after this request was sent at `now_s` and answered with 200. O(entries + units).

    The entry that the request read is used again, and so is each entry under a breakpoint of the request. An entry
    older than its life leaves the model, however warm the session is.
    """
    alive = {prefix: entry for prefix, entry in entries.items() if entry.is_alive(now_s)}
    found = findable_prefixes(provider, alive, prompt, now_s).prefix
    written = {} if found is None else {found: alive[found].life_s}
    written |= {unit.prefix: life_s for unit, life_s in _written_units(provider, prompt)}
    for prefix, life_s in written.items():
        before = alive.pop(prefix, None)  # Taken out and put back: the order is that of use.
        alive[prefix] = CacheEntry(max(life_s, before.life_s) if before else life_s, now_s)
    return dict(islice(alive.items(), max(0, len(alive) - ENTRIES_MAX), None))


def _written_units(provider: Provider, prompt: Prompt) -> list[tuple[Unit, float]]:
    """The units at whose ends an answered request leaves entries, and the lives of these."""
    long_enough = [unit for unit in prompt.units if unit.end.tokens >= provider.least_tokens]
    if not provider.breakpoints_max:
        return [(unit, provider.life_s) for unit in long_enough] if provider.life_s else []
    unit_at = {unit.end.blocks: unit for unit in long_enough}
    breakpoints = prompt.breakpoints[-provider.breakpoints_max :]
    return [
        (unit_at[point.blocks], max(point.life_s, provider.life_s)) for point in breakpoints if point.blocks in unit_at
    ]


class Edit(NamedTuple):
    """An edit of a prompt: the first changed unit starts at `start`, and `freed_tokens` leave behind that place.

    An edit that brings a body back in place may read more than forecast: the older form may still be cached.
    """

    start: PromptPlace
    freed_tokens: int = 0


class PromptBill(NamedTuple):
    """The bill of a request, in tokens of the prompt."""

    read: int
    written: int
    plain: int
    """Behind the last breakpoint, or too short to be cached."""
    long_written: int = 0
    """The part of `written` that is written for an hour."""


class ReadablePrefixes(NamedTuple):
    """The prefixes of a prompt that a request will find, the deepest last; and the tokens that the request will write
    behind.
    """

    provider: Provider
    places: tuple[PromptPlace, ...]
    prefix: Hashable | None
    """Of the deepest place."""
    end: PromptPlace
    breakpoint_ends: tuple[tuple[PromptPlace, float], ...]
    """The ends of the request's breakpoints with their lives, in the prompt's order."""

    def deepest_place_before(self, start: PromptPlace) -> PromptPlace:
        """The deepest place that an edit from `start` on leaves readable. O(log entries)."""
        count = bisect_right(self.places, start)
        return self.places[count - 1] if count else START

    def read_tokens(self, start: PromptPlace) -> int:
        """Tokens that the next request reads after an edit from `start` on."""
        tokens = self.deepest_place_before(start).tokens
        return tokens - tokens % self.provider.step_tokens

    def predict_bill(self, edit: Edit | None = None) -> PromptBill:
        """The request's bill with this edit. O(log entries)."""
        start, freed = edit or (self.end, 0)
        read, end = self.read_tokens(start), self.end.tokens - freed
        if not self.provider.breakpoints_max:
            is_cached = bool(self.provider.life_s) and end >= self.provider.least_tokens
            return PromptBill(read, end - read, 0) if is_cached else PromptBill(0, 0, end)
        cached = long = read
        for place, life_s in self.breakpoint_ends:
            tokens = place.tokens - (freed if place > start else 0)
            if tokens >= self.provider.least_tokens:
                cached = max(cached, tokens)
                long = max(long, tokens) if life_s >= LONG_LIFE_S else long
        return PromptBill(read, cached - read, end - cached, long - read)


def findable_prefixes(
    provider: Provider, entries: Entries, prompt: Prompt, now_s: float, *, has_free_breakpoint: bool = False
) -> ReadablePrefixes:
    """The prefixes of `prompt` that a request with its breakpoints finds at `now_s`. O(units + entries found).

    `has_free_breakpoint`: a breakpoint of our own can be put where any entry is found. Then no look-back bounds the
    search.
    """
    found: list[Unit] = []
    if entries:
        found = [unit for unit in prompt.units if unit.prefix in entries and entries[unit.prefix].is_alive(now_s)]
    if provider.lookback_blocks and not has_free_breakpoint:
        found = [
            unit for unit in found if _is_within_lookback(unit.end.blocks, prompt.breakpoints, provider.lookback_blocks)
        ]
    found = found[-provider.considered_max :]
    ends = tuple((_breakpoint_place(point, prompt), point.life_s) for point in prompt.breakpoints)
    deepest = found[-1].prefix if found else None
    return ReadablePrefixes(provider, tuple(unit.end for unit in found), deepest, prompt.end, ends)


def _is_within_lookback(blocks: int, breakpoints: Sequence[CacheBreakpoint], lookback_blocks: int) -> bool:
    return any(0 <= point.blocks - blocks < lookback_blocks for point in breakpoints)


def _breakpoint_place(point: CacheBreakpoint, prompt: Prompt) -> PromptPlace:
    """Where a breakpoint stands; a breakpoint that is predicted behind the prompt's end covers all of the prompt."""
    at = bisect_right(prompt.units, point.blocks, key=lambda unit: unit.end.blocks)
    return prompt.units[at - 1].end if at else START


def predict_breakpoints(
    breakpoints: Iterable[CacheBreakpoint], standing_blocks: int, added_blocks: int
) -> tuple[CacheBreakpoint, ...]:
    """The places of a host's breakpoints after this many more blocks: breakpoints on the messages move on with the
    end."""
    return tuple(
        point._replace(blocks=point.blocks + added_blocks) if point.blocks > standing_blocks else point
        for point in breakpoints
    )


class BillLesson(NamedTuple):
    """The lesson of a bill: the provider's model from now on, and whether the model explains the bill."""

    provider: Provider
    is_explained: bool


def learn_from_bill(
    provider: Provider, entries: Entries, prompt: Prompt, now_s: float, billed_read_tokens: int
) -> BillLesson:
    """Hold the billed read tokens of a request, sent at `now_s` with these entries alive, against the model.

    A bill that read from the cache for a request without breakpoints is of a provider that needs none
    (`SHARED_PREFIX`). A bill that read an entry which lies too far back for the model widens the look-back; a bill
    never narrows it, for a provider may also have dropped an entry. A bill that read less than the least length, or
    nothing where the model found a short prefix, moves the least length. All other disagreement is left to the caller.
    """
    if provider.breakpoints_max and not prompt.breakpoints and billed_read_tokens:
        return BillLesson(SHARED_PREFIX, True)
    found = findable_prefixes(provider, entries, prompt, now_s)
    expected = found.predict_bill().read
    if is_billed_as_expected(expected, billed_read_tokens):
        return BillLesson(provider, True)
    if 0 < billed_read_tokens < provider.least_tokens - AGREES_TOKENS:
        return BillLesson(replace(provider, least_tokens=max(billed_read_tokens, LEAST_MIN_TOKENS)), True)
    if billed_read_tokens == 0 and expected < LEAST_MAX_TOKENS:
        least = next(2**power for power in (11, 12) if 2**power > expected)
        return BillLesson(replace(provider, least_tokens=least), True)
    if provider.lookback_blocks and billed_read_tokens > expected:
        beyond = findable_prefixes(provider, entries, prompt, now_s, has_free_breakpoint=True).places
        distances = [
            point.blocks - place.blocks + 1
            for place in beyond
            if is_billed_as_expected(place.tokens, billed_read_tokens)
            for point in prompt.breakpoints
            if point.blocks >= place.blocks
        ]
        if distances:
            return BillLesson(replace(provider, lookback_blocks=min(distances)), True)
    return BillLesson(provider, False)


def is_billed_as_expected(expected_tokens: int, billed_tokens: int) -> bool:
    """Whether the billed read tokens agree with the model."""
    return abs(expected_tokens - billed_tokens) <= max(AGREES_TOKENS, AGREES_PART * billed_tokens)
