"""The middleware in a real LangChain agent with a scripted model: 40 turns of large results."""

import asyncio

import pytest

pytest.importorskip("langchain", reason="NO LangChain here: `.ci/run` runs these tests with every framework installed")

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

import ctxgc
from ctxgc.client.recall_tool import RECALL_TOOL
from ctxgc.integrations.langchain import CtxgcMiddleware
from tests.client.stories import address_in, result_text
from tests.integrations.pages import run_page

pytestmark = pytest.mark.frameworks
TURNS = 40


@tool
def read(path: str, turn: int) -> str:
    """Read a file."""
    return result_text(turn, int(path))


class Scripted(BaseChatModel):
    """Asks for two files in each turn, and for a body that left in the last but one; keeps what it was sent."""

    turns: int = TURNS
    model_name: str = "gpt-4.1"
    seen: list = []  # noqa: RUF012 - pydantic copies it

    @property
    def _llm_type(self):
        return "scripted"

    def bind_tools(self, tools, **more):
        self.__dict__.setdefault("tools_seen", []).append(
            [getattr(t, "name", None) or t["function"]["name"] for t in tools]
        )
        return self

    def _reply(self, messages):
        self.seen.append(messages)
        turn = sum(isinstance(message, AIMessage) for message in messages)
        usage = {"input_tokens": 1000 + 10 * turn, "output_tokens": 5, "total_tokens": 1005 + 10 * turn}
        if turn < self.turns:
            calls = [{"name": "read", "args": {"path": str(n), "turn": turn}, "id": f"c{turn}_{n}"} for n in range(2)]
            return AIMessage("I read.", tool_calls=calls, usage_metadata=usage)
        gone = next((address for m in messages if (address := address_in(m.content))), "")
        if turn == self.turns and gone:
            return AIMessage(
                "", tool_calls=[{"name": RECALL_TOOL, "args": {"id": gone}, "id": "back"}], usage_metadata=usage
            )
        return AIMessage("Done.", usage_metadata=usage)

    def _generate(self, messages, stop=None, run_manager=None, **more):
        return ChatResult(generations=[ChatGeneration(message=self._reply(messages))])

    def _stream(self, messages, stop=None, run_manager=None, **more):
        reply = self._reply(messages)
        chunks = [
            {"name": c["name"], "args": __import__("json").dumps(c["args"]), "id": c["id"], "index": n}
            for n, c in enumerate(reply.tool_calls)
        ]
        yield ChatGenerationChunk(
            message=AIMessageChunk(content=reply.content, tool_call_chunks=chunks, usage_metadata=reply.usage_metadata)
        )


def agent_of(client, model, **more):
    middleware = CtxgcMiddleware(client, budget=20_000, **more)
    return create_agent(model, [read], middleware=[middleware], checkpointer=InMemorySaver())


def run_of(name):
    return {"configurable": {"thread_id": name}, "recursion_limit": 500}


START = {"messages": [{"role": "user", "content": "Read on."}]}


def check(model, state, *, is_edited=True):
    """Every request was valid; the graph's own messages are whole; what left came back exactly."""
    for messages in model.seen:
        asked = [call["id"] for m in messages if isinstance(m, AIMessage) for call in m.tool_calls]
        assert asked == [m.tool_call_id for m in messages if isinstance(m, ToolMessage)]
    whole = {m.tool_call_id: m for m in state["messages"] if isinstance(m, ToolMessage)}
    assert not any(str(m.content).startswith("[evicted by ctxgc") for m in whole.values())
    out = {m.tool_call_id for m in model.seen[-2] if str(m.content).startswith("[evicted")}
    assert bool(out) is is_edited
    for message in model.seen[-2]:
        if isinstance(message, ToolMessage) and message.tool_call_id not in out:
            assert message.content == whole[message.tool_call_id].content
    assert all(m.content == whole[m.tool_call_id].content for m in model.seen[0] if isinstance(m, ToolMessage))
    if is_edited:
        assert sum(len(str(m.content)) for m in model.seen[-2]) < sum(len(m.content) for m in whole.values()) / 3
        first = next(m for m in model.seen[-2] if str(m.content).startswith("[evicted"))
        assert whole["back"].content == whole[first.tool_call_id].content


def test_an_agent_of_forty_turns_is_sent_what_fits_and_recalls_exactly(client, name):
    model = Scripted(seen=[])
    state = agent_of(client, model).invoke(START, run_of(name))

    check(model, state)
    assert len(state["messages"]) > 3 * TURNS
    assert RECALL_TOOL in model.tools_seen[0]
    assert client.failures == {}


def test_an_asynchronous_streamed_run_of_two_threads_at_once(client, name):
    models = [Scripted(seen=[]), Scripted(seen=[])]

    async def run(model, thread):
        agent = agent_of(client, model)
        async for _ in agent.astream(START, run_of(thread), stream_mode="messages"):
            pass
        return (await agent.aget_state(run_of(thread))).values

    async def both():
        return await asyncio.gather(*(run(model, f"{name}-{n}") for n, model in enumerate(models)))

    for model, state in zip(models, asyncio.run(both()), strict=True):
        check(model, state)


def test_a_cancelled_run_leaves_the_thread_usable(client, name):
    model = Scripted(seen=[])
    agent = agent_of(client, model)

    async def run():
        task = asyncio.create_task(agent.ainvoke(START, run_of(name)))
        while len(model.seen) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await agent.ainvoke(None, run_of(name))

    check(model, asyncio.run(run()))


def test_without_a_daemon_every_message_goes_as_it_is(away, name):
    with ctxgc.Client(**away) as client:
        model = Scripted(seen=[], turns=5)
        state = agent_of(client, model).invoke(START, run_of(name))

        check(model, state, is_edited=False)
        assert client.failures["unreachable"] >= 5


def test_a_run_without_a_thread_passes(client):
    model = Scripted(seen=[], turns=4)
    agent = create_agent(model, [read], middleware=[CtxgcMiddleware(client, budget=100)])
    agent.invoke(START, {"recursion_limit": 100})

    assert not any("[evicted" in str(m.content) for m in model.seen[-1])


def test_by_the_pacer_a_long_thread_is_cut_when_it_pays(client, name):
    model = Scripted(seen=[], turns=60)
    middleware = CtxgcMiddleware(client)
    agent = create_agent(model, [read], middleware=[middleware], checkpointer=InMemorySaver())
    agent.invoke(START, run_of(name))

    assert any(address_in(m.content) for m in model.seen[-1])


def test_the_program_of_the_page_runs(daemon, monkeypatch):
    monkeypatch.setenv("CTXGC_SOCKET", daemon.socket)
    model = Scripted(seen=[], turns=3)

    names = asyncio.run(run_page("use-it-with-langchain.md", model=model, tools=[read]))

    assert len(model.seen) == 4
    assert names["agent"]
    assert daemon.call("segment.list", session="client:build-7")["segments"]
