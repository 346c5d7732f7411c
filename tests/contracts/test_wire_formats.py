"""The contract of every wire format: what is edited, what is copied, and that the API takes the outcome."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.contract import Slot, Tombstone
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Kind, Piece, Role, Segment, Status, text_bytes
from tests.contracts.conversations import CONVERSATIONS, SAID, TEXT, WRITERS, requests
from tests.contracts.wire_rules import check

GONE = Tombstone("gone: ask for it", "[gone]")
each_format = pytest.mark.parametrize("wire", WIRE_FORMATS.values(), ids=lambda wire: wire.name)


def texts(segments):
    """The texts of each segment; the order of a call's inputs is not kept by a skeleton, whose keys are sorted."""
    return [sorted(piece.text for piece in segment.body) for segment in segments]


def some_of(data, ids):
    return dict.fromkeys(data.draw(st.sets(st.sampled_from(ids))), GONE) if ids else {}


@each_format
@given(data=st.data())
def test_a_request_in_which_nothing_was_evicted_leaves_as_the_same_object_i5(wire, data):
    request = data.draw(requests(wire.name))

    window = wire.parse(request)

    assert wire.splice(request, window, {}) is request
    assert wire.splice(request, window, {"not-in-this-window": GONE}) is request


@each_format
@given(data=st.data())
def test_any_evicted_subset_is_taken_by_the_api_and_changes_only_its_own_spans_i5(wire, data):
    request = data.draw(requests(wire.name))
    window = wire.parse(request)
    gone = some_of(data, list(window.spans))

    out = wire.splice(request, window, gone)

    check(wire.name, out, is_rendered=False)
    assert without_spans(request, window, gone) == without_values_at(out, request, window, gone)


def extents(window, gone):
    return sorted((span.start, span.end) for name in gone for span in window.spans[name])


def without_spans(request, window, gone):
    """The bytes of the request between the spans of what is gone."""
    edges = [0, *(edge for extent in extents(window, gone) for edge in extent), len(request)]
    return [request[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]


def without_values_at(out, request, window, gone):
    """The same of the outcome: whatever JSON value now stands where a span was is left out."""
    kept, position, shift = [], 0, 0
    for start, end in extents(window, gone):
        kept.append(out[position : start + shift])
        _, position = json.JSONDecoder().raw_decode(out.decode("latin-1"), start + shift)
        shift = position - end
    return [*kept, out[position:]]


@each_format
@given(data=st.data())
def test_what_stays_keeps_its_text_and_place_whatever_goes(wire, data):
    request = data.draw(requests(wire.name))
    window = wire.parse(request)
    gone = some_of(data, list(window.spans))

    after = wire.parse(wire.splice(request, window, gone)).segments

    assert len(after) == len(window.segments)
    for old, new in zip(window.segments, after, strict=True):
        if old.id not in gone:
            assert (new.body, new.skeleton, new.kind) == (old.body, old.skeleton, old.kind)
        elif old.kind is not Kind.EXCHANGE:
            assert new.body[0].text == GONE.text


@each_format
@given(data=st.data())
def test_splicing_is_monotone_between_collections_i14(wire, data):
    turns = data.draw(CONVERSATIONS)
    messages = WRITERS[wire.name](turns)
    short, long = (json.dumps(part).encode() for part in (messages[:-1], messages))
    gone = some_of(data, list(wire.parse(short).spans))

    before, after = (wire.splice(request, wire.parse(request), gone) for request in (short, long))

    assert after.startswith(before[:-1])
    assert wire.splice(long, wire.parse(long), gone) == after


@each_format
@given(data=st.data())
def test_a_call_and_its_result_stay_together_and_leave_together_i3(wire, data):
    request = data.draw(requests(wire.name))
    window = wire.parse(request)
    gone = some_of(data, list(window.spans))

    after = wire.parse(wire.splice(request, window, gone)).segments

    pairs = [(old, new) for old, new in zip(window.segments, after, strict=True) if old.kind is Kind.EXCHANGE]
    assert all((new.kind, new.status) == (old.kind, old.status) for old, new in pairs)
    for old, new in pairs:
        out = {span.piece for span in window.spans[old.id]} if old.id in gone else set()
        stays = {piece.text for piece in old.body if not out & {piece.name, piece.name.partition(".")[0]}}
        parts = sum(span.piece.startswith("result") for span in window.spans.get(old.id, ()))
        whole = GONE.text + GONE.marker * (parts - 1)
        assert {piece.text for piece in new.body} <= stays | ({whole, GONE.marker, ""} if out else set())


@each_format
@given(turns=CONVERSATIONS)
def test_what_is_rendered_reads_back_as_the_same_texts_in_the_same_order(wire, turns):
    for source in WIRE_FORMATS.values():
        segments = source.parse(json.dumps(WRITERS[source.name](turns)).encode()).segments

        rendered = wire.render(Slot(segment) for segment in segments)

        check(wire.name, rendered)
        said = [segment for segment in segments if segment.kind is not Kind.THINKING]
        again = [segment for segment in wire.parse(rendered).segments if segment.kind is not Kind.THINKING]
        assert texts(again) == texts(said)
        assert [segment.kind for segment in again] == [segment.kind for segment in said]


@each_format
@given(data=st.data())
def test_no_bytes_raise_anything_but_bad_transcript(wire, data):
    request = bytearray(data.draw(requests(wire.name)))
    for at in data.draw(st.lists(st.integers(0, len(request) - 1), max_size=4)):
        request[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=4))
    garbled = bytes(request)

    try:
        window = wire.parse(garbled)
    except BadTranscript:
        return

    assert wire.splice(garbled, window, dict.fromkeys(window.spans, GONE)) is not None


