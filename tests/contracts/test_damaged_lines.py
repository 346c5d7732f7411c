"""Law I21: a record is never lost for its neighbour, whatever happened to the lines between them."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.contract import SegmentAdmitted
from ctxgc.adapters.transcripts.formats import FORMATS, make_transcript_parser
from ctxgc.adapters.transcripts.jsonl import LineTranscript
from tests.contracts.test_transcripts import lines_of, pieces, sample
from tests.contracts.transcript_state import check, read, state_of

NAMES = [row.name for row in FORMATS if issubclass(row.make, LineTranscript) and row.name != "tau_bench"]
"""A run of tau-bench is named by a digest of its line: there each line is a session, and damage renames it."""

every_log = pytest.mark.parametrize("name", NAMES)


def texts_of(events):
    return Counter(piece.data for event in events if isinstance(event, SegmentAdmitted) for piece in event.segment.body)


@st.composite
def harmless_damage(draw, lines):
    """(Damaged bytes, how many stubs are in them): every record is still there as a whole."""
    out, stubs = [], 0
    for at, line in enumerate(lines):
        what = draw(st.sampled_from(["", "", "nuls", "stub", "glue", "newlines"])) if at else ""
        record = line.rstrip(b"\n")
        if what == "nuls":
            record = b"\0" * draw(st.integers(1, 5000)) + record
        elif what == "stub" and out[-1:] != [b""]:
            torn = draw(st.sampled_from(lines)).rstrip(b"\n")
            record = torn[: draw(st.integers(1, len(torn) - 1))] + record
            stubs += 1
        elif what == "newlines":
            record = record.replace(b"\\n", b"\n")
        out.append(record if what == "glue" else record + b"\n")
    return b"".join(out), stubs


@every_log
@given(st.data())
def test_nuls_stubs_glue_and_raw_newlines_cost_no_record(name, data):
    damaged, stubs = data.draw(harmless_damage(lines_of(name)))

    events, transcript = read(name, *pieces(damaged, data.draw(st.sets(st.integers(0, len(damaged)), max_size=4))))

    expected, reference = read(name, sample(name))
    assert state_of(events) == state_of(expected)
    assert transcript.skipped["malformed"] <= reference.skipped["malformed"] + stubs
    assert transcript.skipped["truncated"] == 0
    check(events)


@every_log
@given(st.data())
def test_a_torn_record_costs_no_text_but_its_own(name, data):
    lines = lines_of(name)
    at = data.draw(st.integers(1, len(lines) - 2))
    torn = lines[at][: data.draw(st.integers(1, len(lines[at]) - 2))]
    newline = data.draw(st.sampled_from([b"", b"\n", b"\0\0\0"]))

    events, transcript = read(name, *lines[:at], torn + newline, *lines[at + 1 :])

    without, reference = read(name, *lines[:at], *lines[at + 1 :])
    assert set(texts_of(without)) <= set(texts_of(events))
    assert transcript.skipped["malformed"] == reference.skipped["malformed"] + 1
    check(events)


@every_log
@given(st.data())
def test_a_cut_character_costs_nothing_but_itself(name, data):
    lines = lines_of(name)
    at = data.draw(st.sampled_from([at for at, line in enumerate(lines) if at and words_in(line)]))
    text = max(words_in(lines[at]), key=len)
    start = lines[at].find(json.dumps(text, ensure_ascii=False)[1:-1][:5].encode())
    damaged = lines[at][:start] + b"\xe2\x82" + lines[at][start:]

    events, transcript = read(name, *lines[:at], damaged, *lines[at + 1 :])

    expected, reference = read(name, sample(name))
    assert transcript.records == reference.records
    assert sum(texts_of(events).values()) >= sum(texts_of(expected).values())


@every_log
@given(st.data())
def test_a_poll_may_end_at_any_byte_of_a_line_of_several_records(name, data):
    glued = b"".join(line.rstrip(b"\n") for line in wide(lines_of(name))) + b"\n"
    inside = [at for at, byte in enumerate(glued) if byte & 0xC0 == 0x80]
    cuts = data.draw(st.sets(st.one_of(st.integers(0, len(glued)), st.sampled_from(inside)), max_size=4))
    transcript = make_transcript_parser(name)
    events = []
    for piece in pieces(glued, cuts):
        events += transcript.feed(piece) + transcript.finish()

    expected, reference = read(name, glued)
    assert state_of(events) == state_of(expected)
    assert (transcript.records, transcript.skipped) == (reference.records, reference.skipped)


def wide(lines):
    """The records with texts of characters of more than one byte."""
    return [json.dumps(accented(json.loads(line)), ensure_ascii=False).encode() for line in lines]


def accented(value):
    if isinstance(value, dict):
        return {key: accented(part) for key, part in value.items()}
    if isinstance(value, list):
        return [accented(part) for part in value]
    return value.replace(" ", " é€😀 ") if isinstance(value, str) and "<" not in value else value


def words_in(line):
    return [text for text in strings(json.loads(line)) if " " in text and "<" not in text]


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


@every_log
def test_a_file_whose_lines_end_in_carriage_returns_is_read(name):
    events, _ = read(name, sample(name).replace(b"\n", b"\r"))

    assert state_of(events) == state_of(read(name, sample(name))[0])


@every_log
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_read(name, encoding):
    events, _ = read(name, sample(name).decode().encode(encoding))

    assert events == read(name, sample(name))[0]


@pytest.mark.parametrize("line", [b'{"a":' * 100_000, b'{"' * 200_000, b'{"a":"' + b'x{"' * 100_000, b"\0" * 10**6])
def test_hopeless_lines_are_counted_without_a_square_of_work(line):
    events, transcript = read("claude_code", line + b"\n", line + b"\n", *lines_of("claude_code"))

    assert transcript.skipped["malformed"] >= 1
    assert state_of(events) == state_of(read("claude_code", sample("claude_code"))[0])
