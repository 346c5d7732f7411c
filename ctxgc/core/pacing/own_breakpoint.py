"""Our own cache breakpoint: the breakpoint's block in a request, or no breakpoint.

    bodies are out   ──▶ the block of the last tombstone: the entry there is what the next edit reads
    the deepest entry lies beyond the reach of the host's breakpoints
                     ──▶ a bridge: a breakpoint at most a look-back behind that entry, so that the request finds it
    four breakpoints of the host, no breakpoint of the host, or nothing to gain
                     ──▶ none

Measured with real clients: a breakpoint at the end of the latest request before the first victim is useless, for no
such request exists in the present, edited form; the breakpoint on the last tombstone, on each request from the edit on,
gives two to six percent of the bill, and a bridge three quarters of the bill where each turn adds more blocks than the
look-back.
"""

from __future__ import annotations

from collections.abc import Sequence

from ctxgc.core.pacing.provider_cache import (
    CacheBreakpoint,
    Entries,
    Prompt,
    Provider,
    ReadablePrefixes,
    findable_prefixes,
)


def choose_own_breakpoint(
    provider: Provider,
    entries: Entries,
    prompt: Prompt,
    can_carry: Sequence[bool],
    tombstone_blocks: int | None,
    now_s: float,
) -> CacheBreakpoint | None:
    """The breakpoint to add to a request before sending; `None`: no breakpoint.

    `prompt.breakpoints` has the host's.

    `can_carry` says of each block of the prompt whether the block may carry a breakpoint
    (`can_carry_breakpoint`). `tombstone_blocks` counts the blocks up to the last tombstone's, that block included. The
    breakpoint is never a fifth breakpoint, never on a block that may not carry a breakpoint, never before a longer life
    than its own or behind a shorter life. O(units).
    """
    host = sorted(prompt.breakpoints)
    if not host or not provider.lookback_blocks or len(host) >= provider.breakpoints_max:
        return None
    best = _deepest_block(findable_prefixes(provider, entries, prompt, now_s, has_free_breakpoint=True))
    reach = _deepest_block(findable_prefixes(provider, entries, prompt, now_s))
    last = tombstone_blocks or 0
    if best > reach:
        # A breakpoint further on than the look-back would not find the entry, and one before the entry neither.
        wanted = min(max(last, best), best + provider.lookback_blocks - 1)
        blocks = _last_carrying_block(can_carry, best, wanted)
    else:
        blocks = _last_carrying_block(can_carry, 1, last)
    if not blocks or any(point.blocks == blocks for point in host):
        return None
    behind = next((point for point in host if point.blocks > blocks), host[-1])
    return CacheBreakpoint(blocks, behind.life_s)


def _deepest_block(found: ReadablePrefixes) -> int:
    return found.places[-1].blocks if found.places else 0


def _last_carrying_block(can_carry: Sequence[bool], first: int, last: int) -> int:
    """The last block of the range that may carry a breakpoint, counted from 1; 0: no block may."""
    return next((blocks for blocks in range(min(last, len(can_carry)), first - 1, -1) if can_carry[blocks - 1]), 0)


BREAKPOINT_BLOCKS = frozenset({"tool_result", "tool_use", "text", "image", "document"})
"""Types of blocks that may carry a breakpoint. Thinking may not, nor a block inside a result."""


def can_carry_breakpoint(block: object) -> bool:
    """Whether a message's block of Anthropic's API may carry a breakpoint. A bare string is no block, and has no place
    for a breakpoint; blank text is refused.
    """
    if not isinstance(block, dict):
        return False
    kind = block.get("type")
    if not isinstance(kind, str) or kind not in BREAKPOINT_BLOCKS:
        return False
    return kind != "text" or bool(str(block.get("text") or "").strip())
