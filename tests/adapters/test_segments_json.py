"""Plain JSON segments: written by hand they mean what `segment.add` means, exported they read back exactly."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.contract import SegmentAdmitted, SessionOpened
from ctxgc.adapters.json_values import encode_json
from ctxgc.adapters.transcripts.segments_json import SegmentDocument, SegmentLines, header_fields, segment_fields
from ctxgc.core.segment import NO_FACTS, Access, CallFacts, Kind, PathUse, Piece, Role, Segment, Status

HEADER = {"format": "ctxgc-segments", "version": 1, "session": "s"}
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


def read(*records):
    transcript = SegmentLines()
    data = b"".join(json.dumps(record).encode() + b"\n" for record in (HEADER, *records))
    events = transcript.feed(data) + transcript.finish()
    return [event.segment for event in events if isinstance(event, SegmentAdmitted)], transcript


FACTS = st.builds(
    CallFacts, attempt=NAMES.map("a{}".format), recalls=NAMES, is_pure_read=st.booleans(), is_cut=st.booleans()
)


@st.composite
def segments(draw, number):
    kind = draw(st.sampled_from(Kind))
    status = draw(st.sampled_from(Status)) if kind is Kind.TOOL_CALL else Status.OK
    answer = (
        (Piece("result", draw(st.binary(max_size=9))),)
        if kind is Kind.TOOL_CALL and status is not Status.PENDING
        else ()
    )
    return Segment(
        id=f"{draw(NAMES)}{number}",
        kind=kind,
        role=draw(st.sampled_from(Role)),
        place=number * 3,
        born_turn=draw(st.integers(0, 99)),
        wall_s=draw(st.floats(0, 2e9)),
        skeleton=draw(st.sampled_from([b"{}", b'{"name":"\xc3\xa9"}', b'{"a":"\\ud800"}'])),
        body=(Piece("input.x", draw(st.binary(max_size=9))), *answer),
        tool=draw(NAMES),
        status=status,
        paths=draw(st.sampled_from([(), (PathUse("/a", Access.READ, 3, 9), PathUse("b", Access.EDIT))])),
        command=draw(NAMES),
        facts=draw(FACTS) if kind is Kind.TOOL_CALL else NO_FACTS,
        refs=draw(st.sampled_from([(), ("x", "y")])),
        reply=draw(NAMES),
        has_opaque=draw(st.booleans()),
        importance=draw(st.floats(0, 1)),
        task=draw(NAMES),
        tags=draw(st.sampled_from([(), ("t",)])),
    )


@given(st.data())
def test_an_exported_session_reads_back_exactly_whatever_bytes_it_holds_i9(data):
    sent = [data.draw(segments(number)) for number in range(data.draw(st.integers(0, 3)))]
    opened = SessionOpened("s", project="/p", title="t")
    transcript = SegmentLines()

    records = [header_fields("codex", opened), *map(segment_fields, sent)]
    events = transcript.feed(b"".join(encode_json(record) + b"\n" for record in records)) + transcript.finish()

    assert events == [opened, *(SegmentAdmitted("s", segment) for segment in sent)]
    assert transcript.source == "codex"
    assert not transcript.skipped


def test_a_segment_by_hand_needs_only_kind_and_text():
    (user, call, said), _ = read(
        {"kind": "user", "text": "hello"},
        {"kind": "tool_call", "tool": "Read", "input": {"file_path": "/p/a.py"}, "text": "print()"},
        {"kind": "assistant", "text": "It prints."},
    )

    assert (user.role, user.body, user.born_turn) == (Role.USER, (Piece("text", b"hello"),), 0)
    assert call.paths[0].path == "/p/a.py"
    assert json.loads(call.skeleton) == {"call_id": call.id, "name": "Read", "input": {"file_path": "/p/a.py"}}
    assert (call.born_turn, said.born_turn) == (0, 1)


def test_equal_texts_without_ids_get_ids_of_their_own_and_the_same_ones_each_time():
    records = [{"kind": "user", "text": "again"}] * 3

    first, second = read(*records)[0], read(*records)[0]

    assert len({segment.id for segment in first}) == 3
    assert first == second


def test_lines_and_document_give_the_same_session():
    records = [{"kind": "user", "text": "hello"}, {"kind": "tool_call", "tool": "x", "status": "pending"}]
    document = SegmentDocument()
    document.feed(json.dumps(HEADER | {"segments": records}, indent=2).encode())

    events = document.finish()

    assert [event.segment for event in events[1:]] == read(*records)[0]


def test_one_bad_segment_costs_itself_and_nothing_else():
    bad = [
        {"kind": "nonsense", "text": "x"},
        {"kind": "user", "text": "x", "id": "same"},
        {"kind": "user", "pieces": 3},
        {"kind": "user", "pieces": [{"name": "text", "data_b64": "!"}]},
        {"kind": "user", "pieces": [{"name": "a"}, {"name": "a"}]},
        {"kind": "tool_call", "pieces": [], "skeleton": {"text": "[]"}},
        {"kind": "tool_call", "pieces": [], "skeleton": {"text": "[" * 10**5}},
    ]

    segments, transcript = read({"kind": "user", "text": "first", "id": "same"}, *bad, {"kind": "user", "text": "last"})

    assert [segment.body[0].text for segment in segments] == ["first", "last"]
    assert transcript.skipped == {"malformed": len(bad)}


def test_a_version_of_the_future_is_counted_as_such():
    transcript = SegmentLines()

    events = transcript.feed(json.dumps(HEADER | {"version": 3}).encode() + b"\n")

    assert events == []
    assert transcript.skipped == {"unknown_version": 1}


def test_places_grow_even_where_the_file_says_otherwise():
    (first, second, third), _ = read(
        {"kind": "user", "text": "a", "place": 7},
        {"kind": "user", "text": "b", "place": 2},
        {"kind": "user", "text": "c"},
    )

    assert first.place < second.place < third.place
    assert replace(first, place=0) == replace(read({"kind": "user", "text": "a"})[0][0], place=0)