@each_format
@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b" ",
        b"null",
        b"3",
        b'"messages"',
        b"{}",
        b'{"messages":3}',
        b'{"messages":[]',
        b"\x1f\x8b\x08",
        b"[" * 100_000,
        b'[{"role":"user","content":[' + b'{"type":"x","a":' * 500 + b"1" + b"}" * 500 + b"]}]",
        b'[{"role":"user","role":"user","content":"x"}]',
        b'[{"role":"user","content":"\xff"}]',
    ],
    ids=lambda request: repr(request[:30]),
)
def test_what_is_not_a_request_is_refused_by_name(wire, request_bytes):
    with pytest.raises(BadTranscript):
        wire.parse(request_bytes)


SEGMENTS = st.builds(
    Segment,
    id=st.sampled_from(["a", "b~2", "odd id\0", "y" * 90]),
    kind=st.sampled_from(Kind),
    role=st.sampled_from(Role),
    place=st.just(0),
    born_turn=st.just(0),
    skeleton=st.sampled_from(
        [
            b"{}",
            b'{"call_id":"a b","input":{"x":{"$piece":"input.x"}},"name":"mcp.tool"}',
            b'{"call_id":"","input":"free text","is_text_input":true,"name":""}',
            b'{"opaque":[{"type":"image_of_another_api"},3]}',
            b'{"signature":"s"}',
        ]
    ),
    body=st.builds(
        lambda name, text: (Piece(name, text_bytes(text)),),
        st.sampled_from(["text", "thinking", "result", "input.x"]),
        SAID | TEXT,
    )
    | st.just(()),
    status=st.sampled_from(Status),
    reply=st.sampled_from(["", "r1", "r2"]),
)


@each_format
@given(data=st.data())
def test_segments_of_any_source_render_to_a_list_the_api_takes_whichever_are_evicted(wire, data):
    segments = data.draw(st.lists(SEGMENTS, max_size=8))
    slots = [
        Slot(segment, GONE if segment.status is not Status.PENDING and data.draw(st.booleans()) else None)
        for segment in segments
    ]

    rendered = wire.render(slots)

    check(wire.name, rendered)


@each_format
@given(data=st.data())
def test_a_longer_window_renders_as_a_continuation_of_the_shorter_one_i14(wire, data):
    settled = data.draw(st.lists(SEGMENTS.filter(lambda s: s.status is not Status.PENDING), max_size=6))
    newest = replace(data.draw(SEGMENTS), reply="a reply of its own")

    short, long = (json.loads(wire.render(map(Slot, part))) for part in (settled, [*settled, newest]))

    assert long.get("system", [])[: len(short.get("system", []))] == short.get("system", [])
    assert blocks(long)[: len(blocks(short))] == blocks(short)


def blocks(rendered):
    """What is said, with its role, however it is gathered into messages."""
    found = []
    for message in rendered.get("messages", rendered.get("input")):
        content = message["content"] if isinstance(message.get("content"), list) else [message]
        found += [(message.get("role"), block) for block in content]
    return found
