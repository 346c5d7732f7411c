"""Gemini CLI and Qwen Code: what a rewind, a shortened history and a grown message do to the window."""

import json

from ctxgc.core.segment import Kind, Status
from tests.contracts.transcript_state import read, state_of

HEADER = {"sessionId": "s", "projectHash": "h", "startTime": "2026-03-02T09:00:00Z"}


def message(name, kind, content, **fields):
    return {"id": name, "timestamp": "2026-03-02T09:00:01Z", "type": kind, "content": content} | fields


def call(name, output=None, status="success"):
    answer = {"functionResponse": {"id": name, "name": "read_file", "response": {"output": output}}}
    result = None if output is None else [answer]
    return {"id": name, "name": "read_file", "args": {"absolute_path": "/a"}, "status": status, "result": result}


def gemini(*records):
    events, transcript = read("gemini_cli", *(json.dumps(record).encode() + b"\n" for record in (HEADER, *records)))
    [state] = state_of(events).values()
    return state, transcript


def texts(state):
    said = (state.segments[name] for name in state.window)
    return ["".join(piece.text for piece in segment.body) for segment in said]


def test_a_message_that_has_grown_is_one_message():
    first = message("b", "gemini", "I look.")
    state, _ = gemini(
        message("a", "user", "go"), first, first | {"toolCalls": [call("c", status="executing")]},
        first | {"toolCalls": [call("c", "grey")]}, message("d", "user", "and?"),
    )  # fmt: skip

    assert texts(state) == ["go", "I look.", "grey", "and?"]


def test_a_message_that_is_written_again_changes_nothing():
    whole = message("b", "gemini", "I look.", toolCalls=[call("c", "grey")])
    state, _ = gemini(message("a", "user", "go"), whole, whole, whole | {"tokens": {"input": 9}})

    assert texts(state) == ["go", "I look.", "grey"]


def test_a_result_in_a_shortened_history_is_no_second_result():
    answer = {"functionResponse": {"id": "c", "name": "read_file", "response": {"output": "grey"}}}
    reply = message("b", "gemini", "", toolCalls=[call("c", "grey")])
    note = message("n", "user", [{"text": "We went."}, answer])
    state, _ = gemini(message("a", "user", "go"), reply, {"$set": {"messages": [note, reply]}})

    assert texts(state) == ["We went.", "grey"]
    assert [segment.kind for segment in state.segments.values()] == [Kind.USER, Kind.TOOL_CALL, Kind.SUMMARY]


def test_two_calls_of_one_id_keep_their_own_results():
    state, _ = gemini(message("b", "gemini", "", toolCalls=[call("c", "one"), call("c", "two")]))

    assert texts(state) == ["one", "two"]


def test_a_call_that_was_stopped_is_an_error_and_a_running_one_is_pending():
    calls = [call("c", status="cancelled"), call("d", status="executing")]
    state, _ = gemini(message("b", "gemini", "", toolCalls=calls))

    assert [state.segments[name].status for name in ("c", "d")] == [Status.ERROR, Status.PENDING]


def test_a_history_that_lost_its_header_is_read_all_the_same():
    lines = [json.dumps(record).encode() + b"\n" for record in (message("a", "user", "go"), {"$rewindTo": "a"})]
    [state] = state_of(read("gemini_cli", *lines)[0]).values()

    assert (len(state.segments), state.window) == (1, {})


def test_notes_of_the_screen_are_counted_and_no_part_of_the_window():
    state, transcript = gemini(message("a", "user", "go"), message("b", "error", "quota"))

    assert texts(state) == ["go"]
    assert transcript.skipped == {"message.error": 1}


def test_a_list_of_contents_is_read_with_its_calls():
    contents = [
        {"role": "user", "parts": [{"text": "go"}]},
        {"role": "model", "parts": [{"text": "hm", "thought": True}, {"functionCall": {"name": "ls", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "ls", "response": {"output": "a.py"}}}]},
        {"role": "model", "parts": [{"text": "One file."}, {"strange": 1}]},
    ]
    for document in (contents, {"history": contents}, {"contents": contents, "generationConfig": {}}):
        events, transcript = read("gemini_cli_document", json.dumps(document).encode())
        [state] = state_of(events).values()

        kinds = [segment.kind for segment in state.segments.values()]
        assert kinds == [Kind.USER, Kind.THINKING, Kind.TOOL_CALL, Kind.ASSISTANT]
        assert texts(state) == ["go", "hm", "a.py", "One file."]
        assert transcript.skipped == {"part": 1}


def record(name, parent, kind, parts, **fields):
    role = "model" if kind == "assistant" else "user"
    base = {"uuid": name, "parentUuid": parent, "sessionId": "s", "timestamp": "2026-03-02T09:00:01Z", "cwd": "/w"}
    return base | {"type": kind, "message": {"role": role, "parts": parts}} | fields


def qwen(*records):
    events, _ = read("qwen_code", *(json.dumps(record).encode() + b"\n" for record in records))
    return state_of(events)["s"]


def test_a_record_with_an_older_parent_begins_another_window():
    state = qwen(
        record("a", None, "user", [{"text": "go"}]),
        record("b", "a", "assistant", [{"text": "left"}]),
        record("c", "a", "assistant", [{"text": "right"}]),
    )

    assert texts(state) == ["go", "right"]


def test_a_compressed_history_keeps_what_it_copies_and_sums_up_the_rest():
    copied = [{"role": "model", "parts": [{"text": "left"}]}]
    note = {"info": {}, "compressedHistory": [{"role": "user", "parts": [{"text": "We went."}]}, *copied]}
    state = qwen(
        record("a", None, "user", [{"text": "go"}]),
        record("b", "a", "assistant", [{"text": "left"}]),
        record("c", "b", "system", [], subtype="chat_compression", systemPayload=note),
        record("d", "c", "user", [{"text": "on"}]),
    )

    assert texts(state) == ["We went.", "left", "on"]
    assert [state.segments[name].kind for name in state.window] == [Kind.SUMMARY, Kind.ASSISTANT, Kind.USER]


def test_what_the_host_says_in_the_users_name_is_no_prompt():
    state = qwen(
        record("a", None, "user", [{"text": "go"}], provenance="real_user"),
        record("b", "a", "user", [{"text": "Task 4 ended."}], subtype="notification", provenance="system"),
        record("c", "b", "user", [{"text": "wait"}], subtype="mid_turn_user_message"),
    )

    assert [segment.kind for segment in state.segments.values()] == [Kind.USER, Kind.SYSTEM, Kind.USER]
