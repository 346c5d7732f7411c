"""The upstream of the other tests refuses and bills as the real ones do: else what passes here would prove nothing."""

import json

import pytest

from tests.gateway.agent import TOOLS, ChatAgent, ClaudeAgent, ResponsesAgent
from tests.gateway.upstream import Upstream, sign

ANTHROPIC, CHAT, RESPONSES = "anthropic_messages", "openai_chat", "openai_responses"
AGENTS = {ANTHROPIC: ClaudeAgent, CHAT: ChatAgent, RESPONSES: ResponsesAgent}


def refusal(wire, *requests):
    """Why the last of these requests of one session is refused, if it is; the others are taken."""
    upstream = Upstream()
    for asked in requests[:-1]:
        upstream._check(wire, asked, "s", json.dumps(asked).encode())
    try:
        upstream._check(wire, requests[-1], "s", json.dumps(requests[-1]).encode())
    except AssertionError as fault:
        return str(fault)
    return None


def asked(wire=ANTHROPIC, turns=6):
    return json.loads(AGENTS[wire]().run(turns).body())


@pytest.mark.parametrize("wire", AGENTS)
def test_what_an_agent_sends_is_taken_again_and_again(wire):
    assert refusal(wire, asked(wire), asked(wire, 7)) is None


@pytest.mark.parametrize("wire", AGENTS)
def test_a_call_without_its_result_is_refused_the_last_one_too(wire):
    orphan, pending = asked(wire), asked(wire)
    listed = "input" if wire == RESPONSES else "messages"
    del orphan[listed][2 if wire == ANTHROPIC else 3]
    pending[listed].pop()

    assert refusal(wire, orphan)
    assert refusal(wire, pending)


@pytest.mark.parametrize("wire", AGENTS)
def test_tools_that_change_or_go_are_refused(wire):
    emptied, gone, more = (asked(wire) for _ in range(3))
    emptied["tools"] = []
    del gone["tools"]
    more["tools"].append(TOOLS[0] | {"name": "Another"})

    assert [bool(refusal(wire, asked(wire), changed)) for changed in (emptied, gone, more)] == [True] * 3


def test_tools_that_come_as_an_item_must_not_change_either():
    def with_tools(*names):
        made = asked(RESPONSES)
        del made["tools"]
        tools = [{"name": name} for name in names]
        return made | {"input": [{"type": "additional_tools", "role": "developer", "tools": tools}, *made["input"]]}

    assert refusal(RESPONSES, with_tools("exec"), with_tools("exec")) is None
    assert refusal(RESPONSES, with_tools("exec"), with_tools("exec", "ctxgc_recall"))


def test_a_signed_turn_that_lost_its_thinking_or_was_edited_is_refused():
    dropped, edited = asked(), asked()
    for message in dropped["messages"]:
        if message["role"] == "assistant":
            message["content"] = [block for block in message["content"] if block["type"] != "thinking"]
    edited["messages"][3]["content"][-1]["input"]["more"] = 1

    assert refusal(ANTHROPIC, asked(), dropped) == "a turn lost its thinking"
    assert "signature" in refusal(ANTHROPIC, edited)


def test_a_breakpoint_of_where_to_cache_is_no_edit_of_a_signed_turn():
    made = asked()
    made["messages"][3]["content"][-1]["cache_control"] = {"type": "ephemeral"}

    assert sign(made["messages"][3]["content"]) == sign(asked()["messages"][3]["content"])
    assert refusal(ANTHROPIC, made) is None


def test_more_than_four_breakpoints_of_where_to_cache_are_refused():
    made = asked(turns=8)
    for message in made["messages"][0:8:2]:
        message["content"][-1]["cache_control"] = {"type": "ephemeral"}

    assert "cache_control" in refusal(ANTHROPIC, made)


def test_a_turn_under_encrypted_reasoning_is_taken_as_it_was_or_refused():
    edited, foreign = asked(RESPONSES), asked(RESPONSES)
    at = next(at for at, item in enumerate(edited["input"]) if item["type"] == "reasoning")
    edited["input"][at + 1]["content"][0]["text"] = "edited under it"
    foreign["input"][at]["encrypted_content"] = "of nobody"

    assert "reasoning" in refusal(RESPONSES, edited)
    assert "reasoning" in refusal(RESPONSES, foreign)


def cost(wire, mutate):
    upstream, agent = Upstream(), AGENTS[wire]()
    for number in range(12):
        made = json.loads(agent.body())
        mutate(made, number)
        upstream._bill(wire, made, "s")
        agent.run(1, number)
    return upstream.bills["s"].cost


def as_is(made, number):
    pass


def without_breakpoints(value, number):
    if isinstance(value, dict):
        value.pop("cache_control", None)
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        without_breakpoints(part, number)


def renamed(made, number):
    made["model"] = f"m{number}"


def recalled(made, number):
    for item in made["input"]:
        if item["type"] == "function_call":
            item["arguments"], item["call_id"] = json.dumps({"turn": number}), f"c{number}"


def sorted_tools(made, number):
    made["tools"][0]["description"] = f"{number}"


@pytest.mark.parametrize(
    ("wire", "mutate"),
    [
        (ANTHROPIC, without_breakpoints),
        (RESPONSES, recalled),
        (ANTHROPIC, sorted_tools),
        *((wire, renamed) for wire in AGENTS),
    ],
)
def test_what_spoils_the_cache_is_billed(wire, mutate):
    assert cost(wire, mutate) > 2 * cost(wire, as_is)
