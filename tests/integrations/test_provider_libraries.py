"""The libraries of Anthropic and OpenAI, wrapped, against an API on the loopback: 40 turns of large results."""

import asyncio

import pytest

anthropic = pytest.importorskip("anthropic", reason="NO anthropic here: `.ci/run` installs every library")
openai = pytest.importorskip("openai", reason="NO openai here: `.ci/run` installs every library")

import ctxgc
from ctxgc.client.recall_tool import RECALL_TOOL
from ctxgc.integrations.anthropic import wrap as wrap_anthropic
from ctxgc.integrations.openai import wrap as wrap_openai
from tests.client.stories import ANTHROPIC, CHAT, RESPONSES, address_in, pairs_problem, result_text, results_of, story
from tests.daemon.harness import DaemonProcess
from tests.integrations.pages import run_page
from tests.integrations.scripted_api import ScriptedApi

pytestmark = pytest.mark.frameworks
TURNS = 40
BUDGET = 20_000
READ = {"file": {"type": "integer"}, "turn": {"type": "integer"}}
SCHEMA = {"type": "object", "properties": READ}


@pytest.fixture
def api():
    with ScriptedApi(TURNS) as api:
        yield api


def tool_of(form):
    if form == ANTHROPIC:
        return {"name": "read", "input_schema": SCHEMA}
    function = {"name": "read", "parameters": SCHEMA}
    return {"type": "function", **function} if form == RESPONSES else {"type": "function", "function": function}


def run_tool(arguments):
    return result_text(arguments["turn"], arguments["file"])


def next_messages(form, reply, answer):
    """What a program appends after a reply: the library's own objects, and the tools' answers. None at the end."""
    import json

    if form == ANTHROPIC:
        calls = [block for block in reply.content if block.type == "tool_use"]
        answers = [
            answer(call) or {"type": "tool_result", "tool_use_id": call.id, "content": run_tool(call.input)}
            for call in calls
        ]
        return (
            [{"role": "assistant", "content": reply.content}, {"role": "user", "content": answers}] if calls else None
        )
    if form == CHAT:
        message = reply.choices[0].message
        answers = [
            answer(call)
            or {"role": "tool", "tool_call_id": call.id, "content": run_tool(json.loads(call.function.arguments))}
            for call in message.tool_calls or ()
        ]
        return [message, *answers] if answers else None
    calls = [item for item in reply.output if item.type == "function_call"]
    answers = [
        answer(call)
        or {"type": "function_call_output", "call_id": call.call_id, "output": run_tool(json.loads(call.arguments))}
        for call in calls
    ]
    return [*reply.output, *answers] if calls else None


def wrapped(form, api, ours, name, *, is_async=False, budget=BUDGET):
    more = {"session": name, "budget": budget, "recall_tool": True, "ctxgc_client": ours}
    if form == ANTHROPIC:
        library = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
        return wrap_anthropic(library(api_key="k", base_url=api.url), model="claude-sonnet-5", **more)
    library = openai.AsyncOpenAI if is_async else openai.OpenAI
    return wrap_openai(library(api_key="k", base_url=f"{api.url}/v1"), model="gpt-5", **more)


def create(client, form, messages):
    if form == ANTHROPIC:
        return client.messages.create(model="claude-sonnet-5", max_tokens=99, messages=messages, tools=[tool_of(form)])
    if form == CHAT:
        return client.chat.completions.create(model="gpt-5", messages=messages, tools=[tool_of(form)])
    return client.responses.create(model="gpt-5", input=messages, tools=[tool_of(form)])


def check(form, api):
    """Every request was valid; what left came back exactly; what stayed is whole."""
    lists = [asked["input" if form == RESPONSES else "messages"] for asked in api.seen]
    assert not [problem for items in lists if (problem := pairs_problem(form, items))]
    results = results_of(lists[-1])
    out = [id_ for id_, text in results.items() if address_in(text)]
    for id_, text in results.items():
        turn, _, file = id_.removeprefix("call_").removeprefix("c").partition("_")
        assert id_ in out or id_ == "back" or text == result_text(int(turn), int(file))
    return results, out


