"""The capability in a real Pydantic AI agent with a scripted model: 40 turns of large results."""

import asyncio

import pytest

pytest.importorskip(
    "pydantic_ai", reason="NO Pydantic AI here: `.ci/run` runs these tests with every framework installed"
)

from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import DeltaToolCall, FunctionModel

import ctxgc
from ctxgc.client.recall_tool import RECALL_TOOL
from ctxgc.integrations.pydantic_ai import Ctxgc
from tests.client.stories import address_in, result_text
from tests.integrations.pages import program_of

pytestmark = pytest.mark.frameworks
TURNS = 40


class Script:
    """Asks for two files in each turn, and for a body that left in the last but one; keeps what it was sent."""

    def __init__(self, turns=TURNS):
        self.turns = turns
        self.seen = []
        self.tools = []

    def _calls(self, messages, info):
        self.seen.append(messages)
        self.tools.append({tool.name for tool in info.function_tools})
        turn = sum(isinstance(message, ModelResponse) for message in messages)
        if turn < self.turns:
            return [("read", {"file": n, "turn": turn}, f"c{turn}_{n}") for n in range(2)]
        gone = next((address for part in returns(messages) if (address := address_in(str(part.content)))), "")
        return [(RECALL_TOOL, {"id": gone}, "back")] if turn == self.turns and gone else []

    def reply(self, messages, info):
        calls = self._calls(messages, info)
        parts = [ToolCallPart(name, arguments, tool_call_id=id_) for name, arguments, id_ in calls]
        return ModelResponse(parts=parts or [TextPart("Done.")])

    async def stream(self, messages, info):
        calls = self._calls(messages, info)
        for n, (name, arguments, id_) in enumerate(calls):
            yield {n: DeltaToolCall(name, __import__("json").dumps(arguments), tool_call_id=id_)}
        if not calls:
            yield "Done."


def returns(messages):
    return [part for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]


def agent_of(client, script, **more):
    capability = Ctxgc(client, **({"budget": 20_000} | more))
    agent = Agent(FunctionModel(script.reply, stream_function=script.stream), capabilities=[capability])

    @agent.tool_plain
    def read(file: int, turn: int) -> str:
        return result_text(turn, file)

    return agent


def check(script, history):
    """Every request was valid; the run's own history is whole; what left came back exactly."""
    for messages in script.seen:
        asked = [p.tool_call_id for m in messages for p in m.parts if isinstance(p, ToolCallPart)]
        assert asked == [part.tool_call_id for part in returns(messages)]
    whole = {part.tool_call_id: part.content for part in returns(history)}
    assert not any(address_in(content) for content in whole.values())
    last = returns(script.seen[-1])
    out = [part.tool_call_id for part in last if address_in(part.content)]
    assert all(part.content == whole[part.tool_call_id] for part in last if part.tool_call_id not in out)
    assert all(part.content == whole[part.tool_call_id] for part in returns(script.seen[1]))
    return whole, out


def test_an_agent_of_forty_turns_is_sent_what_fits_and_recalls_exactly(async_client, name):
    script = Script()
    result = agent_of(async_client, script, session=name).run_sync("Read on.")

    whole, out = check(script, result.all_messages())
    assert len(out) > TURNS
    assert whole["back"] in {whole[id_] for id_ in whole if id_ != "back"}
    assert RECALL_TOOL in script.tools[0]
    assert async_client.failures == {}


def test_two_streamed_conversations_at_once_are_two_sessions(async_client):
    scripts = [Script(), Script()]

    async def run(script):
        async with agent_of(async_client, script).run_stream("Read on.") as result:
            await result.get_output()
            return result.all_messages()

    async def both():
        return await asyncio.gather(*map(run, scripts))

    for script, history in zip(scripts, asyncio.run(both()), strict=True):
        _, out = check(script, history)
        assert len(out) > TURNS


def test_a_cancelled_run_leaves_the_client_usable(async_client, name):
    first, second = Script(), Script()

    async def run():
        task = asyncio.create_task(agent_of(async_client, first, session=name).run("Read on."))
        while len(first.seen) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await agent_of(async_client, second, session=f"{name}-2").run("Read on.")

    _, out = check(second, asyncio.run(run()).all_messages())
    assert out


def test_without_a_daemon_every_message_goes_as_it_is(away, name):
    client, script = ctxgc.AsyncClient(**away), Script(turns=5)

    _, out = check(script, agent_of(client, script, session=name).run_sync("Read on.").all_messages())

    assert out == []
    assert client.failures["unreachable"] >= 5


def test_by_the_pacer_a_long_run_is_cut_when_it_pays(async_client, name):
    script = Script(turns=45)
    agent = agent_of(async_client, script, session=name, budget=None)

    assert check(script, agent.run_sync("Read on.", usage_limits=None).all_messages())[1]


def test_the_program_of_the_page_runs(daemon, monkeypatch):
    monkeypatch.setenv("CTXGC_SOCKET", daemon.socket)
    script = Script(turns=3)

    def read(file: int, turn: int) -> str:
        return result_text(turn, file)

    exec(program_of("use-it-with-pydantic-ai.md"), {"model": FunctionModel(script.reply), "tools": [read]})

    assert len(script.seen) == 4
    assert daemon.call("segment.list", session="client:build-7")["segments"]
