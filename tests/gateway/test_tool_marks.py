"""Our own mark beside the hidden recall tool: the cache is known, and refused marks stay away, as without the tool."""

import json

import pytest

from ctxgc.gateway.body.splice_memo import SHORT_MARK
from tests.gateway.stage import MESSAGES, Stage
from tests.gateway.test_own_mark import MarkedAgent, marks_in
from tests.gateway.test_recall_tool import OTHER, Recalling, recall

DONE = {"type": "text", "text": "That was it."}
EVICTED = ("call_0", "call_1")


@pytest.fixture
def stage():
    with Stage(Recalling(lambda ids: [id_ for id_ in EVICTED if id_ in ids]), recall_tool="always") as made:
        yield made


def collected(stage, turns=6, agent=None):
    """An agent whose session has the tool and tombstones, with its next request still to be sent."""
    agent = agent or MarkedAgent()
    for number in range(turns):
        stage.ask(MESSAGES, agent.body())
        agent.run(1, number)
    return agent


def test_the_daemon_learns_that_a_request_with_the_tool_was_answered(stage):
    collected(stage)

    assert [sync["was_answered"] for sync in stage.daemon.told] == [False, *[True] * (len(stage.daemon.told) - 1)]


def test_calls_of_every_reply_around_a_recall_count_for_the_hosts_look_back(stage):
    agent = MarkedAgent()
    many = [OTHER | {"id": f"call_wide_{number}"} for number in range(8)]
    stage.upstream.script = [[recall()], many]

    stage.ask(MESSAGES, agent.body())

    (session,) = stage.running.syncer._sessions.values()
    assert session.needs_bridge


class ToolsFirstAgent(MarkedAgent):
    """Writes its tools before its messages, and a mark beside the call whose result gets ours."""

    def body(self):
        asked = json.loads(super().body())
        for message in asked["messages"]:
            for block in message["content"]:
                if block.get("id") == EVICTED[-1]:
                    block["cache_control"] = self.mark
        return json.dumps({"tools": asked.pop("tools")} | asked, separators=(",", ":")).encode()


def test_the_refused_mark_goes_and_the_hosts_own_stay_wherever_the_tool_stands(stage):
    agent = collected(stage, agent=ToolsFirstAgent())
    stage.upstream.script = [400, [DONE]]
    first = len(stage.upstream.received)

    stage.ask(MESSAGES, agent.body())

    marked, unmarked = [received.body for received in stage.upstream.received[first:]]
    evicted = b'"[evicted 1]"'
    assert marked.count(SHORT_MARK) == agent.body().count(SHORT_MARK) + 1
    assert marked.count(evicted + SHORT_MARK) == 1, "ours"
    assert unmarked == marked.replace(evicted + SHORT_MARK, evicted)


def test_a_refused_mark_stays_away_from_every_round_of_the_tool(stage):
    agent = collected(stage)
    stage.upstream.script = [400, [recall()], [DONE]]
    first = len(stage.upstream.received)

    stage.ask(MESSAGES, agent.body())

    bodies = [received.body for received in stage.upstream.received[first:]]
    hosts = marks_in(agent.body())
    assert [marks_in(body) for body in bodies] == [hosts + 1, hosts, hosts]
    assert all(b"[evicted" in body for body in bodies)
    assert b"recall_1" in bodies[-1]
