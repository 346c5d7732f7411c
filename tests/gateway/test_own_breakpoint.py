"""Our own breakpoint on the wire: one at most, where the API takes it, and the next edit reads up to there."""

import asyncio
import gzip
import json

import pytest

from ctxgc.gateway.body.splice_memo import LONG_CACHE_CONTROL, SHORT_CACHE_CONTROL
from tests.gateway.agent import ClaudeAgent
from tests.gateway.stage import CLAUDE, MESSAGES, ScriptedDaemon, Stage
from tests.gateway.upstream import Upstream

LONG = {"type": "ephemeral", "ttl": "1h"}


class BreakpointAgent(ClaudeAgent):
    """Sets the breakpoints that a test names, beside the newest block's."""

    def __init__(self, point=None, top=False, system=1, **more):
        super().__init__(**more)
        self.breakpoint, self.top, self.system = point or {"type": "ephemeral"}, top, system

    def body(self):
        asked = json.loads(super().body())
        asked["messages"][-1]["content"][-1]["cache_control"] = self.breakpoint
        texts = [{"type": "text", "text": f"Rule {n}.", "cache_control": self.breakpoint} for n in range(self.system)]
        asked["system"] = [*texts, {"type": "text", "text": "You read files."}]
        return json.dumps(asked | ({"cache_control": self.breakpoint} if self.top else {})).encode()


class ManagedAgent(BreakpointAgent):
    """Lets the API edit the window too, as long as a test says so."""

    is_managed = False

    def body(self):
        orders = {"context_management": {"edits": [{"type": "an_edit_of_tomorrow"}]}} if self.is_managed else {}
        return json.dumps(json.loads(super().body()) | orders).encode()


@pytest.fixture
def stage():
    with Stage(ScriptedDaemon(lambda ids: [id_ for id_ in ("call_0", "call_1") if id_ in ids])) as made:
        yield made


def edited(stage, agent, turns=8):
    """The requests that go upstream, from the first edited one on."""
    agent.run(4)
    stage.ask(MESSAGES, agent.body())
    sent = []
    for number in range(4, 4 + turns):
        agent.run(1, number)
        sent.append(stage.ask(MESSAGES, agent.body()))
    assert stage.upstream.refused == []
    assert all(b"[evicted" in body for body in sent)
    return sent


def breakpoints_in(body):
    return body.count(b'"cache_control"')


def test_the_breakpoint_stands_on_the_last_tombstones_block_in_each_request_from_the_edit_on(stage):
    sent = edited(stage, BreakpointAgent())

    for body in sent:
        block = next(b for m in json.loads(body)["messages"] for b in m["content"] if b.get("tool_use_id") == "call_1")
        assert block["cache_control"] == {"type": "ephemeral"}
        assert breakpoints_in(body) == 3
    assert stage.counters.edited_from_prefix >= len(sent) - 1, "the breakpoint stands in the memo"


@pytest.mark.parametrize(("system", "top"), [(3, False), (2, True)])
def test_a_host_with_four_breakpoints_keeps_its_four_the_automatic_one_counted(stage, system, top):
    agent = BreakpointAgent(system=system, top=top)

    sent = edited(stage, agent)

    assert {breakpoints_in(body) for body in sent} == {4}


def test_a_host_that_begins_to_send_four_breakpoints_gets_no_fifth(stage):
    agent = BreakpointAgent()
    edited(stage, agent, turns=3)
    agent.system = 3

    for number in range(7, 10):
        agent.run(1, number)

        assert breakpoints_in(stage.ask(MESSAGES, agent.body())) == 4
    assert stage.upstream.refused == []


def test_the_breakpoint_lives_as_long_as_the_hosts_next_breakpoint(stage):
    sent = edited(stage, BreakpointAgent(point=LONG))

    assert all(body.count(LONG_CACHE_CONTROL) == 1 and SHORT_CACHE_CONTROL not in body for body in sent)


def test_without_a_breakpoint_of_the_hosts_there_is_none_of_ours(stage):
    class NoBreakpoints(ClaudeAgent):
        def body(self):
            asked = json.loads(super().body())
            del asked["messages"][-1]["content"][-1]["cache_control"], asked["system"][0]["cache_control"]
            return json.dumps(asked).encode()

    assert {breakpoints_in(body) for body in edited(stage, NoBreakpoints())} == {0}


