"""Law: a block that no host read here is known to write is counted, wherever in a log or a request it stands."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.contract import SegmentAdmitted
from ctxgc.adapters.foreign_blocks import is_known_block
from tests.contracts.test_transcripts import NAMES, lines_of, replaced, spots
from tests.contracts.transcript_state import check, read

SCREEN_ONLY = {"toolUseResult", "payload.message", "contents", "resultDisplay", "thoughts", "event_msg", "summary"}
"""Members that a host keeps for its screen, and sends to no model."""


def value_at(record, path):
    for key in path:
        record = record[key]
    return record


def places_of_blocks(name):
    """(Line, path of a list with a block of text in it) of a fixture: where a model is sent blocks."""
    found = []
    for at, line in enumerate(lines_of(name)):
        record = json.loads(line)
        for path in spots(record):
            value = value_at(record, path)
            texts = [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
            is_sent = not SCREEN_ONLY & {*path, str(record.get("type"))} and '"aborted"' not in line.decode()
            if is_sent and any(isinstance(one.get("text"), str) and "kind" not in one for one in texts):
                found.append((at, path))
    return found


WITH_BLOCKS = [name for name in NAMES if places_of_blocks(name)]


@pytest.mark.parametrize("name", WITH_BLOCKS)
@given(st.data())
def test_a_foreign_block_is_counted_wherever_it_stands(name, data):
    records = [json.loads(line) for line in lines_of(name)]
    at, path = data.draw(st.sampled_from(places_of_blocks(name)))
    blocks = value_at(records[at], path)
    foreign = {"type": data.draw(st.sampled_from(["hologram", "toolResponse", "widget"])), "data": "merganser"}
    records[at] = replaced(records[at], path, [*blocks, foreign])

    events, transcript = read(name, *(json.dumps(record).encode() + b"\n" for record in records))

    before = read(name, *lines_of(name))[1].skipped
    assert sum(transcript.skipped.values()) > sum(before.values())
    check(events)


@pytest.mark.parametrize("name", NAMES)
def test_the_blocks_that_hosts_write_are_known(name):
    segments = [event.segment for event in read(name, *lines_of(name))[0] if isinstance(event, SegmentAdmitted)]

    opaque = [json.loads(segment.skeleton)["opaque"] for segment in segments if segment.has_opaque]
    assert all(is_known_block(block) for blocks in opaque for block in blocks)


@pytest.mark.parametrize("answer", [{"output": "hot"}, {"error": "hot"}, {"output": "hot", "error": "hotter"}])
@given(st.dictionaries(st.sampled_from(["note", "parts", "exitCode"]), st.text(min_size=1, max_size=9), max_size=2))
def test_every_member_of_a_genai_response_is_in_the_result(answer, beside):
    part = {"functionResponse": {"id": "c", "name": "read", "response": answer | beside}}
    call = {"functionCall": {"id": "c", "name": "read", "args": {}}}
    contents = [{"role": "user", "parts": [{"text": "go"}]}, {"role": "model", "parts": [call]}]
    document = json.dumps({"contents": [*contents, {"role": "user", "parts": [part]}]}).encode()

    segments = [one.segment for one in read("gemini_cli_document", document)[0] if isinstance(one, SegmentAdmitted)]

    text = segments[-1].body[-1].data.decode()
    assert all(json.dumps(value, ensure_ascii=False)[1:-1] in text for value in (answer | beside).values())
    assert beside or len(answer) > 1 or text == "hot"
