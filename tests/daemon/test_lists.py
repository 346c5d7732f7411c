"""`messages.collect`: a caller's list comes back as it was, or shorter and valid, and nothing is lost."""

import json

import pytest

from ctxgc.core.errors import CtxgcError
from tests.contracts import wire_rules

FORMATS = ("anthropic_messages", "openai_chat")
TASK = {"role": "user", "content": "find out why the ferry is late"}


def result_text(n):
    return f"log {n}: the ferry waited for the tide\n" * 80


def turn(api, n):
    """One call with its large result, as this API writes it."""
    call_id = f"call_{n}"
    if api == "openai_chat":
        function = {"name": "look_up", "arguments": json.dumps({"log": n})}
        call = {"id": call_id, "type": "function", "function": function}
        yield {"role": "assistant", "content": None, "tool_calls": [call]}
        yield {"role": "tool", "tool_call_id": call_id, "content": result_text(n)}
    else:
        use = {"type": "tool_use", "id": call_id, "name": "look_up", "input": {"log": n}}
        yield {"role": "assistant", "content": [use]}
        result = {"type": "tool_result", "tool_use_id": call_id, "content": result_text(n)}
        yield {"role": "user", "content": [result]}


def conversation(api, turns=12):
    return [TASK, *(message for n in range(turns) for message in turn(api, n))]


async def collect(bench, api, messages, budget_tokens, **more):
    params = {"format": api, "messages": messages, "budget_tokens": budget_tokens, "unit": "raw"}
    return await bench.call("messages.collect", **params, **more)


@pytest.mark.parametrize("api", FORMATS)
async def test_i5_a_list_under_its_budget_comes_back_as_it_was(bench, api):
    messages = conversation(api)

    reply = await collect(bench, api, messages, 10**6)

    assert (reply["messages"], reply["evicted"]) == (messages, 0)


@pytest.mark.parametrize("api", FORMATS)
async def test_a_list_over_its_budget_comes_back_valid_and_smaller_and_the_rest_is_recalled(bench, api):
    messages = conversation(api)

    reply = await collect(bench, api, messages, 4000)

    left = reply["messages"]
    assert reply["tokens"] <= 4000
    assert len(left) == len(messages)
    wire_rules.check(api, json.dumps(left).encode(), is_rendered=False)
    out = [n for n in range(12) if result_text(n) not in json.dumps(left).replace("\\n", "\n")]
    assert len(out) == reply["evicted"] > 3
    for n in out:
        back = await bench.call("stash.recall", session=reply["session"], id=f"call_{n}")
        assert back["recalled"][0]["pieces"][-1]["text"] == result_text(n)


@pytest.mark.parametrize("api", FORMATS)
async def test_i14_as_the_list_grows_what_left_stays_out_and_the_front_is_unchanged(bench, api):
    earlier = (await collect(bench, api, conversation(api), 4000, session="mine"))["messages"]

    later = await collect(bench, api, conversation(api, 13), 10**6, session="mine")

    assert later["messages"][: len(earlier)] == earlier
    assert later["plan"]["evicted"] == 0


@pytest.mark.parametrize("api", FORMATS)
async def test_what_a_caller_drops_from_its_list_departs_and_is_still_recalled(bench, api):
    messages = conversation(api)
    await collect(bench, api, messages, 10**6, session="mine")

    await collect(bench, api, [TASK, *messages[-4:]], 10**6, session="mine")

    segments = (await bench.call("segment.list", session="mine", states=["departed"]))["segments"]
    assert {s["id"] for s in segments} == {f"call_{n}" for n in range(10)}
    back = await bench.call("stash.recall", session="mine", id="call_0")
    assert back["recalled"][0]["pieces"][-1]["text"] == result_text(0)


@pytest.mark.parametrize("api", FORMATS)
async def test_two_lists_without_a_session_share_nothing(bench, api):
    first = await collect(bench, api, conversation(api), 10**6)
    second = await collect(bench, api, conversation(api, 5), 10**6)

    assert first["session"] != second["session"]


@pytest.mark.parametrize("api", FORMATS)
@pytest.mark.parametrize("messages", [[], [{}], [{"role": "wizard"}], [{"role": "user", "content": 7}]])
async def test_a_strange_list_comes_back_as_it_was_or_is_refused_with_a_reason(bench, api, messages):
    try:
        answer = await collect(bench, api, messages, 0)
    except CtxgcError as error:
        answer = error

    assert answer["messages"] == messages if isinstance(answer, dict) else answer.number == -32602
