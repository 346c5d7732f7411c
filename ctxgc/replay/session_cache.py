"""The provider's prompt cache of a replayed session: the bill of each request, and the pacer's forecast.

    layout of the prompt ──┐
    edits, gaps of time  ──┴─▶ request ──▶ Billed, by core.pacing.provider_cache
                                   └─────▶ entries ──▶ state: what an edit makes the next request read

    MarkedCache   Anthropic: entries at the marks of earlier requests, found near a mark. The host marks its system
                  prompt and the last block of each request, as Claude Code does; ctxgc marks one block more
                  (`core.pacing.own_breakpoint`).
    PrefixCache   OpenAI: the common beginning of two requests, in steps. With a step of one token and no least length
                  it is the ideal cache, which every edit finds as far as it lies behind: no provider bills so, but the
                  first versions of this replay did.

A session's prompt only grows or is edited, so the end's place identifies an entry: an edit before that place ends the
entry's life. Only places at which an entry may stand are units of the model's prompt.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from operator import attrgetter
from typing import NamedTuple, Protocol, overload

from ctxgc.core.pacing.own_breakpoint import choose_own_breakpoint
from ctxgc.core.pacing.price_profiles import Prices
from ctxgc.core.pacing.prompt_cache import COLD, CacheState
from ctxgc.core.pacing.provider_cache import (
    ANTHROPIC,
    CacheBreakpoint,
    Entries,
    Prompt,
    PromptBill,
    PromptPlace,
    Provider,
    Unit,
    entries_after_request,
    findable_prefixes,
)

SYSTEM_BLOCKS = 1
"""Tools and system prompt are taken for one block with a mark of the host's."""


class CacheRules(NamedTuple):
    """The cache by whose rules a replay bills, and whether requests have a mark of our own."""

    provider: Provider | None = ANTHROPIC
    """None: the ideal cache."""
    has_own_mark: bool = False


TRUE = CacheRules()
OWN_MARK = CacheRules(has_own_mark=True)
IDEAL = CacheRules(None)


class Layout(Sequence[bool]):
    """Where the pieces of a prompt end, in its order: the hidden prefix, each slot, and each tombstone left behind.

    As a sequence, a layout says of each block whether a mark may stand there: at the end of a piece.
    """

    def __init__(self, hidden_tokens: int) -> None:
        self.ends: list[PromptPlace] = [PromptPlace(SYSTEM_BLOCKS, hidden_tokens)]
        self._window: list[int] = [0]
        self._blocks: list[int] = [SYSTEM_BLOCKS]
        self.tombstone_blocks = 0
        """Blocks up to the last tombstone, its own included; 0: none."""

    def append_piece(self, tokens: int, blocks: int, window_tokens: int, *, is_tombstone: bool = False) -> None:
        """Add a piece. `window_tokens`: the heap's count of the piece, which may be less than the prompt's."""
        last = self.ends[-1]
        self.ends.append(PromptPlace(last.blocks + blocks, last.tokens + tokens))
        self._blocks.append(last.blocks + blocks)
        self._window.append(self._window[-1] + window_tokens)
        if is_tombstone:
            self.tombstone_blocks = last.blocks + blocks

    def piece_end(self, blocks: int) -> PromptPlace:
        """The end of the piece with this last block."""
        return self.ends[bisect_left(self._blocks, blocks)]

    def window_tokens_before(self, place: PromptPlace) -> int:
        """Tokens of the window, as the heap counts them, before a place."""
        return self._window[bisect_left(self._blocks, place.blocks)]

    def __len__(self) -> int:
        return self._blocks[-1]

    @overload
    def __getitem__(self, at: int, /) -> bool: ...
    @overload
    def __getitem__(self, at: slice, /) -> Sequence[bool]: ...
    def __getitem__(self, at: int | slice, /) -> bool | Sequence[bool]:
        """Whether a piece ends with this block, counted from 0."""
        if isinstance(at, slice):
            return [self[each] for each in range(len(self))[at]]
        return self._blocks[bisect_left(self._blocks, at + 1)] == at + 1


class SessionCache(Protocol):
    """A provider's cache while a session is played."""

    is_cold: bool
    """Whether nothing is cached for the next request."""
    is_placed: bool
    """Whether the cache asks where pieces end; else a layout is an empty word to it."""

    def advance_clock(self, gap_s: float, *, is_cold: bool) -> None:
        """Time passes before the next request."""
        ...

    def invalidate_from(self, at_tokens: int) -> None:
        """The prompt changes from this token on."""
        ...

    def cache_state(self, layout: Layout, prompt_tokens: int, window_tokens: int) -> CacheState:
        """The pacer's view of the window."""
        ...

    def bill_prompt(self, layout: Layout, prompt_tokens: int) -> PromptBill:
        """Send the prompt unedited: its bill. The provider answers, and keeps the prompt."""
        ...


def _readable_prefix_tokens(provider: Provider, tokens: int) -> int:
    return tokens - tokens % provider.step_tokens if tokens >= provider.least_tokens else 0


_EXACT = Provider("ideal", least_tokens=0)


