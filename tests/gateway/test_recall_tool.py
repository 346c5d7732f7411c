"""The recall tool: answered in the gateway, and never seen by the agent."""

import http.client
import json
from copy import deepcopy
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.gateway.daemon_client import DaemonClient
from ctxgc.gateway.recall.anthropic import AnthropicFilter, AnthropicTool, AnthropicWhole
from ctxgc.gateway.recall.reply_filter import NO_MORE, TOOL_NAME, Shown
from ctxgc.gateway.recall.service import REFUSED
from ctxgc.gateway.recall.tool import Exchange, inject_tool
from ctxgc.protocol.blocking_client import CallFailed
from tests.daemon.harness import DaemonProcess
from tests.gateway.agent import ClaudeAgent, file_text
from tests.gateway.stage import CLAUDE, SESSION, ScriptedDaemon, Stage
from tests.gateway.upstream import deltas, sign

TEXT = "def lost():\n    return 'and found'\n"
OTHER = {"type": "tool_use", "id": "call_other", "name": "Read", "input": {"file_path": "/src/x.py"}}
DONE = {"type": "text", "text": "That was it."}
WIRE = AnthropicTool()
TOOL = WIRE.tool


def recall(number=1, **given):
    return {"type": "tool_use", "id": f"recall_{number}", "name": TOOL_NAME, "input": {"id": "#7"} | given}


def signed(*blocks):
    thought = {"type": "thinking", "thinking": "What was in it?", "signature": ""}
    thought["signature"] = sign([thought, *blocks])
    return [thought, *blocks]


class Recalling(ScriptedDaemon):
    """A daemon that has one text to bring back."""

    text = TEXT

    def __init__(self, *more):
        super().__init__(*more)
        self.recalled = []
        self.scopes = set()

    async def call(self, method, params, timeout_s):
        if method not in ("stash.recall", "segment.get"):
            return await super().call(method, params, timeout_s)
        self.recalled.append((method, params["session"], params["id"]))
        self.scopes.add(params["scope"])
        if self.text is None:
            raise CallFailed("not_found", -32003, "no such segment")
        segment = {"pieces": [{"name": "result", "text": self.text, "bytes": len(self.text), "next_offset": -1}]}
        return {"recalled": [segment]} if method == "stash.recall" else segment


@pytest.fixture
def stage():
    with Stage(Recalling(), recall_tool="always") as made:
        yield made
        assert made.upstream.refused == []


def message_of(reply):
    """The blocks that an agent reads out of a reply; of a stream, with its rules checked."""
    if "event-stream" not in reply.header("content-type"):
        return json.loads(reply.body)["content"], json.loads(reply.body)["stop_reason"]
    blocks, stop, is_open = [], None, None
    for event in reply.body.decode().split("\n\n")[:-1]:
        data = json.loads(event.partition("data: ")[2])
        kind = data["type"]
        assert is_open is None or kind.startswith("content_block") or kind == "ping"
        if kind == "content_block_start":
            assert data["index"] == len(blocks), "blocks are numbered without a gap"
            blocks.append(data["content_block"] | {"partial": ""})
            is_open = data["index"]
        elif kind == "content_block_delta":
            assert data["index"] == is_open
            for name in data["delta"].keys() - {"type"}:
                key = "partial" if name == "partial_json" else name
                blocks[-1][key] += data["delta"][name]
        elif kind == "content_block_stop":
            assert data["index"] == is_open
            is_open = None
        elif kind == "message_delta":
            stop = data["delta"]["stop_reason"]
    assert reply.body.count(b"event: message_start") == reply.body.count(b"event: message_stop") == 1
    for block in blocks:
        partial = block.pop("partial")
        if block["type"] == "tool_use":
            block["input"] = json.loads(partial)
    return blocks, stop


def ask(stage, agent, *answers):
    """One request of the agent, answered by these; what the agent reads."""
    stage.upstream.script = deepcopy(list(answers))
    reply = stage.send(agent.path, agent.body())
    stage.settle()
    assert reply.status == 200, reply.body
    assert stage.upstream.script == []
    assert TOOL_NAME.encode() not in reply.body
    assert b"recall_" not in reply.body
    return message_of(reply)


