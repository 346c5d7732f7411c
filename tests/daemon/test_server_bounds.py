"""The server's bounds in bytes and connections: what one client or all may cost, and who gets in all the same."""

import asyncio
import contextlib
import json

import pytest

from ctxgc.daemon.rpc import Limits
from ctxgc.daemon.server import dispatch
from ctxgc.daemon.server.hub import LONG_TURNS_MAX
from ctxgc.protocol.blocking_client import CallFailed, LineClient
from ctxgc.protocol.messages import VERBS
from tests.daemon.echo import call, serving
from tests.daemon.harness import DaemonProcess

MB = 2**20


async def settle(daemon):
    """Let the server do all that it can do without the clients."""
    before = None
    for _ in range(200):
        now = len(daemon.dispatch.executed), unsent_bytes(daemon)
        if now == before:
            return
        before = now
        await asyncio.sleep(0.05)


def unsent_bytes(daemon):
    return sum(connection.unsent_bytes for connection in daemon.server._hub.connections)


async def deaf_client(daemon):
    """A client that reads nothing until it is told to."""
    wire = await daemon.connect()
    wire.writer.transport.pause_reading()
    return wire


async def test_long_replies_that_nobody_reads_cost_those_of_a_few_calls_however_many_are_asked_for(tmp_path):
    async with serving(tmp_path) as daemon:
        deaf = await deaf_client(daemon)
        deaf.send(*(call(n, "long", bytes=MB) for n in range(64)))
        await settle(daemon)

        limits = daemon.server.limits
        assert unsent_bytes(daemon) < limits.unsent_bytes_max + (limits.long_replies_max + 1) * MB
        assert daemon.dispatch.executed.count("long") <= 2 * limits.long_replies_max
        deaf.writer.transport.resume_reading()
        assert {(await deaf.receive())["id"] for _ in range(64)} == set(range(64))


async def test_a_batch_of_long_replies_is_refused_beyond_its_bytes_and_says_that_it_may_be_sent_again(tmp_path):
    async with serving(tmp_path, limits=Limits(batch_reply_bytes_max=3 * MB)) as daemon:
        wire = await daemon.connect()
        answers = await wire.ask([call(1), *(call(n, "long", bytes=MB) for n in range(2, 20)), call(20)])

        assert {answer["id"] for answer in answers} == set(range(1, 21))
        errors = [answer["error"]["data"] for answer in answers if "error" in answer]
        assert {(error["kind"], error["retryable"]) for error in errors} == {("busy", True)}
        assert daemon.dispatch.executed.count("long") == 3
        assert daemon.dispatch.executed.count("echo") == 2


async def test_a_batch_is_answered_though_its_client_has_said_all_and_its_last_call_is_done(tmp_path):
    async with serving(tmp_path) as daemon:
        wire = await daemon.connect()
        wire.send([call(1, "hold")], call(2, "hold"))
        wire.writer.write_eof()
        await settle(daemon)
        daemon.dispatch.released.set()

        assert (await wire.receive())["id"] == 2
        assert [answer["id"] for answer in await wire.receive()] == [1]


async def test_the_requests_of_one_client_are_bounded_in_bytes_while_they_wait(tmp_path):
    async with serving(tmp_path, limits=Limits(in_flight_bytes_max=3 * MB)) as daemon:
        wire = await daemon.connect()
        wire.send(*(call(n, "hold", ballast="x" * MB) for n in range(16)))
        await settle(daemon)

        assert daemon.dispatch.executed.count("hold") <= 4
        daemon.dispatch.released.set()
        assert {(await wire.receive())["id"] for _ in range(16)} == set(range(16))


@pytest.mark.slow
async def test_clients_that_read_nothing_are_cut_off_when_all_of_them_together_are_too_much(tmp_path):
    limits = Limits(all_unsent_bytes_max=8 * MB, unread_s_max=0)
    async with serving(tmp_path, limits=limits) as daemon:
        reader = await daemon.connect()
        for _ in range(12):
            deaf = await deaf_client(daemon)
            deaf.send(*(call(n, "long", bytes=MB) for n in range(4)))
            await settle(daemon)
            assert (await reader.ask(call(1)))["id"] == 1

        assert unsent_bytes(daemon) < limits.all_unsent_bytes_max + 5 * MB
        assert len(daemon.server._hub.connections) > 1
        assert (await reader.ask(call(2, "long", bytes=2 * MB)))["id"] == 2


@pytest.mark.parametrize("clients", [3, 24])
async def test_what_clients_that_read_nothing_cost_together_does_not_grow_with_their_number(tmp_path, clients):
    limits = Limits(all_unsent_bytes_max=8 * MB, unread_s_max=3600)
    async with serving(tmp_path, limits=limits) as daemon:
        reader, deaf = await daemon.connect(), [await deaf_client(daemon) for _ in range(clients)]
        for wire in deaf:
            wire.send(*(call(n, "long", bytes=MB) for n in range(16)))
        await settle(daemon)

        assert unsent_bytes(daemon) <= limits.all_unsent_bytes_max + LONG_TURNS_MAX * MB
        assert (await reader.ask(call(1)))["id"] == 1


async def test_a_client_that_reads_is_not_cut_off_however_much_others_leave_unread(tmp_path):
    limits = Limits(all_unsent_bytes_max=MB, unread_s_max=3600)
    async with serving(tmp_path, limits=limits) as daemon:
        wires = [await deaf_client(daemon) for _ in range(4)]
        for wire in wires:
            wire.send(*(call(n, "long", bytes=MB) for n in range(4)))
        await settle(daemon)
        assert unsent_bytes(daemon) > limits.all_unsent_bytes_max

        for wire in wires:
            wire.writer.transport.resume_reading()
            assert [(await wire.receive())["id"] for _ in range(4)] == list(range(4))


