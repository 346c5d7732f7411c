"""The ways in which rewriting gateways have broken clients, one test each; editing is in force in all of them.

The whole list, with tests elsewhere too: docs/design/gateway.md.
"""

import json
import re

import pytest

from tests.gateway.agent import TOOLS, ChatAgent, ClaudeAgent, ResponsesAgent, file_text
from tests.gateway.stage import CHAT, CLAUDE, MESSAGES, OPENAI, RESPONSES, SESSION, ScriptedDaemon, Stage, headers_for
from tests.gateway.upstream import sign


@pytest.fixture
def stage():
    """Everything that may be evicted is, but for the last two exchanges."""
    with Stage(ScriptedDaemon(lambda ids: [i for i in ids if i.startswith("call_")][:-2]), wait_s=5.0) as made:
        yield made


def collected(stage, agent, headers=None):
    """A request after a collection; the agent's own and what was received."""
    stage.ask(agent.path, agent.body(), headers)
    said = agent.input if isinstance(agent, ResponsesAgent) else agent.messages
    agent.run(1, sum(item.get("role") == "assistant" for item in said))
    body = agent.body()
    got = stage.ask(agent.path, body, headers)
    assert b"[evicted" in got
    assert len(got) < len(body)
    return body, got


def test_json_is_never_written_anew(stage):
    agent = ClaudeAgent().run(5)
    body = agent.body(metadata={"z": 1, "a": 1.0}).replace(b'"max_tokens": 9', b'"max_tokens":9e0 ,"u":"\\u00e9\\/"')
    stage.ask(MESSAGES, body)

    got = stage.ask(MESSAGES, body)

    assert b'"max_tokens":9e0 ,"u":"\\u00e9\\/"' in got
    assert b'{"z": 1, "a": 1.0}' in got
    assert list(json.loads(got)) == list(json.loads(body))


def test_unknown_fields_betas_and_headers_stay(stage):
    agent = ClaudeAgent().run(5)
    agent.messages[2]["content"][0]["citations"] = {"unknown": [True]}
    headers = CLAUDE | {"anthropic-beta": "fine-2030-01-01", "X-Stainless-Odd": "1"}

    body, got = collected(stage, agent, headers)

    assert json.loads(got)["messages"][2]["content"][0]["citations"] == {"unknown": [True]}
    sent = dict(stage.upstream.received[-1].headers)
    assert sent.items() >= headers.items()
    assert len(sent) == len(stage.upstream.received[-1].headers)
    assert sent["Content-Length"] == str(len(got)) != str(len(body))


def test_deltas_of_thinking_and_signatures_reach_the_client(stage):
    agent = ClaudeAgent().run(5)
    collected(stage, agent)

    blocks = [
        {"type": "thinking", "thinking": "Größe: nachdenken 😀", "signature": ""},
        {"type": "text", "text": "Fertig."},
        {"type": "tool_use", "id": "call_9", "name": "Read", "input": {"file_path": "/src/größe.py"}},
    ]
    blocks[0]["signature"] = sign(blocks)
    stage.upstream.script = [blocks]

    reply = stage.send(MESSAGES, agent.body())

    assert b"[evicted" in stage.upstream.last
    assert reassembled(reply.body) == blocks


def reassembled(stream):
    """The blocks of a stream as a client puts them together, delta by delta."""
    blocks, inputs = [], {}
    for line in stream.decode().splitlines():
        event = json.loads(line[6:]) if line.startswith("data: ") else {}
        if event.get("type") == "content_block_start":
            blocks.append(event["content_block"])
        elif event.get("type") == "content_block_delta":
            (_, kind), (name, text) = event["delta"].items()
            assert kind == ("input_json_delta" if name == "partial_json" else f"{name}_delta")
            if name == "partial_json":
                inputs[event["index"]] = inputs.get(event["index"], "") + text
            else:
                blocks[event["index"]][name] += text
    return [block | ({"input": json.loads(inputs[at])} if at in inputs else {}) for at, block in enumerate(blocks)]


def test_reasoning_that_only_the_server_can_read_passes_with_the_turn_that_it_led_to(stage):
    agent = ResponsesAgent().run(7)
    body, got = collected(stage, agent)

    kept = [
        [item for item in json.loads(raw)["input"] if item["type"] != "function_call_output"] for raw in (body, got)
    ]
    assert kept[0] == kept[1]
    assert sum(item["type"] == "reasoning" for item in kept[1]) > 2
    assert stage.upstream.refused == []