def taken(agent, blocks, number=0):
    """The agent goes on with these blocks as its own."""
    if not agent.take({"content": blocks}, number):
        agent.messages.append({"role": "user", "content": [{"type": "text", "text": "Go on."}]})
    return agent


def sent(stage):
    return [json.loads(received.body) for received in stage.upstream.received]


both_ways = pytest.mark.parametrize("is_stream", [True, False], ids=["stream", "json"])


@both_ways
def test_a_call_of_the_tool_alone_is_answered_before_the_agent_sees_anything(stage, is_stream):
    agent = ClaudeAgent(stream=is_stream)

    read = ask(stage, agent, signed(recall()), [DONE])

    first, again = sent(stage)
    assert read[0][-1:] == [DONE]
    assert read[1] == "end_turn"
    assert again["messages"][: len(first["messages"])] == first["messages"]
    assert TEXT in again["messages"][-1]["content"][0]["content"]
    assert stage.daemon.recalled == [("stash.recall", f"claude_code:{CLAUDE['x-claude-code-session-id']}", "#7")]


@pytest.mark.parametrize("scope", ["session", "any"])
def test_the_tool_asks_within_its_session_unless_the_user_set_another_scope(scope):
    with Stage(Recalling(), recall_tool="always", **({"recall_scope": scope} if scope == "any" else {})) as stage:
        ask(stage, ClaudeAgent(), signed(recall()), [DONE])

        assert stage.daemon.scopes == {scope}


@both_ways
def test_after_text_the_same_message_goes_on(stage, is_stream):
    said = {"type": "text", "text": "I look it up."}

    blocks, stop = ask(stage, ClaudeAgent(stream=is_stream), [said, recall()], [said, recall(2)], [DONE, OTHER])

    assert blocks == [said, said, DONE, OTHER]
    assert stop == "tool_use"


@both_ways
@pytest.mark.parametrize("is_signed", [True, False])
def test_beside_other_calls_it_is_left_out_and_its_result_joins_theirs(stage, is_stream, is_signed):
    blocks = [{"type": "text", "text": "Both."}, OTHER, recall()]
    agent = ClaudeAgent(stream=is_stream)

    read, stop = ask(stage, agent, signed(*blocks) if is_signed else blocks)
    assert (read[-1], stop) == (OTHER, "tool_use")
    ask(stage, taken(agent, read), [DONE])

    (message, results) = sent(stage)[1]["messages"][-2:]
    assert message["content"][-1] == recall()
    assert [block["tool_use_id"] for block in results["content"]] == ["recall_1", "call_other"]


@both_ways
def test_what_was_exchanged_stands_in_every_later_request_so_that_the_prefix_is_the_same(stage, is_stream):
    agent = ClaudeAgent(stream=is_stream)
    said = {"type": "text", "text": "I look it up."}

    read, _ = ask(stage, agent, signed(said, recall()), signed(recall(2)), signed(DONE, OTHER))
    ask(stage, taken(agent, read), [OTHER | {"id": "call_2"}])
    ask(stage, taken(agent, [OTHER | {"id": "call_2"}], 1), [DONE])

    hidden, later, latest = (list(plain(request)) for request in sent(stage)[2:])
    assert later[: len(hidden)] == hidden
    assert latest[: len(later)] == later


def plain(request):
    """The messages as a cache sees them."""
    text = json.dumps(request["messages"]).replace(', "cache_control": {"type": "ephemeral"}', "")
    return json.loads(text)


def test_everything_but_the_tool_goes_up_byte_for_byte(stage):
    agent = ClaudeAgent("Zwölf\u2028\U0001f600")
    stage.ask(agent.path, agent.body())
    body = agent.run(3).body(odd=1.50)

    got = stage.ask(agent.path, body)

    assert got.count(b"," + TOOL) == 1
    assert got.replace(b"," + TOOL, b"") == body


def test_a_reply_without_a_recall_passes_byte_for_byte(stage):
    agent = ClaudeAgent()
    stage.upstream.script = [signed(DONE, OTHER)]

    got = stage.send(agent.path, agent.body()).body

    with Stage(mode="off") as plain_stage:
        plain_stage.upstream.script = [signed(DONE, OTHER)]
        expected = plain_stage.send(agent.path, agent.body()).body
    # What it was billed differs by the tool.
    assert got.partition(b"event: ping")[2] == expected.partition(b"event: ping")[2]


