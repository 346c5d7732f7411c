"""What waits in a gateway is bounded in bytes: bodies on their way up, and bodies that wait for the daemon."""

import asyncio
import gzip
import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from ctxgc.gateway.byte_budget import ByteBudget
from tests.gateway.agent import ClaudeAgent
from tests.gateway.stage import CLAUDE, MESSAGES, ScriptedDaemon, Stage

REQUESTS, AT_ONCE, BODY_BYTES = 200, 20, 400_000
BOUND = 8 * 2**20
SLACK = 5
"""Times the bound: what is parsed of a body that waits, and the bodies on their way."""


def large(number):
    agent = ClaudeAgent().run(1)
    body = json.loads(agent.body())
    body["metadata"] = {"user_id": "x" * BODY_BYTES}
    return json.dumps(body).encode(), CLAUDE | {"x-claude-code-session-id": f"s{number}"}


@pytest.mark.slow
def test_two_hundred_large_bodies_that_the_daemon_does_not_take_are_passed_on_and_not_kept(monkeypatch):
    monkeypatch.setattr("ctxgc.gateway.editing.window_sync.BACKLOG_BYTES_MAX", BOUND)
    daemon = ScriptedDaemon()
    daemon.delay_s = 3600.0
    with Stage(daemon, mode="shadow") as stage:
        stage.upstream.keeps = False
        tracemalloc.start()
        with ThreadPoolExecutor(AT_ONCE) as agents:
            replies = list(agents.map(lambda number: stage.send(MESSAGES, *large(number)), range(REQUESTS)))
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert {reply.status for reply in replies} == {200}
        assert stage.running.syncer._backlog.used <= BOUND
        assert kept < SLACK * BOUND < REQUESTS * BODY_BYTES


def test_a_body_beyond_what_may_be_kept_streams_through_unread_and_whole(monkeypatch):
    monkeypatch.setattr("ctxgc.gateway.http.server.HELD_BYTES_MAX", BODY_BYTES // 2)
    with Stage(mode="on") as stage:
        body, headers = large(0)
        assert stage.ask(MESSAGES, body, headers) == body
        assert stage.passed == {"too_large": 1}
        small = ClaudeAgent().run(1).body()
        assert stage.ask(MESSAGES, small) == small
        assert stage.counters.untouched == 1, "what the large one took is free again"


class StuckDaemon(ScriptedDaemon):
    """Lists its sessions, and takes no window."""

    async def call(self, method, params, timeout_s):
        if method == "window.sync":
            await asyncio.sleep(3600.0)
        return await super().call(method, params, timeout_s)


def compressed(number):
    body, headers = large(number)
    return gzip.compress(body), headers | {"content-encoding": "gzip"}


def test_the_backlog_counts_a_compressed_body_by_its_plain_bytes(monkeypatch):
    bound = 3 * BODY_BYTES
    monkeypatch.setattr("ctxgc.gateway.editing.window_sync.BACKLOG_BYTES_MAX", bound)
    with Stage(StuckDaemon(), mode="shadow") as stage:
        for number in range(REQUESTS // AT_ONCE):
            stage.send(MESSAGES, *compressed(number))
        stage.until(lambda: stage.running.syncer._backlog.used > 2 * BODY_BYTES)
        stage.until(lambda: stage.passed.get("own_late") is not None)

        assert stage.running.syncer._backlog.used <= bound


def test_the_backlog_is_empty_again_once_the_daemon_has_every_compressed_body():
    with Stage(ScriptedDaemon(), mode="shadow") as stage:
        for number in range(3):
            stage.ask(MESSAGES, *compressed(number))

        stage.until(lambda: stage.running.syncer._backlog.used == 0)
        assert stage.counters.syncs == 3


def test_a_compressed_body_whose_plain_bytes_may_not_be_kept_passes_as_it_came(monkeypatch):
    monkeypatch.setattr("ctxgc.gateway.http.server.HELD_BYTES_MAX", BODY_BYTES // 2)
    with Stage(mode="on") as stage:
        body, headers = compressed(0)

        assert stage.ask(MESSAGES, body, headers) == body
        assert stage.passed == {"too_large": 1}


@pytest.mark.parametrize("sizes", [[3, 7, 1], [10], [0, 11]])
def test_a_budget_of_bytes_is_never_exceeded_and_comes_back(sizes):
    budget = ByteBudget(10)
    taken = [size for size in sizes if budget.reserve(size)]

    assert budget.used == sum(taken) <= 10
    for size in taken:
        budget.release(size)
    assert budget.used == 0
