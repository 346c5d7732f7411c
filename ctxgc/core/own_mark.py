"""Our own cache mark: the mark's block in a request, or no mark.

    bodies are out   ──▶ the block of the last tombstone: the entry there is what the next edit reads
    the deepest entry lies beyond the reach of the host's marks
                     ──▶ a bridge: a mark at most a look-back behind that entry, so that the request finds it
    four marks of the host, no mark of the host, or nothing to gain
                     ──▶ none

Measured with real clients: a mark at the end of the latest request before the first victim is useless, for no such
request exists in the present, edited form; the mark on the last tombstone, on each request from the edit on, gives two
to six percent of the bill, and a bridge three quarters of the bill where each turn adds more blocks than the look-back.
"""

from __future__ import annotations

from collections.abc import Sequence

from ctxgc.core.provider_cache import Entries, Mark, Prompt, Provider, ReadablePrefixes, findable_prefixes


def choose_own_mark(
    provider: Provider,
    entries: Entries,
    prompt: Prompt,
    can_carry: Sequence[bool],
    tombstone_blocks: int | None,
    now_s: float,
) -> Mark | None:
    """The mark to add to a request before sending, with the host's marks in `prompt.marks`; `None`: no mark.

    `can_carry_marks` says of each block of the prompt whether the block may carry a mark (`may_carry_mark`).
    `tombstone_blocks` counts the blocks up to the last tombstone's, that block included. The mark is never a fifth
    mark, never on a block that may not carry a mark, never before a longer life than its own or behind a shorter
    life. O(units).
    """
    host = sorted(prompt.marks)
    if not host or not provider.lookback_blocks or len(host) >= provider.marks_max:
        return None
    best = _deepest_block(findable_prefixes(provider, entries, prompt, now_s, is_mark_free=True))
    reach = _deepest_block(findable_prefixes(provider, entries, prompt, now_s))
    last = tombstone_blocks or 0
    if best > reach:
        # A mark further on than the look-back would not find the entry, and one before the entry neither.
        wanted = min(max(last, best), best + provider.lookback_blocks - 1)
        blocks = _last_markable_block(can_carry, best, wanted)
    else:
        blocks = _last_markable_block(can_carry, 1, last)
    if not blocks or any(mark.blocks == blocks for mark in host):
        return None
    behind = next((mark for mark in host if mark.blocks > blocks), host[-1])
    return Mark(blocks, behind.life_s)


def _deepest_block(found: ReadablePrefixes) -> int:
    return found.places[-1].blocks if found.places else 0


def _last_markable_block(can_carry: Sequence[bool], first: int, last: int) -> int:
    """The last block of the range that may carry a mark, counted from 1; 0: no block may."""
    return next((blocks for blocks in range(min(last, len(can_carry)), first - 1, -1) if can_carry[blocks - 1]), 0)


MARKABLE = frozenset({"tool_result", "tool_use", "text", "image", "document"})
"""Types of blocks that may carry a mark. Thinking may not, nor a block inside a result."""


def may_carry_mark(block: object) -> bool:
    """Whether a message's block of Anthropic's API may carry a mark. A bare string is no block, and has no place for a
    mark; blank text is refused.
    """
    if not isinstance(block, dict) or block.get("type") not in MARKABLE:
        return False
    return block["type"] != "text" or bool(str(block.get("text") or "").strip())