def test_the_tools_are_the_same_in_every_request_of_a_session(stage):
    agent = ClaudeAgent()
    stage.daemon.victims = lambda ids: [i for i in ids if i.startswith("call_")]
    for number in range(4):
        ask(stage, agent, [recall(number)], [OTHER | {"id": f"call_{number}"}])
        taken(agent, [OTHER | {"id": f"call_{number}"}], number)

    assert len({json.dumps(request["tools"]) for request in sent(stage)}) == 1
    assert stage.counters.edited > 0


def test_a_session_that_began_without_the_tool_never_gets_it():
    with Stage(Recalling(), mode="shadow", recall_tool="always") as stage:
        agent = ClaudeAgent().run(2)
        stage.ask(agent.path, agent.body())
        stage.running.settings = type(stage.running.settings)(
            upstreams=stage.running.settings.upstreams, modes={}, mode="on", recall_tool="always"
        )

        got = stage.ask(agent.path, agent.body())

    assert TOOL_NAME.encode() not in got


def test_a_request_without_tools_is_left_alone(stage):
    agent = ClaudeAgent(tools=[])

    assert stage.ask(agent.path, agent.body()) == agent.body()


def test_tombstones_name_the_tool(stage):
    victim = {"text": "[evicted by ctxgc: Read; get it back: ctxgc recall 123456789-7]", "marker": "[gone]"}
    agent = ClaudeAgent()
    stage.daemon.victims = lambda ids: ["call_0"]
    stage.daemon.out["call_0"] = victim

    stage.ask(agent.path, agent.body())
    stage.ask(agent.run(3).path, agent.body())
    got = stage.ask(agent.path, agent.body())

    assert f"get it back: {TOOL_NAME} 123456789-7".encode() in got


def test_a_recall_that_fails_says_so_to_the_model(stage):
    stage.daemon.text = None

    ask(stage, ClaudeAgent(), [recall()], [recall(2, id=7)], [DONE])

    failed, badly_called = sent(stage)[1]["messages"][-1], sent(stage)[2]["messages"][-1]
    assert failed["content"][0]["is_error"]
    assert "no such segment" in failed["content"][0]["content"]
    assert badly_called["content"][0]["is_error"]


def test_a_long_text_comes_in_pages_and_only_the_first_is_a_fault(stage):
    stage.daemon.text = "0123456789" * 15_000

    ask(stage, ClaudeAgent(), [recall()], [recall(2, page=2)], [recall(3, page=3)], [DONE])

    pages = [request["messages"][-1]["content"][0]["content"] for request in sent(stage)[1:]]
    assert "".join(page.split("\n")[1] for page in pages) == stage.daemon.text
    assert ["goes on with page" in page for page in pages] == [True, True, False]
    assert [method for method, *_ in stage.daemon.recalled] == ["stash.recall", "segment.get", "segment.get"]


@both_ways
def test_a_model_that_recalls_without_end_is_stopped(stage, is_stream):
    blocks, stop = ask(stage, ClaudeAgent(stream=is_stream), *([recall(number)] for number in range(6)))

    assert blocks == [{"type": "text", "text": NO_MORE}]
    assert stop == "end_turn"
    assert len(stage.upstream.received) == 6


def test_the_first_prompt_is_what_the_daemon_learns_from(stage):
    agent = ClaudeAgent()
    read, _ = ask(stage, agent, [recall()], [DONE])
    ask(stage, taken(agent, read), [DONE])

    first, again = stage.upstream.received[0].body, stage.upstream.received[1].body
    told = stage.daemon.told[-1]["usage"]
    assert told["cache_creation_tokens"] * 4 < len(first) < len(again)
    assert told["output_tokens"] == 40
    assert stage.counters.recall_tokens > 0


def test_a_list_that_was_rewound_carries_nothing_of_what_was_exchanged_in_it(stage):
    agent = ClaudeAgent()
    ask(stage, agent, [recall()], [DONE])

    ask(stage, taken(ClaudeAgent("Another beginning."), [DONE]), [DONE])

    assert b"recall_1" not in stage.upstream.last