@pytest.mark.parametrize("form", [ANTHROPIC, CHAT, RESPONSES])
def test_an_agent_of_forty_turns_is_sent_what_fits_and_recalls_exactly(form, api, client, name):
    library = wrapped(form, api, client, name)
    messages = [{"role": "user", "content": "Read on."}]
    while (more := next_messages(form, create(library, form, messages), library.ctxgc.answer)) is not None:
        messages = [*messages, *more]

    results, out = check(form, api)
    assert len(out) > TURNS
    turn, _, file = next(id_ for id_ in results if id_.startswith("c"))[1:].partition("_")
    assert results["back"] == result_text(int(turn), int(file))
    assert any(RECALL_TOOL in str(tool) for tool in api.seen[0]["tools"])
    assert client.failures == {}


@pytest.mark.parametrize("form", [ANTHROPIC, CHAT, RESPONSES])
def test_two_asynchronous_agents_at_once_and_a_cancelled_call(form, api, async_client, name):
    async def run(session):
        library = wrapped(form, api, async_client, session, is_async=True)
        messages = [{"role": "user", "content": "Read on."}]
        for _ in range(12):
            reply = await create(library, form, messages)
            messages = [*messages, *next_messages(form, reply, lambda call: None)]
        task = asyncio.create_task(create(library, form, messages))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await create(library, form, messages)

    async def both():
        await asyncio.gather(run(f"{name}-a"), run(f"{name}-b"))

    asyncio.run(both())
    assert check(form, api)[1]


def test_a_streamed_reply_of_anthropics_is_collected_too(api, client, name):
    library = wrapped(ANTHROPIC, api, client, name)
    messages = [{"role": "user", "content": "Read on."}]
    for _ in range(12):
        with library.messages.stream(
            model="claude-sonnet-5", max_tokens=99, messages=messages, tools=[tool_of(ANTHROPIC)]
        ) as stream:
            reply = stream.get_final_message()
        library.ctxgc.usage(reply.usage)
        messages = [*messages, *next_messages(ANTHROPIC, reply, lambda call: None)]

    assert check(ANTHROPIC, api)[1]


@pytest.mark.parametrize("form", [ANTHROPIC, CHAT, RESPONSES])
def test_without_a_daemon_every_call_goes_as_it_is(form, api, away, name):
    with ctxgc.Client(**away) as client:
        library = wrapped(form, api, client, name, budget=10)
        messages = [{"role": "user", "content": "Read on."}]
        for _ in range(4):
            messages = [*messages, *next_messages(form, create(library, form, messages), lambda call: None)]

        assert check(form, api)[1] == []
        assert client.failures["unreachable"] == 4


def stream_of(library, form, messages):
    more = {"tools": [tool_of(form)], "stream": True}
    if form == ANTHROPIC:
        return library.messages.create(model="claude-sonnet-5", max_tokens=99, messages=messages, **more)
    if form == CHAT:
        return library.chat.completions.create(model="gpt-5", messages=messages, **more)
    return library.responses.create(model="gpt-5", input=messages, **more)


BILLS = {
    ANTHROPIC: {
        "input_tokens": 10,
        "cache_read_input_tokens": 900,
        "cache_creation_input_tokens": 100,
        "output_tokens": 9,
    },
    CHAT: {"input_tokens": 2000, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0, "output_tokens": 9},
    RESPONSES: {
        "input_tokens": 2000,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "output_tokens": 9,
    },
}


@pytest.mark.parametrize("form", [ANTHROPIC, CHAT, RESPONSES])
def test_the_bill_of_each_reply_is_handed_over_streamed_or_not(form, api, client, name, monkeypatch):
    bills = []
    monkeypatch.setattr(ctxgc.ClientSession, "usage", lambda session, usage: bills.append(usage))
    library, messages = wrapped(form, api, client, name), list(story(form, 13))[-1]

    create(library, form, messages)
    events = list(stream_of(library, form, messages))

    assert len(bills) == 2
    assert bills[1] == BILLS[form]
    assert events
    assert check(form, api)[1]


