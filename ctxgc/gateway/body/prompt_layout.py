"""A request as the provider's cache sees it: blocks in the order of the prompt, and the host's breakpoints on them.

    body, read ──read_layout──▶ PromptLayout ──prompt_of_layout(out, own)──▶ Prompt     for the model of the cache
                                             ──sent_cache_fields─────────────▶ `cache`    for the daemon, by segments

Bytes are named by the known digests of their segments, so no body is hashed twice. A request without blocks is of a
provider that caches without breakpoints.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

from ctxgc.adapters.contract import WireBlock, WireWindow
from ctxgc.adapters.json_spans import Extent, JsonText
from ctxgc.adapters.wire.anthropic_messages import breakpoint_life_s
from ctxgc.core.pacing.provider_cache import CacheBreakpoint, Layer, Part, Prompt, Unit, units_of

BYTES_PER_TOKEN = 4
"""Near enough for the least length of an entry: the daemon counts, the gateway does not."""
_CACHE_CONTROL = b'"cache_control"'
_DEFERRED = b'"defer_loading"'


class PromptLayout(NamedTuple):
    """The blocks of a request and the breakpoints of its host."""

    settings: tuple[str, str]
    """Digests of the settings that end every entry on a change, and of the settings that end the entries of the
    messages only."""
    tool_blocks: int
    tool_bytes: int
    blocks: Sequence[WireBlock]
    system_blocks: int
    """How many of the blocks are the system prompt's."""
    breakpoints: tuple[CacheBreakpoint, ...]
    """The host's breakpoints in the order of the prompt, the automatic one among them."""

    @property
    def blocks_before_messages(self) -> int:
        """Breakpoints behind this many blocks stand on messages, and move on with the session."""
        return self.tool_blocks + self.system_blocks

    @property
    def last_breakpoint_life_s(self) -> float:
        """The life of the last breakpoint, 0 without breakpoints: new messages are written at the price of this
        life."""
        return self.breakpoints[-1].life_s if self.breakpoints else 0.0

    def can_carry_by_block(self) -> list[bool]:
        """Of each block of the prompt whether the block may carry a breakpoint."""
        return [False] * self.tool_blocks + [block.may_carry for block in self.blocks]

    def block_of_breakpoint(self, point: CacheBreakpoint) -> WireBlock:
        """The block of the request under a breakpoint of our own."""
        return self.blocks[point.blocks - self.tool_blocks - 1]

    def count_blocks_up_to(self, ends: Collection[int]) -> int:
        """How many blocks of the prompt reach to the last of these byte offsets; 0 for none."""
        if not ends:
            return 0
        last = max(ends)
        at = next((at for at, block in enumerate(self.blocks) if block.start < last <= block.end), None)
        return 0 if at is None else self.tool_blocks + at + 1


def read_layout(text: JsonText, fields: Mapping[str, Extent], window: WireWindow) -> PromptLayout | None:
    """The layout of a request; `None` where the provider's cache has no breakpoints."""
    if not window.blocks or "messages" not in fields:
        return None
    tools = _tool_cache_controls(text, fields.get("tools"))
    lives = [
        CacheBreakpoint(at, life_s) for at, tool in enumerate(tools, 1) for life_s in breakpoint_life_s(text, tool)
    ]
    lives += [
        CacheBreakpoint(len(tools) + at, life_s)
        for at, block in enumerate(window.blocks, 1)
        for life_s in block.lives_s
    ]
    for life_s in breakpoint_life_s(
        text, fields.get("cache_control")
    ):  # The API puts this one on the last block it may.
        last = max((at for at, block in enumerate(window.blocks, 1) if block.may_carry), default=0)
        lives.append(CacheBreakpoint(len(tools) + last, life_s))
    raw = partial(_raw_member, text, fields)
    messages = fields["messages"]
    return PromptLayout(
        (_digest_parts(raw("model"), raw("tools")), _digest_parts(raw("thinking"), raw("tool_choice"))),
        len(tools),
        len(raw("tools")),
        window.blocks,
        sum(not messages.start <= block.start < messages.end for block in window.blocks),
        tuple(sorted(lives, key=lambda point: point.blocks)),
    )


