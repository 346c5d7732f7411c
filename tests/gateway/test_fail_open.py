"""I13: whatever happens to the daemon, or to us, the agent's own bytes go upstream, in time, and it is counted.

How long a request is held is told by the gateway's own clock, which stands still meanwhile: no test measures it.
"""

import asyncio
import threading
from contextlib import contextmanager
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctxgc.adapters.wire.anthropic_messages import AnthropicMessages
from ctxgc.adapters.wire.openai_chat import OpenAiChat
from ctxgc.core.errors import BadTranscript
from ctxgc.gateway.daemon_client import DaemonClient
from ctxgc.gateway.editing.request_editor import RESUME_S
from ctxgc.protocol.blocking_client import CallFailed, TimedOut, Unreachable
from tests.gateway.agent import ChatAgent, ClaudeAgent
from tests.gateway.stage import CHAT, CLAUDE, MESSAGES, ScriptedDaemon, Stage, headers_for

WAIT_S = 0.5
NEVER_S = 60.0
"""Longer than any client of these tests waits: a request that comes back was not held for it."""


@pytest.fixture
def stage():
    with Stage(ScriptedDaemon(lambda ids: [i for i in ids if i.startswith("call_")][:3]), wait_s=WAIT_S) as made:
        yield made


@contextmanager
def parsing_held(monkeypatch):
    """Within the block no body is parsed to its end: what comes back meanwhile did not wait for it."""
    inner, begun, released = OpenAiChat.parse, threading.Event(), threading.Event()

    def parse(*given):
        begun.set()
        return released.wait(NEVER_S) and inner(*given)

    monkeypatch.setattr(OpenAiChat, "parse", parse)
    try:
        yield begun
    finally:
        released.set()


FAILURES = {
    "daemon_gone": Unreachable("gone"),
    "daemon_failed": CallFailed("read_only", -32007, "the stash takes no writes"),
    "daemon_late": TimedOut("window.sync was not answered"),
}


@pytest.mark.parametrize("reason", FAILURES)
def test_a_daemon_that_fails_costs_an_edit_and_nothing_else_I13(stage, reason):
    stage.daemon.fails_with = FAILURES[reason]
    agent = ClaudeAgent().run(5)

    stage.send(agent.path, agent.body())

    assert stage.upstream.last == agent.body()
    assert stage.passed == {reason: 1}


TROUBLE = st.sampled_from([None, *FAILURES.values(), RuntimeError("our own"), KeyError("session")])


