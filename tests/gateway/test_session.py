"""A whole session, agent to upstream, through a real daemon: what it costs, and that it lives."""

import signal
from dataclasses import replace
from uuid import uuid4

import pytest

from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.gateway.daemon_client import DaemonClient
from ctxgc.gateway.main import _reload_settings
from tests.daemon.harness import DaemonProcess
from tests.gateway.agent import ChatAgent, ClaudeAgent, ResponsesAgent
from tests.gateway.stage import Stage
from tests.gateway.upstream import ANSWERS

TURNS = 64
RESULT_BYTES = 8000
PAUSE_TURNS = 16
"""After so many turns the agent's user thinks for longer than the provider keeps its cache."""


@pytest.fixture
def daemon():
    made = DaemonProcess()
    try:
        yield made.start()
    finally:
        made.close()


def named(make, session):
    """What makes the session known: a header, or Codex's key."""
    if make is ResponsesAgent:
        return {"authorization": "Bearer sk"}, {"prompt_cache_key": session}
    return {"x-claude-code-session-id": session}, {}


@pytest.mark.slow
@pytest.mark.parametrize("make", [ClaudeAgent, ChatAgent, ResponsesAgent])
def test_a_long_session_lives_costs_less_and_loses_nothing(daemon, make):
    session, agent = str(uuid4()), make(size=RESULT_BYTES)
    headers, more = named(make, session)
    with Stage(DaemonClient(daemon.socket), wait_s=0.5) as stage, Stage(mode="off") as plain:
        for number in range(TURNS):
            if number % PAUSE_TURNS == PAUSE_TURNS - 1:
                stage.pause()
                plain.pause()
            body = agent.body(**more)
            got = stage.ask(agent.path, body, headers)
            assert plain.ask(agent.path, body, headers) == body
            assert (b"evicted by ctxgc" in got) or got == body, "byte for byte where nothing was evicted"
            agent.take(ANSWERS[agent.wire](f"call_{number}", number, (0, 0, 0)), number)

        (gated,), (ungated,) = stage.upstream.bills.values(), plain.upstream.bills.values()
        counts = stage.counters
    source = "codex" if make is ResponsesAgent else "claude_code"
    key = f"{source}:{session}"
    evicted = daemon.call("segment.list", session=key, states=["evicted"])["segments"]
    window = {segment.id: segment for segment in WIRE_FORMATS[agent.wire].parse(body).segments}
    for row in evicted:
        pieces = daemon.call("stash.recall", session=key, id=row["id"])["recalled"][0]["pieces"]
        assert {piece["name"]: piece["text"] for piece in pieces} == {p.name: p.text for p in window[row["id"]].body}
    assert counts.collections >= 1
    assert counts.edited >= 1
    assert stage.upstream.refused == []
    assert evicted
    assert gated.cost < 0.9 * ungated.cost
    assert len(got) < len(body) / 2


@pytest.mark.slow
def test_a_daemon_that_is_killed_and_started_again_changes_no_request(daemon):
    session, agent = str(uuid4()), ClaudeAgent(size=RESULT_BYTES).run(24)
    headers, _ = named(ClaudeAgent, session)
    with Stage(DaemonClient(daemon.socket), wait_s=5.0) as stage:
        for number in range(24, 28):
            stage.pause()
            before = stage.ask(agent.path, agent.body(), headers)
            agent.run(1, number)
        assert b"evicted by ctxgc" in before
        out = before.count(b"evicted by ctxgc")

        daemon.kill()
        while_gone = stage.ask(agent.path, agent.body(), headers)
        daemon.start()
        agent.run(1, 28)
        stage.until(lambda: stage.send(agent.path, agent.body(), headers) and stage.running.syncer.trouble is None)
        after = stage.ask(agent.path, agent.body(), headers)

    assert while_gone.count(b"evicted by ctxgc") >= out
    assert after.startswith(before[: before.rindex(b"evicted by ctxgc")])
    assert stage.upstream.refused == []


