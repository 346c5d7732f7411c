"""A format is known by content: whatever stands before it, and however little of a file is there."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ctxgc.adapters.transcripts.formats import FORMATS, detect_format
from ctxgc.adapters.transcripts.jsonl import LineTranscript
from tests.contracts.conversations import LIST_NAMES, WRITERS, Call, Turn
from tests.contracts.test_damaged_lines import harmless_damage
from tests.contracts.test_transcripts import NAMES, every_format, lines_of, sample
from tests.contracts.transcript_state import read, state_of

BEFORE = st.lists(st.sampled_from([b"\0" * 9, b"\xef\xbb\xbf", b"\n", b"\r\n", b" "]), max_size=3).map(b"".join)
LINE_NAMES = [row.name for row in FORMATS if issubclass(row.make, LineTranscript)]
ROWS = {"anthropic_messages": "anthropic", "openai_chat": "openai_chat", "openai_responses": "openai_responses"}


@every_format
@given(BEFORE)
def test_what_a_crash_or_an_editor_left_in_front_hides_no_format(name, before):
    assert detect_format(before + sample(name)) == name


@pytest.mark.parametrize("name", LINE_NAMES)
@pytest.mark.parametrize("newline", [b"\r", b"\r\n"])
def test_a_log_with_other_ends_of_lines_is_the_same_format(name, newline):
    assert detect_format(sample(name).replace(b"\n", newline)) == name


@pytest.mark.parametrize("name", [name for name in LINE_NAMES if name not in ("segments", "tau_bench")])
@given(st.data())
def test_a_damaged_beginning_hides_no_format(name, data):
    damaged, _ = data.draw(harmless_damage(lines_of(name)))
    stub = data.draw(st.sampled_from(lines_of(name)))[: data.draw(st.integers(0, 40))].rstrip(b"\n")

    assert detect_format(damaged) == name
    assert detect_format(stub + damaged) == name
    assert detect_format(damaged.replace(b"\n", b"")) == name


@every_format
@given(st.data())
def test_fewer_bytes_give_the_same_format_or_none_yet(name, data):
    head = sample(name)[: data.draw(st.integers(0, len(sample(name))))]

    assert detect_format(head, is_all=False) in (None, name)


LONG = st.sampled_from(["w", "w" * 70_000, 'a "role": "user" in a text', '{"type": "tool_use"}'])
LISTS = st.lists(
    st.builds(
        Turn,
        user=st.lists(LONG, min_size=1, max_size=1),
        said=st.lists(LONG, min_size=1, max_size=1),
        thought=st.just(""),
        signature=st.just(""),
        calls=st.lists(
            st.builds(Call, id=st.sampled_from("ab"), name=st.just("Read"), input=st.just({"path": "p"}), result=LONG),
            max_size=2,
            unique_by=lambda call: call.id,
        ),
    ),
    min_size=1,
    max_size=3,
)


def writings(api, turns):
    """One list as a logger may write it."""
    messages, key = WRITERS[api](turns), LIST_NAMES.get(api, "messages")
    yield json.dumps(messages).encode()
    yield json.dumps(messages, indent=2).encode()
    yield json.dumps({"model": "m", key: messages, "stream": True}).encode()
    yield b"\n".join(json.dumps(message).encode() for message in messages)
    yield b"".join(
        json.dumps({"model": "m", key: messages[:count]}).encode() + b"\n" for count in range(1, len(messages) + 1)
    )
    yield b"\xef\xbb\xbf" + json.dumps(messages).encode() + b"\0\0"


@pytest.mark.parametrize("api", ROWS)
@given(LISTS)
def test_a_list_is_read_as_its_own_api_however_it_is_written(api, turns):
    assume(any(turn.calls for turn in turns))
    expected = None
    for data in writings(api, turns):
        assert detect_format(data) == ROWS[api]
        events, transcript = read(ROWS[api], data)
        [state] = state_of(events).values()
        told = [(segment.kind, segment.tool, segment.body) for segment in map(state.segments.get, state.window)]
        expected = expected or told
        assert (told, transcript.skipped) == (expected, {})


@given(LISTS)
def test_an_anthropic_request_of_texts_alone_is_known_by_its_system_prompt(turns):
    messages = [message for turn in turns for message in WRITERS["anthropic_messages"]([turn]) if not turn.calls]
    assume(messages)
    [state] = state_of(
        read("anthropic", request := json.dumps({"system": "Be brief.", "messages": messages}).encode())[0]
    ).values()

    assert detect_format(request) == "anthropic"
    assert next(iter(state.segments.values())).body[0].text == "Be brief."


@pytest.mark.parametrize(
    "data",
    [
        b'[{"title":"t","mapping":{"a":{"message":{"author":{"role":"user"},"content":{"parts":["hi"]}}}}}]',
        b'{"role":"admin","content":"x"}',
        b'{"name":"left-pad","version":"1.0.0"}',
        b'[{"a":1}]',
        b'{"$schema":"x","input":{"type":"object"}}',
        b'{"messages":{"hello":"Hallo"}}',
        b'{"type":"session_start","at":3}',
        b'{"sessionId":"s","type":"user","message":{"parts":[]}}',
    ],
)
def test_a_document_of_another_kind_is_of_no_format(data):
    assert detect_format(data) is None


def test_the_page_of_what_is_read_has_a_row_for_each_format():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "formats.md").read_text()

    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == sorted(NAMES)
