"""`messages.collect`: a caller's list comes back as it was, or shorter and valid, and nothing is lost."""

import json
import re

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctxgc.core.errors import BadParams, CtxgcError
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.contracts import wire_rules
from tests.daemon.harness import bench_on
from tests.effort import effort

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
    return await bench.call("messages.collect", **params | more)


async def collect_bytes(bench, api, messages, budget_tokens):
    """The same with a list as JSON text; the reply's list as JSON text."""
    head = json.dumps({"format": api, "budget_tokens": budget_tokens, "unit": "raw", "session": "mine"}).encode()
    reply = await bench.call_raw("messages.collect", head[:-1] + b', "messages" : ' + messages + b" }")
    return bytes(msgspec.json.decode(reply, type=dict[str, msgspec.Raw])["messages"])


ODD = (
    rb'[ {"role" : "user","z":1.0, "a":1e2,"n":-0.0 ,"big":12345678901234567890123,"pi":3.14159265358979323846,'
    rb'"u":"\u00e9\/\ud83d\ude00", "content":"\u0066ind out","z2":[1E+2,0.10] } ]'
)


@pytest.mark.parametrize("api", FORMATS)
async def test_i5_a_list_under_its_budget_comes_back_as_the_bytes_it_was(bench, api):
    plain = json.dumps(conversation(api)).encode()

    assert await collect_bytes(bench, api, ODD, 10**6) == ODD
    assert await collect_bytes(bench, api, plain, 10**6) == plain


NUMBERS = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?", fullmatch=True).map(str.encode),
    st.sampled_from([b"1.0", b"1e2", b"-0.0", b"1E+2", b"12345678901234567890123", b"0.1000"]),
)
CHARACTERS = st.sampled_from([*"aé😀 /", *(r"\u00e9", r"\/", r"\ud83d\ude00", r"\n", r"\u0041", r"\"")])
STRINGS = st.lists(CHARACTERS, max_size=12).map(lambda parts: ('"' + "".join(parts) + '"').encode())
KEYS = st.lists(st.sampled_from([b"zulu", b"alpha", b"mike", rb"\u00e9", rb"caf\u00e9"]), unique=True, max_size=5)


LEAVES = st.one_of(NUMBERS, STRINGS, st.sampled_from([b"true", b"null"]))


@st.composite
def values(draw):
    """JSON as no serialiser writes it: any number, any escape, keys in any order, white space."""
    names = draw(KEYS)
    space = draw(st.sampled_from([b"", b" ", b"\t "]))
    members = [b'"%s"%s:%s%s' % (name, space, space, draw(LEAVES)) for name in names]
    return b"{" + space + (space + b"," + space).join(members) + space + b"}"


@pytest.mark.slow
@settings(effort(60), suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(values(), STRINGS), min_size=4, max_size=10), st.sampled_from([0, 10**6]))
async def test_i5_numbers_escapes_and_order_of_keys_survive_in_any_list_but_for_the_bodies_that_left(turns, budget):
    body = b'"' + b"the ferry waits for the tide " * 40 + b'"'
    listed = [b'{"role":"user","content":"go"}']
    for n, (odd, text) in enumerate(turns):
        call = b'{"name":"n","input":{"odd":%s,"t":%s},"id":"c%d","type":"tool_use"}' % (odd, text, n)
        result = b'{"tool_use_id":"c%d","x":%s,"content":%s,"type":"tool_result"}' % (n, odd, body)
        listed.append(b'{"extra":%s,"content":[%s],"role":"assistant"}' % (odd, call))
        listed.append(b'{"role":"user","content":[%s]}' % result)
    request = b"[" + b" , ".join(listed) + b"]"

    async with bench_on(SqliteStash(MEMORY)) as bench:
        shown = await collect_bytes(bench, "anthropic_messages", request, budget)

    assert (shown == request) is (budget > 0)
    put_back = re.sub(rb'"\[evicted by ctxgc[^"]*"', lambda _: body, shown)
    assert put_back == request


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


async def test_what_was_recalled_since_it_returned_evicted_is_resident_when_it_returns_again(bench):
    messages = conversation("openai_chat")
    await collect(bench, "openai_chat", messages, 1, session="mine")
    await collect(bench, "openai_chat", messages[:1], 10**6, session="mine")
    await collect(bench, "openai_chat", messages, 10**6, session="mine")
    await bench.call("stash.recall", session="client:mine", id="call_0")

    await collect(bench, "openai_chat", messages[:1], 10**6, session="mine")
    reply = await collect(bench, "openai_chat", messages, 10**6, session="mine")

    assert reply["messages"][2]["content"] == result_text(0)


async def test_a_list_without_news_reads_no_bodies_of_a_session_that_slept(tmp_path):
    messages = conversation("openai_chat")
    async with bench_on(SqliteStash(tmp_path / "state")) as bench:
        await collect(bench, "openai_chat", messages, 10**6, session="mine")
    async with bench_on(SqliteStash(tmp_path / "state")) as restarted:
        await collect(restarted, "openai_chat", messages, 1, session="mine")

        assert not restarted.services.registry.awake_sessions[0].indexes.has_text


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


@pytest.mark.parametrize("messages", ["x", {}, None, [5], [[]], [{}, "x"]])
async def test_what_is_no_list_of_objects_is_refused_as_its_schema_says(bench, messages):
    with pytest.raises(BadParams, match="messages: input should be a list of objects"):
        await collect(bench, "openai_chat", messages, 10)

    schema = (await bench.call("rpc.discover"))["verbs"]["messages.collect"]["params"]["properties"]["messages"]
    assert (schema["type"], schema["items"]["type"]) == ("array", "object")


@pytest.mark.parametrize("api", FORMATS)
@pytest.mark.parametrize("unit", ["raw", "billed"])
async def test_i4_what_was_forgotten_is_still_in_the_callers_list_and_counts_against_its_budget(bench, api, unit):
    messages, tokens = conversation(api), "tokens" if unit == "raw" else "billed_tokens"
    before = await collect(bench, api, messages, 10**6, session="mine", unit=unit)
    budget_tokens = before[tokens] * 2 // 3
    await bench.call("stash.forget", session="client:mine", ids=["call_0", "call_1"])

    after = await collect(bench, api, messages, 10**6, session="mine", unit=unit)
    tight = await collect(bench, api, messages, budget_tokens, session="mine", unit=unit)
    least = await collect(bench, api, messages, 0, session="mine", unit=unit)

    assert after["messages"] == messages
    assert (after["tokens"], after["billed_tokens"]) == (before["tokens"], before["billed_tokens"])
    assert tight["messages"][:5] == messages[:5]
    assert tight[tokens] <= budget_tokens
    assert tight["plan"]["protected_by"] == {}
    assert least["plan"]["after_tokens"] == least[tokens]
    assert sum(least["plan"]["protected_by"].values()) == least[tokens]
    assert least["plan"]["protected_by"]["forgotten"] > 0.15 * before[tokens]
