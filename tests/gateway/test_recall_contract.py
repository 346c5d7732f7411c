"""What the recall tool promises over every API, streamed or not."""

import http.client
import json
import threading
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctxgc.gateway.editing import window_sync
from ctxgc.gateway.recall import service
from ctxgc.gateway.recall.reply_filter import NO_MORE, TOOL_NAME, Shown
from ctxgc.gateway.recall.service import REFUSED
from ctxgc.gateway.recall.tool import Exchange, inject_tool
from ctxgc.gateway.recall.wires import WIRES
from tests.gateway.recall_ways import WAYS, Scripted
from tests.gateway.stage import Stage
from tests.gateway.test_recall_tool import TEXT, Recalling

NEVER_S = 60.0
"""Longer than any client of these tests waits."""
SAID, DONE, OTHER = ("said", "I look it up. "), ("said", "That was it."), ("other", "call_other")

each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
both_ways = pytest.mark.parametrize("is_stream", [True, False], ids=["stream", "json"])


@pytest.fixture(autouse=True)
def no_head_start(monkeypatch):
    """This upstream answers at once; a recall in its reply would wait for what a real one's first byte is ahead of."""
    monkeypatch.setattr(window_sync, "HEAD_START_S", 0.01)


def recall(number=1):
    return ("recall", f"recall_{number}")


class Talker:
    """An agent of one API on a stage of its own, which has to stay without a refused request."""

    def __init__(self, stage, way, is_stream=True):
        self.stage, self.way, self.is_stream = stage, way, is_stream
        self.agent = way.agent_class(stream=is_stream)
        self.count = 0

    def send(self, *answers):
        self.stage.upstream.script = list(answers)
        return self.stage.send(self.agent.path, self.agent.body(), self.way.headers)

    def ask(self, *answers):
        """One request, answered by these; what the agent reads, and goes on with."""
        reply = self.send(*answers)
        self.stage.settle()
        assert reply.status == 200, reply.body
        assert self.stage.upstream.script == []
        assert TOOL_NAME.encode() not in reply.body
        assert b"recall_" not in reply.body
        parts, message = self.way.read(reply.body, self.is_stream)
        self.way.take(self.agent, message, self.count)
        self.count += 1
        return parts

    def sent(self):
        return [json.loads(received.body) for received in self.stage.upstream.received]

    def lists(self):
        """The list of each request, as the provider's cache sees it."""
        text = [json.dumps(one[self.way.list_name]) for one in self.sent()]
        return [json.loads(one.replace(', "cache_control": {"type": "ephemeral"}', "")) for one in text]


@contextmanager
def talking(way, is_stream=True, **settings_):
    upstream = Scripted()
    upstream.way = way
    with Stage(Recalling(), recall_tool="always", upstream=upstream, **settings_) as stage:
        yield Talker(stage, way, is_stream)
        assert stage.upstream.refused == []


def texts(parts):
    return "".join(value for kind, value in parts if kind == "said")


@each_way
@both_ways
def test_a_call_of_the_tool_alone_is_answered_before_the_agent_sees_anything(way, is_stream):
    with talking(way, is_stream) as talker:
        assert talker.ask([recall()], [DONE]) == [DONE]

        first, again = talker.lists()
        assert again[: len(first)] == first
        assert json.dumps(TEXT)[1:-1] in json.dumps(again[-1])
        assert [kind for kind, *_ in talker.stage.daemon.recalled] == ["stash.recall"]


@each_way
@both_ways
def test_after_text_the_same_message_goes_on(way, is_stream):
    with talking(way, is_stream) as talker:
        parts = talker.ask([SAID, recall()], [SAID, recall(2)], [DONE, OTHER])

    assert texts(parts) == SAID[1] + SAID[1] + DONE[1]
    assert parts[-1] == OTHER