def _tool_cache_controls(text: JsonText, tools: Extent | None) -> list[Extent | None]:
    """The breakpoint of each tool of the prompt, if the tool has a breakpoint. A deferred tool is no part of the
    prompt."""
    if tools is None or text.first_byte(tools) != b"[":
        return []
    elements, raw = text.elements(tools), text.raw_bytes(tools)
    if _CACHE_CONTROL not in raw and _DEFERRED not in raw:
        return [None] * len(elements)
    members = [text.members(tool) if text.first_byte(tool) == b"{" else {} for tool in elements]
    return [
        tool.get("cache_control")
        for tool in members
        if "defer_loading" not in tool or text.raw_bytes(tool["defer_loading"]) != b"true"
    ]


def _raw_member(text: JsonText, fields: Mapping[str, Extent], name: str) -> bytes:
    return text.raw_bytes(fields[name]) if name in fields else b""


def _digest_parts(*parts: bytes) -> str:
    return blake2b(b"\0".join(parts), digest_size=8).hexdigest()


def prompt_of_layout(
    layout: PromptLayout,
    window: WireWindow,
    digests: Mapping[str, bytes],
    out: Collection[str],
    own: CacheBreakpoint | None = None,
    *,
    elided: Collection[str] = (),
) -> Prompt:
    """The request with these segments out, and those with pointers, and with a breakpoint of our own, as a cache sees
    it."""
    names = [
        (digests[segment.id], segment.id in out, segment.id in elided and segment.id not in out)
        for segment in window.segments
    ]
    parts, before, nth = [], -2, 0
    for block in layout.blocks:
        nth = nth + 1 if block.segment == before else 0
        before = block.segment
        key = (names[before] if before >= 0 else None, nth)
        parts.append(Part(key, (block.end - block.start) // BYTES_PER_TOKEN))
    tools = Part("tools", layout.tool_bytes // BYTES_PER_TOKEN, layout.tool_blocks)
    system = layout.system_blocks
    units: tuple[Unit, ...] = units_of(
        [
            Layer([tools] if layout.tool_blocks else [], layout.settings[0]),
            Layer(parts[:system]),
            Layer(parts[system:], layout.settings[1]),
        ]
    )
    breakpoints = [*layout.breakpoints, own] if own else layout.breakpoints
    return Prompt(units, tuple(sorted(breakpoints, key=lambda point: point.blocks)))


def sent_cache_fields(
    layout: PromptLayout, window: WireWindow, ids: Sequence[str], own: CacheBreakpoint | None
) -> dict[str, Any]:
    """The breakpoints of a request as sent, and its blocks, counted by the segments that the daemon gets.

    A breakpoint stands behind as many segments as are whole up to its block.
    """
    kept = frozenset(ids)
    place, count = [], 0
    for segment in window.segments:  # The daemon's number of each segment, or of the one before it.
        count += segment.id in kept
        place.append(count)
    last = _last_block_numbers_by_segment(layout.blocks, len(window.segments))
    blocks = [0] * (len(ids) + 1)
    for block in layout.blocks:
        blocks[place[block.segment] if block.segment >= 0 else 0] += 1
    breakpoints = sorted([*layout.breakpoints, own], key=lambda point: point.blocks) if own else layout.breakpoints
    whole = [_count_whole_segments(last, point.blocks - layout.tool_blocks) for point in breakpoints]
    system = _count_whole_segments(last, layout.system_blocks)
    return {
        "settings": list(layout.settings),
        "hidden_blocks": layout.tool_blocks + blocks[0],
        "blocks": blocks[1:],
        "marks": [
            {"segments": place[number - 1] if number else 0, "life_s": point.life_s}
            for number, point in zip(whole, breakpoints, strict=True)
        ],
        "system_segments": place[system - 1] if system else 0,
        "own_mark": -1 if own is None else breakpoints.index(own),
    }


def _last_block_numbers_by_segment(blocks: Sequence[WireBlock], segments: int) -> list[int]:
    """For each segment the number of its last block, counted from 1."""
    last = [0] * segments
    begun = 0
    for at, block in enumerate(blocks, 1):
        for number in range(begun, block.segments):
            last[number] = at
        begun = max(begun, block.segments)
        if block.segment >= 0:
            last[block.segment] = at
    return last


def _count_whole_segments(last: Sequence[int], blocks: int) -> int:
    """How many segments, from the first on, end within so many blocks."""
    return next((number for number, at in enumerate(last) if at > blocks), len(last))
