"""A session's entries in the provider's cache, by its requests on the wire: the tokens that the next request will read.

    request, as sent ──sent──▶ waits ──answered 200──▶ entries ──readable──▶ CacheState        for the pacer
                                 │ bill ──billed──▶ anchors: billed tokens of known prefixes ──predicted_read──▶ plan
                                 └ refused, broken off: the request left nothing

Positions are raw tokens and blocks of the prompt, the hidden prefix included. Billed tokens are forecast from the
nearest prefix with a known bill, so that only the difference is an estimate: by two coefficients, per raw token and per
block (`tokens.overhead_calibration`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from ctxgc.core.bounded_dict import drop_oldest_entries
from ctxgc.core.heap import EVICTED, Heap
from ctxgc.core.pacing.prompt_cache import CacheState
from ctxgc.core.pacing.provider_cache import (
    ANTHROPIC,
    BillLesson,
    CacheBreakpoint,
    CacheEntry,
    Entries,
    Layer,
    Part,
    Prompt,
    PromptPlace,
    Provider,
    ReadablePrefixes,
    Unit,
    anthropic_provider,
    entries_after_request,
    findable_prefixes,
    is_billed_as_expected,
    learn_from_bill,
    predict_breakpoints,
    units_of,
)
from ctxgc.protocol.wire import SentCache
from ctxgc.tokens.overhead_calibration import OverheadCalibration

ANCHORS_MAX = 4096
"""Prefixes whose bills are remembered."""


class SentWindow(NamedTuple):
    """The segments of a request that was sent, the parts of its prompt."""

    ids: Sequence[str]
    digests: Sequence[str]
    cache: SentCache


class SentRequest(NamedTuple):
    """A request as a cache sees the request, until its reply is known."""

    prompt: Prompt
    hidden: PromptPlace
    """The prefix in front of the window."""
    sent_s: float
    window: SentWindow | None = None


class CacheForecast(NamedTuple):
    """The prefixes that the next request finds, and the place where the window begins in the prompt."""

    readable: ReadablePrefixes
    hidden: PromptPlace
    prompt: Prompt

    @property
    def cache_state(self) -> CacheState:
        """The cache in the pacer's form."""
        return CacheState.from_readable_prefixes(self.readable, self.hidden.tokens)


@dataclass(slots=True)
class ProviderLedger:
    """The entries of a session. Only `window.sync` writes a ledger."""

    provider: Provider = ANTHROPIC
    model: str = ""
    entries: dict[Hashable, CacheEntry] = field(default_factory=dict)
    request: SentRequest | None = None
    """The last request, whose reply is not known yet."""
    end_blocks: int = 0
    """Blocks of the last request."""
    added_blocks: int = 0
    """Blocks that the last request had more than the request before."""
    anchors: dict[Hashable, int] = field(default_factory=dict)
    """Billed tokens of prefixes."""
    overhead: OverheadCalibration = field(default_factory=lambda: OverheadCalibration.from_prior(""))

    def switch_model(self, model: str) -> None:
        """Follow the session to a model: each model has a tokenizer and a cache of its own."""
        if model != self.model or self.provider is ANTHROPIC:
            self.model, self.provider = model, anthropic_provider(model)
            self.anchors, self.overhead = {}, OverheadCalibration.from_prior(model)

    def settle_request(self, *, was_answered: bool) -> None:
        """The last request was answered, and has left its entries; or failed, and has left none."""
        if self.request is not None and was_answered:
            self.entries = self._entries_after(self.request)
        self.request = None

    def apply_bill(self, read_tokens: int, written_tokens: int, plain_tokens: int = 0) -> BillLesson | None:
        """The bill of the last request, before the request is settled; the lesson of the bill, `None` without a
        request."""
        request = self.request
        if request is None:
            return None
        found = findable_prefixes(self.provider, self.entries, request.prompt, request.sent_s)
        lesson = learn_from_bill(
            self.provider, self.entries, request.prompt, request.sent_s, self._raw_read_tokens(found, read_tokens)
        )
        self.provider = lesson.provider
        if lesson.is_explained and read_tokens and found.prefix is not None:
            self._add_anchor(found.prefix, read_tokens)
        end, billed_tokens = (
            max((place for place, _ in found.breakpoint_ends), default=None),
            read_tokens + written_tokens,
        )
        if not self.provider.breakpoints_max:
            end, billed_tokens = request.prompt.end, billed_tokens + plain_tokens
        at = next((unit for unit in request.prompt.units if unit.end == end), None)
        if at is not None and billed_tokens:
            self._calibrate_billing(request.prompt, at, billed_tokens)
            self._add_anchor(at.prefix, billed_tokens)
        return lesson

    def _raw_read_tokens(self, found: ReadablePrefixes, read_tokens: int) -> int:
        """Billed read tokens in the model's own: the found place where they agree with its known bill."""
        known = self.anchors.get(found.prefix) if found.prefix is not None else None
        if known is not None and is_billed_as_expected(known, read_tokens):
            return found.predict_bill().read
        per_raw, _ = self.overhead.coefficients
        return int(read_tokens / per_raw)

    def _calibrate_billing(self, prompt: Prompt, end: Unit, billed_tokens: int) -> None:
        """Learn from the tokens added since the deepest prefix with a known bill."""
        before = self._nearest_anchor(prompt.units, end.end)
        if before is not None and before.end < end.end:
            raw, blocks = end.end.tokens - before.end.tokens, end.end.blocks - before.end.blocks
            self.overhead = self.overhead.observe(raw, blocks, billed_tokens - self.anchors[before.prefix])

    def _add_anchor(self, prefix: Hashable, tokens: int) -> None:
        self.anchors.pop(prefix, None)
        self.anchors[prefix] = tokens
        drop_oldest_entries(self.anchors, ANCHORS_MAX)

    def _nearest_anchor(self, units: Sequence[Unit], place: PromptPlace) -> Unit | None:
        known = [unit for unit in units if unit.prefix in self.anchors]
        return min(known, key=lambda unit: abs(unit.end.tokens - place.tokens), default=None)

    def note_request(self, request: SentRequest) -> None:
        """A request was sent."""
        blocks = request.prompt.end.blocks
        self.added_blocks, self.end_blocks = max(0, blocks - self.end_blocks) if self.end_blocks else 0, blocks
        self.request = request

    def _entries_after(self, request: SentRequest) -> dict[Hashable, CacheEntry]:
        return entries_after_request(self.provider, self.entries, request.prompt, request.sent_s)

    def forecast_cache(
        self, sent: SentCache, units: Sequence[Unit], hidden: PromptPlace, now_s: float
    ) -> CacheForecast | None:
        """The prefixes that the next request finds of a prompt with these units, if the last request is answered."""
        if self.request is None:
            return None
        entries: Entries = self._entries_after(self.request)
        host = [point for at, point in enumerate(self.request.prompt.breakpoints) if at != sent.own_mark]
        standing = count_system_blocks(units, sent, hidden)
        breakpoints = predict_breakpoints(host, standing, self.added_blocks)
        prompt = Prompt(tuple(units), breakpoints)
        is_free = sent.can_mark and 0 < len(host) < self.provider.breakpoints_max
        return CacheForecast(
            findable_prefixes(self.provider, entries, prompt, now_s, has_free_breakpoint=is_free), hidden, prompt
        )

    def billed_tokens_at(self, foretold: CacheForecast, place: PromptPlace) -> int:
        """Billed tokens of the prompt up to this place."""
        anchor = self._nearest_anchor(foretold.prompt.units, place)
        start, billed = (anchor.end, self.anchors[anchor.prefix]) if anchor else (PromptPlace(0, 0), 0)
        per_raw, per_block = self.overhead.coefficients
        return max(
            0, round(billed + per_raw * (place.tokens - start.tokens) + per_block * (place.blocks - start.blocks))
        )