@pytest.mark.slow
def test_what_a_host_put_under_ids_of_its_own_never_leaves_a_request_whatever_the_daemon_forgot(daemon):
    session, agent = str(uuid4()), ClaudeAgent(size=RESULT_BYTES).run(24)
    headers, _ = named(ClaudeAgent, session)
    results = [block for message in agent.messages[2::2] for block in message["content"]][:12]
    with Stage(DaemonClient(daemon.socket), wait_s=5.0) as stage:
        stage.ask(agent.path, agent.body(), headers)
        for number, block in enumerate(results):
            block["content"] = f"something else altogether, number {number}\n" * 200
        agent.run(1, 24)
        stage.ask(agent.path, agent.body(), headers)
        daemon.kill()
        daemon.start()
        for number in range(25, 31):
            stage.pause()
            agent.run(1, number)
            got = stage.ask(agent.path, agent.body(), headers)

    assert b"evicted by ctxgc" in got
    assert [number for number in range(12) if b"altogether, number %d" % number not in got] == []


def test_a_new_session_is_told_of_in_shadow_and_journalled(daemon):
    session, agent = str(uuid4()), ClaudeAgent(size=RESULT_BYTES).run(24)
    headers, _ = named(ClaudeAgent, session)
    with Stage(DaemonClient(daemon.socket), mode="shadow") as stage:
        for number in range(24, 27):
            stage.pause()
            assert stage.ask(agent.path, agent.body(), headers) == agent.body()
            agent.run(1, number)

    shown = daemon.call("session.show", session=f"claude_code:{session}")
    journal = daemon.call("heap.log", session=f"claude_code:{session}")["collections"]
    assert shown["rendered_by"] == "agent"
    assert {entry["trigger"] for entry in journal} == {"shadow"}


def test_the_daemon_knows_at_once_that_a_session_was_switched_off_and_follows_it_when_it_is_on_again(daemon):
    session, agent = str(uuid4()), ClaudeAgent(size=RESULT_BYTES).run(24)
    headers, _ = named(ClaudeAgent, session)
    key = {"session": f"claude_code:{session}"}
    with Stage(DaemonClient(daemon.socket), wait_s=5.0) as stage:

        def switch_to(mode):
            settings = replace(stage.running.settings, mode=mode)
            stage.loop.call_soon_threadsafe(_reload_settings, stage.running, lambda: settings)
            stage.until(lambda: stage.running.settings.mode == mode)

        def said():
            return daemon.call("session.show", **key)["gateway"]

        stage.ask(agent.path, agent.body(), headers)
        was = said()
        switch_to("off")
        stage.until(lambda: said() == "off")
        stage.ask(agent.path, agent.body(), headers)
        still = said()
        switch_to("on")
        stage.ask(agent.path, agent.body(), headers)

        assert (was, still, said()) == ("on", "off", "on")


@pytest.mark.slow
def test_a_daemon_that_hangs_or_may_not_write_delays_no_request():
    agent, headers = ClaudeAgent(size=RESULT_BYTES).run(8), {"x-claude-code-session-id": str(uuid4())}
    full_disk = DaemonProcess(CTXGC_STASH__RESERVE_BYTES=str(2**50))
    hung = DaemonProcess()
    try:
        for made in (full_disk, hung):
            made.start()
        hung.child.send_signal(signal.SIGSTOP)
        for made, reasons in ((full_disk, {"daemon_failed", "daemon_late"}), (hung, {"daemon_late", "daemon_gone"})):
            with Stage(DaemonClient(made.socket), wait_s=0.1) as stage:
                for _ in range(3):
                    stage.send(agent.path, agent.body(), headers)  # Comes back, though the hung one never answers.
                    assert stage.upstream.last == agent.body()
                    if made is full_disk:
                        stage.settle()
                assert sum(stage.passed.values()) == 3
                assert stage.passed.keys() <= reasons
    finally:
        hung.child.send_signal(signal.SIGCONT)
        full_disk.close()
        hung.close()
