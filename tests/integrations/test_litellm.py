"""The callback in the real LiteLLM, against an API on the loopback: 40 turns of large results."""

import asyncio
import json

import pytest

litellm = pytest.importorskip("litellm", reason="NO LiteLLM here: `.ci/run` runs these tests with every framework")

import ctxgc
from ctxgc.integrations.litellm import CtxgcLogger
from ctxgc.integrations.named_sessions import SESSIONS_MAX
from tests.client.stories import CHAT, address_in, pairs_problem, result_text, results_of, story
from tests.integrations.pages import run_page
from tests.integrations.scripted_api import ScriptedApi

pytestmark = pytest.mark.frameworks
TURNS = 40
READ = {"type": "function", "function": {"name": "read", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def api():
    with ScriptedApi(TURNS) as api:
        yield api


@pytest.fixture
def callback(async_client):
    callback = CtxgcLogger(async_client, budget=20_000)
    litellm.callbacks = [callback]
    yield callback
    litellm.callbacks = []


async def run(api, callback, name, turns=99):
    """An agent over `acompletion`; its own list at the end."""
    messages = [{"role": "user", "content": "Read on."}]
    named = {"metadata": {"session_id": name}} if name else {}
    for _ in range(turns):
        reply = await litellm.acompletion(
            model="openai/gpt-5", api_base=f"{api.url}/v1", api_key="k", messages=messages,
            tools=[READ, callback.tool()], **named,
        )  # fmt: skip
        message = reply.choices[0].message
        if not message.tool_calls:
            break
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            session = callback.session_of_call(named)
            answer = await session.answer(call) if session else None
            text = (
                "" if answer else result_text(*[json.loads(call.function.arguments)[key] for key in ("turn", "file")])
            )
            messages.append(answer or {"role": "tool", "tool_call_id": call.id, "content": text})
    return messages


def check(api, messages):
    lists = [asked["messages"] for asked in api.seen]
    assert not [problem for items in lists if (problem := pairs_problem(CHAT, items))]
    whole, last = results_of(messages), results_of(lists[-1])
    assert not any(map(address_in, whole.values()))
    out = [id_ for id_, text in last.items() if address_in(text)]
    assert all(text == whole[id_] for id_, text in last.items() if id_ not in out)
    return whole, out


def test_an_agent_of_forty_turns_is_sent_what_fits_and_recalls_exactly(api, callback, async_client, name):
    whole, out = check(api, asyncio.run(run(api, callback, name)))

    assert len(out) > TURNS
    assert whole["back"] in {text for id_, text in whole.items() if id_ != "back"}
    assert async_client.failures == {}


@pytest.mark.parametrize("named", ["metadata", "litellm_session_id"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_bill_reaches_the_session_however_the_call_names_it(named, stream, api, callback, name, monkeypatch):
    bills = []

    async def note(session, usage):
        bills.append(session.name)

    monkeypatch.setattr(ctxgc.AsyncClientSession, "usage", note)
    naming = {"metadata": {"session_id": name}} if named == "metadata" else {"litellm_session_id": name}

    async def ask():
        reply = await litellm.acompletion(
            model="openai/gpt-5", api_base=f"{api.url}/v1", api_key="k", messages=list(story(CHAT, 13))[-1],
            tools=[READ], stream=stream, **naming,
        )  # fmt: skip
        if stream:
            assert [part async for part in reply]
        while not bills:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(ask(), 30))
    assert bills == [f"client:{name}"]
    assert any(map(address_in, results_of(api.seen[0]["messages"]).values()))


def test_the_bill_of_each_reply_is_handed_over(api, callback, name, monkeypatch):
    bills = []

    async def note(session, usage):
        bills.append((session.name, usage.prompt_tokens))

    monkeypatch.setattr(ctxgc.AsyncClientSession, "usage", note)

    async def run_and_wait():
        await run(api, callback, name, 3)
        while len(bills) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(run_and_wait(), 30))
    assert bills == [(f"client:{name}", 2000)] * 3


def test_two_sessions_at_once(api, callback, name):
    async def both():
        await asyncio.gather(run(api, callback, f"{name}-a", 12), run(api, callback, f"{name}-b", 12))

    asyncio.run(both())
    assert any(address_in(text) for asked in api.seen[-2:] for text in results_of(asked["messages"]).values())
    assert not [problem for asked in api.seen if (problem := pairs_problem(CHAT, asked["messages"]))]


def test_a_cancelled_call_leaves_the_session_usable(api, callback, async_client, name):
    async def cancel_and_run():
        task = asyncio.create_task(run(api, callback, name, 12))
        while len(api.seen) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await run(api, callback, f"{name}-2", 12)

    messages = asyncio.run(cancel_and_run())
    assert async_client.failures == {}
    assert check(api, messages)[1]


def test_a_list_that_ctxgc_cannot_read_passes_and_sessions_are_bounded(callback, name):
    odd = {"model": "gpt-5", "messages": [{"role": "user", "content": object()}], "metadata": {"session_id": name}}

    assert asyncio.run(callback.async_pre_call_hook(None, None, odd, "completion"))["messages"] == odd["messages"]
    for number in range(SESSIONS_MAX + 9):
        callback.session_of_call({"metadata": {"session_id": f"s{number}"}})
    assert len(callback._sessions) == SESSIONS_MAX


def test_a_call_without_a_session_passes(api, callback):
    assert check(api, asyncio.run(run(api, callback, "", 12)))[1] == []


def test_the_proxys_hook_edits_once_and_only_completions(callback, name):
    messages = list(story(CHAT, 13))[-1]
    data = {"model": "gpt-5", "messages": messages, "metadata": {"session_id": name}}

    async def asked():
        first = await callback.async_pre_call_hook(None, None, data, "completion")
        again = await callback.async_pre_call_deployment_hook(first, None)
        other = await callback.async_pre_call_hook(None, None, data, "embeddings")
        return first, again, other

    first, again, other = asyncio.run(asked())
    assert any(map(address_in, results_of(first["messages"]).values()))
    assert again is first
    assert other is data


def test_without_a_daemon_every_call_goes_as_it_is(api, away, name):
    client = ctxgc.AsyncClient(**away)
    callback = CtxgcLogger(client, budget=10)
    litellm.callbacks = [callback]
    try:
        assert check(api, asyncio.run(run(api, callback, name, 4)))[1] == []
        assert client.failures["unreachable"] >= 4
    finally:
        litellm.callbacks = []


def test_the_program_of_the_page_runs(api, daemon, monkeypatch):
    monkeypatch.setenv("CTXGC_SOCKET", daemon.socket)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{api.url}/v1")
    messages = [{"role": "user", "content": "x"}]

    names = asyncio.run(run_page("use-it-with-litellm.md", model="openai/gpt-5", messages=messages, tools=[READ]))
    litellm.callbacks = []

    assert names["reply"].choices
    assert len(api.seen) == 1