@each_way
@both_ways
@pytest.mark.parametrize("order", [(OTHER, recall()), (recall(), OTHER), (recall(), OTHER, recall(2))])
def test_beside_other_calls_it_is_left_out_and_comes_back_with_its_result_later(way, is_stream, order):
    with talking(way, is_stream) as talker:
        assert talker.ask([SAID, *order]) == [SAID, OTHER]
        talker.ask([DONE])

        *_, later = talker.lists()
        text = json.dumps(later)
        places = [text.index(f'"{id_}"') for _, id_ in order]
        assert places == sorted(places)
        assert text.count(json.dumps(TEXT)[1:-1]) == len(order) - 1


@each_way
@both_ways
def test_what_was_exchanged_stands_in_every_later_request_so_that_the_prefix_is_the_same(way, is_stream):
    with talking(way, is_stream) as talker:
        talker.ask([("thought", "Hm."), SAID, recall()], [("thought", "So."), recall(2)], [DONE, OTHER])
        talker.ask([("other", "call_2"), recall(3)])
        talker.ask([recall(4)], [DONE])
        talker.ask([DONE])

        lists = talker.lists()[2:]
        for before, after in pairwise(lists):
            assert after[: len(before)] == before
        raw = talker.stage.upstream.received
        hidden = [json.dumps(one) for one in lists[0]]
        assert len(hidden) > 4
        assert len({json.dumps(one["tools"]) for one in talker.sent()}) == 1
        assert b"recall_1" in raw[-1].body


@each_way
def test_a_reply_without_a_recall_passes_byte_for_byte_but_for_the_echo_of_the_tool(way):
    answer = [("thought", "Hm."), SAID, OTHER]
    with talking(way) as talker:
        got = talker.send(answer).body
    with talking(way, mode="off") as talker:
        expected = talker.send(answer).body

    # What it was billed differs by the tool.
    assert without_usage(got) == without_usage(expected)


def without_usage(body):
    return [line for line in body.split(b"\n") if b'"usage": {' not in line] + [body.count(b"\n")]


@each_way
@both_ways
def test_everything_but_the_tool_goes_up_byte_for_byte(way, is_stream):
    with talking(way, is_stream) as talker:
        body = talker.agent.body()
        talker.ask([DONE])

        assert talker.stage.upstream.received[0].body.replace(b"," + WIRES[way.wire].tool, b"") == body


@each_way
def test_a_session_that_was_begun_without_the_tool_never_gets_it(way):
    with talking(way) as talker:
        talker.agent.run(2)

        assert talker.stage.ask(talker.agent.path, talker.agent.body(), way.headers) == talker.agent.body()
        talker.agent.run(1, 2)
        assert talker.stage.ask(talker.agent.path, talker.agent.body(), way.headers) == talker.agent.body()


@each_way
@both_ways
def test_a_model_that_recalls_without_end_is_stopped(way, is_stream):
    with talking(way, is_stream) as talker:
        assert talker.ask(*([recall(number)] for number in range(6))) == [("said", NO_MORE)]
        talker.ask([DONE])


@each_way
@both_ways
def test_a_request_refused_with_the_tool_goes_up_as_it_came_and_so_do_all_later_ones(way, is_stream):
    with talking(way, is_stream) as talker:
        body = talker.agent.body()
        assert talker.ask(400, [DONE]) == [DONE]
        assert talker.stage.upstream.last == body

        body = talker.agent.body()
        talker.ask([DONE])
        assert talker.stage.upstream.last == body


@each_way
@both_ways
def test_where_the_result_is_refused_the_model_is_told_and_later_requests_say_the_same(way, is_stream):
    with talking(way, is_stream) as talker:
        assert talker.ask([recall()], 400, [DONE]) == [DONE]
        again = talker.lists()[-1]
        talker.ask([DONE])

        assert REFUSED in json.dumps(again[-1])
        assert talker.lists()[-1][: len(again)] == again