@pytest.mark.parametrize("form", [ANTHROPIC, CHAT, RESPONSES])
def test_the_bill_of_each_asynchronous_reply_is_handed_over(form, api, async_client, name, monkeypatch):
    bills = []

    async def note(session, usage):
        bills.append(usage)

    monkeypatch.setattr(ctxgc.AsyncClientSession, "usage", note)
    library = wrapped(form, api, async_client, name, is_async=True)

    async def run():
        await create(library, form, list(story(form, 13))[-1])
        return [event async for event in await stream_of(library, form, list(story(form, 13))[-1])]

    assert asyncio.run(run())
    assert len(bills) == 2
    assert bills[1] == BILLS[form]


def test_anthropics_asynchronous_stream_and_its_beta_are_collected(api, async_client, name):
    library, messages = wrapped(ANTHROPIC, api, async_client, name, is_async=True), list(story(ANTHROPIC, 13))[-1]
    more = {"model": "claude-sonnet-5", "max_tokens": 99, "messages": messages, "tools": [tool_of(ANTHROPIC)]}

    async def run():
        async with library.messages.stream(**more) as stream:
            await stream.get_final_message()
        await library.beta.messages.create(**more)

    asyncio.run(run())
    assert [any(map(address_in, results_of(asked["messages"]).values())) for asked in api.seen] == [True, True]


@pytest.mark.parametrize("form", [ANTHROPIC, CHAT, RESPONSES])
def test_a_daemon_killed_in_the_middle_costs_no_call(form, api, name):
    daemon = DaemonProcess().start()
    try:
        with ctxgc.Client(daemon.socket, start_daemon=False, deadline_s=2.0) as client:
            library, messages = wrapped(form, api, client, name), [{"role": "user", "content": "Read on."}]
            for turn in range(20):
                if turn == 14:
                    daemon.kill()
                messages = [*messages, *next_messages(form, create(library, form, messages), lambda call: None)]
            assert client.failures["unreachable"] == 6
    finally:
        daemon.close()
    lists = [asked["input" if form == RESPONSES else "messages"] for asked in api.seen]
    assert not [problem for items in lists if (problem := pairs_problem(form, items))]
    assert any(map(address_in, results_of(lists[13]).values()))


def test_a_list_that_the_library_reads_and_ctxgc_does_not_goes_as_it_is(api, client, name, tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG")
    source = {"type": "base64", "media_type": "image/png", "data": picture}
    library = wrapped(ANTHROPIC, api, client, name)

    create(library, ANTHROPIC, [{"role": "user", "content": [{"type": "image", "source": source}]}])

    assert api.seen[0]["messages"][0]["content"][0]["source"]["data"] == "iVBORw=="


def test_a_client_has_one_session(api, client, name):
    library = openai.OpenAI(api_key="k", base_url=f"{api.url}/v1")
    wrap_openai(library, session=name, ctxgc_client=client)

    with pytest.raises(ValueError, match="wrapped already"):
        wrap_openai(library, session=f"{name}-2", ctxgc_client=client)


def test_a_call_whose_list_the_server_holds_passes(api, client, name):
    library = wrapped(RESPONSES, api, client, name)
    items = [{"type": "function_call_output", "call_id": "c0_0", "output": "x"}]

    library.responses.create(model="gpt-5", input=items, previous_response_id="r", tools=[tool_of(RESPONSES)])
    library.responses.create(model="gpt-5", input="hello")

    assert api.seen[0]["input"] == items
    assert len(api.seen[0]["tools"]) == 1
    assert client.failures == {}


def test_the_program_of_the_page_runs(api, daemon, monkeypatch):
    monkeypatch.setenv("CTXGC_SOCKET", daemon.socket)
    library = anthropic.Anthropic(api_key="k", base_url=api.url)
    messages = [{"role": "user", "content": "x"}]

    names = asyncio.run(
        run_page(
            "use-it-with-the-providers-libraries.md",
            anthropic_client=library, messages=messages, tools=[tool_of(ANTHROPIC)], model="claude-sonnet-5",
        )
    )  # fmt: skip

    assert names["answers"] == [None, None]
    assert daemon.call("segment.list", session="client:build-7")["segments"]