def test_utf_8_may_be_cut_anywhere_in_the_request(stage):
    agent = ClaudeAgent("Größe 😀 lesen").run(5)
    collected(stage, agent)
    body = agent.body()
    at = body.index("😀".encode())

    whole = stage.ask(MESSAGES, body)
    cut = stage.ask(MESSAGES, body, cuts=range(at - 2, at + 5))

    assert cut == whole


def test_the_tools_never_change(stage):
    agent = ClaudeAgent().run(3)
    for number in range(3, 9):
        agent.run(1, number)
        got = stage.ask(MESSAGES, agent.body())
        assert json.loads(got)["tools"] == TOOLS

    assert stage.upstream.refused == []


@pytest.mark.parametrize("make", [ClaudeAgent, ChatAgent])
def test_no_call_loses_its_result_and_no_result_its_call(stage, make):
    _, got = collected(stage, make().run(6))

    assert got.count(b"call_0") == 2
    assert stage.upstream.refused == []


def test_no_part_of_a_turn_under_a_signature_is_edited(stage):
    agent = ClaudeAgent()
    for number in range(6):
        call = {"type": "tool_use", "id": f"call_{number}", "name": "Write", "input": {"text": file_text(number)}}
        blocks = [{"type": "thinking", "thinking": "hm", "signature": ""}, call]
        blocks[0]["signature"] = sign(blocks)
        agent.take({"content": blocks}, number)

    _, got = collected(stage, agent)

    inputs = [m["content"][1]["input"] for m in json.loads(got)["messages"] if m["role"] == "assistant"][:6]
    assert inputs == [{"text": file_text(number)} for number in range(6)]
    assert stage.upstream.refused == []


def test_a_pending_call_is_never_edited(stage):
    agent = ClaudeAgent().run(4)
    collected(stage, agent)
    stage.daemon.out["call_9"] = {"text": "[evicted!]", "marker": "[gone]"}
    call = {"type": "tool_use", "id": "call_9", "name": "Write", "input": {"text": file_text(9)}}
    agent.messages.append({"role": "assistant", "content": [call]})

    stage.send(MESSAGES, agent.body(), CLAUDE | {"x-test": "limited"})

    got = json.loads(stage.upstream.last)
    assert "[evicted" in json.dumps(got["messages"][:-1])
    assert got["messages"][-1]["content"][0]["input"] == {"text": file_text(9)}


def test_a_summary_of_the_server_in_anthropics_list_lets_nothing_more_leave(stage):
    agent = ClaudeAgent().run(5)
    agent.messages[1]["content"].insert(0, {"type": "compaction", "content": "All was read."})

    stage.send(MESSAGES, agent.body(), CLAUDE | {"x-test": "limited"})
    stage.settle()

    assert stage.upstream.last == agent.body()
    assert stage.daemon.told[-1]["held"] == stage.daemon.told[-1]["ids"]
    assert stage.passed == {"compaction_item": 1}


def test_a_prompt_whose_beginning_the_server_keeps_is_left_alone(stage):
    agent = ResponsesAgent().run(5)
    collected(stage, agent)
    body = agent.body(previous_response_id="resp_1")

    stage.send(RESPONSES, body, OPENAI | {"x-test": "limited"})

    assert stage.upstream.last == body
    assert stage.passed == {"previous_response_id": 1}


def clears(**more):
    return {"edits": [{"type": "clear_tool_uses_20250919", "trigger": {"type": "tool_uses", "value": 4}} | more]}


def keeps(count):
    return {"keep": {"type": "tool_uses", "value": count}}


UNKNOWN_ORDERS = [
    {"edits": [{"type": "compact_20260112"}]},
    {"edits": [{"type": "clear_tool_uses_20250919", "keep": "all"}]},
    {"edits": [{"type": "clear_tool_uses_20250919"}, {"type": "compact_20260112"}]},
    {"edits": "all"},
]


@pytest.mark.parametrize("orders", [*UNKNOWN_ORDERS, clears(), clears(**keeps(0))])
def test_bodies_that_are_out_stay_out_whatever_the_host_orders_of_its_server(stage, orders):
    agent = ClaudeAgent().run(5)
    collected(stage, agent)
    before = stage.upstream.last

    got = stage.ask(MESSAGES, agent.run(2, start=5).body(context_management=orders))

    out = set(re.findall(rb"\[evicted \d+\]", before))
    assert out
    assert out <= set(re.findall(rb"\[evicted \d+\]", got))
    assert stage.daemon.told[-1].get("mode", "on") == "on"