def count_system_blocks(units: Sequence[Unit], sent: SentCache, hidden: PromptPlace) -> int:
    """Blocks of the prompt up to the end of the system prompt: breakpoints there stand still."""
    first = len(units) - len(sent.blocks)  # The hidden prefix may be a unit of its own.
    at = first + sent.system_segments - 1
    return units[at].end.blocks if sent.system_segments and 0 <= at < len(units) else hidden.blocks


def prompt_units_and_window_start(
    heap: Heap,
    ids: Sequence[str],
    digests: Sequence[str],
    sent: SentCache,
    hidden_tokens: int,
    out: Iterable[int] | None,
) -> tuple[tuple[Unit, ...], PromptPlace]:
    """The units of a prompt, a unit for each of `ids`, and the place where the window begins.

    `out`: the slots whose tombstones stand in the prompt; `None`: the heap's.
    """
    slot_of, state, skeleton, body, tombstone = heap.slot_of, heap.state, heap.skeleton, heap.body, heap.tombstone
    absent = None if out is None else frozenset(out)
    parts = []
    for id_, content, blocks in zip(ids, digests, sent.blocks, strict=True):
        slot = slot_of[id_]
        is_out = state[slot] == EVICTED if absent is None else slot in absent
        tokens = skeleton[slot] + (tombstone[slot] if is_out else body[slot])
        parts.append(Part((_hash_text(content), is_out), tokens, blocks))
    hidden = Part(0, hidden_tokens, sent.hidden_blocks)
    system = sent.system_segments
    layers = [
        Layer([hidden], _hash_text(sent.settings[0])),
        Layer(parts[:system]),
        Layer(parts[system:], _hash_text(sent.settings[1]) or None),
    ]
    return units_of(layers), PromptPlace(sent.hidden_blocks, hidden_tokens)


def _hash_text(text: str) -> int:
    """A number for a text that is the same in every process, as Python's own hash of a text is not; 0 for no text."""
    return crc32(text.encode())


def prompt_breakpoints(units: Sequence[Unit], sent: SentCache) -> tuple[CacheBreakpoint, ...]:
    """The breakpoints of a request, each behind the whole units in front."""
    return tuple(
        CacheBreakpoint(units[point.segments].end.blocks, point.life_s)
        for point in sent.marks
        if point.segments < len(units)
    )