@each_way
def test_an_upstream_that_limits_a_hidden_request_tells_the_agent(way):
    with talking(way) as talker:
        reply = talker.send([recall()], 429)

        assert (reply.status, reply.header("retry-after")) == (429, "17")


@each_way
def test_an_upstream_that_limits_in_the_middle_of_a_message_breaks_it_off(way):
    with talking(way) as talker, pytest.raises(http.client.IncompleteRead):
        talker.send([SAID, recall()], 529)


@each_way
def test_a_fault_of_our_own_lets_a_reply_pass_as_it_came(way, monkeypatch):
    with talking(way, mode="off") as talker:
        expected = talker.send([SAID, OTHER]).body
    monkeypatch.setattr(type(WIRES[way.wire].stream(Shown())), "_take", failing)

    with talking(way) as talker:
        got = talker.send([SAID, OTHER]).body.replace(
            b", " + json.dumps(json.loads(WIRES[way.wire].tool)).encode(), b""
        )

    assert without_usage(got) == without_usage(expected)


def failing(self, raw):
    raise RuntimeError("a fault of our own")


@each_way
def test_a_fault_after_something_was_kept_out_breaks_the_reply_off_and_ends_the_tool(way, monkeypatch):
    sieve = type(WIRES[way.wire].stream(Shown()))
    take = sieve._take

    def sometimes(self, raw):
        return failing(self, raw) if b"That " in raw else take(self, raw)

    monkeypatch.setattr(sieve, "_take", sometimes)
    with talking(way) as talker:
        with pytest.raises(http.client.IncompleteRead):
            talker.send([SAID, recall()], [DONE])
        talker.stage.settle()

        talker.stage.upstream._tools.clear()  # That they change costs the cache; to go on costs the session.
        body = talker.agent.body()
        assert talker.stage.ask(talker.agent.path, body, way.headers) == body


@each_way
def test_a_request_that_takes_too_long_to_dress_goes_up_as_it_came(way, monkeypatch):
    has_passed = threading.Event()
    monkeypatch.setattr(service, "AT_ONCE_BYTES_MAX", 0)
    monkeypatch.setattr(service, "inject_tool", lambda *_, **__: has_passed.wait(NEVER_S))
    with talking(way, wait_s=0.05) as talker:
        body = talker.agent.body()

        assert talker.stage.ask(talker.agent.path, body, way.headers) == body
        has_passed.set()
        assert talker.stage.counters.recall_left_out == 1


@each_way
def test_a_fault_of_our_own_in_dressing_lets_a_request_pass_as_it_came(way, monkeypatch):
    monkeypatch.setattr(service, "inject_tool", lambda *_, **__: 1 / 0)
    with talking(way) as talker:
        body = talker.agent.body()

        assert talker.stage.ask(talker.agent.path, body, way.headers) == body
        assert talker.stage.counters.recall_left_out == 1


@each_way
def test_a_tool_that_is_there_stays_whoever_else_edits_the_window(way):
    with talking(way) as talker:
        talker.ask([recall()], [DONE])
        others = {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}
        talker.stage.ask(talker.agent.path, talker.agent.body(**others), way.headers)

        assert len({json.dumps(one["tools"]) for one in talker.sent()}) == 1
        assert b"recall_1" in talker.stage.upstream.last


@pytest.mark.parametrize(
    "more",
    [
        {"store": True},
        {"store": None},
        {"background": True},
        {"conversation": "conv_1"},
        {"previous_response_id": "resp_1"},
        {"input": [{"type": "additional_tools", "role": "developer", "tools": []}]},
    ],
)
def test_where_the_server_keeps_a_part_of_the_window_the_tool_stands_back(more):
    *_, way = WAYS
    with talking(way) as talker:
        body = talker.agent.body(**more)

        assert talker.stage.ask(talker.agent.path, body, way.headers) == body


def test_where_several_choices_are_asked_for_the_tool_stands_back():
    way = WAYS[1]
    with talking(way) as talker:
        body = talker.agent.body(n=2)

        assert talker.stage.ask(talker.agent.path, body, way.headers) == body


