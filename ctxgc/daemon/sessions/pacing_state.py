"""The pacer's memory of a gateway's session, small enough to be stored with the session's row.

    window.sync ──encode_pacing──▶ the row's `pacing`, in the same commit ──sleep, restart, kill -9──▶ decode_pacing

Distrust that bills have taught outlives the process, and so do the account, the learned rules of the provider's cache
and the newest entries. An unreadable or older state is an empty one: the session then starts as a new session does.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import astuple, replace
from itertools import chain, islice
from typing import Annotated

import msgspec
from msgspec import Meta

from ctxgc.core.entry.shortening_shadow import ShadowCounts, ShadowedResults
from ctxgc.core.pacing.fault_lessons import TOOLS_MAX, FaultLessons
from ctxgc.core.pacing.provider_cache import SHARED_PREFIX, CacheEntry, anthropic_provider
from ctxgc.core.pacing.regret_budget import RegretAccount
from ctxgc.core.pacing.trust import Trust
from ctxgc.daemon.sessions.provider_ledger import ProviderLedger
from ctxgc.daemon.sessions.request_ledger import RequestLedger
from ctxgc.tokens.overhead_calibration import PRIOR_WEIGHT_MIN, OverheadCalibration

FORMAT = 1
ENTRIES_STORED_MAX = 32
"""The most recently used entries that are stored: a session without the others is collected a little less."""
TOOLS_STORED_MAX = 16
"""The tools with the most faults, expected or observed: the others' lessons begin again."""
NO_BILL = -1
NUMBER_MAX = 2**53
"""No number of a state is as large: a larger one overflows what is computed from the number."""

_Count = Annotated[int, Meta(ge=0)]
_Weight = Annotated[float, Meta(ge=PRIOR_WEIGHT_MIN, le=1)]
_Sum = Annotated[float, Meta(ge=0)]


class _PacingState(msgspec.Struct):
    """The stored state, field by field."""

    format: int
    trust: Trust
    account: RegretAccount
    is_real: bool | None
    model: str
    unmarked: bool
    lookback: _Count
    least: _Count
    frames: tuple[Annotated[float, Meta(gt=0)], float, float, float, float, float, _Weight, _Count]
    blocks: tuple[_Count, _Count]
    entries: Annotated[list[tuple[int | str, _Sum, float, int]], Meta(max_length=ENTRIES_STORED_MAX)]
    shortened: ShadowCounts = ShadowCounts()

    def numbers(self) -> Iterator[float]:
        """The numbers that computations start from."""
        yield from (*self.trust, *self.account[:-1], *self.shortened, self.lookback, self.least)
        yield from chain(self.account.lessons.session, *self.account.lessons.by_tool.values())
        yield from (*self.frames, *self.blocks)
        for _, *numbers in self.entries:
            yield from numbers


def encode_pacing(ledger: RequestLedger, account: RegretAccount) -> str:
    """The knowledge from bills and requests, as a short line. O(entries stored)."""
    provider = ledger.provider
    newest = list(islice(reversed(provider.entries.items()), ENTRIES_STORED_MAX))
    entries = [
        [prefix, entry.life_s, round(entry.used_s, 1), provider.anchors.get(prefix, NO_BILL)]
        for prefix, entry in reversed(newest)
    ]
    lessons = sorted(account.lessons.by_tool.items(), key=lambda pair: -sum(pair[1]))
    # Half a surrogate in a name, which JSON can spell and no reader of JSON takes, would cost the whole state.
    tools = [(tool.encode("utf-8", "replace").decode(), counts) for tool, counts in lessons]
    state = {
        "format": FORMAT,
        "trust": ledger.trust,
        "account": (*account[:-1], (account.lessons.session, dict(tools[:TOOLS_STORED_MAX]))),
        "is_real": ledger.is_account_real,
        "model": provider.model,
        "unmarked": provider.provider.name == SHARED_PREFIX.name,
        "lookback": provider.provider.lookback_blocks,
        "least": provider.provider.least_tokens,
        "frames": astuple(provider.overhead),
        "blocks": [provider.end_blocks, provider.added_blocks],
        "entries": entries,
        "shortened": ledger.shortened.counts,
    }
    return json.dumps(state, separators=(",", ":"))


def decode_pacing(pacing: str) -> tuple[RequestLedger, RegretAccount]:
    """A ledger and an account that go on from the state of `encode_pacing`."""
    state = _decode_state(pacing)
    return (RequestLedger(), RegretAccount()) if state is None else _restore_ledger_and_account(state)


def pacing_of_tools(pacing: str, tools: Collection[str]) -> str:
    """The stored state without the lessons of all other tools; as it is where it has none or cannot be read."""
    state = _decode_state(pacing)
    if state is None or state.account.lessons.by_tool.keys() <= set(tools):
        return pacing
    ledger, account = _restore_ledger_and_account(state)
    return encode_pacing(ledger, account._replace(lessons=account.lessons.of_tools(tools)))


def is_readable_pacing(pacing: str) -> bool:
    """Whether `decode_pacing` goes on from this state, or starts as a new session does."""
    return _decode_state(pacing) is not None


def stored_trust(pacing: str) -> Trust:
    """The trust that `encode_pacing` wrote."""
    return decode_pacing(pacing)[0].trust


def _decode_state(pacing: str) -> _PacingState | None:
    """The stored state; `None` without a state, or for a value of another shape than `encode_pacing` writes."""
    try:
        state = msgspec.json.decode(pacing, type=_PacingState) if pacing else None
        if (
            state is None
            or state.format != FORMAT
            or not _are_valid_lessons(state.account.lessons)
            or not all(-NUMBER_MAX < number < NUMBER_MAX for number in state.numbers())
        ):
            return None
        OverheadCalibration(*state.frames).to_billed_tokens(1, 1)  # Sums of no observations may have no coefficients.
    except (ValueError, RecursionError, ArithmeticError):
        return None
    return state


def _are_valid_lessons(lessons: FaultLessons) -> bool:
    """Whether lessons that were stored can be lessons."""
    counts = (lessons.session, *lessons.by_tool.values())
    return len(lessons.by_tool) <= TOOLS_MAX and all(min(each) >= 0 for each in counts)


def _restore_ledger_and_account(state: _PacingState) -> tuple[RequestLedger, RegretAccount]:
    provider = ProviderLedger()
    if state.model:
        provider.switch_model(state.model)
        known = SHARED_PREFIX if state.unmarked else anthropic_provider(state.model)
        provider.provider = replace(known, lookback_blocks=state.lookback, least_tokens=state.least)
        provider.overhead = OverheadCalibration(*state.frames)
    for prefix, life_s, used_s, billed_tokens in state.entries:
        provider.entries[prefix] = CacheEntry(life_s, used_s)
        if billed_tokens != NO_BILL:
            provider.anchors[prefix] = billed_tokens
    provider.end_blocks, provider.added_blocks = state.blocks
    shortened = ShadowedResults(state.shortened)
    ledger = RequestLedger(trust=state.trust, provider=provider, is_account_real=state.is_real, shortened=shortened)
    return ledger, state.account
