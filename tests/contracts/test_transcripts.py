"""What every transcript format promises, held by one suite: each row of `FORMATS` brings one fixture of its name."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.contract import SegmentAdmitted
from ctxgc.adapters.transcripts.formats import FORMATS, detect_format, make_transcript_parser
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Kind
from tests.contracts.transcript_state import check, read, state_of

FOLDER = Path(__file__).parent.parent / "fixtures" / "transcripts"
NAMES = [row.name for row in FORMATS]
JUNK = st.sampled_from([5, None, True, "x", "", [], {}, [[]], [5], {"type": 5}, {"type": "text"}, 1e308, -1, "\ud800"])

every_format = pytest.mark.parametrize("name", NAMES)


def sample(name):
    (path,) = FOLDER.glob(f"{name}.json*")
    return path.read_bytes()


def lines_of(name):
    """The fixture's records; a format of one document has one."""
    return sample(name).splitlines(keepends=True)


def pieces(data, cuts):
    return [data[a:b] for a, b in pairwise(sorted({0, len(data), *cuts}))]


@every_format
def test_a_format_is_known_by_its_first_bytes_packed_or_plain(name):
    assert detect_format(sample(name)) == name
    assert detect_format(gzip.compress(sample(name))) == name


def test_an_unknown_format_is_refused_with_the_names_of_the_known_ones():
    assert detect_format(b"once upon a time\n") is None
    with pytest.raises(BadTranscript) as caught:
        make_transcript_parser("diary")
    assert all(name in caught.value.hint for name in NAMES)


@every_format
def test_the_fixture_keeps_every_law_and_shows_the_main_kinds(name):
    events, _ = read(name, sample(name))

    check(events)
    assert {Kind.USER, Kind.TOOL_CALL} <= {event.segment.kind for event in events if isinstance(event, SegmentAdmitted)}


@every_format
@given(st.data())
def test_same_bytes_same_events_however_cut(name, data):
    whole = sample(name)
    cuts = data.draw(st.sets(st.integers(0, len(whole)), max_size=30))

    assert read(name, *pieces(whole, cuts))[0] == read(name, whole)[0]


@st.composite
def packings(draw, plain):
    """The bytes in gzip, or in several frames of zstd with others between that hold nothing."""
    if draw(st.booleans()):
        return gzip.compress(plain, mtime=0)
    packer = zstandard.ZstdCompressor(write_content_size=draw(st.booleans()))
    frames = [packer.compress(piece) for piece in pieces(plain, draw(st.sets(st.integers(0, len(plain)), max_size=2)))]
    for at in draw(st.lists(st.integers(0, len(frames)), max_size=2)):
        held = draw(st.binary(max_size=9))
        kind = bytes([draw(st.integers(0x50, 0x5F))])
        frames.insert(at, kind + b"\x2a\x4d\x18" + len(held).to_bytes(4, "little") + held)
    return b"".join(frames)


@every_format
@given(st.data())
def test_packed_bytes_give_the_same_events_as_plain_ones(name, data):
    packed = data.draw(packings(sample(name)))
    cuts = data.draw(st.sets(st.integers(0, len(packed)), max_size=10))

    assert read(name, *pieces(packed, cuts))[0] == read(name, sample(name))[0]


@every_format
@given(st.data())
def test_finishing_anywhere_and_going_on_ends_in_the_same_state(name, data):
    whole = sample(name)
    transcript = make_transcript_parser(name)

    events = []
    for piece in pieces(whole, data.draw(st.sets(st.integers(0, len(whole)), max_size=6))):
        events += transcript.feed(piece) + transcript.finish()

    once, reference = read(name, whole)
    assert state_of(events) == state_of(once)
    assert (transcript.records, transcript.skipped) == (reference.records, reference.skipped)


@every_format
@given(st.data())
def test_garbled_and_truncated_bytes_never_raise_and_keep_the_laws(name, data):
    whole = bytearray(sample(name))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(whole)))
        whole[start : start + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=20))
    end = data.draw(st.integers(0, len(whole)) | st.just(len(whole)))

    check(read(name, bytes(whole[:end]))[0])


def spots(value, path=()):
    """Every place of a JSON value, by its path."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from spots(item, (*path, key))


def replaced(value, path, junk):
    if not path:
        return junk
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], junk)
    return copy


@every_format
@given(st.data())
def test_values_of_the_wrong_type_never_raise_and_keep_the_laws(name, data):
    records = [json.loads(line) for line in lines_of(name)]
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(records) - 1))
        path = data.draw(st.sampled_from(list(spots(records[at]))))
        records[at] = replaced(records[at], path, data.draw(JUNK))

    check(read(name, *(json.dumps(record).encode() + b"\n" for record in records))[0])


@every_format
def test_a_first_record_of_any_shape_is_a_known_format_or_none(name):
    """What a format is told by are names: a list in such a place is no name, and no error."""
    for record in [json.loads(line) for line in lines_of(name)[:12]]:
        places = [path for path in spots(record) if len(path) <= 4]
        for path in places:
            for junk in ([], {}, ["user"], 7):
                strange = replaced(record, path, junk)
                for head in (strange, [strange], {"messages": [strange]}, {"model": "m", "input": [strange]}):
                    assert detect_format(json.dumps(head).encode()) in {*NAMES, None}


@pytest.mark.parametrize("name", [name for name in NAMES if list(FOLDER.glob(f"{name}.jsonl"))])
def test_a_record_of_an_unknown_type_is_counted_and_changes_nothing_else(name):
    before, after = lines_of(name)[:6], lines_of(name)[6:]
    strange = b'{"type":"zodiac","payload":{"deep":[1,2]},"sign":"\xe2\x99\x88"}\n'

    events, transcript = read(name, *before, strange, b"not json\n", b"[1]\n", b"   \n", *after)

    assert events == read(name, sample(name))[0]
    assert sum(transcript.skipped.values()) == sum(read(name, sample(name))[1].skipped.values()) + 3
    assert transcript.skipped["malformed"] == 2
