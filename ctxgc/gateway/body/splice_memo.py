"""The bytes to send: the request with the tombstones in force and a breakpoint of our own, or the original.

    body ──begins with the memo's head──▶ edited head + the rest       no parsing: agents append
         ──else──▶ parse ──▶ splice ──▶ a new memo

A memo is the last edited request up to its last tombstone and our breakpoint, before and after editing. A body that
begins with the same bytes holds the same segments at the same places, because parsing goes from left to right. The
breakpoint of a memo stands only as long as the host's breakpoints in the rest are unchanged, and no reply asked for
many calls at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ctxgc.adapters.contract import ElidedResult, StandIn, WireBlock
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.pacing.provider_cache import LONG_LIFE_S, CacheBreakpoint
from ctxgc.gateway.body.branch_cache import BreakpointPlacer
from ctxgc.gateway.body.prompt_layout import prompt_of_layout
from ctxgc.gateway.body.request_body import BodyContents

WIDE_CALLS = 7
"""From so many calls in one reply on, the host's breakpoints may lie beyond the look-back of its own cache."""
SHORT_CACHE_CONTROL = b',"cache_control":{"type":"ephemeral"}'
LONG_CACHE_CONTROL = b',"cache_control":{"type":"ephemeral","ttl":"1h"}'
_CACHE_CONTROL, _RESULT = b'"cache_control"', b'"tool_use_id"'


class OwnBreakpoint(NamedTuple):
    """A breakpoint of our own in a request that is sent."""

    breakpoint: CacheBreakpoint
    start: int
    """Byte offset of the inserted member."""

    @property
    def inserted_bytes(self) -> bytes:
        """The inserted bytes."""
        return LONG_CACHE_CONTROL if self.breakpoint.life_s >= LONG_LIFE_S else SHORT_CACHE_CONTROL

    def remove_from(self, body: bytes) -> bytes:
        """The body without the breakpoint, which stands at its offset or nowhere: equal bytes elsewhere are the
        host's."""
        if not body.startswith(self.inserted_bytes, self.start):
            return body
        return body[: self.start] + body[self.start + len(self.inserted_bytes) :]


class SpliceMemo(NamedTuple):
    """A request up to its last tombstone and our breakpoint: the agent's bytes, and the bytes that went upstream."""

    head: bytes
    edited_head: bytes
    ids: frozenset[str]
    """Segments whose tombstones stand in the edited bytes."""
    own: OwnBreakpoint | None = None
    rest_breakpoints: tuple[bytes, ...] = ()
    """The host's breakpoints behind the head."""
    rest_results: int = 0
    """Results of calls behind the head."""
    elided: frozenset[str] = frozenset()
    """Results that stand in the edited bytes with pointers."""

    def keeps_breakpoint(self, body: bytes) -> bool:
        """Whether the breakpoint may stand in this body too, and whether no other place would be better."""
        if self.own is None and not self.rest_breakpoints:
            return True
        at = len(self.head)
        return (
            body.count(_RESULT, at) - self.rest_results < WIDE_CALLS
            and _cache_controls_behind(body, at) == self.rest_breakpoints
        )

    def without_breakpoint(self) -> SpliceMemo:
        """The memo with the tombstones alone."""
        if self.own is None:
            return self
        return self._replace(edited_head=self.own.remove_from(self.edited_head), own=None)

    def with_sent_rest(self, body: bytes) -> SpliceMemo:
        """The memo once this body has gone upstream."""
        at = len(self.head)
        return self._replace(rest_breakpoints=_cache_controls_behind(body, at), rest_results=body.count(_RESULT, at))


class EvictedBody(NamedTuple):
    """A body that does not stand in a request as the host sent it: what stands there, and the digest of its content."""

    stand_in: StandIn
    digest: bytes


class SplicedRequest(NamedTuple):
    """A request ready to be sent."""

    body: bytes
    memo: SpliceMemo | None = None
    """None if no tombstone applies."""
    own: OwnBreakpoint | None = None
    elided: frozenset[str] = frozenset()
    """Results that stand in the body with pointers."""


