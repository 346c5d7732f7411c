"""Shortening in shadow, as requests come: no request changes, and the session counts.

new segments, prepared ──replies──▶ parts asked back
                       └─long results──▶ what they would leave out
"""

from __future__ import annotations

from collections.abc import Sequence

from ctxgc.adapters.skeletons import result_texts
from ctxgc.core.entry.shortening import BirthFacts, BirthPrice, hidden_elision
from ctxgc.core.entry.shortening_shadow import WatchedResult, watched_result
from ctxgc.core.heap import REPLY_KINDS, Heap
from ctxgc.core.reference import ReferenceIndex
from ctxgc.core.spoken_words import code_words, quotable_lines, spoken_text
from ctxgc.daemon.services import Services, run_on_worker
from ctxgc.daemon.sessions.entry_index import NewResult
from ctxgc.daemon.sessions.entry_shortening import (
    birth_facts_of_result,
    birth_price_of,
    can_elide_result,
    find_hidden_runs,
    is_excepted_from_entry,
    read_recent_code_words,
)
from ctxgc.daemon.sessions.intake import Intake, PreparedSegment
from ctxgc.daemon.sessions.session import Session


async def count_shadow_shortening(services: Services, session: Session, ready: Sequence[PreparedSegment]) -> None:
    """Count what shortening would do with segments that are not admitted yet, if shortening is in shadow."""
    entry, ledger = services.config.entry, session.ledger
    if (
        entry.shorten != "shadow"
        or ledger is None
        or ledger.last_request is None
        or is_excepted_from_entry(entry, session)
    ):
        return
    shadow, before = ledger.shortened, ledger.shortened.counts
    for one in ready:
        if one.segment.kind in REPLY_KINDS:
            words = code_words(spoken_text(one.segment))
            quotes = (line for source in one.segment.edit_sources for line in quotable_lines(source))
            shadow.record_parts_asked_back(
                words, quotes, lambda word: _ids_with_word(session.reference_index, session.heap, word)
            )
    new = [one for one in ready if _is_elidable_result(session, one) and one.segment.tool not in entry.tools_except]
    said = (
        await read_recent_code_words(session, services.contents, [one.segment for one in new]) if new else frozenset()
    )
    price = birth_price_of(ledger.pacer or services.pacer)
    for one in new:
        birth = birth_facts_of_result(session, one.segment, said)
        result = NewResult(one.segment, tuple(result_texts(one.segment)))
        if birth is None:
            continue
        watched, saved_tokens = await run_on_worker(
            services, _simulate_shortening, result, birth, price, services.intake
        )
        if watched.parts:
            shadow.add_result(one.segment.id, watched, saved_tokens)
    for name in ("saved_tokens", "asked_back_tokens"):
        services.counts[f"shortening_{name}"] += getattr(shadow.counts, name) - getattr(before, name)


def _is_elidable_result(session: Session, one: PreparedSegment) -> bool:
    return not one.redactions and can_elide_result(session, one.segment)


def _simulate_shortening(
    result: NewResult, birth: BirthFacts, price: BirthPrice, intake: Intake
) -> tuple[WatchedResult, int]:
    """What a result would leave out, and the tokens saved. Heavy."""
    runs = find_hidden_runs(result, birth, price, intake, ())
    saved = sum(hidden_elision(run, result.segment.id, 0, intake.counter.count).saved_tokens for run in runs)
    return watched_result(result.text, runs), saved


def _ids_with_word(index: ReferenceIndex, heap: Heap, word: str) -> list[str]:
    """Ids of the segments that hold a rare word, oldest first."""
    return [heap.ids[slot] for slot in index.slots_with_word(word)]
