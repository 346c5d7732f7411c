"""Agents that send no name of their session, the real ones: Pi, Qwen Code, Copilot CLI, mini-swe-agent, by `ctxgc run`.

Installed by `install_other_agents.sh`, at test time if CTXGC_AGENTS=1; without them every test here is skipped.
"""

import itertools
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from tests.e2e.agent_model import AgentModel, Call, call_for, calls_in
from tests.e2e.agent_run import PROMPT, Agent, Through, agents_folder

pytestmark = [pytest.mark.e2e_agents, pytest.mark.slow, pytest.mark.xdist_group("agents")]

INSTALL = Path(__file__).parent / "install_other_agents.sh"
INSTALL_S = 300
TURNS, FILE_BYTES = 60, 8000
SUMMARISED_TURNS = 90
EDITED_MIN = 5
OTHERS = agents_folder() / "others"
KEYS = {"ANTHROPIC_API_KEY": "x", "OPENAI_API_KEY": "x"}
MINI = {"MSWEA_CONFIGURED": "true", "MSWEA_COST_TRACKING": "ignore_errors", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
# Copilot counts its own copy of the conversation, which no edit makes smaller, and summarises the copy near its limit.
# The model counts the calls in a request: a summary would set the model back to its first call, and no run would end.
SMALL_COPILOT = {"COPILOT_PROVIDER_API_KEY": "x", "COPILOT_MODEL": "gpt-5", "COPILOT_OFFLINE": "true"}
COPILOT = SMALL_COPILOT | {"COPILOT_PROVIDER_MAX_PROMPT_TOKENS": "400000"}
FINISH = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


def pi(model):
    words = ("--offline", "-p", "--model", model, PROMPT)
    return Agent("pi", "pi", words, KEYS | {"PI_TELEMETRY": "0"}, ({}, ()))


AGENTS = {
    "pi_messages": pi("anthropic/claude-sonnet-4-5"),
    "pi_responses": pi("openai/gpt-5"),
    "qwen": Agent("qwen", "qwen_code", ("--auth-type", "openai", "-y", PROMPT), KEYS | {"OPENAI_MODEL": "m"}, ({}, ())),
    "copilot": Agent("copilot", "copilot_cli", ("-p", PROMPT, "--allow-all-tools"), COPILOT, ({}, ())),
    "mini": Agent(
        "mini",
        "mini_swe_agent",
        ("-m", "openai/gpt-5", "-y", "--exit-immediately", "-l", "0", "-t", PROMPT),
        KEYS | MINI,
        ({}, ()),
    ),
}
NAME_THEIR_FOLDER = {"pi_messages", "pi_responses", "copilot"}


class FinishingModel(AgentModel):
    """A model that ends with a command where its agent takes no text for an end, and that answers unstreamed too."""

    def next_call(self, wire, asked, done):
        if done == self.turns and "stream" not in asked:
            return Call(f"call_{done:03}", "bash", {"command": FINISH})
        return super().next_call(wire, asked, done)

    async def _answer(self, request, wire, asked, usage):
        if wire != "openai_chat" or asked.get("stream"):
            return await super()._answer(request, wire, asked, usage)
        done = sum(len(message.get("tool_calls") or ()) for message in asked["messages"])
        call, message = self.next_call(wire, asked, done), {"role": "assistant", "content": f"Step {done}."}
        if call is not None:
            function = {"name": call.name, "arguments": json.dumps(call.input)}
            message["tool_calls"] = [{"id": call.id, "type": "function", "function": function}]
        counted = {"prompt_tokens": sum(usage), "completion_tokens": 20, "total_tokens": sum(usage) + 20}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if call else "stop"}
        answer = {"id": f"c{done}", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return web.json_response(answer | {"usage": counted})


@dataclass
class SummarisingModel(FinishingModel):
    """Answers Copilot's order for a summary with text, and counts its turns over the whole session."""

    asked_calls: int = 0
    summaries: int = 0

    def next_call(self, wire, asked, done):
        last = asked["messages"][-1]
        if last["role"] == "user" and done:
            self.summaries += 1
            return None
        if self.asked_calls >= self.turns:
            return None
        self.asked_calls += 1
        return call_for(wire, asked, self.asked_calls)._replace(id=f"call_s{self.asked_calls}")


@pytest.fixture(scope="module")
def installed():
    """The agents; installed if that is wanted, else whatever is there."""
    if os.environ.get("CTXGC_AGENTS") == "1":
        done = subprocess.run([INSTALL], capture_output=True, text=True, timeout=INSTALL_S)
        if done.returncode:
            pytest.skip(f"THE AGENTS CANNOT BE INSTALLED: {done.stderr.strip()[-300:]}")
    if not (OTHERS / ".installed").exists():
        pytest.skip(f"NO AGENTS in {OTHERS}: CTXGC_AGENTS=1 installs them, or {INSTALL.name} by hand")


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_that_names_no_session_is_served_under_the_name_of_its_run(installed, name, capsys):
    path = f"{OTHERS / 'node_modules' / '.bin'}:{OTHERS / 'python' / 'bin'}:{os.environ['PATH']}"
    with Through(AGENTS[name], TURNS, FILE_BYTES, model_class=FinishingModel, PATH=path) as through:
        pairs = through.pairs()
        edited = sum(sent != arrived for sent, arrived in pairs)
        with through.place.client() as client:
            rows = client.call("session.list", {})["sessions"]
        own = [row for row in rows if re.fullmatch(rf"{through.agent.source}:[^/]+", row["session"])]

        assert through.model.refused == []
        assert len(through.model.requests) > TURNS
        assert edited >= EDITED_MIN
        assert len(own) == 1, rows
        assert own[0]["project"] == (str(through.place.work) if name in NAME_THEIR_FOLDER else "")
        assert all(target.startswith("/v1/") for _, target, *_ in through.model.received)
        assert all(b"[evicted by ctxgc" not in arrived for sent, arrived in pairs if sent == arrived)
    with capsys.disabled():
        print(f"\n{name}: {len(pairs)} requests, 0 refused, {edited} edited, session {own[0]['session']}")


def test_copilot_goes_on_through_its_own_summary(installed, capsys):
    agent = AGENTS["copilot"]._replace(variables=SMALL_COPILOT)
    path = f"{OTHERS / 'node_modules' / '.bin'}:{os.environ['PATH']}"
    with Through(agent, SUMMARISED_TURNS, FILE_BYTES, model_class=SummarisingModel, PATH=path) as through:
        bodies = [arrived for _, arrived in through.pairs()]
        calls = [len(calls_in("openai_chat", json.loads(body))) for body in bodies]
        begins_again = next(i for i, (was, now) in enumerate(itertools.pairwise(calls), 1) if now < was // 2)
        edited_after = sum(b"[evicted by ctxgc" in body for body in bodies[begins_again:])

        assert through.model.summaries >= 1
        assert through.model.refused == []
        assert through.model.asked_calls == SUMMARISED_TURNS
        assert len(through.sessions()) == 1
        assert edited_after >= EDITED_MIN
    with capsys.disabled():
        print(
            f"\ncopilot: {len(bodies)} requests, 0 refused, summary at {begins_again}, {edited_after} edited after it"
        )
