"""The provider's prompt cache: the tokens that the next request reads and writes after an edit of the window.

    ├──────── cached prefix ────────┤── not cached ──┤   the window, in raw tokens from its start
    ├──── entry ────┤── entry ──┤─ entry ─┤              ends of the prefixes that the next request finds
                         ▲ the first edit
    ├─── is read ───┤─ what stays of this is written ┤

The pacer and the replay ask `CacheState.read_tokens` alone, so a better model of the cache changes this file alone. A
provider's cache holds entries, each of which ends at a breakpoint of an earlier request, lives for a while, and is
found only near a breakpoint of the next request (`core.pacing.provider_cache`). Without known breakpoints, a request
reads every prefix of the last request, in the provider's steps, as long as the cache is warm.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from ctxgc.core.pacing.provider_cache import ReadablePrefixes

ALL_CACHED = 2**62
"""The prefix where nothing is known of the cache: the whole window may be cached."""


class CacheState(NamedTuple):
    """The cached part of a window at the time of the next request."""

    prefix_tokens: int = ALL_CACHED
    """Length of the cached prefix; it may reach beyond the window, and is 0 where the cache is cold."""
    is_cold: bool = False
    """Whether the cache is gone, the hidden prefix included: an edit costs no rewrite."""
    ends: tuple[int, ...] | None = None
    """Where the prefixes end that the next request finds, ascending; `None`: every prefix up to `prefix_tokens`."""
    step_tokens: int = 1
    """The tokens read of a prompt without entries are a multiple of this step."""
    hidden_tokens: int = 0
    """Tokens of the prompt before the window: steps are counted from the prompt's start."""

    @classmethod
    def from_readable_prefixes(cls, readable: ReadablePrefixes, hidden_tokens: int) -> CacheState:
        """The cache of a window that begins behind so many hidden tokens of the prompt."""
        ends = [place.tokens - hidden_tokens for place in readable.places]
        inside = tuple(end for end in ends if end > 0)
        return cls(inside[-1] if inside else 0, is_cold=False, ends=inside)

    def read_tokens(self, edit_tokens: int) -> int:
        """Tokens of the window that the next request reads, where the first edit stands at `edit_tokens`.

        The request writes the rest. A window without an edit counts as edited at its end. Monotone.
        """
        if self.is_cold:
            return 0
        if self.ends is not None:
            count = bisect_right(self.ends, edit_tokens)
            return self.ends[count - 1] if count else 0
        tokens = self.hidden_tokens + min(self.prefix_tokens, edit_tokens)
        return tokens - tokens % self.step_tokens - self.hidden_tokens

    def read_tokens_for_edits(self, edits_tokens: Sequence[int]) -> list[int]:
        """`read_tokens` of each of several first edits."""
        if self.is_cold or self.ends is not None or self.step_tokens != 1:
            return list(map(self.read_tokens, edits_tokens))
        prefix = self.prefix_tokens
        return [edit if edit < prefix else prefix for edit in edits_tokens]

    def worst_case_for_edit(self, window_tokens: int, hidden_tokens: int) -> CacheState:
        """The same cache where nothing is known of what an edit leaves readable: nothing at all, in the worst case."""
        if self.is_cold:
            return self
        return self._replace(ends=(-hidden_tokens, max(self.read_tokens(window_tokens), -hidden_tokens)))

    def for_window_behind(self, prefix_tokens: int) -> CacheState:
        """The same cache for a window that begins so many cached tokens later."""
        ends = self.ends
        if ends is not None:
            ends = tuple(end - prefix_tokens for end in ends if end > prefix_tokens)
        hidden = self.hidden_tokens + prefix_tokens
        return self._replace(prefix_tokens=max(self.prefix_tokens - prefix_tokens, 0), ends=ends, hidden_tokens=hidden)


WARM = CacheState()
COLD = CacheState(0, is_cold=True)