class PrefixCache:
    """The beginning that a request shares with the last request."""

    is_placed = False

    def __init__(self, provider: Provider | None = None) -> None:
        self._provider = provider or _EXACT
        self._prefix_tokens = 0
        self.is_cold = True

    def advance_clock(self, gap_s: float, *, is_cold: bool) -> None:
        """No entry outlives the cache's life."""
        self.is_cold = is_cold
        self._prefix_tokens = 0 if is_cold else self._prefix_tokens

    def invalidate_from(self, at_tokens: int) -> None:
        """The suffix behind the edit is not shared any more."""
        self._prefix_tokens = min(self._prefix_tokens, at_tokens)

    def cache_state(self, layout: Layout, prompt_tokens: int, window_tokens: int) -> CacheState:
        """The pacer's view of the window."""
        if self.is_cold:
            return COLD
        cached = CacheState(self._prefix_tokens, step_tokens=self._provider.step_tokens)
        return cached.for_window_behind(prompt_tokens - window_tokens)

    def bill_prompt(self, layout: Layout, prompt_tokens: int) -> PromptBill:
        """Read the shared prefix; write the rest."""
        read = _readable_prefix_tokens(self._provider, min(self._prefix_tokens, prompt_tokens))
        self._prefix_tokens, self.is_cold = prompt_tokens, False
        return PromptBill(read, prompt_tokens - read, 0)


_END = attrgetter("end")


class MarkedCache:
    """Entries at marks."""

    is_placed = True

    def __init__(self, provider: Provider, life_s: float, *, has_own_mark: bool) -> None:
        self._provider = replace(provider, life_s=life_s)
        self._life_s = life_s
        self._has_own_mark = has_own_mark
        self._units: list[Unit] = []
        """Places of the prompt at which an entry may stand, in order."""
        self._entries: Entries = {}
        self._names = count(1)
        self._now_s = 0.0
        self._is_edited = False
        self.is_cold = True

    def advance_clock(self, gap_s: float, *, is_cold: bool) -> None:
        """Entries grow older."""
        self.is_cold = is_cold
        self._now_s += max(gap_s, 0.0)

    def invalidate_from(self, at_tokens: int) -> None:
        """No later prompt begins with the prefix of an entry behind the edit."""
        self._is_edited = True
        while self._units and self._units[-1].end.tokens > at_tokens:
            self._units.pop()

    def cache_state(self, layout: Layout, prompt_tokens: int, window_tokens: int) -> CacheState:
        """The pacer's view of the window."""
        prompt = self._build_prompt_with_host_breakpoints(layout)
        found = findable_prefixes(
            self._provider, self._entries, prompt, self._now_s, has_free_breakpoint=self._has_own_mark
        )
        # Below the first entry nothing is read, and not even what stands before the window.
        nothing = window_tokens - prompt_tokens
        ends = (nothing, *map(layout.window_tokens_before, found.places))
        return COLD if self.is_cold else CacheState(max(ends[-1], 0), ends=ends)

    def bill_prompt(self, layout: Layout, prompt_tokens: int) -> PromptBill:
        """Read the deepest entry that a mark finds; write up to the last mark."""
        prompt = self._build_prompt_with_host_breakpoints(layout)
        if self._has_own_mark:
            prompt = self._add_own_breakpoint(prompt, layout)
        billed = findable_prefixes(self._provider, self._entries, prompt, self._now_s).predict_bill()
        self._entries = entries_after_request(self._provider, self._entries, prompt, self._now_s)
        self._units = [unit for unit in self._units if unit.prefix in self._entries]
        self.is_cold = False
        return billed

    def _build_prompt_with_host_breakpoints(self, layout: Layout) -> Prompt:
        """The prompt with the host's marks."""
        if self._is_edited:
            # A body of no tokens may have gone behind the last one that stays: its end is a place no more.
            self._units = [unit for unit in self._units if layout.piece_end(unit.end.blocks) == unit.end]
            self._is_edited = False
        system, end = layout.ends[0], layout.ends[-1]
        self._add_unit(system)
        self._add_unit(end)
        marks = (CacheBreakpoint(system.blocks, self._life_s), CacheBreakpoint(end.blocks, self._life_s))
        return Prompt(self._units, marks)

    def _add_own_breakpoint(self, prompt: Prompt, layout: Layout) -> Prompt:
        last = layout.tombstone_blocks or None
        own = choose_own_breakpoint(self._provider, self._entries, prompt, layout, last, self._now_s)
        if own is None:
            return prompt
        self._add_unit(layout.piece_end(own.blocks))
        return Prompt(self._units, sorted((*prompt.breakpoints, own)))

    def _add_unit(self, place: PromptPlace) -> None:
        at = bisect_left(self._units, place, key=_END)
        if at == len(self._units) or self._units[at].end != place:
            insort(self._units, Unit(next(self._names), place), key=_END)


def session_cache(rules: CacheRules, prices: Prices) -> SessionCache:
    """The cache of a session that is billed by these rules and prices."""
    if rules.provider is None or not rules.provider.breakpoints_max:
        return PrefixCache(rules.provider)
    return MarkedCache(rules.provider, prices.ttl_s, has_own_mark=rules.has_own_mark)