@pytest.mark.parametrize("orders", UNKNOWN_ORDERS)
def test_nothing_more_leaves_beside_orders_that_ctxgc_does_not_know(orders):
    with Stage(ScriptedDaemon(lambda ids: [i for i in ids if i.startswith("call_")])) as stage:
        agent = ClaudeAgent().run(5)

        stage.send(MESSAGES, agent.body(context_management=orders), CLAUDE | {"x-test": "limited"})
        stage.settle()

        assert stage.daemon.told[-1]["held"] == stage.daemon.told[-1]["ids"]
        assert stage.passed == {"context_management": 1}
        assert stage.upstream.last == agent.body(context_management=orders)


@pytest.mark.parametrize(
    ("orders", "held"),
    [
        (clears(**keeps(2)), {"call_0", "call_1", "call_2"}),
        (clears(), {"call_0", "call_1"}),
        (clears(exclude_tools=["Read"]), {"call_1"}),
        (clears(trigger={"type": "tool_uses", "value": 5}), set()),
        (clears(trigger={"type": "input_tokens", "value": 100}), {"call_0", "call_1"}),
        (clears(trigger={"type": "input_tokens", "value": 100_000}), set()),
        ({"edits": [{"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 1}}]}, set()),
        ({"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}, set()),
        (None, set()),
    ],
)
def test_results_that_the_host_will_clear_are_left_to_it_and_no_others(orders, held):
    with Stage(ScriptedDaemon()) as stage:
        stage.ask(MESSAGES, ClaudeAgent().run(5).body(**({"context_management": orders} if orders else {})))

        assert set(stage.daemon.told[-1]["held"]) == held
        assert stage.passed == {}


def test_a_users_policy_may_allow_an_edit_of_the_host():
    daemon = ScriptedDaemon(lambda ids: ["call_0"])
    allowed = frozenset({"compact_20260112"})
    with Stage(daemon, wait_s=5.0, context_edits_allowed=allowed) as stage:
        agent = ClaudeAgent().run(4)
        more = {"context_management": {"edits": [{"type": "compact_20260112"}]}}
        stage.ask(MESSAGES, agent.body(**more))

        assert b"[evicted 0]" in stage.ask(MESSAGES, agent.body(**more))
        assert not daemon.told[-1]["held"]


def test_codex_goes_on_being_collected_behind_its_servers_summary(stage):
    agent = ResponsesAgent().run(5)
    collected(stage, agent)
    later = ResponsesAgent().run(4, start=10).input[1:]
    stage.ask(RESPONSES, agent.body(input=[*agent.input, {"type": "compaction_trigger"}]), OPENAI)
    summary = {"type": "compaction", "id": "cmp_1", "encrypted_content": "sealed"}
    stage.daemon.victims = lambda ids: [i for i in ids if i.startswith("call_1")]

    for count in range(1, len(later) + 1):
        if "output" in later[count - 1]:
            stage.send(RESPONSES, agent.body(input=[agent.input[0], summary, *later[:count]]), OPENAI)
            stage.settle()

    got = json.loads(stage.upstream.last)["input"]
    assert got[1] == summary
    assert b"[evicted" in stage.upstream.last
    assert {told["session"] for told in stage.daemon.told} == {stage.daemon.told[0]["session"]}
    assert stage.passed == {}


def test_a_users_policy_may_allow_editing_beside_a_summary_of_the_host():
    with Stage(
        ScriptedDaemon(lambda ids: ["call_0"]), wait_s=5.0, context_edits_allowed=frozenset({"compaction"})
    ) as on:
        agent = ClaudeAgent().run(4)
        summary = {"type": "compaction", "content": "All was read."}
        agent.messages[1]["content"].insert(0, summary)
        for _ in range(2):
            on.send(MESSAGES, agent.body(), CLAUDE | {"x-test": "limited"})
            on.settle()

    assert b"[evicted 0]" in on.upstream.last
    assert json.loads(on.upstream.last)["messages"][1]["content"][0] == summary


def test_an_id_that_a_host_reuses_for_another_content_is_not_edited_by_the_old_decision(stage):
    agent = ClaudeAgent().run(5)
    collected(stage, agent)
    agent.messages[2]["content"][0]["content"] = "another result altogether, under the same id " * 50

    got = stage.ask(MESSAGES, agent.body())

    assert b"another result altogether" in got
    assert got.count(b"[evicted") >= 1


def test_two_chats_that_begin_alike_are_not_mixed(stage):
    one, other = ClaudeAgent().run(5), ClaudeAgent().run(5)
    collected(stage, one)

    stage.daemon.victims = lambda ids: ()
    stage.daemon.out.clear()
    got = stage.ask(MESSAGES, other.body(), CLAUDE | {"x-claude-code-session-id": "another"})

    assert got == other.body()


def test_without_an_identity_nothing_is_edited_and_it_is_counted(stage):
    agent = ClaudeAgent().run(5)
    collected(stage, agent)
    headers = {"x-api-key": "sk-secret"}

    assert stage.ask(MESSAGES, agent.body(), headers) == agent.body()
    assert stage.passed == {"no_identity": 1}


def test_nothing_is_put_into_a_request_that_changes_from_turn_to_turn(stage):
    agent = ClaudeAgent().run(6)
    _, first = collected(stage, agent)
    stage.daemon.victims = lambda ids: ()

    for number in range(7, 12):
        agent.run(1, number)
        got = stage.ask(MESSAGES, agent.body())
        assert got.startswith(first[: first.rindex(b"[evicted")])


def test_what_was_recalled_stands_at_the_end_and_is_not_taken_for_what_is_out(stage):
    agent = ClaudeAgent().run(5)
    collected(stage, agent)
    recalled = {"type": "tool_result", "tool_use_id": "recall_1", "content": file_text(0)}
    call = {"type": "tool_use", "id": "recall_1", "name": "recall", "input": {"id": "call_0"}}
    agent.messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [recalled]}]

    got = stage.ask(MESSAGES, agent.body())

    assert json.loads(got)["messages"][-1]["content"][0]["content"] == file_text(0)


def test_a_restarted_gateway_goes_on_with_what_was_in_force(stage):
    agent = ClaudeAgent().run(5)
    _, before = collected(stage, agent)

    with Stage(stage.daemon, wait_s=5.0) as restarted:
        agent.run(1, 6)
        got = restarted.ask(MESSAGES, agent.body())

    head = before[: before.rindex(b"[evicted")]
    assert got.startswith(head)


def test_an_error_of_the_upstream_on_an_edited_request_is_no_empty_200(stage):
    agent = ClaudeAgent().run(5)
    collected(stage, agent)

    reply = stage.send(MESSAGES, agent.body(), CLAUDE | {"x-test": "overloaded"})

    assert reply.status == 529
    assert json.loads(reply.body)["error"]


def test_an_edited_request_that_is_refused_is_sent_as_it_came_and_never_edited_again(stage):
    agent = ChatAgent().run(5)
    stage.ask(CHAT, agent.body())
    check = stage.upstream._check

    def pedantic(wire, asked, session, body):
        check(wire, asked, session, body)
        assert b"[evicted" not in body, "no tombstones, please"

    stage.upstream._check = pedantic
    agent.run(1, 5)

    assert stage.ask(CHAT, agent.body()) == agent.body()
    assert stage.passed == {"refused": 1}
    assert stage.ask(CHAT, agent.body()) == agent.body()
    assert len(stage.upstream.refused) == 1


def test_a_sub_agent_that_its_agent_names_has_the_name_that_the_watcher_gives_it(stage):
    main, side = ClaudeAgent().run(5), ClaudeAgent("You are a helper: find the bug.", size=900).run(3)
    collected(stage, main)

    stage.ask(MESSAGES, side.body(), headers_for(MESSAGES) | {"x-claude-code-agent-id": "a7c41f9"})

    told = stage.daemon.told[-1]
    assert (told["session"], told["parent"]) == (f"claude_code:{SESSION}/a7c41f9", SESSION)


def test_a_sub_agent_with_an_id_of_its_own_is_the_child_that_its_headers_say(stage):
    parent, child = "ses_e080a04daffepnHJyZBSTASXWZ", "ses_f080a04daffepnHJyZBSTASXWZ"

    stage.ask(MESSAGES, ClaudeAgent().run(3).body(), {"x-opencode-session": child, "x-parent-session-id": parent})

    told = stage.daemon.told[-1]
    assert (told["session"], told["parent"]) == (f"opencode:{child}", parent)


def test_a_sub_agent_under_the_id_of_its_parent_is_a_session_of_its_own(stage):
    main, side = ClaudeAgent().run(5), ClaudeAgent("You are a helper: find the bug.", size=900).run(3)
    collected(stage, main)

    stage.ask(MESSAGES, side.body())
    stage.ask(MESSAGES, main.body())

    names = [told["session"] for told in stage.daemon.told]
    assert names[0] == names[1] == names[3] == f"claude_code:{SESSION}"
    assert names[2].startswith(f"claude_code:{SESSION}/")
    assert stage.daemon.told[2]["parent"] == SESSION