def test_the_daemon_is_told_where_breakpoints_stood_and_which_is_ours(stage):
    edited(stage, BreakpointAgent())

    told = stage.daemon.told[-1]
    count, cache = len(told["ids"]), told["cache"]

    assert len(cache["blocks"]) == count
    assert cache["own_mark"] == 1
    assert [point["segments"] for point in cache["marks"]] == [1, told["ids"].index("call_1") + 1, count]
    assert told["was_answered"]


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_a_request_whose_only_edit_is_a_breakpoint_goes_up_twice_at_most_the_second_time_as_it_came(coding):
    headers, pack = (CLAUDE | {"content-encoding": coding}, gzip.compress) if coding else (CLAUDE, bytes)
    with Stage(ScriptedDaemon()) as stage:
        agent = BreakpointAgent().run(4)
        calls = [{"type": "tool_use", "id": f"call_wide_{n}", "name": "Read", "input": {}} for n in range(12)]
        stage.upstream.script = [calls]
        stage.ask(MESSAGES, pack(agent.body()), headers)
        agent.take({"content": calls}, 0)
        original = pack(agent.body())
        stage.upstream.script = [400, 400]

        reply = stage.send(MESSAGES, original, headers)

        with_breakpoint, again = [received.body for received in stage.upstream.received[1:]]
        unpacked = gzip.decompress(with_breakpoint) if coding else with_breakpoint
        assert breakpoints_in(unpacked) == breakpoints_in(agent.body()) + 1
        assert b"[evicted" not in unpacked
        assert again == original
        assert reply.status == 400


def test_beside_another_hand_in_the_window_tombstones_stay_and_no_breakpoint_of_ours_is_sent(stage):
    agent = ManagedAgent()
    assert {breakpoints_in(body) for body in edited(stage, agent, turns=3)} == {3}
    agent.is_managed = True

    for number in range(7, 10):
        agent.run(1, number)
        sent = stage.ask(MESSAGES, agent.body())

        assert b"[evicted" in sent
        assert breakpoints_in(sent) == breakpoints_in(agent.body()) == 2


def test_a_request_that_another_hand_edits_too_leaves_no_memo_with_a_breakpoint_of_ours(stage):
    agent = ManagedAgent().run(4)
    agent.is_managed = True
    stage.ask(MESSAGES, agent.body())
    stage.daemon.out["call_1"] = {"text": "[evicted before]", "marker": "[gone]"}

    stage.ask(MESSAGES, agent.run(1, 4).body())

    (session,) = stage.running.syncer._sessions.values()
    (branch,) = session.branches.values()
    assert branch.memo.ids == {"call_1"}
    assert branch.memo.own is None


def only_branch(stage):
    (session,) = stage.running.syncer._sessions.values()
    (branch,) = session.branches.values()
    return branch


def held_after_a_pause(stage, agent):
    """A request that waits for the daemon, and leaves with a tombstone more and a breakpoint of ours."""
    edited(stage, agent, turns=3)
    stage.daemon.victims = lambda ids: [id_ for id_ in ("call_0", "call_1", "call_3") if id_ in ids]
    stage.pause()
    sent = stage.ask(MESSAGES, agent.run(1, 7).body())
    assert sent.count(b"[evicted") == 3
    return sent


def test_the_branch_notes_a_request_that_waited_for_the_daemon_with_the_breakpoints_it_left_with(stage):
    sent = held_after_a_pause(stage, BreakpointAgent())

    noted, _, _ = only_branch(stage).cache._request

    assert len(noted.breakpoints) == breakpoints_in(sent) == 3


def test_the_daemon_learns_with_the_next_sync_how_a_request_that_waited_for_it_was_sent(stage):
    agent = BreakpointAgent()
    held_after_a_pause(stage, agent)
    stage.ask(MESSAGES, agent.run(1, 8).body())

    held, later = stage.daemon.told[-2:]

    assert "edited" not in held
    assert held["cache"]["own_mark"] == -1
    assert later["was_sent"]["edited"] == ["call_0", "call_1", "call_3"]
    places = [point["segments"] for point in later["was_sent"]["marks"]]
    assert places == [1, held["ids"].index("call_3") + 1, len(held["ids"])]
    stage.ask(MESSAGES, agent.run(1, 9).body())
    assert "was_sent" not in stage.daemon.told[-1], "the sync before said all of it"


class SlowToRefuse(Upstream):
    """Takes longer over a refusal than the syncer waits for the beginning of a reply."""

    async def _serve(self, request):
        if self.script:
            await asyncio.sleep(0.5)
        return await super()._serve(request)


@pytest.mark.slow
def test_the_daemon_learns_of_a_breakpoint_that_was_refused_after_its_sync():
    daemon = ScriptedDaemon(lambda ids: [id_ for id_ in ("call_0", "call_1") if id_ in ids])
    with Stage(daemon, upstream=SlowToRefuse()) as stage:
        agent = BreakpointAgent()
        edited(stage, agent, turns=3)
        stage.upstream.script = [400]
        stage.ask(MESSAGES, agent.run(1, 7).body())
        stage.ask(MESSAGES, agent.run(1, 8).body())

        refused, later = daemon.told[-2:]
        count = len(refused["ids"])
        assert len(refused["cache"]["marks"]) == 3
        assert [point["segments"] for point in later["was_sent"]["marks"]] == [1, count]
        assert later["was_sent"]["edited"] == ["call_0", "call_1"]
