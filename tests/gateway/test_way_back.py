"""The way back that a tombstone names: the model's own recall tool where the agent has one, else the command."""

import json
import re

import pytest

from ctxgc.gateway.body.request_body import read_body
from tests.gateway.agent import ChatAgent, ClaudeAgent, ResponsesAgent
from tests.gateway.stage import CLAUDE, ScriptedDaemon, Stage

SCHEMA = {"type": "object", "properties": {"id": {"type": "string"}}}
CLAUDE_TOOL = {"name": "mcp__ctxgc__recall", "input_schema": SCHEMA}
CHAT_TOOL = {"type": "function", "function": {"name": "ctxgc_recall", "parameters": SCHEMA}}
INNER = {"type": "function", "name": "recall", "parameters": SCHEMA}
NAMESPACE = {"type": "namespace", "name": "mcp__ctxgc", "tools": [INNER]}
DEFERRED = "<tools>\nDeferred tool namespaces:\n- mcp__other: one\n- mcp__ctxgc: another\n</tools>"


def tool_of(agent, **more):
    return read_body(agent.body(**more), agent.wire, frozenset()).recall_tool


@pytest.mark.parametrize(
    ("agent", "tool"),
    [
        (ClaudeAgent(tools=[{"name": "Read"}, CLAUDE_TOOL]), "mcp__ctxgc__recall"),
        (ChatAgent(tools=[CHAT_TOOL]), "ctxgc_recall"),
        (ResponsesAgent(tools=[NAMESPACE]), "mcp__ctxgc__recall"),
        (ClaudeAgent(tools=[{"name": "Read", "description": "not mcp__ctxgc__recall"}]), ""),
        (ClaudeAgent(tools=[CLAUDE_TOOL | {"defer_loading": True}]), ""),
        (ResponsesAgent(tools=[NAMESPACE | {"tools": [INNER | {"name": "search"}]}]), ""),
        (ResponsesAgent(tools=[INNER]), ""),
    ],
)
def test_the_tool_is_the_one_that_the_model_has_and_no_other(agent, tool):
    assert tool_of(agent) == tool


def test_a_server_that_codex_names_at_the_head_of_its_list_counts_and_a_users_word_does_not():
    def asked(role):
        agent = ResponsesAgent()
        text = {"type": "input_text", "text": DEFERRED}
        agent.input.insert(0, {"type": "message", "role": role, "content": [text]})
        return agent

    assert tool_of(asked("developer")) == "mcp__ctxgc__recall"
    assert tool_of(asked("user")) == ""


class Daemon(ScriptedDaemon):
    """Names the command in its tombstones, as the daemon does."""

    async def call(self, method, params, timeout_s):
        answer = await super().call(method, params, timeout_s)
        for number, said in enumerate(answer.get("evicted", {}).values()):
            said["text"] = f"[evicted by ctxgc: Read a, 3k tokens; get it back: ctxgc recall 123456789-{number}]"
        return answer


@pytest.mark.parametrize(
    ("tools", "way"),
    [([{"name": "Read"}], "ctxgc recall"), ([{"name": "Read"}, CLAUDE_TOOL], "mcp__ctxgc__recall")],
)
def test_every_tombstone_of_a_session_names_the_same_way_back(tools, way):
    agent, named = ClaudeAgent(tools=tools), set()
    with Stage(Daemon(lambda ids: ids[:-2])) as stage:
        for _ in range(4):
            body = json.loads(stage.ask(agent.run(2).path, agent.body(), CLAUDE))
            named |= set(re.findall(r"get it back: (.*?) \S+\]", json.dumps(body["messages"])))

    assert named == {way}
    assert {params["can_recall"] for params in stage.daemon.told} == {True}