@both_ways
def test_a_request_refused_with_the_tool_goes_up_as_it_came_and_so_do_all_later_ones(stage, is_stream):
    agent = ClaudeAgent(stream=is_stream)

    ask(stage, agent, 400, [DONE])
    assert stage.upstream.last == agent.body()
    taken(agent, [DONE])

    assert stage.ask(agent.path, agent.body()) == agent.body()


@both_ways
def test_where_the_result_is_refused_the_model_is_told_and_later_requests_say_the_same(stage, is_stream):
    agent = ClaudeAgent(stream=is_stream)

    read = ask(stage, agent, [recall()], 400, [DONE])
    again = sent(stage)[-1]["messages"]
    ask(stage, taken(agent, read[0]), [DONE])

    assert read == ([DONE], "end_turn")
    assert again[-1]["content"][0]["content"] == REFUSED
    assert sent(stage)[-1]["messages"][1 : len(again)] == again[1:]


def test_where_every_result_is_refused_after_text_the_message_is_ended(stage):
    blocks, stop = ask(stage, ClaudeAgent(), [DONE, recall()], 400, 400)

    assert blocks == [DONE, {"type": "text", "text": NO_MORE}]
    assert stop == "end_turn"


def test_an_upstream_that_limits_a_hidden_request_tells_the_agent(stage):
    agent = ClaudeAgent()
    stage.upstream.script = [[recall()], 429]

    reply = stage.send(agent.path, agent.body())

    assert (reply.status, reply.header("retry-after")) == (429, "17")


def test_an_upstream_that_limits_in_the_middle_of_a_message_breaks_it_off(stage):
    agent = ClaudeAgent()
    stage.upstream.script = [[DONE, recall()], 529]

    with pytest.raises(http.client.IncompleteRead):
        stage.send(agent.path, agent.body())


def test_a_real_daemon_brings_back_what_a_tombstone_names():
    daemon, agent = DaemonProcess(), ClaudeAgent(size=8000)
    try:
        with Stage(DaemonClient(daemon.start().socket), wait_s=5.0, recall_tool="always") as stage:
            stage.ask(agent.path, agent.body())
            stage.ask(agent.run(24).path, agent.body())
            stage.pause()
            tombstone = stage.ask(agent.run(1, 24).path, agent.body()).partition(b"get it back: ctxgc_recall ")[2]
            name = tombstone.partition(b"]")[0].decode()

            ask(stage, agent, [recall(id=name)], [DONE])

            assert stage.upstream.refused == []
    finally:
        daemon.close()
    (result,) = sent(stage)[-1]["messages"][-1]["content"]
    assert not result.get("is_error")
    assert "page 1 of 1" in result["content"]
    assert any(file_text(number, 8000) in result["content"] for number in range(24))


