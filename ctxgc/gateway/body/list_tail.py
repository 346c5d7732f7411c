"""The end of a request's list that is new since the request before, read without its beginning.

    body before   [ a, b, c, d ] …          cuts: where the model begins to speak, the last few
    body now      [ a, b, c, e, f ] …       begins with the bytes up to the cut behind b
                          └──parse──▶ c, e, f alone, with their places in the whole body

Hosts move their cache breakpoints from one message to the next, so that the last messages of a request differ in the
request after: of several cuts the last one counts up to which the bytes are the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from ctxgc.adapters.contract import ElidedResult, Span, WireWindow
from ctxgc.adapters.facts.segment_facts import add_facts
from ctxgc.adapters.json_spans import Extent, JsonText
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.adapters.wire.rendering import elision_edits
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Kind, Segment, content_digest

CUTS_MAX = 5
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_LISTS = {"anthropic_messages": "messages", "openai_chat": "messages", "openai_responses": "input"}
_OF_THE_MODEL = ("_call", "reasoning")
"""Endings of the types of items that the model says, where items have types instead of roles."""


class ElidedSpan(NamedTuple):
    """A text of an elided result in a body: its place, and the JSON string that goes upstream there."""

    place: Extent
    text: bytes


class Tail(NamedTuple):
    """The elements of a list behind a cut."""

    start: int
    window: WireWindow
    """Segments of these elements alone, new calls with their facts; spans are places in the whole body."""
    cuts: tuple[int, ...]
    """The cuts behind the first."""
    calls: tuple[str, ...]
    """Ids of its tool calls, in order."""
    digests: dict[str, bytes]
    """Of its tool calls."""


class CallPlace(NamedTuple):
    """A tool call of a list: where its result ends, and the digest of its content."""

    end: int
    digest: bytes


@dataclass(slots=True)
class ListHead:
    """The list of a branch's last request, for the next one. Mutable; belongs to the gateway's loop."""

    body: bytes
    cuts: tuple[int, ...]
    """Offsets behind an element of the list that the model's next words follow, ascending."""
    project: str
    calls: dict[str, CallPlace] = field(default_factory=dict)
    """Every tool call of the list, in order."""
    elided: dict[str, tuple[ElidedSpan, ...]] = field(default_factory=dict)
    """Every elided result of the list, a span for each of its texts."""

    def last_common_cut(self, body: bytes) -> int | None:
        """The last cut up to which a body has the same bytes; None for another list. O(bytes), at memory speed."""
        for cut in reversed(self.cuts):
            if body.startswith(self.body[:cut]):
                return cut
        return None

    def calls_before(self, cut: int) -> dict[str, CallPlace]:
        """The calls whose results end before a cut: they stand in every list that begins with the bytes up to there."""
        return {id_: place for id_, place in self.calls.items() if place.end <= cut}

    def advance_to_request(self, body: bytes, tail: Tail, elided: Mapping[str, tuple[ElidedSpan, ...]]) -> None:
        """Take a request that begins as this list does for the last request; `elided` are those of its tail."""
        kept = [cut for cut in self.cuts if cut <= tail.start]
        self.body, self.cuts = body, (*kept, *tail.cuts)[-CUTS_MAX:]
        ends = {id_: spans[-1].end for id_, spans in tail.window.spans.items()}
        more = {id_: CallPlace(ends.get(id_, len(body)), tail.digests[id_]) for id_ in tail.calls}
        self.calls = self.calls_before(tail.start) | more
        before = {id_: spans for id_, spans in self.elided.items() if spans[-1].place.end <= tail.start}
        self.elided = before | dict(elided)


