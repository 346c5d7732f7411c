"""Server-sent events are the same events however their stream was cut, and not one byte of the stream is lost."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.gateway.billing.sse import EventStream, event_data, split_events

lines = st.one_of(
    st.sampled_from([b"event: ping", b"event: message_stop", b": a comment", b"id: 7", b"data:"]),
    st.binary(max_size=12).filter(lambda line: not set(line) & set(b"\r\n")).map(lambda line: b"data: " + line),
)
line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
events = st.builds(
    lambda parts, end: b"".join(part + end for part in parts) + end, st.lists(lines, min_size=1), line_ends
)


def cut(stream, places):
    return [stream[a:b] for a, b in pairwise(sorted({0, len(stream), *(p % (len(stream) + 1) for p in places)}))]


@given(
    st.lists(events),
    st.binary(max_size=9).filter(lambda rest: not set(rest) & set(b"\r\n")),
    st.lists(st.integers(0, 2**16)),
)
def test_events_are_the_same_in_any_cut_of_their_stream(sent, rest, places):
    stream = EventStream(2**20)

    received = [event for part in cut(b"".join(sent) + rest, places) for event in split_events(stream.feed(part))]

    assert received == sent
    assert stream.take_rest() == rest


@given(
    st.lists(st.sampled_from([b"\n", b"\r\n", b"x", b"data: 1", b"\r"]), max_size=30).map(b"".join),
    st.lists(st.integers(0, 99)),
)
def test_no_byte_of_any_stream_is_lost(data, places):
    stream = EventStream(2**20)

    received = b"".join(event for part in cut(data, places) for event in split_events(stream.feed(part)))

    assert received + stream.take_rest() == data


@given(st.lists(events, min_size=1))
def test_an_event_is_whole_with_its_last_byte_and_waits_for_no_other(sent):
    stream = EventStream(2**20)

    for event in sent:
        assert b"".join(stream.feed(event[at : at + 1]) for at in range(len(event) - 1)) == b""
        assert stream.feed(event[-1:]) == event


def test_an_event_gives_its_data_with_lines_joined():
    event = b"event: message_stop\r\ndata: {\r\ndata: }\r\n\r\n"

    assert event_data(event) == b"{}"


def test_an_event_longer_than_the_bound_is_told_and_its_bytes_can_be_taken():
    stream = EventStream(10)

    assert stream.feed(b"data: " + b"x" * 5) == b""
    assert stream.is_too_long
    assert stream.take_rest() == b"data: " + b"x" * 5
    assert not stream.is_too_long
