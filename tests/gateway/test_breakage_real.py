"""The ways in which rewriting gateways have broken clients that show only over time: through a real daemon."""

import json
import re
from itertools import pairwise
from uuid import uuid4

import pytest

from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.gateway.daemon_client import DaemonClient
from tests.daemon.harness import DaemonProcess
from tests.gateway.agent import ClaudeAgent, ResponsesAgent, file_text
from tests.gateway.stage import Stage, headers_for
from tests.gateway.upstream import ANSWERS

LIMIT_TOKENS = 12_000
RESULT_BYTES = 3000
GRACE_TURNS = 3
"""As a daemon has it that was told nothing else (`collect.recall_grace_turns`)."""
WAYS_BACK = re.compile(r"get it back: (ctxgc recall [\d-]+|make the call again)\]")


@pytest.fixture
def daemon():
    made = DaemonProcess(CTXGC_PACER__WINDOW_MAX_TOKENS=str(LIMIT_TOKENS))
    try:
        yield made.start()
    finally:
        made.close()


def worked(stage, agent, turns, headers, **more):
    """The requests that arrived while the agent went on for so many turns."""
    for number in range(turns):
        yield stage.ask(agent.path, agent.body(**more), headers)
        agent.take(ANSWERS[agent.wire](f"call_{number}", number, (0, 0, 0)), number)


def stones(body):
    return body.count(b"evicted by ctxgc")


@pytest.mark.slow
def test_a_window_at_its_limit_is_edited_no_more_often_than_a_batch_is_freed(daemon):
    headers = {"x-claude-code-session-id": str(uuid4())}
    with Stage(DaemonClient(daemon.socket), wait_s=5.0) as stage:
        arrived = list(worked(stage, ClaudeAgent(size=900), 220, headers))

    journal = daemon.call("heap.log", session=f"claude_code:{headers['x-claude-code-session-id']}", limit=1000)
    freed = [entry["before_tokens"] - entry["after_tokens"] for entry in journal["collections"]]
    edits = sum(stones(before) != stones(after) for before, after in pairwise(arrived))
    assert 1 < edits <= len(freed)
    assert len(freed) < len(arrived) / 10
    assert min(freed) > LIMIT_TOKENS / 20
    assert stage.upstream.refused == []


@pytest.mark.slow
@pytest.mark.parametrize("make", [ClaudeAgent, ResponsesAgent])
def test_what_was_evicted_before_the_daemon_was_killed_is_recalled_after(daemon, make):
    session, agent = str(uuid4()), make(size=RESULT_BYTES)
    headers = headers_for(agent.path) | {"x-claude-code-session-id": session}
    with Stage(DaemonClient(daemon.socket), wait_s=5.0) as stage:
        *_, last = worked(stage, agent, 24, headers)
    assert stones(last) > 1

    daemon.kill()
    daemon.start()
    key = f"claude_code:{session}"
    evicted = daemon.call("segment.list", session=key, states=["evicted"])["segments"]

    had = {s.id: {p.name: p.text for p in s.body} for s in WIRE_FORMATS[agent.wire].parse(agent.body()).segments}
    for row in evicted:
        pieces = daemon.call("stash.recall", session=key, id=row["id"])["recalled"][0]["pieces"]
        assert {piece["name"]: piece["text"] for piece in pieces} == had[row["id"]]
    assert len(evicted) >= stones(last)


@pytest.mark.slow
def test_results_that_a_host_changes_under_ids_it_has_used_stay_in_the_request(daemon):
    agent, headers = ClaudeAgent(size=RESULT_BYTES), {"x-claude-code-session-id": str(uuid4())}
    with Stage(DaemonClient(daemon.socket), wait_s=5.0) as stage:
        *_, last = worked(stage, agent, 24, headers)
        assert stones(last) > 1
        changed = 0
        for message in agent.messages:
            for block in message["content"]:
                if block["type"] == "tool_result":
                    block["content"] = f"another result, {changed}: " + "tide " * 200
                    changed += 1
        for _ in range(3):
            got = stage.ask(agent.path, agent.body(), headers)

    assert [text for text in range(changed) if f"another result, {text}: " not in got.decode()] == []


@pytest.mark.slow
def test_every_tombstone_names_a_way_back_and_no_marker_stands_without_one(daemon):
    agent, headers = ClaudeAgent(size=RESULT_BYTES), {"x-claude-code-session-id": str(uuid4())}
    with Stage(DaemonClient(daemon.socket), wait_s=5.0) as stage:
        for number in range(24):
            text = json.dumps({"file_path": f"/src/{number}.py", "content": "tide " * 600})
            call = {"type": "tool_use", "id": f"call_{number}", "name": "Write", "input": json.loads(text)}
            got = json.loads(stage.ask(agent.path, agent.body(), headers))
            agent.take({"content": [{"type": "text", "text": f"Step {number}."}, call]}, number)

    results = {
        b["tool_use_id"]: b["content"] for m in got["messages"] for b in m["content"] if b["type"] == "tool_result"
    }
    marked = [b["id"] for m in got["messages"] for b in m["content"] if "[evicted" in json.dumps(b.get("input", ""))]
    assert marked
    assert all(WAYS_BACK.search(json.dumps(results[id_])) for id_ in marked)
    assert all(WAYS_BACK.search(json.dumps(text)) for text in results.values() if "[evicted" in json.dumps(text))


@pytest.mark.slow
def test_what_the_shell_recalled_is_not_evicted_at_once_and_leaves_for_the_name_of_its_original(daemon):
    agent, headers = ClaudeAgent(size=RESULT_BYTES), {"x-claude-code-session-id": str(uuid4())}
    key = f"claude_code:{headers['x-claude-code-session-id']}"
    copies = {}
    with Stage(DaemonClient(daemon.socket), wait_s=5.0) as stage:
        for number in range(60):
            got = json.loads(stage.ask(agent.path, agent.body(), headers))
            results = {b["tool_use_id"]: b["content"] for m in got["messages"][2::2] for b in m["content"]}
            young = [id_ for id_ in copies if number - int(id_.removeprefix("copy_")) <= GRACE_TURNS]
            assert [id_ for id_ in young if WAYS_BACK.search(results[id_])] == []
            newest = next(reversed(copies), "call_0")
            if (mark := WAYS_BACK.search(results.get(newest, ""))) is None:
                agent.take(ANSWERS[agent.wire](f"call_{number}", number, (0, 0, 0)), number)
                continue
            command = mark[1]
            (back,) = daemon.call("stash.recall", session=key, id=command.rpartition(" ")[2])["recalled"]
            copies[f"copy_{number}"] = command, back["pieces"][-1]["text"]
            call = {"type": "tool_use", "id": f"copy_{number}", "name": "Bash", "input": {"command": command}}
            result = {"type": "tool_result", "tool_use_id": call["id"], "content": copies[call["id"]][1]}
            agent.messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]

    assert len(copies) > 2
    assert len(set(copies.values())) == 1, "each mark names the first one, and none was brought back for a text"
    assert next(iter(copies.values()))[1] == file_text(0, RESULT_BYTES)