def read_list_head(
    body: bytes, wire: str, window: WireWindow, project: str, digests: Mapping[str, bytes]
) -> ListHead | None:
    """The head of a request that was read whole; None where the list has no place to cut. Heavy."""
    text = JsonText(body)
    elements = text.elements(text.members(text.extent)[_LISTS[wire]])
    cuts: list[int] = []
    next_is_models = True
    for element in reversed(elements):
        is_models = _is_model_element(text, element)
        if next_is_models and not is_models:
            cuts.append(element.end)
        if len(cuts) == CUTS_MAX:
            break
        next_is_models = is_models
    ids = [segment.id for segment in window.segments if segment.kind is Kind.TOOL_CALL]
    ends = {id_: spans[-1].end for id_, spans in window.spans.items()}
    calls = {id_: CallPlace(ends.get(id_, len(body)), digests[id_]) for id_ in ids}
    return ListHead(body, tuple(reversed(cuts)), project, calls) if cuts else None


def read_tail(body: bytes, wire: str, cut: int, agent: str, project: str, carried: Set[str]) -> Tail | None:
    """The elements behind a cut, none in a request that is sent again; None where they cannot be read alone.

    Heavy for long tails.
    """
    elements = scan_elements(body, cut)
    if not elements:
        return Tail(cut, WireWindow((), {}), (), (), {})
    inner = body[elements[0].start : elements[-1].end]
    head = b'{"%s":[' % _LISTS[wire].encode()
    try:
        window = WIRE_FORMATS[wire].parse(head + inner + b"]}", agent)
        text = JsonText(body)
        owners = [_is_model_element(text, element) for element in elements]
    except BadTranscript:
        return None
    shift = elements[0].start - len(head)
    spans = {
        id_: tuple(Span(span.piece, span.start + shift, span.end + shift) for span in of_segment)
        for id_, of_segment in window.spans.items()
    }
    calls = tuple(segment.id for segment in window.segments if segment.kind is Kind.TOOL_CALL)
    segments = tuple(add_facts(window.segments, project, set(calls) - carried))
    pairs = zip(elements, owners, [*owners[1:], True], strict=True)
    cuts = tuple(element.end for element, is_models, next_models in pairs if next_models and not is_models)
    digests = {one.id: content_digest(one.skeleton, one.body) for one in segments if one.id in calls}
    return Tail(cut, WireWindow(segments, spans), cuts, calls, digests)


def elided_spans(window: WireWindow, id_: str, result: ElidedResult) -> tuple[ElidedSpan, ...]:
    """The places of an elided result's texts."""
    return tuple(ElidedSpan(*placed) for placed in elision_edits(window, id_, result))


def scan_elements(body: bytes, start: int) -> list[Extent]:
    """The elements of a list from a place behind one of its elements on, up to the list's end. O(bytes)."""
    found: list[Extent] = []
    depth, begun = 0, start
    for token in _TOKEN.finditer(body, start):
        sign = token[0][:1]
        if sign in b"{[":
            begun = token.start() if not depth else begun
            depth += 1
        elif sign in b"}]":
            if not depth:
                break
            depth -= 1
            if not depth:
                found.append(Extent(begun, token.end()))
    return found


def entering_calls(window: WireWindow, carried: Set[str]) -> list[Segment]:
    """The calls of the model's last reply whose results no request has carried yet, where pointers may stand."""
    newest = max((segment.born_turn for segment in window.segments if _is_model_segment(segment)), default=0)
    return [
        segment
        for segment in window.segments
        if segment.kind is Kind.TOOL_CALL
        and segment.born_turn == newest
        and segment.id not in carried
        and window.can_elide(segment)
    ]


def _is_model_segment(segment: Segment) -> bool:
    return segment.kind in (Kind.TOOL_CALL, Kind.ASSISTANT, Kind.THINKING, Kind.PLAN)


def _is_model_element(text: JsonText, element: Extent) -> bool:
    if text.first_byte(element) != b"{":
        return False
    members = text.members(element)
    role, type_ = text.string(members.get("role")), text.string(members.get("type"))
    return role == "assistant" if role else type_.endswith(_OF_THE_MODEL)
