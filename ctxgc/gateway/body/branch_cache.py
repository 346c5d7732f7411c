"""The provider's cache of a branch, in the gateway's blocks: the place for a breakpoint of our own.

    request ──▶ waits ──a reply with 200──▶ entries ──make_breakpoint_placer──▶ a placer ──▶ a breakpoint or none

The daemon keeps the same entries in tokens, for its decisions; the gateway keeps the entries in blocks, because a
breakpoint is put between a request's arrival and its departure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ctxgc.core.pacing.own_breakpoint import choose_own_breakpoint
from ctxgc.core.pacing.provider_cache import (
    ANTHROPIC,
    CacheBreakpoint,
    Entries,
    Prompt,
    Provider,
    anthropic_provider,
    entries_after_request,
    predict_breakpoints,
)


class ReplyOutcome(Protocol):
    """The reply to a request, as far as the cache asks."""

    is_answer: bool


class BreakpointPlacer(NamedTuple):
    """Chooses the place for a breakpoint of our own in a request. A value: a worker may ask the placer."""

    provider: Provider
    entries: Entries
    now_s: float
    added_blocks: int = 0
    """Blocks that the request will have more than the prompt that the placer is asked about."""

    def choose_breakpoint(
        self, prompt: Prompt, standing_blocks: int, can_carry: Sequence[bool], tombstone_blocks: int
    ) -> CacheBreakpoint | None:
        """Our breakpoint for the prompt beside the host's breakpoints; `None`: no breakpoint."""
        breakpoints = predict_breakpoints(prompt.breakpoints, standing_blocks, self.added_blocks)
        prompt = prompt._replace(breakpoints=breakpoints)
        return choose_own_breakpoint(
            self.provider, self.entries, prompt, can_carry, tombstone_blocks or None, self.now_s
        )


@dataclass(slots=True)
class BranchCache:
    """The entries of a branch. Belongs to the gateway's loop."""

    is_barred: bool = False
    """Whether the upstream refused a breakpoint of ours: the session goes on without."""
    _model: str | None = None
    _provider: Provider = ANTHROPIC
    _entries: Entries = field(default_factory=dict)
    _request: tuple[Prompt, float, ReplyOutcome] | None = None
    """The last request, when it was sent, and its reply."""
    added_blocks: int = 0
    """Blocks that the last request had more than the request before."""

    def record_request(self, prompt: Prompt, model: str, sent_s: float, answer: ReplyOutcome) -> None:
        """A request was sent."""
        if model != self._model:
            self._model, self._provider, self._entries, self._request = model, anthropic_provider(model), {}, None
        self._apply_last_request()
        if self._request is not None:
            self.added_blocks = max(0, prompt.end.blocks - self._request[0].end.blocks)
        self._request = (prompt, sent_s, answer)

    def _apply_last_request(self) -> None:
        if self._request is not None and self._request[2].is_answer:
            self._entries = entries_after_request(self._provider, self._entries, *self._request[:2])

    def make_breakpoint_placer(self, now_s: float) -> BreakpointPlacer | None:
        """The placer for a request that is here now."""
        self._apply_last_request()
        return None if self.is_barred else BreakpointPlacer(self._provider, self._entries, now_s)

    def next_breakpoint_placer(self, now_s: float) -> BreakpointPlacer | None:
        """The placer for the request that comes next, if the last request is answered."""
        if self.is_barred or self._request is None:
            return None
        entries = entries_after_request(self._provider, self._entries, *self._request[:2])
        return BreakpointPlacer(self._provider, entries, now_s, self.added_blocks)
