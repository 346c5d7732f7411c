"""An id in a caller's list is no more than a name: what stands for a body is the tombstone of that very content."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import bench_on
from tests.daemon.test_lists import FORMATS, TASK, collect, conversation, result_text

SESSION = "mine"
PLENTY = 10**6
SECRET = "gh" + "p_" + "aB3" * 12


def text_of(word):
    return f"{word}: the ferry waited for the tide\n" * 60


def one_turn(api, call_id, text, log=0):
    if api == "openai_chat":
        function = {"name": "look_up", "arguments": json.dumps({"log": log})}
        call = {"id": call_id, "type": "function", "function": function}
        yield {"role": "assistant", "content": None, "tool_calls": [call]}
        yield {"role": "tool", "tool_call_id": call_id, "content": text}
    else:
        use = {"type": "tool_use", "id": call_id, "name": "look_up", "input": {"log": log}}
        yield {"role": "assistant", "content": [use]}
        yield {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call_id, "content": text}]}


def said(message):
    """The result that a message holds, None if it holds none."""
    if message["role"] == "tool":
        return message["content"]
    if message["role"] == "user" and isinstance(message["content"], list):
        return message["content"][0]["content"]
    return None


async def stood_for(bench, session, shown):
    """The text that a result in a reply is, or that its tombstone leads back to."""
    if not shown.startswith("[evicted by ctxgc"):
        return shown
    segment = await bench.call("segment.get", id=re.search(r"recall (\d+-\d+)\]", shown)[1])
    assert segment["session"] == session
    return segment["pieces"][-1]["text"]


async def leads_back_to(bench, reply):
    return [await stood_for(bench, reply["session"], text) for text in map(said, reply["messages"]) if text is not None]


async def found(bench, word):
    hits = (await bench.call("stash.search", query=word))["hits"]
    return [(await bench.call("segment.get", session=h["session"], id=h["id"]))["pieces"][-1]["text"] for h in hits]


@pytest.mark.parametrize("api", FORMATS)
@pytest.mark.parametrize("budget_tokens", [1, PLENTY])
async def test_i1_another_text_under_a_known_id_is_stored_and_never_replaced_by_the_first_ones_tombstone(
    bench, api, budget_tokens
):
    messages = conversation(api)
    await collect(bench, api, messages, 1, session=SESSION)
    edited = [TASK, *one_turn(api, "call_0", text_of("EDITED")), *messages[3:]]

    reply = await collect(bench, api, edited, budget_tokens, session=SESSION)

    assert await leads_back_to(bench, reply) == [text_of("EDITED"), *map(result_text, range(1, 12))]
    assert (said(reply["messages"][2]) == text_of("EDITED")) is (budget_tokens == PLENTY)
    assert await found(bench, "EDITED") == [text_of("EDITED")]
    assert await found(bench, '"log 0"') == [result_text(0)]


@pytest.mark.parametrize("api", FORMATS)
async def test_i1_a_host_that_counts_its_uses_of_one_call_id_anew_gets_back_what_each_tombstone_stands_for(bench, api):
    turns = [message for n in range(12) for message in one_turn(api, "same", text_of(f"UNIQUE{n}"))]
    await collect(bench, api, [TASK, *turns[:20]], PLENTY, session=SESSION)

    reply = await collect(bench, api, [TASK, *turns[4:]], 1, session=SESSION)

    assert reply["evicted"] > 4
    assert await leads_back_to(bench, reply) == [text_of(f"UNIQUE{n}") for n in range(2, 12)]
    assert [await found(bench, f"UNIQUE{n}") for n in range(12)] == [[text_of(f"UNIQUE{n}")] for n in range(12)]
    listed = (await bench.call("segment.list", session=SESSION))["segments"]
    assert sum(one["kind"] == "exchange" for one in listed) == 12


@pytest.mark.parametrize("api", FORMATS)
async def test_what_was_edited_and_then_put_back_is_out_as_before_so_that_a_cache_goes_on_to_fit(bench, api):
    messages = conversation(api)
    before = await collect(bench, api, messages, 1, session=SESSION)
    edited = [TASK, *one_turn(api, "call_0", text_of("EDITED")), *messages[3:]]
    await collect(bench, api, edited, PLENTY, session=SESSION)

    after = await collect(bench, api, messages, PLENTY, session=SESSION)

    assert after["messages"] == before["messages"]


@pytest.mark.parametrize("api", FORMATS)
async def test_a_call_that_was_pending_is_completed_and_not_named_anew(bench, api):
    *messages, answer = conversation(api, 3)
    await collect(bench, api, messages, PLENTY, session=SESSION)

    reply = await collect(bench, api, [*messages, answer], PLENTY, session=SESSION)

    listed = (await bench.call("segment.list", session=SESSION))["segments"]
    assert [(one["id"], one["status"]) for one in listed][1:] == [(f"call_{n}", "ok") for n in range(3)]
    assert reply["messages"] == [*messages, answer]


@pytest.mark.parametrize("api", FORMATS)
async def test_i1_a_pending_call_is_never_completed_by_the_result_of_another_call_under_its_id(bench, api):
    asked, _ = one_turn(api, "same", "", log=1)
    await collect(bench, api, [TASK, asked], PLENTY, session=SESSION)

    await collect(bench, api, [TASK, *one_turn(api, "same", text_of("OTHER"), log=2)], PLENTY, session=SESSION)

    skeletons = [(await bench.call("segment.get", session=SESSION, id=id_))["skeleton"] for id_ in ("same", "same~2")]
    assert [json.loads(skeleton)["input"] for skeleton in skeletons] == [{"log": 1}, {"log": 2}]
    assert await found(bench, "OTHER") == [text_of("OTHER")]


@pytest.mark.parametrize("api", FORMATS)
async def test_what_was_answered_and_is_asked_again_without_its_answer_comes_back_as_it_is(bench, api):
    messages = conversation(api)
    await collect(bench, api, messages, 1, session=SESSION)

    reply = await collect(bench, api, messages[:2], 1, session=SESSION)

    assert reply["messages"] == messages[:2]


@pytest.mark.parametrize("api", FORMATS)
async def test_i9_a_text_with_a_secret_is_not_replaced_by_the_tombstone_of_its_redacted_twin(bench, api):
    marked = f"token is «redacted:github_token»\n{text_of('LOG')}"
    secret = f"token is {SECRET}\n{text_of('LOG')}"
    rest = conversation(api)[1:]
    await collect(bench, api, [TASK, *one_turn(api, "x", marked), *rest], 1, session=SESSION)

    reply = await collect(bench, api, [TASK, *one_turn(api, "x", secret), *rest], 1, session=SESSION)

    assert said(reply["messages"][2]) == secret


async def test_what_came_under_a_signature_since_is_left_alone_although_it_was_out(bench):
    api, messages = "anthropic_messages", conversation("anthropic_messages")
    use = {"type": "tool_use", "id": "w", "name": "Write", "input": {"path": "/a", "content": text_of("DRAFT")}}
    answer = {"type": "tool_result", "tool_use_id": "w", "content": ""}
    written = [{"role": "assistant", "content": [use]}, {"role": "user", "content": [answer]}]
    first = await collect(bench, api, [TASK, *written, *messages[1:]], 1, session=SESSION)
    assert first["messages"][1]["content"][0]["input"]["content"] != text_of("DRAFT")
    signed = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    written[0] = {"role": "assistant", "content": [signed, use]}

    reply = await collect(bench, api, [TASK, *written, *messages[1:]], 1, session=SESSION)

    assert reply["messages"][1:3] == written


@pytest.mark.parametrize("api", FORMATS)
async def test_a_caller_may_go_on_with_the_list_that_it_got_back(bench, api):
    first = await collect(bench, api, conversation(api), 1, session=SESSION)
    longer = [*first["messages"], *one_turn(api, "call_12", result_text(12))]

    same = await collect(bench, api, longer, PLENTY, session=SESSION)
    less = await collect(bench, api, [*longer, *one_turn(api, "call_13", result_text(13))], 1, session=SESSION)

    assert (same["messages"], same["evicted"]) == (longer, first["evicted"])
    assert less["evicted"] > first["evicted"]
    assert await leads_back_to(bench, less) == [result_text(n) for n in range(14)]
    listed = (await bench.call("segment.list", session=SESSION))["segments"]
    assert [one["id"] for one in listed][1:] == [f"call_{n}" for n in range(14)]
    assert await found(bench, '"get it back"') == []


async def test_a_tombstone_of_a_text_is_known_again_although_a_texts_name_is_made_of_it(bench):
    goal = {"role": "user", "content": f"<goal_context>\n{text_of('GOAL')}</goal_context>"}
    turns = [{"role": role, "content": f"{role} {n}"} for n in range(6) for role in ("assistant", "user")]
    messages = [TASK, goal, *turns]
    first = await collect(bench, "openai_responses", messages, 1, session=SESSION)
    assert first["messages"][1]["content"].startswith("[evicted by ctxgc: attachment: goal, ")

    again = await collect(bench, "openai_responses", first["messages"], PLENTY, session=SESSION)

    assert (again["messages"], again["evicted"]) == (first["messages"], first["evicted"])
    assert await found(bench, '"get it back"') == []


@pytest.mark.parametrize("tag", ["system-reminder", "task-notification", "bash-stdout", "skill", "environment_context"])
@pytest.mark.parametrize("api", [*FORMATS, "openai_responses"])
async def test_a_caller_of_its_own_writes_no_agents_wrappers(bench, api, tag):
    wrapper = {"role": "user", "content": f"<{tag}>\n{text_of('WORDS')}</{tag}>"}
    turns = [{"role": role, "content": f"{role} {n}"} for n in range(6) for role in ("assistant", "user")]

    reply = await collect(bench, api, [TASK, wrapper, *turns], 1)

    assert (reply["evicted"], reply["messages"][1]) == (0, wrapper)


async def test_of_a_result_with_a_message_folded_into_it_the_words_stay_and_the_tools_own_goes(bench):
    words = "<system-reminder>\nThe user sent a new message while you were working:\nStop.\n</system-reminder>"
    turn = list(one_turn("anthropic_messages", "a", f"{text_of('OUTPUT')}\n\n{words}"))
    turns = [{"role": role, "content": f"{role} {n}"} for n in range(6) for role in ("assistant", "user")]

    reply = await collect(bench, "anthropic_messages", [TASK, *turn, *turns], 1, session=SESSION)
    again = await collect(bench, "anthropic_messages", reply["messages"], PLENTY, session=SESSION)

    shown = said(reply["messages"][2])
    assert shown.startswith("[evicted by ctxgc: look_up, ")
    assert shown.endswith(words)
    assert again["messages"] == reply["messages"]
    assert await stood_for(bench, reply["session"], shown) == text_of("OUTPUT").rstrip()


@pytest.mark.parametrize("api", FORMATS)
async def test_a_tombstone_in_a_list_that_is_no_longer_true_is_a_text_like_any_other(bench, api):
    first = await collect(bench, api, conversation(api), 1, session=SESSION)
    stone = said(first["messages"][2])
    elsewhere = [TASK, *one_turn(api, "another call", stone), *first["messages"][1:]]
    await collect(bench, api, elsewhere, PLENTY, session=SESSION)
    await bench.call("stash.forget", session="client:" + SESSION, ids=["call_0"])

    reply = await collect(bench, api, elsewhere, 1, session=SESSION)

    assert reply["messages"] == elsewhere
    assert await found(bench, '"get it back"') == [stone]


CALLS = st.lists(st.tuples(st.sampled_from(["a", "b", "a~2"]), st.integers(0, 5)), max_size=12)
"""Results of a call each: under which id, and which text."""


@settings(suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(CALLS, st.sampled_from([1, 1500, PLENTY])), min_size=1, max_size=6), st.sampled_from(FORMATS))
async def test_i1_i9_whatever_lists_a_host_sends_each_body_is_there_or_its_tombstone_leads_back_to_it(lists, api):
    async with bench_on(SqliteStash(MEMORY)) as bench:
        for calls, budget_tokens in lists:
            messages = [TASK, *(m for id_, n in calls for m in one_turn(api, id_, text_of(f"TEXT{n}")))]

            reply = await collect(bench, api, messages, budget_tokens, session=SESSION)

            assert await leads_back_to(bench, reply) == [text_of(f"TEXT{n}") for _, n in calls]
            assert len(reply["messages"]) == len(messages)


@pytest.mark.parametrize("api", FORMATS)
async def test_a_tombstone_before_markers_is_known_again_and_every_part_keeps_what_stood_beside_its_text(bench, api):
    beside = {"cache_control": {"type": "ephemeral"}}
    parts = [{"type": "text", "text": text_of("ONE")}, {"type": "text", "text": text_of("TWO"), **beside}]
    turns = [{"role": role, "content": f"{role} {n}"} for n in range(6) for role in ("assistant", "user")]
    messages = [TASK, *one_turn(api, "a", parts), *turns]

    first = await collect(bench, api, messages, 1, session=SESSION)
    again = await collect(bench, api, first["messages"], PLENTY, session=SESSION)

    shown = said(first["messages"][2])
    assert await stood_for(bench, first["session"], shown[0]["text"]) == text_of("ONE") + text_of("TWO")
    assert [part | {"text": ""} for part in shown] == [part | {"text": ""} for part in parts]
    assert (again["messages"], again["evicted"]) == (first["messages"], first["evicted"])
    assert await found(bench, '"get it back"') == []


@pytest.mark.parametrize("api", FORMATS)
async def test_a_result_of_texts_no_longer_than_their_markers_stays(bench, api):
    turns = [{"role": role, "content": f"{role} {n}"} for n in range(6) for role in ("assistant", "user")]
    parts = [{"type": "text", "text": f" word{n % 7}"} for n in range(200)]
    messages = [TASK, *one_turn(api, "a", parts), *one_turn(api, "b", [{"type": "text", "text": text_of("B")}]), *turns]

    reply = await collect(bench, api, messages, 1)

    assert (reply["evicted"], reply["messages"][2]) == (1, messages[2])


async def test_a_signed_chat_turn_comes_back_as_it_was_and_the_result_of_its_call_goes(bench):
    said_by_model, answer = one_turn("openai_chat", "a", text_of("OUTPUT"))
    signed = said_by_model | {"reasoning": text_of("WHY"), "reasoning_details": [{"text": text_of("WHY")}]}
    turns = [{"role": role, "content": f"{role} {n}"} for n in range(6) for role in ("assistant", "user")]

    reply = await collect(bench, "openai_chat", [TASK, signed, answer, *turns], 1, session=SESSION)

    assert reply["messages"][1] == signed
    assert said(reply["messages"][2]).startswith("[evicted by ctxgc: look_up, ")
