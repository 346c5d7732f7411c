"""Facts of segments without facts: parsed requests and older clients send none.

    segments in window order ──add_facts──▶ the same, each tool call with the facts its transcript would have given it

The shell grammar runs over new segments, not over a whole window at every request.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Set
from dataclasses import replace
from itertools import groupby

from ctxgc.adapters.contract import RESULT_PIECE
from ctxgc.adapters.facts.background_commands import BackgroundCommands, may_name_running_command
from ctxgc.adapters.facts.tool_facts import Facts, facts_of_call
from ctxgc.adapters.json_values import as_text, clean_name
from ctxgc.adapters.skeletons import join_input, result_texts
from ctxgc.core.segment import Kind, Segment, Status


def add_facts(segments: Iterable[Segment], cwd: str, wanted: Set[str] | None = None) -> list[Segment]:
    """The segments of a window, in window order, with facts: all segments, or those with an id in `wanted`.

    `cwd` resolves relative paths. A segment with facts keeps the facts. Calls of a reply are read before the results,
    in the host's order.
    """
    background = BackgroundCommands()
    informed: list[Segment] = []
    for _, group in groupby(segments, lambda segment: segment.born_turn):
        turn = list(group)
        calls: dict[str, Facts] = {}
        for segment in turn:
            if segment.kind is Kind.TOOL_CALL and not segment.facts.attempt and _needs_facts(segment, wanted):
                calls[segment.id] = _facts_of_segment(segment, background, cwd)
        for segment in turn:
            facts = calls.get(segment.id)
            if facts is not None and segment.status is not Status.PENDING:
                facts = facts.with_result(_result_bytes(segment))
                background.note_running_commands(facts.command, result_texts(segment))
            informed.append(segment if facts is None else _segment_with_facts(segment, facts))
    return informed


def _needs_facts(segment: Segment, wanted: Set[str] | None) -> bool:
    return wanted is None or segment.id in wanted or may_name_running_command(_result_bytes(segment))


def _segment_with_facts(segment: Segment, facts: Facts) -> Segment:
    """The segment with these facts."""
    return replace(
        segment,
        paths=facts.paths,
        edit_sources=facts.edit_sources,
        command=clean_name(facts.command),
        facts=facts.call,
    )


def _facts_of_segment(segment: Segment, background: BackgroundCommands, cwd: str) -> Facts:
    skeleton = json.loads(segment.skeleton)
    texts = {piece.name: piece.text for piece in segment.body if piece.name != RESULT_PIECE}
    value = join_input(skeleton.get("input"), texts)
    tool = as_text(skeleton.get("name"))
    return background.facts_with_polled_command(tool, value, facts_of_call(tool, value, cwd))


def _result_bytes(segment: Segment) -> bytes:
    return next((piece.data for piece in segment.body if piece.name == RESULT_PIECE), b"")
