"""The real agents again, with the recall tool on and a model that calls it; the agents must not notice."""

import json
import re
from dataclasses import dataclass, field

import pytest

from ctxgc.gateway.recall.reply_filter import TOOL_NAME
from tests.e2e.agent_model import AgentModel, Call, _tool_names
from tests.e2e.agent_run import AGENTS, Through
from tests.e2e.test_agents import FILE_BYTES, installed

pytestmark = [pytest.mark.e2e_agents, pytest.mark.slow]

TURNS = 70
RECALLS = 4
STAND_BACK_TURNS = 4
NAMED = re.compile(rf"get it back: {TOOL_NAME} (\d+-\d+)")

assert installed  # The fixture.

CODEX = AGENTS["codex"]
WITH_TOOLS = CODEX._replace(words=(*CODEX.words[:-1], "-c", 'model="gpt-5"', CODEX.words[-1]))
"""Codex with a model for which it puts its tools where the API has them."""
SERVED = {"claude": AGENTS["claude"], "codex": WITH_TOOLS, "opencode": AGENTS["opencode_own"]}


@dataclass
class RecallingModel(AgentModel):
    """Brings a body back at every fifth call, by the tool that the newest tombstone names."""

    recalled: list[str] = field(default_factory=list)

    def next_call(self, wire, asked, done):
        names = NAMED.findall(json.dumps(asked.get("messages", asked.get("input"))))  # The tool's text names one too.
        is_offered = TOOL_NAME in _tool_names(asked.get("tools") or ())
        if names and is_offered and done % 5 == 3 and len(self.recalled) < RECALLS:
            self.recalled.append(f"call_{done:03}")
            return Call(self.recalled[-1], TOOL_NAME, {"id": names[-1]})
        return super().next_call(wire, asked, done)


@pytest.fixture(scope="module", params=list(SERVED))
def talked(request, installed):
    agent = SERVED[request.param]
    with Through(agent, TURNS, FILE_BYTES, model_class=RecallingModel, CTXGC_GATEWAY__RECALL_TOOL="always") as through:
        yield through


def test_the_model_recalls_and_not_one_request_is_refused(talked):
    assert talked.model.refused == []
    assert len(talked.model.recalled) == RECALLS
    assert len(talked.model.requests) == len(talked.served.tap.bodies) + RECALLS


def test_the_agent_sees_neither_the_tool_nor_its_calls(talked):
    assert not any(TOOL_NAME.encode() in body for body in talked.served.tap.bodies.values())
    assert TOOL_NAME not in talked.printed


def test_what_was_brought_back_is_a_file_that_the_agent_read(talked):
    last = talked.model.requests[-1].body.decode()
    files = [path.read_text().strip() for path in talked.place.work.glob("part00*.txt")]

    for name in talked.model.recalled:
        asked_again = next(one.body.decode() for one in talked.model.requests if f'"{name}"' in one.body.decode())
        brought = asked_again.partition("Data from earlier in this conversation")[2]
        assert any(json.dumps(file)[1:-1] in brought for file in files)
    assert all(f'"{name}"' in last for name in talked.model.recalled)


def test_every_request_of_the_session_has_the_same_tools_and_all_exchanges_so_far(talked):
    main = max((one.thread for one in talked.model.requests), key=[r.thread for r in talked.model.requests].count)
    requests = [one.body for one in talked.model.requests if one.thread == main]

    assert len({json.dumps(json.loads(body)["tools"]) for body in requests}) == 1
    for name in talked.model.recalled:
        has = [f'"{name}"'.encode() in body for body in requests]
        assert has == sorted(has)


def test_codex_has_no_such_tool_where_its_tools_are_items_of_the_list(installed):
    with Through(CODEX, STAND_BACK_TURNS, FILE_BYTES, CTXGC_GATEWAY__RECALL_TOOL="always") as through:
        assert through.model.refused == []
        assert all(sent == arrived for sent, arrived in through.pairs())