def test_what_was_recalled_is_evicted_again_by_the_second_collection_and_never_between(stage):
    agent, held = ClaudeAgent(), []
    stage.daemon.victims = lambda ids: [f"call_{number}" for number in range(len(held) // 3)]
    ask(stage, agent, [recall()], [OTHER | {"id": "call_0"}])
    for number in range(12):
        taken(agent, [OTHER | {"id": f"call_{number}"}], number)
        ask(stage, agent, [OTHER | {"id": f"call_{number + 1}"}])
        held.append((stage.upstream.last.count(b'"[evicted '), json.dumps(TEXT)[1:-1].encode() in stage.upstream.last))

    collections, texts = zip(*held, strict=True)
    assert max(collections) > 2
    assert [count_ < 2 for count_ in collections] == list(texts)
    assert b"evicted again" in stage.upstream.last


def test_an_answer_asked_for_anew_takes_the_place_of_the_one_with_a_recall(stage):
    agent = ClaudeAgent()
    ask(stage, agent, [recall()], [DONE])

    ask(stage, agent, [DONE])
    ask(stage, taken(agent, [DONE]), [DONE])

    assert b"recall_1" not in stage.upstream.last


def test_a_message_that_its_agent_cut_short_carries_no_exchange_any_more(stage):
    said = {"type": "text", "text": "I look it up."}
    agent = ClaudeAgent()
    ask(stage, agent, [said, said, recall()], [DONE])

    agent = taken(agent, [said])
    got = stage.ask(agent.path, agent.body())

    assert got.replace(b"," + TOOL, b"") == agent.body()


def test_a_reply_that_will_be_looked_into_is_asked_for_uncompressed(stage):
    agent = ClaudeAgent()

    stage.ask(agent.path, agent.body(), CLAUDE | {"Accept-Encoding": "gzip, br"})

    asked = [value for name, value in stage.upstream.received[-1].headers if name.lower() == "accept-encoding"]
    assert asked == ["identity"]


BLOCKS = st.lists(st.sampled_from(["said", "recall"]), max_size=4)


@given(st.lists(BLOCKS.filter(lambda kinds: "recall" in kinds), max_size=4), BLOCKS, st.booleans())
def test_whatever_a_reply_was_made_of_the_next_request_says_it_as_it_was(hidden, last, calls_others):
    """The list with its exchanges woven in is the one that the upstream would have seen with the tool in sight."""
    numbers = count()
    kinds = {
        "said": lambda: {"type": "text", "text": f"Text {next(numbers)}."},
        "recall": lambda: recall(next(numbers)),
    }
    first = {"role": "user", "content": [{"type": "text", "text": "Begin."}]}
    last = [kind for kind in last if calls_others or kind == "said"]
    replies = [[kinds[kind]() for kind in kinds_of] for kinds_of in (*hidden, last)]
    replies[-1].append(OTHER if calls_others else DONE)
    shown, exchanges, expected = Shown(), [], [first]
    empty = inject_tool(WIRE, asking([first]), asking([first]), []).anchor
    for blocks in replies:
        read = AnthropicWhole(shown, json.dumps({"content": blocks}).encode())
        names = [call.id for call in read.calls()]
        results = [{"type": "tool_result", "tool_use_id": name, "content": TEXT} for name in names]
        expected += [{"role": "assistant", "content": blocks}, {"role": "user", "content": results}]
        if results:
            text = b",".join(json.dumps(result).encode() for result in results)
            exchanges.append(Exchange(1, empty, read.said(), tuple(names), text, read.has_others))
    own = {"type": "tool_result", "tool_use_id": "call_other", "content": "x"} if calls_others else DONE
    expected[-1]["content"].append(own)
    merged = [json.loads(part) for part in shown.parts]

    body = asking([first, {"role": "assistant", "content": merged}, {"role": "user", "content": [own]}])

    assert json.loads(inject_tool(WIRE, body, body, exchanges).body)["messages"] == expected


def asking(messages):
    return json.dumps({"tools": [{"name": "Read"}], "messages": messages}).encode()


def test_events_of_another_shape_pass_as_they_came():
    odd = [
        b"data: [DONE]\n\n",
        b"event: content_block_start\ndata: {}\n\n",
        b'data: {"type":"content_block_delta","index":[1]}\n\n',
        b'data: {"type":"content_block_start","index":"a","content_block":{}}\r\n\r\n',
        b": a comment\n\n",
        b"half an event",
    ]
    sieve = AnthropicFilter(Shown())

    assert b"".join(map(sieve.feed, odd)) + sieve.end() == b"".join(odd)


def test_an_agent_that_hangs_up_ends_what_is_asked_for_it(stage):
    agent = ClaudeAgent()
    body = agent.body()
    head = f"POST {agent.path} HTTP/1.1\r\nHost: localhost\r\nx-claude-code-session-id: {SESSION}\r\n"
    connection = stage.raw(f"{head}x-test: stalls\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    stage.until(lambda: stage.upstream.received)

    connection.close()

    stage.until(stage.upstream.hung_up.is_set)
    assert stage.counters.upstream_faults == 0


def test_a_stream_cut_anywhere_is_sieved_the_same():
    answer = {"content": [*signed(DONE, OTHER), recall()], "stop_reason": "tool_use", "usage": {"output_tokens": 3}}
    data = b"".join(deltas(answer))
    whole = AnthropicFilter(Shown())
    expected = whole.feed(data) + whole.end()

    for size in (1, 7, 100):
        sieve = AnthropicFilter(Shown())
        got = b"".join(sieve.feed(data[at : at + size]) for at in range(0, len(data), size)) + sieve.end()
        assert got == expected
        assert json.loads(sieve.said())["content"] == answer["content"]
        assert [call.input for call in sieve.calls()] == [{"id": "#7"}]
