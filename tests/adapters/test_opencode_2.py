"""Exports of OpenCode 2: messages that name their type."""

import json

from ctxgc.core.segment import Kind, Status
from tests.contracts.transcript_state import read, state_of

TIME = {"created": 1777629600000}
INFO = {"id": "ses", "slug": "x", "projectID": "p", "location": {"directory": "/w"}, "title": "t"}


def exported(*messages):
    events, transcript = read("opencode", json.dumps({"info": INFO, "messages": messages}).encode())
    [state] = state_of(events).values()
    return state, transcript


def tool(name, status="completed", **state):
    return {"type": "tool", "id": name, "name": "read", "time": TIME, "state": {"status": status} | state}


def test_a_tool_has_its_content_or_its_error():
    content = [{"type": "text", "text": "grey"}]
    reply = {"type": "assistant", "id": "b", "time": TIME, "model": {"id": "m"}, "content": [
        {"type": "reasoning", "text": "hm"},
        tool("c", input={"filePath": "a.py"}, content=content),
        tool("d", "error", input={}, content=[], error={"message": "gone"}),
        tool("e", "running", input={}),
        {"type": "strange"},
    ]}  # fmt: skip
    state, transcript = exported({"type": "user", "id": "a", "text": "go", "time": TIME}, reply)

    kinds = [segment.kind for segment in state.segments.values()]
    assert kinds == [Kind.USER, Kind.THINKING, Kind.TOOL_CALL, Kind.TOOL_CALL, Kind.TOOL_CALL]
    assert [state.segments[name].status for name in "cde"] == [Status.OK, Status.ERROR, Status.PENDING]
    assert [state.segments[name].body[0].text for name in "cd"] == ["grey", "gone"]
    assert state.segments["c"].paths[0].path == "/w/a.py"
    assert transcript.skipped == {"block.strange": 1}
    assert (state.known["project"], state.segments["c"].wall_s) == ("/w", TIME["created"] / 1000)


def test_a_compaction_leaves_its_summary_and_a_pruned_result_is_out():
    reply = {"type": "assistant", "id": "b", "time": TIME, "content": [tool("c", content=[]) | {"time": TIME | {"pruned": 1777629700000}}]}  # fmt: skip  # noqa: E501
    shell = {"type": "shell", "id": "s", "callID": "x", "command": "ls", "output": "a.py", "time": TIME}
    summary = {"type": "compaction", "id": "d", "reason": "auto", "summary": "We went.", "recent": "", "time": TIME}
    before, _ = exported({"type": "user", "id": "a", "text": "go", "time": TIME}, reply, shell)
    after, _ = exported({"type": "user", "id": "a", "text": "go", "time": TIME}, reply, summary)

    assert [before.segments[name].kind for name in before.window] == [Kind.USER, Kind.ATTACHMENT]
    assert [after.segments[name].kind for name in after.window] == [Kind.SUMMARY]


def test_an_unknown_message_is_counted():
    _, transcript = exported({"type": "user", "id": "a", "text": "go", "time": TIME}, {"type": "comet", "id": "z"}, 5)

    assert transcript.skipped == {"message.comet": 1, "malformed": 1}