@given(trouble=st.lists(TROUBLE, min_size=1, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_daemon_does_in_turn_each_request_goes_up_valid_and_is_counted_I13(stage, trouble):
    agent, session = ClaudeAgent(), str(uuid4())
    stage.daemon.known, stage.daemon.out = set(), {}  # Of the sessions before this one it knows nothing.
    before = stage.counters.calls

    for fault in trouble:
        stage.daemon.fails_with = fault
        agent.run(2)
        reply = stage.send(agent.path, agent.body(), headers_for(agent.path) | {"x-claude-code-session-id": session})

        assert reply.status == 200
        assert stage.upstream.last == agent.body() or b"[evicted " in stage.upstream.last
    assert stage.counters.calls == before + len(trouble)
    assert stage.upstream.refused == []


def test_a_slow_daemon_is_waited_for_as_long_as_is_set_and_no_longer_I13(stage):
    stage.daemon.delay_s = NEVER_S
    agent = ClaudeAgent().run(5)

    with stage.waiting(agent.path, agent.body()) as call:
        stage.until(lambda: stage.daemon.asked)
        call.passes(WAIT_S * 0.99)
        was_held = call.is_held
        call.passes(WAIT_S * 0.01)
        call.reply()

    assert was_held
    assert stage.upstream.last == agent.body()
    assert stage.passed in ({"daemon_late": 1}, {"own_late": 1}), "the parser may be late too"


def test_a_first_request_that_the_daemon_is_late_for_had_nothing_to_edit(stage):
    stage.daemon.delay_s = NEVER_S
    agent = ClaudeAgent()

    with stage.waiting(agent.path, agent.body()) as call:
        stage.until(lambda: stage.daemon.asked)
        stage.until(lambda: next(iter(stage.running.syncer._sessions.values())).known_ids is None)
        call.passes(WAIT_S)
        call.reply()

    assert stage.upstream.last == agent.body()
    assert not stage.passed.get("daemon_late")
    assert stage.counters.untouched + stage.passed.get("own_late", 0) == 1


def test_a_request_that_begins_like_the_last_one_waits_for_no_daemon_at_all_I13(stage):
    agent = ClaudeAgent().run(5)
    stage.ask(MESSAGES, agent.body())
    stage.daemon.delay_s = NEVER_S
    agent.run(1, 5)

    with stage.waiting(agent.path, agent.body()) as call:
        call.reply()

    assert stage.upstream.last.count(b"[evicted") == 3


@pytest.mark.parametrize("has_more", [True, False])
def test_after_a_restart_a_session_with_bodies_out_is_waited_for_a_second_and_no_longer_I13(stage, has_more):
    agent = ClaudeAgent().run(5)
    stage.ask(MESSAGES, agent.body())
    slow = Knowing(stage.daemon if has_more else ScriptedDaemon())
    with Stage(slow, wait_s=WAIT_S) as restarted:
        with restarted.waiting(agent.path, agent.body()) as call:
            restarted.until(lambda: slow.syncs)
            call.passes(WAIT_S)
            was_held = call.is_held
            call.passes(RESUME_S - WAIT_S)
            call.reply()

        assert was_held == has_more
        assert restarted.upstream.last == agent.body()
        assert restarted.passed == {"daemon_late": 1}


class Knowing:
    """Says at once what it knows of a session, and never what is to be out of it."""

    def __init__(self, inner):
        self._inner = inner
        self.syncs = 0

    async def call(self, method, params, timeout_s):
        if method == "window.sync":
            self.syncs += 1
            await asyncio.sleep(NEVER_S)
        return await self._inner.call(method, params, timeout_s)

    def close(self):
        pass


def test_a_daemon_that_comes_back_is_used_again(stage):
    stage.daemon.fails_with = Unreachable("restarting")
    agent = ClaudeAgent().run(5)
    stage.ask(MESSAGES, agent.body())

    stage.daemon.fails_with = None
    agent.run(1, 5)
    stage.ask(MESSAGES, agent.body())
    agent.run(1, 6)

    assert stage.ask(MESSAGES, agent.body()).count(b"[evicted") == 3


@pytest.mark.parametrize("reason", FAILURES)
def test_what_was_in_force_stays_in_force_while_the_daemon_fails(stage, reason):
    agent = ClaudeAgent().run(5)
    stage.ask(MESSAGES, agent.body())
    stage.daemon.fails_with = FAILURES[reason]

    for number in (5, 6):
        agent.run(1, number)
        assert stage.ask(MESSAGES, agent.body()).count(b"[evicted") == 3
    agent.messages[0]["content"][0]["text"] = "Edited by its host, so that the beginning is another."

    assert stage.ask(MESSAGES, agent.body()).count(b"[evicted") == 3
    assert stage.passed == {}


def test_no_daemon_at_all_costs_no_more_than_the_first_try(tmp_path):
    with Stage(DaemonClient(str(tmp_path / "no.sock")), wait_s=WAIT_S) as stage:
        agent = ClaudeAgent().run(5)
        for _ in range(4):
            stage.send(agent.path, agent.body())

        assert stage.upstream.last == agent.body()
        assert sum(stage.passed.values()) == 4


@pytest.mark.parametrize("fault", [RuntimeError("our own bug"), BadTranscript("never seen before"), RecursionError()])
@pytest.mark.parametrize("method", ["parse", "splice"])
def test_a_bug_of_our_own_is_survived_by_the_request(stage, monkeypatch, fault, method):
    agent = ClaudeAgent().run(5)
    stage.ask(MESSAGES, agent.body())
    agent.messages[0]["content"][0]["text"] = "No memo begins like this."

    def fails(*_):
        raise fault

    monkeypatch.setattr(AnthropicMessages, method, fails)

    assert stage.ask(MESSAGES, agent.body()) == agent.body()
    assert sum(stage.passed.values()) == 1


def test_a_parser_that_takes_its_time_is_not_waited_for(stage, monkeypatch):
    agent = ChatAgent().run(5)
    stage.ask(CHAT, agent.body())
    agent.messages[1]["content"] = "No memo begins like this."

    with parsing_held(monkeypatch) as begun:
        stage.upstream.received.clear()
        with stage.waiting(agent.path, agent.body()) as call:
            assert begun.wait(NEVER_S)
            was_held = call.is_held
            call.passes(WAIT_S)
            call.reply()

        assert was_held
        assert stage.upstream.last == agent.body()
        assert stage.passed == {"own_late": 1}


def test_even_a_late_parser_leaves_in_force_what_was_in_force(stage, monkeypatch):
    agent = ChatAgent().run(5)
    before = stage.ask(CHAT, agent.body())
    stage.pause()  # So that this one is parsed, and the daemon asked.
    agent.run(1, 5)

    with parsing_held(monkeypatch) as begun:
        with stage.waiting(agent.path, agent.body()) as call:
            assert begun.wait(NEVER_S)
            call.passes(WAIT_S)
            call.reply()

        assert stage.upstream.last.startswith(before[: before.rindex(b"[evicted")])
        assert stage.passed == {}


BODIES = [b"", b"{", b"[]", b"null", b'{"messages": 1}', b'{"messages": [{}]}', b'{"messages":[]}' * 2, b"\xff" * 99]


@pytest.mark.parametrize("body", BODIES)
def test_what_is_no_request_passes_for_the_upstream_to_judge(stage, body):
    reply = stage.send(MESSAGES, body, CLAUDE | {"x-test": "limited"})
    stage.settle()

    assert reply.status == 429
    assert stage.upstream.last == body


def test_a_compressed_request_passes(stage):
    agent = ClaudeAgent().run(5)
    stage.ask(MESSAGES, agent.body())

    stage.send(MESSAGES, b"\x28\xb5\x2f\xfd", CLAUDE | {"content-encoding": "zstd", "x-test": "limited"})

    assert stage.upstream.last == b"\x28\xb5\x2f\xfd"
    assert stage.passed == {"encoded": 1}


def test_a_request_beyond_the_bound_streams_through(stage, monkeypatch):
    agent = ClaudeAgent().run(5)
    stage.ask(MESSAGES, agent.body())
    for module in ("editing.request_editor", "http.agent_body"):
        monkeypatch.setattr(f"ctxgc.gateway.{module}.EDITED_BYTES_MAX", 1000)

    assert stage.ask(MESSAGES, agent.body()) == agent.body()
    assert stage.passed == {"too_large": 1}


def test_a_request_of_unknown_length_beyond_the_bound_streams_through(stage, monkeypatch):
    agent = ClaudeAgent().run(5)
    stage.ask(MESSAGES, agent.body())
    monkeypatch.setattr("ctxgc.gateway.http.agent_body.EDITED_BYTES_MAX", 1000)
    head = f"POST {MESSAGES} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nx-test: limited\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in CLAUDE.items()) + "\r\n"
    parts = [agent.body()[at : at + 700] for at in range(0, len(agent.body()), 700)]
    coded = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])

    with stage.raw(head.encode() + coded) as connection:
        assert b"429" in connection.recv(100)

    assert stage.upstream.last == agent.body()
