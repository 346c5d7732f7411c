"""Whatever is evicted from whatever list, however the bytes are cut: valid, in order, and the rest untouched (I5)."""

import json
import re
from itertools import pairwise
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.gateway.body.splice_memo import LONG_CACHE_CONTROL, SHORT_CACHE_CONTROL
from tests.contracts import conversations, wire_rules
from tests.effort import effort
from tests.gateway.agent import ChatAgent, ClaudeAgent, ResponsesAgent
from tests.gateway.stage import CHAT, MESSAGES, RESPONSES, ScriptedDaemon, Stage, headers_for

PATHS = {"anthropic_messages": MESSAGES, "openai_chat": CHAT, "openai_responses": RESPONSES}
AGENTS = {"anthropic_messages": ClaudeAgent, "openai_chat": ChatAgent, "openai_responses": ResponsesAgent}


@pytest.fixture(scope="module")
def stage():
    with Stage(ScriptedDaemon(), wait_s=5.0) as made:
        yield made


def fresh(wire):
    return headers_for(PATHS[wire]) | {"x-claude-code-session-id": str(uuid4()), "x-test": "limited"}


def outside(body, spans):
    """The bytes between these spans."""
    ends = [0, *(span.end for span in spans)]
    starts = [*(span.start for span in spans), len(body)]
    return [body[a:b] for a, b in zip(ends, starts, strict=True)]


def is_edited_only_in(got, parts):
    """Whether `got` is these parts, in this order, with anything between them, and at most one breakpoint of our
    own."""
    places = [at for point in (SHORT_CACHE_CONTROL, LONG_CACHE_CONTROL) for at in places_of(point, got)]
    bare = [got[: at.start()] + got[at.end() :] for at in places]
    return any(is_made_of(one, parts) for one in [got, *bare])


def places_of(point, got):
    return re.finditer(re.escape(point), got)


def is_made_of(got, parts):
    if len(parts) == 1:
        return got == parts[0]
    at = len(parts[0])
    for part in parts[1:-1]:
        found = got.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return got.startswith(parts[0]) and got.endswith(parts[-1]) and len(got) - len(parts[-1]) >= at


@pytest.mark.parametrize("wire", PATHS)
@effort(25)
@given(data=st.data())
def test_any_victims_of_any_list_in_any_cut_leave_valid_and_untouched_elsewhere_i5(stage, wire, data):
    body = data.draw(conversations.requests(wire))
    window = WIRE_FORMATS[wire].parse(body)
    victims = data.draw(st.sets(st.sampled_from(sorted(window.spans)))) if window.spans else set()
    cuts = data.draw(st.sets(st.integers(1, len(body)), max_size=4))
    stage.daemon.__init__(lambda ids: victims & set(ids))
    headers = fresh(wire)

    for _ in range(2):  # The second time from the memo.
        stage.send(PATHS[wire], body, headers, cuts=cuts)
        stage.settle()

        got = stage.upstream.last
        out = victims & stage.daemon.out.keys()
        spans = sorted((span for id_ in out for span in window.spans[id_]), key=lambda span: span.start)
        assert is_edited_only_in(got, outside(body, spans))
        wire_rules.check(wire, got, is_rendered=False)
        kept = [(s.id, s.body) for s in window.segments if s.id not in out and s.skeleton.find(b"opaque") < 0]
        again = {s.body for s in WIRE_FORMATS[wire].parse(got).segments}
        assert {pieces for _, pieces in kept} <= again


@pytest.mark.parametrize("wire", AGENTS)
@effort(8)
@given(data=st.data())
def test_a_list_that_only_grows_is_edited_alike_from_its_beginning_and_parsed(stage, wire, data):
    agent = AGENTS[wire](size=300).run(4)
    victims = data.draw(st.sets(st.sampled_from([f"call_{n}" for n in range(4)]), min_size=1))
    stage.daemon.__init__(lambda ids: victims & set(ids))
    stage.upstream.refused.clear()
    headers = {key: value for key, value in fresh(wire).items() if key != "x-test"}
    stage.ask(agent.path, agent.body(), headers)

    for number in range(4, 7):
        agent.run(1, number)
        body, before = agent.body(), stage.counters.edited_from_prefix
        got = stage.ask(agent.path, body, headers)

        window = WIRE_FORMATS[wire].parse(body)
        spans = sorted((span for id_ in victims for span in window.spans[id_]), key=lambda span: span.start)
        assert is_edited_only_in(got, outside(body, spans))
        assert len(got) < len(body)
        assert stage.counters.edited_from_prefix == before + 1
    assert stage.upstream.refused == []


@pytest.mark.parametrize("wire", AGENTS)
def test_where_nothing_is_evicted_every_request_is_the_agents_own(stage, wire):
    stage.daemon.__init__()
    agent, headers = AGENTS[wire]().run(3), {k: v for k, v in fresh(wire).items() if k != "x-test"}
    for number in range(3, 8):
        agent.run(1, number)

        assert stage.ask(agent.path, agent.body(), headers) == agent.body()


@effort(10)
@given(st.sets(st.integers(1, 9), max_size=3))
def test_between_collections_an_edited_request_only_appends(stage, collects_at):
    agent, headers = ClaudeAgent(size=300), {k: v for k, v in fresh("anthropic_messages").items() if k != "x-test"}
    out, sent = set(), []
    stage.daemon.__init__(lambda ids: out & set(ids))
    for number in range(11):
        agent.run(1, number)
        if number in collects_at:
            out |= {f"call_{n}" for n in range(number)}
        sent.append(messages_of(stage.ask(agent.path, agent.body(), headers)))

    rewritten = [at for at, (before, after) in enumerate(pairwise(sent)) if after[: len(before)] != before]

    assert rewritten == sorted(collects_at), "each collection edits the prefix once, in the request that follows it"


def messages_of(body):
    plain = json.loads(body)["messages"]
    for message in plain:
        for block in message["content"]:
            block.pop("cache_control", None)
    return plain