@each_way
def test_a_reply_that_was_cut_short_is_not_answered(way):
    cut = {
        "anthropic_messages": (b'"tool_use", "stop_seq', b'"max_tokens", "stop_seq'),
        "openai_chat": (b'"tool_calls"}', b'"length"}'),
    }
    old, new = cut.get(way.wire, (b"response.completed", b"response.incomplete"))
    answer = way.answer([SAID, recall()], json.loads(way.agent_class().body()), (1, 1, 0))
    data = b"".join(way.events(answer)).replace(old, new)
    assert new in data
    sieve = WIRES[way.wire].stream(Shown())

    got = sieve.feed(data)

    assert sieve.calls() == []
    assert TOOL_NAME.encode() not in got + sieve.end()


KINDS = st.lists(st.sampled_from(["said", "thought", "recall"]), max_size=4)


@each_way
@given(st.lists(KINDS.filter(lambda kinds: "recall" in kinds), max_size=3), KINDS, st.booleans(), st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_replies_in_any_cuts_are_one_valid_message_and_are_said_later_as_they_were(
    way, hidden, last, calls_others, data
):
    """The list with its exchanges woven in is the one that the upstream had seen when it was asked again."""
    wire, agent, numbers = WIRES[way.wire], way.agent_class(), iter(range(1000))
    replies = [ordered(way, [(kind, named(kind, numbers)) for kind in kinds]) for kinds in hidden]
    final = [(kind, named(kind, numbers)) for kind in last if calls_others or kind != "recall"]
    replies.append(ordered(way, [*final, OTHER if calls_others else DONE]))
    body = agent.body()
    request = inject_tool(wire, body, body, [])
    shown, exchanges, got = Shown(), [], b""
    for parts in replies:
        events = b"".join(way.events(way.answer(parts, json.loads(request.body), (1, 1, 0))))
        cuts = sorted(data.draw(st.sets(st.integers(0, len(events)), max_size=5)) | {0, len(events)})
        sieve = wire.stream(shown)
        got += b"".join(sieve.feed(events[a:b]) for a, b in pairwise(cuts))
        if calls := sieve.calls():
            results = b",".join(wire.result(call.id, TEXT, is_error=False) for call in calls)
            names = tuple(call.id for call in calls)
            exchanges.append(Exchange(request.at, request.anchor, sieve.said(), names, results, sieve.has_others))
            request = request.append(sieve.said(), wire.turn(results)) if not sieve.has_others else request
    got += sieve.end()

    parts, message = way.read(got, True)
    way.take(agent, message, 0)
    later = inject_tool(wire, agent.body(), agent.body(), exchanges)

    assert texts(parts) == "".join(map(texts, replies))
    assert ("other", "call_other") in parts or not calls_others
    before, after = (json.loads(one.body)[way.list_name] for one in (request, later))
    assert plain(after)[: len(before)] == plain(before)
    assert later.body.count(TEXT_BYTES) == sum(kind == "recall" for parts in replies for kind, _ in parts)


TEXT_BYTES = json.dumps(TEXT)[1:-1].encode()


def plain(entries):
    return json.loads(json.dumps(entries).replace(', "cache_control": {"type": "ephemeral"}', ""))


def named(kind, numbers):
    return f"{kind}_{next(numbers)} "[: None if kind != "recall" else -1]


def ordered(way, parts):
    """Chat has no order among what is said, thought and called."""
    if way.wire != "openai_chat":
        return parts
    order = ["thought", "said", "recall", "other"]
    return sorted(parts, key=lambda part: order.index(part[0] if part[0] != "other" else "recall"))


def test_a_sieve_gives_up_on_an_event_without_end():
    sieve = WIRES["openai_chat"].stream(Shown())
    data = b"data: " + b"x" * (8 * 2**20)

    assert sieve.feed(data) + sieve.feed(b"y") == data + b"y"
