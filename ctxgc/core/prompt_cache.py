"""The provider's prompt cache: what an edit of the window makes the next request read from it, and write.

    ├──────── cached prefix ────────┤── not cached ──┤   the window, in raw tokens from its start
                 ▲ the first edit
    ├─ is read ─┤─ what stays of this is written ────┤

The pacer and the replay ask `CacheState.read_tokens` and nothing else, so a better model of the cache changes this
file alone. Today's model: a request reads every prefix of what the last one sent, however short, as long as the cache
is warm. A provider's cache holds entries, each of which ends at a mark of an earlier request, lives for a while, and is
found only near a mark of the next request: those are facts of a `CacheState` too.
"""

from __future__ import annotations

from typing import NamedTuple

ALL_CACHED = 2**62
"""The prefix where nothing is known of the cache: the whole window may be cached."""


class CacheState(NamedTuple):
    """What the provider's cache holds of a window when the next request is sent."""

    prefix_tokens: int = ALL_CACHED
    """Length of the cached prefix; it may reach beyond the window, and is 0 where the cache is cold."""
    is_cold: bool = False
    """Whether the cache is gone, the hidden prefix included: an edit costs no rewrite."""

    def read_tokens(self, edit_tokens: int) -> int:
        """Tokens of the window that the next request reads, where the first edit stands at `edit_tokens`.

        The request writes whatever stays behind. A window without an edit is as one edited at its end. Monotone.
        """
        return 0 if self.is_cold else min(self.prefix_tokens, edit_tokens)

    def behind(self, prefix_tokens: int) -> CacheState:
        """The same cache for a window that begins so many cached tokens later."""
        return self._replace(prefix_tokens=max(self.prefix_tokens - prefix_tokens, 0))


WARM = CacheState()
COLD = CacheState(0, is_cold=True)
