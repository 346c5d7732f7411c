"""The filter, the hooks and the recall tool in a real run of OpenAI's Agents SDK with a scripted model."""

import asyncio
import json

import pytest

pytest.importorskip(
    "agents.run", reason="NO Agents SDK here: `.ci/run` runs these tests with every framework installed"
)

from agents import Agent, Runner, function_tool, set_tracing_disabled
from agents.items import ModelResponse
from agents.models.interface import Model
from agents.run import RunConfig
from agents.usage import Usage
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseUsage,
)
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

import ctxgc
from ctxgc.client.recall_tool import RECALL_TOOL
from ctxgc.integrations.openai_agents import CtxgcContext
from tests.client.stories import RESPONSES, address_in, pairs_problem, result_text, results_of
from tests.integrations.pages import run_page

pytestmark = pytest.mark.frameworks
TURNS = 40
set_tracing_disabled(True)


@function_tool
def read(file: int, turn: int) -> str:
    return result_text(turn, file)


class Script(Model):
    """Asks for two files in each turn, and for a body that left in the last but one; keeps what it was sent."""

    def __init__(self, turns=TURNS):
        self.turns = turns
        self.seen = []

    async def get_response(self, system_instructions, input, *more, **options):
        items = json.loads(json.dumps(input, default=lambda item: item.model_dump()))
        self.seen.append(items)
        turn = sum(item.get("call_id") == f"c{n}_0" for n in range(self.turns) for item in items) // 2
        if turn < self.turns:
            output = [call("read", {"file": n, "turn": turn}, f"c{turn}_{n}") for n in range(2)]
        else:
            gone = next((a for text in results_of(items).values() if (a := address_in(text))), "")
            is_last = "back" in results_of(items) or not gone
            output = [said("Done.")] if is_last else [call(RECALL_TOOL, {"id": gone}, "back")]
        usage = Usage(requests=1, input_tokens=2000, output_tokens=9, total_tokens=2009)
        return ModelResponse(output=output, usage=usage, response_id=None)

    async def stream_response(self, system_instructions, input, *more, **options):
        reply = await self.get_response(system_instructions, input)
        usage = ResponseUsage.model_construct(
            input_tokens=2000,
            output_tokens=9,
            total_tokens=2009,
            input_tokens_details=InputTokensDetails.model_construct(cached_tokens=5, cache_write_tokens=0),
            output_tokens_details=OutputTokensDetails.model_construct(reasoning_tokens=0),
        )
        response = Response.model_construct(
            id="r", created_at=1, model="gpt-5", object="response", output=reply.output, tool_choice="auto", tools=[],
            parallel_tool_calls=True, usage=usage,
        )  # fmt: skip
        yield ResponseCompletedEvent.model_construct(type="response.completed", response=response, sequence_number=1)


def call(name, arguments, id_):
    return ResponseFunctionToolCall(arguments=json.dumps(arguments), call_id=id_, name=name, type="function_call")


def said(text):
    content = [ResponseOutputText(annotations=[], text=text, type="output_text")]
    return ResponseOutputMessage(id="m", content=content, role="assistant", status="completed", type="message")


async def run(client, name, script, budget=20_000):
    context = CtxgcContext(client, session=name, model="gpt-5", budget=budget)
    agent = Agent("reader", instructions="Read.", model=script, tools=[read, context.recall_tool])
    config = RunConfig(call_model_input_filter=context.filter)
    return await Runner.run(agent, "Read on.", run_config=config, hooks=context.hooks, max_turns=100)


def check(script, result):
    """Every input was valid; the run's own items are whole; what left came back exactly."""
    assert not [problem for items in script.seen if (problem := pairs_problem(RESPONSES, items))]
    whole = results_of([item if isinstance(item, dict) else item.model_dump() for item in result.to_input_list()])
    assert not any(map(address_in, whole.values()))
    last = results_of(script.seen[-1])
    out = [id_ for id_, text in last.items() if address_in(text)]
    assert all(text == whole[id_] for id_, text in last.items() if id_ not in out)
    return whole, out


def test_a_run_of_forty_turns_is_sent_what_fits_and_recalls_exactly(async_client, name):
    script = Script()

    whole, out = check(script, asyncio.run(run(async_client, name, script)))

    assert len(out) > TURNS
    assert whole["back"] in {text for id_, text in whole.items() if id_ != "back"}
    assert async_client.failures == {}


def test_the_bill_of_each_reply_is_handed_over(async_client, name, monkeypatch):
    bills, script = [], Script(turns=5)

    async def note(session, usage):
        bills.append((session.name, usage["input_tokens"]))

    monkeypatch.setattr(ctxgc.AsyncClientSession, "usage", note)
    asyncio.run(run(async_client, name, script))

    assert bills == [(f"client:{name}", 2000)] * len(script.seen)


def test_a_streamed_run_is_sent_what_fits_and_hands_over_its_bills(async_client, name, monkeypatch):
    bills, script = [], Script()

    async def note(session, usage):
        bills.append(usage["input_tokens_details"]["cached_tokens"])

    async def streamed():
        context = CtxgcContext(async_client, session=name, model="gpt-5", budget=20_000)
        agent = Agent("reader", instructions="Read.", model=script, tools=[read, context.recall_tool])
        config = RunConfig(call_model_input_filter=context.filter)
        result = Runner.run_streamed(agent, "Read on.", run_config=config, hooks=context.hooks, max_turns=100)
        assert [event async for event in result.stream_events()]
        return result

    monkeypatch.setattr(ctxgc.AsyncClientSession, "usage", note)
    whole, out = check(script, asyncio.run(streamed()))

    assert len(out) > TURNS
    assert "back" in whole
    assert bills == [5] * len(script.seen)


def test_two_sessions_at_once_and_a_cancelled_run(async_client, name):
    scripts = [Script(), Script(), Script()]

    async def several():
        cancelled = asyncio.create_task(run(async_client, f"{name}-x", scripts[2]))
        while len(scripts[2].seen) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        return await asyncio.gather(*(run(async_client, f"{name}-{n}", script) for n, script in enumerate(scripts[:2])))

    for script, result in zip(scripts, asyncio.run(several()), strict=False):
        assert len(check(script, result)[1]) > TURNS


def test_without_a_daemon_every_item_goes_as_it_is(away, name):
    client, script = ctxgc.AsyncClient(**away), Script(turns=5)

    assert check(script, asyncio.run(run(client, name, script)))[1] == []
    assert client.failures["unreachable"] >= 5


def test_by_the_pacer_a_long_run_is_cut_when_it_pays(async_client, name):
    script = Script(turns=60)

    assert check(script, asyncio.run(run(async_client, name, script, budget=None)))[1]


def test_the_program_of_the_page_runs(daemon, monkeypatch):
    monkeypatch.setenv("CTXGC_SOCKET", daemon.socket)
    script = Script(turns=3)

    asyncio.run(run_page("use-it-with-openai-agents.md", model=script, tools=[read]))

    assert len(script.seen) == 4
    assert daemon.call("segment.list", session="client:build-7")["segments"]
