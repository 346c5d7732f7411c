"""The gateway's connection to a real daemon, and what one line of it cannot carry."""

from uuid import uuid4

import pytest

from ctxgc.gateway.daemon_client import DaemonClient
from ctxgc.protocol.blocking_client import CallFailed, TimedOut
from ctxgc.protocol.limits import FRAME_BYTES_DEFAULT
from tests.daemon.harness import DaemonProcess
from tests.gateway.agent import ClaudeAgent
from tests.gateway.stage import Stage


@pytest.fixture(scope="module")
def daemon():
    """One for all: each test has a session of its own, or none."""
    made = DaemonProcess()
    try:
        yield made.start()
    finally:
        made.close()


def calls_told(daemon, session):
    rows = daemon.call("segment.list", session=f"claude_code:{session}", limit=1000)["segments"]
    return [row["id"] for row in rows if row["id"].startswith("call_")]


async def test_a_connection_that_the_daemon_closed_is_opened_again_by_the_next_call(daemon):
    link = DaemonClient(daemon.socket)
    with pytest.raises(CallFailed):
        await link.call("ping", {"text": "x" * 2 * FRAME_BYTES_DEFAULT}, 5.0)

    assert await link.call("ping", {}, 5.0) == {"pong": True}
    link.close()


async def test_a_call_that_took_too_long_leaves_the_connection_open(daemon):
    link = DaemonClient(daemon.socket)
    with pytest.raises(TimedOut):
        await link.call("subscribe", {"topics": []}, 1e-9)

    assert await link.call("ping", {}, 5.0) == {"pong": True}
    link.close()


@pytest.mark.slow
def test_a_result_longer_than_a_line_costs_only_that_it_stays_in_every_request(daemon):
    session, agent = str(uuid4()), ClaudeAgent(size=500).run(6)
    agent.messages[2]["content"][0]["content"] = "x y z\n" * (9 * 2**20 // 6)
    with Stage(DaemonClient(daemon.socket), wait_s=5.0) as stage:
        stage.ask(agent.path, agent.body(), {"x-claude-code-session-id": session})

        assert stage.counters.sync_failures == 0
    assert calls_told(daemon, session) == [f"call_{n}" for n in range(1, 6)]


@pytest.mark.slow
def test_a_result_nearly_as_long_as_a_line_is_told(daemon):
    session, agent = str(uuid4()), ClaudeAgent(size=500).run(3)
    agent.messages[2]["content"][0]["content"] = "x y z " * (2**20)
    with Stage(DaemonClient(daemon.socket), wait_s=5.0) as stage:
        stage.ask(agent.path, agent.body(), {"x-claude-code-session-id": session})

        assert stage.counters.sync_failures == 0
    assert calls_told(daemon, session) == ["call_0", "call_1", "call_2"]