def splice_edits(
    body: bytes,
    wire: str,
    contents: BodyContents,
    evicted: Mapping[str, EvictedBody],
    placer: BreakpointPlacer | None = None,
) -> SplicedRequest:
    """The body with these tombstones and the breakpoint that the placer wants; the same object if there is neither.

    A segment without spans in this body (pending, signed, not text) stays whole, and so does another content under an
    evicted segment's id.
    """
    spans = contents.window.spans
    applicable = {
        id_: evicted[id_].stand_in for id_ in spans if id_ in evicted and contents.digests[id_] == evicted[id_].digest
    }
    elided = frozenset(id_ for id_, stand_in in applicable.items() if isinstance(stand_in, ElidedResult))
    ends = {id_: max(span.end for span in spans[id_]) for id_ in applicable}
    spliced = WIRE_FORMATS[wire].splice(body, contents.window, applicable) if applicable else body
    # A pointer stands from its first request on, and no cache loses bytes by it: our breakpoint is for tombstones.
    own = _ask_placer_for_breakpoint(
        contents, {id_: end for id_, end in ends.items() if id_ not in elided}, elided, placer
    )
    block = contents.layout.block_of_breakpoint(own) if own and contents.layout else None
    start = None if block is None else _breakpoint_offset(body, wire, contents, applicable, block, len(spliced))
    placed = OwnBreakpoint(own, start) if own and start is not None else None
    if placed is not None and start is not None:
        spliced = spliced[:start] + placed.inserted_bytes + spliced[start:]
    ids = frozenset(applicable) - elided
    if not ids:  # Elided results alone need no memo: the list of the last request has their places.
        return SplicedRequest(spliced, None, placed, elided)
    cut = max(ends[id_] for id_ in ids)
    if placed is not None and block is not None:
        cut = max(cut, block.end)
    inside = frozenset(id_ for id_ in elided if ends[id_] <= cut)
    head = spliced
    if inside != elided:
        head = WIRE_FORMATS[wire].splice(body, contents.window, {id_: applicable[id_] for id_ in ids | inside})
        if placed is not None:
            head = head[: placed.start] + placed.inserted_bytes + head[placed.start :]
    memo = SpliceMemo(body[:cut], head[: len(head) - (len(body) - cut)], ids, placed, elided=inside)
    return SplicedRequest(spliced, memo.with_sent_rest(body) if contents.layout else memo, placed, elided)


def splice_from_memo(memo: SpliceMemo | None, body: bytes) -> tuple[bytes, OwnBreakpoint | None] | None:
    """The body with the memo's tombstones and breakpoint, or `None` if the body does not begin as the memo does.

    Where the memo's breakpoint may not stand, the body has the tombstones alone.
    """
    if memo is None or not body.startswith(memo.head):
        return None
    edited = memo.edited_head + body[len(memo.head) :]
    if memo.own is not None and not memo.keeps_breakpoint(body):
        return memo.own.remove_from(edited), None
    return edited, memo.own


def _ask_placer_for_breakpoint(
    contents: BodyContents, ends: Mapping[str, int], elided: frozenset[str], placer: BreakpointPlacer | None
) -> CacheBreakpoint | None:
    layout = contents.layout
    if placer is None or layout is None:
        return None
    prompt = prompt_of_layout(layout, contents.window, contents.digests, ends.keys(), elided=elided)
    return placer.choose_breakpoint(
        prompt, layout.blocks_before_messages, layout.can_carry_by_block(), layout.count_blocks_up_to(ends.values())
    )


def _breakpoint_offset(
    body: bytes,
    wire: str,
    contents: BodyContents,
    applicable: Mapping[str, StandIn],
    block: WireBlock,
    edited_bytes: int,
) -> int | None:
    """Where in the edited bytes the closing brace of the breakpoint's block stands; None where an edit reaches over
    that place."""
    spans = contents.window.spans
    before = {id_: text for id_, text in applicable.items() if max(span.end for span in spans[id_]) <= block.end}
    if len(before) < len(applicable):
        others = applicable.keys() - before.keys()
        if any(span.start < block.end for id_ in others for span in spans[id_]):
            return None
        edited_bytes = len(WIRE_FORMATS[wire].splice(body, contents.window, before)) if before else len(body)
    return edited_bytes - (len(body) - block.end) - 1


def _cache_controls_behind(body: bytes, start: int) -> tuple[bytes, ...]:
    """The members that look like a `cache_control`, from this byte on, in their own bytes. Members inside texts have
    escapes."""
    found = []
    at = body.find(_CACHE_CONTROL, start)
    while at >= 0:
        end = body.find(b"}", at)
        found.append(body[at : end + 1])
        at = body.find(_CACHE_CONTROL, at + len(_CACHE_CONTROL))
    return tuple(found)
