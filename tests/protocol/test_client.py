"""The asyncio client, against the real server."""

import asyncio
import subprocess
import sys

import pytest

import ctxgc
from ctxgc.protocol.blocking_client import CallFailed, TimedOut, Unreachable
from ctxgc.protocol.connection import EVENTS_WAITING_MAX
from ctxgc.protocol.limits import FRAME_BYTES_DEFAULT
from tests.daemon.echo import serving


@pytest.fixture
async def daemon(tmp_path):
    async with serving(tmp_path) as running:
        yield running


@pytest.fixture
async def client(daemon):
    async with await ctxgc.connect(daemon.path) as connected:
        yield connected


async def test_a_call_gives_its_result(client):
    assert await client.call("echo", {"text": "é\u2028"}) == {"text": "é\u2028"}


async def test_a_thousand_calls_at_once_each_get_their_own_result(client):
    results = await asyncio.gather(*(client.call("echo", {"n": n}) for n in range(1000)))

    assert [result["n"] for result in results] == list(range(1000))


async def test_a_slow_call_does_not_hold_up_a_quick_one(daemon, client):
    slow = asyncio.create_task(client.call("hold", {"n": 1}))

    assert await client.call("echo", {"n": 2}) == {"n": 2}
    daemon.dispatch.released.set()
    assert await slow == {"n": 1}


async def test_a_refusal_is_raised_with_kind_and_hint(client):
    with pytest.raises(CallFailed) as failed:
        await client.call("missing")

    assert (failed.value.kind, failed.value.number, failed.value.hint) == ("not_found", -32003, "look elsewhere")


async def test_a_call_that_is_given_up_is_cancelled_at_the_daemon(daemon, client):
    with pytest.raises(TimedOut):
        await client.call("hold", timeout_s=0.02)
    await client.call("echo")

    [connection] = daemon.server._hub.connections
    assert [context.is_cancelled for context in connection._in_flight.values()] == [True]


async def test_when_the_daemon_stops_every_waiting_call_fails(daemon, client):
    waiting = [asyncio.create_task(client.call("hold")) for _ in range(3)]
    await client.call("echo")
    for connection in daemon.server._hub.connections:
        connection.close()

    failures = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(failure) for failure in failures] == [Unreachable] * 3
    with pytest.raises(Unreachable):
        await client.call("echo")


async def test_once_the_daemon_has_closed_over_a_line_too_long_no_call_waits(client):
    with pytest.raises(CallFailed):
        await client.call("echo", {"text": "x" * 2 * FRAME_BYTES_DEFAULT}, timeout_s=5.0)

    with pytest.raises(CallFailed) as failed:
        await client.call("echo", {}, timeout_s=5.0)

    assert client.is_closed
    assert not isinstance(failed.value, TimedOut)


async def test_no_daemon_is_unreachable(tmp_path):
    with pytest.raises(Unreachable):
        await ctxgc.connect(str(tmp_path / "none"))


async def test_events_come_in_order_beside_calls(daemon, client):
    events = client.events(["session"])
    first = asyncio.ensure_future(anext(events))
    await client.call("echo")
    for n in range(3):
        daemon.server.events.publish("session", {"n": n})

    received = [await first, await anext(events), await anext(events)]

    assert [(event.topic, event.params) for event in received] == [("session", {"n": n}) for n in range(3)]


async def test_a_burst_of_events_larger_than_what_may_wait_arrives_whole(daemon, client):
    last = EVENTS_WAITING_MAX * 5
    for n in range(last):
        daemon.server.events.publish("session", {"n": n})

    seqs = []
    async for event in client.events(["session"], from_seq=1):
        seqs.append(event.seq)
        if event.seq == last:
            break

    assert seqs == list(range(1, last + 1))


async def test_a_gap_is_an_event_of_its_own(daemon, client):
    for n in range(10_050):
        daemon.server.events.publish("session", {"n": n})

    gap = await anext(client.events(["session"], from_seq=1))

    assert (gap.topic, gap.params) == ("gap", {"from": 1, "to": 50})


def test_importing_the_package_loads_no_client_until_it_is_used():
    code = "import ctxgc, sys; early = 'asyncio' in sys.modules; ctxgc.connect; print(early, 'pydantic' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]