# Too many clients.


async def test_one_client_too_many_may_look_after_the_daemon_and_is_told_so_for_the_rest(tmp_path):
    async with serving(tmp_path, limits=Limits(connections_max=2)) as daemon:
        first, _second = await daemon.connect(), await daemon.connect()
        await first.ask(call(1))
        third = await daemon.connect()

        refused = (await third.ask(call(1)))["error"]
        assert (refused["code"], refused["data"]["retryable"]) == (-32001, True)
        assert "ctxgc down" in refused["data"]["hint"]
        assert "result" in await third.ask(call(2, "whoami"))
        assert (await first.ask(call(2)))["id"] == 2
        first.writer.close()
        await settle(daemon)
        assert "result" in await third.ask(call(3))


async def test_idle_clients_never_take_the_last_place_from_who_looks_after_the_daemon(tmp_path):
    async with serving(tmp_path, limits=Limits(connections_max=1, operators_max=2)) as daemon:
        await daemon.connect()
        idle = [await daemon.connect() for _ in range(5)]

        owner = await daemon.connect()
        assert "result" in await owner.ask(call(1, "whoami"))
        for wire in idle[:4]:
            assert (await wire.receive())["error"]["data"]["kind"] == "busy"
            assert await wire.receive() is None
        assert daemon.server.traffic.connections == 3


def fill(home, count):
    """Idle connections to a real daemon."""
    clients = [LineClient(home.socket) for _ in range(count)]
    for client in clients:
        client.connect()
    return clients


@pytest.fixture
def home_of():
    with contextlib.ExitStack() as homes:

        def made(**env):
            home = DaemonProcess(**env)
            homes.callback(home.close)
            return home

        yield made


@pytest.mark.slow
def test_a_real_daemon_full_of_idle_clients_is_asked_how_it_is_and_told_to_stop(home_of):
    home = home_of(CTXGC_DAEMON__CLIENTS_MAX="8").start()
    home.call("session.open", session="s")
    idle = fill(home, 12)

    with pytest.raises(CallFailed) as refused:
        home.call("segment.add", segment={"kind": "user", "text": "x"})

    assert (refused.value.kind, "ctxgc down" in refused.value.hint) == ("busy", True)
    for verb in ("hello", "ping", "stats", "doctor", "session.show", "session.list"):
        home.call(verb)
    home.call("shutdown")
    assert home.child.wait(20) == 0
    assert len(idle) == 12


def rss_bytes(home):
    with open(f"/proc/{home.child.pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))


@pytest.mark.slow
def test_a_real_daemon_holds_the_replies_of_a_few_calls_for_a_client_that_asks_for_256_and_reads_none(home_of):
    home = home_of().start()
    reply_bytes = 7 * MB
    home.call("session.open", session="s")
    path = home.folder / "text"
    path.write_text("tide table\n" * (reply_bytes // 11))
    home.call("segment.add_file", path=str(path), id="big")
    before = rss_bytes(home)
    deaf = LineClient(home.socket)
    calls = ({"session": "client:s", "id": "big", "limit_bytes": 8 * MB, "offset": number} for number in range(256))
    lines = [json.dumps({"id": n, "method": "segment.get", "params": params}) for n, params in enumerate(calls)]
    deaf.connect().sendall("\n".join([*lines, ""]).encode())

    for _ in range(200):  # Each is answered behind all that the daemon does for the deaf client.
        home.call("stats")
        home.call("segment.get", session="client:s", id="big", offset=reply_bytes - 100)

    # Four replies, each in a few copies while they are made, and the texts that the daemon keeps in memory anyway.
    assert rss_bytes(home) - before < 20 * reply_bytes
    deaf.close()


@pytest.mark.slow
def test_a_real_daemon_with_few_descriptors_refuses_clients_and_not_verbs(home_of):
    home = home_of()
    plain = home.command
    home.command = lambda *arguments: ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *plain(*arguments)]
    home.start()
    limit = home.call("hello")["limits"]["clients"]
    assert 1 <= limit < 64
    idle = fill(home, limit - 1)

    with home.client() as client:
        client.call("session.open", {"session": "s"})
        client.call("segment.add", {"segment": {"kind": "user", "text": "tide", "id": "a"}})
        for verb in ("doctor", "stats", "heap.plan", "heap.log", "segment.list", "session.render", "stash.tiers"):
            client.call(verb, {})
        client.call("stash.search", {"query": "tide"})
        client.call("stash.recall", {"id": "a"})
        client.call("backup", {"path": str(home.folder / "copy")})
        client.call("export", {"path": str(home.folder / "text")})
        client.call("segment.add_file", {"path": str(home.folder / "text")})
        client.call("import", {"paths": [str(home.folder / "text")]})
        others = fill(home, 60)
        with contextlib.suppress(CallFailed):
            home.call("segment.add", segment={"kind": "user", "text": "x"})
        client.call("segment.add", {"segment": {"kind": "user", "text": "ebb"}})
        client.call("doctor", {})
    assert len(idle + others) == limit + 59
    assert home.stop() == 0


def test_the_verbs_for_operators_and_those_with_long_replies_are_verbs():
    assert VERBS.keys() >= dispatch.FOR_OPERATORS
    assert VERBS.keys() >= dispatch.LONG_REPLIES
    assert {"segment.get", "stash.recall", "messages.collect"} <= dispatch.LONG_REPLIES
