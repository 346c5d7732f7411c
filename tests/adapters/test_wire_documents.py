"""Logged requests: a list is read as the API's whose it is, whatever file it lies in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.transcripts.formats import detect_format, make_transcript_parser
from ctxgc.core.segment import Kind, Status
from tests.contracts.test_damaged_lines import harmless_damage
from tests.contracts.test_transcripts import pieces
from tests.contracts.transcript_state import check, read, state_of

CALL = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "plan.md"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "moor at dawn"}
MESSAGES = [
    {"role": "user", "content": "When do we moor?", "ts": 1777629600000},
    {"role": "assistant", "content": [CALL]},
    {"role": "user", "content": [RESULT]},
]
CHAT = [
    {"role": "user", "content": "When?"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "x"}}]},
]


def lines(*records):
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@pytest.mark.parametrize(
    "data",
    [
        json.dumps(MESSAGES).encode(),
        json.dumps(MESSAGES, indent=2).encode(),
        json.dumps({"model": "m", "messages": MESSAGES}).encode(),
        lines(*MESSAGES),
        lines(*({"model": "m", "messages": MESSAGES[:count]} for count in (1, 2, 3))),
    ],
)
def test_a_list_in_anthropics_shape_has_its_calls(data):
    [state] = state_of(read(detect_format(data), data)[0]).values()

    assert detect_format(data) == "anthropic"
    assert [segment.kind for segment in state.segments.values()] == [Kind.USER, Kind.TOOL_CALL]
    assert state.segments["toolu_1"].body[0].text == "moor at dawn"


def test_a_chat_list_stays_one():
    assert detect_format(json.dumps(CHAT).encode()) == "openai_chat"


def test_a_list_cut_in_two_gives_no_session():
    events, transcript = read("anthropic", json.dumps(MESSAGES).encode()[:-20])

    assert (events, transcript.skipped["malformed"]) == ([], 1)


def test_what_a_later_request_has_dropped_is_stored_and_out_of_the_window():
    shorter = [MESSAGES[0], {"role": "assistant", "content": "At dawn."}]
    data = lines(*({"model": "m", "messages": messages} for messages in (MESSAGES, shorter)))
    [state] = state_of(read("anthropic", data)[0]).values()

    assert set(state.segments) - set(state.window) == {"toolu_1"}
    assert [state.segments[name].body[0].text for name in state.window] == ["When do we moor?", "At dawn."]


def test_requests_of_two_conversations_are_two_sessions():
    other = [{"role": "user", "content": "Name this session."}, *MESSAGES[1:]]
    data = lines(*({"model": "m", "messages": messages} for messages in (MESSAGES, other, MESSAGES)))

    assert [len(state.window) for state in state_of(read("anthropic", data)[0]).values()] == [2, 2]


ASKED = {"role": "user", "content": "When do we moor?"}
ANSWER = {"role": "assistant", "content": "At dawn."}
BLOCKS = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "At dawn."}]}
ITEM = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "At dawn."}]}
COMPLETION = {"object": "chat.completion", "id": "x", "choices": [{"index": 0, "message": ANSWER}]}


@pytest.mark.parametrize(
    ("source", "records"),
    [
        ("openai_chat", [{"model": "m", "messages": [ASKED]}, ANSWER]),
        ("openai_chat", [{"model": "m", "messages": [ASKED]}, COMPLETION]),
        ("openai_chat", [{"messages": [ASKED], "response": COMPLETION}]),
        ("openai_chat", [ASKED, COMPLETION]),
        ("anthropic", [{"model": "m", "system": "Be brief.", "messages": [ASKED]}, BLOCKS]),
        ("anthropic", [{"messages": [ASKED], "response": BLOCKS}]),
        ("openai_responses", [{"model": "m", "input": [ASKED], "output": [ITEM]}]),
        ("openai_responses", [{"model": "m", "input": "When do we moor?"}, {"object": "response", "output": [ITEM]}]),
    ],
)
def test_an_answer_beside_its_request_ends_the_session(source, records):
    events, transcript = read(source, lines(*records))
    [state] = state_of(events).values()

    texts = [state.segments[name].body[0].text for name in state.window]
    assert texts[-2:] == ["When do we moor?", "At dawn."]
    assert not transcript.skipped


def test_an_answer_that_is_not_understood_is_counted():
    _, transcript = read("openai_chat", lines({"messages": [ASKED], "response": {"odd": 1}}, {"event": "ping"}))

    assert transcript.skipped == {"answer": 2}


AMP = {"type": "tool_result", "toolUseID": "t", "run": {"result": {"output": "x"}}}
BEDROCK = {"toolResult": {"toolUseId": "t", "content": [{"text": "x"}]}}
GOOSE = {"type": "toolResponse", "id": "t", "toolResult": {"value": [{"type": "text", "text": "x"}]}}


@pytest.mark.parametrize("source", ["openai_chat", "anthropic", "openai_responses"])
@pytest.mark.parametrize("block", [{"type": "weird", "data": "x"}, AMP, BEDROCK, GOOSE])
def test_a_block_of_no_api_read_here_is_kept_and_counted_and_a_foreign_result_is_not_the_users(source, block):
    key = "input" if source == "openai_responses" else "messages"
    events, transcript = read(source, json.dumps({key: [ASKED, {"role": "user", "content": [block]}]}).encode())
    [state] = state_of(events).values()
    [kept] = [segment for segment in state.segments.values() if segment.has_opaque]

    assert sum(transcript.skipped.values()) == 1
    assert json.loads(kept.skeleton)["opaque"] == [block]
    assert kept.kind is (Kind.USER if block.get("type") == "weird" else Kind.ATTACHMENT)


def test_the_blocks_of_an_api_are_not_counted():
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    data = json.dumps([{"role": "user", "content": [image]}, {"role": "assistant", "content": [found]}]).encode()

    assert not read("anthropic", data)[1].skipped


def test_a_call_on_a_line_is_no_request_for_its_input():
    call = {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "a line"}
    answer = {"type": "custom_tool_call_output", "call_id": "c", "output": "done"}
    [state] = state_of(read("openai_responses", lines(ASKED, call, answer))[0]).values()

    assert [segment.kind for segment in state.segments.values()] == [Kind.USER, Kind.TOOL_CALL]


WRAPPED = [
    lambda request: {"timestamp": 1, "request": request},
    lambda request: {"id": "r", "request": {"method": "POST", "body": request}, "response": {"id": "x"}},
    lambda request: {"body": json.dumps(request)},
    lambda request: {"input": request, "output": None},
]
"""How loggers put a request into a record of their own."""
REQUESTS = [
    ("anthropic", {"model": "m", "system": "Be brief.", "messages": MESSAGES}),
    ("openai_chat", {"model": "m", "messages": CHAT}),
    ("openai_responses", {"model": "m", "input": [ASKED, {"type": "function_call", "call_id": "c", "name": "x"}]}),
]


@pytest.mark.parametrize(("source", "request_"), REQUESTS)
@pytest.mark.parametrize("wrap", WRAPPED)
def test_a_request_is_read_in_whatever_record_a_logger_put_it(source, request_, wrap):
    bare, wrapped = lines(request_), lines(wrap(request_))

    assert detect_format(wrapped) == source
    [expected], [state] = (state_of(read(source, data)[0]).values() for data in (bare, wrapped))
    assert state == expected


LOGS = [
    ("anthropic", lines(*MESSAGES, {"role": "assistant", "content": "At dawn."})),
    ("anthropic", lines(*({"model": "m", "messages": MESSAGES[:count]} for count in (1, 2, 3)))),
    ("anthropic", lines(*({"request": {"messages": MESSAGES[:count]}} for count in (1, 2, 3)))),
    ("openai_chat", lines(*CHAT, {"role": "tool", "tool_call_id": "c", "content": "dawn"}, ANSWER)),
    ("openai_responses", lines(ASKED, {"type": "function_call", "call_id": "c", "name": "x"}, ITEM)),
]


@pytest.mark.parametrize(("source", "log"), LOGS)
@given(st.data())
def test_a_damaged_line_of_a_log_costs_no_other(source, log, data):
    damaged, stubs = data.draw(harmless_damage(log.splitlines(keepends=True)))

    events, transcript = read(source, damaged)

    assert state_of(events) == state_of(read(source, log)[0])
    assert transcript.skipped["malformed"] <= stubs
    check(events)


@pytest.mark.parametrize(("source", "log"), LOGS)
@given(st.data())
def test_a_log_of_requests_may_be_read_to_any_byte_and_on(source, log, data):
    transcript = make_transcript_parser(source)

    events = []
    # A whole line without its newline may as well be a document, whose name is another.
    cuts = data.draw(st.sets(st.integers(0, len(log)).filter(lambda cut: cut != log.index(b"\n")), max_size=6))
    for piece in pieces(log, cuts):
        events += transcript.feed(piece) + transcript.finish()

    expected, reference = read(source, log)
    assert state_of(events) == state_of(expected)
    assert (transcript.records, transcript.skipped) == (reference.records, reference.skipped)
    check(events)


@pytest.mark.parametrize("source", ["anthropic", "openai_chat"])
def test_a_call_that_the_model_spoke_after_is_not_awaited_for_ever(source):
    asked = [CALL] if source == "anthropic" else None
    call = {"role": "assistant", "content": asked} | ({} if asked else {"tool_calls": CHAT[1]["tool_calls"]})

    waiting, spoken = (
        state_of(read(source, json.dumps([ASKED, call, *more]).encode())[0]) for more in ([], [ASKED, ANSWER])
    )

    statuses = [[one.status for one in state.segments.values()] for [state] in (waiting.values(), spoken.values())]
    assert Status.PENDING in statuses[0]
    assert Status.PENDING not in statuses[1]
