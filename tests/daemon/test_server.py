"""The socket server, over real sockets: every rule of the protocol's table, and clients that misbehave."""

import asyncio
import json
import logging
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ctxgc.daemon.events import Events
from ctxgc.daemon.rpc import Limits, SlowCall, Slowlog
from ctxgc.protocol.blocking_client import CallFailed, LineClient
from ctxgc.protocol.limits import BAD_LINES_MAX, IN_FLIGHT_MAX
from tests.daemon.echo import call, serving


@pytest.fixture
async def daemon(tmp_path):
    async with serving(tmp_path) as running:
        yield running


@pytest.fixture
async def wire(daemon):
    return await daemon.connect()


async def test_a_request_is_answered_under_its_id(wire):
    answer = await wire.ask(call("a", x=1))

    assert answer == {"jsonrpc": "2.0", "id": "a", "result": {"x": 1}}


async def test_an_answer_that_is_json_already_is_sent_as_it_is(wire):
    assert (await wire.ask(call(1, "encoded", x=[1, 2])))["result"] == {"x": [1, 2]}


async def test_pipelined_requests_are_all_answered_in_order(wire):
    wire.send(*(call(i) for i in range(1000)))

    assert [(await wire.receive())["id"] for _ in range(1000)] == list(range(1000))


async def test_a_request_cut_into_single_bytes_is_one_request(wire):
    for byte in json.dumps(call(5)).encode() + b"\n":
        wire.send(bytes([byte]))
        await wire.writer.drain()

    assert (await wire.receive())["id"] == 5


async def test_a_quick_request_overtakes_one_that_waits(daemon, wire):
    wire.send(call(1, "hold"), call(2))

    assert (await wire.receive())["id"] == 2
    daemon.dispatch.released.set()
    assert (await wire.receive())["id"] == 1


async def test_a_notification_is_executed_and_never_answered_not_even_when_it_fails(daemon, wire):
    wire.send({"method": "echo", "params": {"name": "n"}}, {"method": "missing"}, {"method": "hold"}, call(1))
    daemon.dispatch.released.set()

    assert (await wire.receive())["id"] == 1
    assert daemon.dispatch.executed == ["n", "missing", "hold", "echo"]


async def test_a_batch_is_answered_by_one_array_without_its_notifications(daemon, wire):
    daemon.dispatch.released.set()

    answers = await wire.ask([call(1), call(2, "hold"), {"method": "echo"}, call(3, "missing"), 5])

    assert [(a["id"], "error" in a) for a in answers] == [(1, False), (2, False), (3, True), (None, True)]


async def test_a_batch_of_notifications_has_no_answer(wire):
    wire.send([{"method": "echo"}], [{"method": "hold"}])

    assert (await wire.ask(call(1)))["id"] == 1


async def test_an_id_that_is_in_flight_is_refused_and_the_first_still_answered(daemon, wire):
    wire.send(call(1, "hold", name="first"), call(1, "echo", name="second"))

    refused = await wire.receive()
    daemon.dispatch.released.set()

    assert (refused["id"], refused["error"]["code"]) == (None, -32600)
    assert (await wire.receive())["result"]["name"] == "first"
    assert daemon.dispatch.executed == ["first"]


async def test_an_id_that_a_batch_holds_twice_is_executed_once(daemon, wire):
    answers = await wire.ask([call(1, name="a"), call(1, name="b")])

    assert [a["id"] for a in answers] == [1, None]
    assert daemon.dispatch.executed == ["a"]


async def test_an_error_is_answered_with_its_kind_and_next_step(wire):
    error = (await wire.ask(call(1, "missing")))["error"]

    assert (error["code"], error["data"]["kind"], error["data"]["hint"]) == (-32003, "not_found", "look elsewhere")


@pytest.mark.parametrize("method", ["bug", "unsendable"])
async def test_a_bug_is_answered_and_logged_without_a_word_of_the_session(wire, caplog, method):
    with caplog.at_level(logging.ERROR):
        error = (await wire.ask(call(1, method, text="secret")))["error"]

    assert (error["code"], error["data"]["kind"]) == (-32603, "internal")
    assert method in caplog.text
    assert "secret" not in caplog.text + json.dumps(error)
    assert (await wire.ask(call(2)))["id"] == 2


@pytest.mark.parametrize("depth", [800, 900, 950, 990, 2000])
async def test_params_nested_as_deep_as_a_parser_goes_are_refused_and_not_fatal(wire, depth):
    line = b'{"id":1,"method":"missing","params":{"a":' + b"[" * depth + b"]" * depth + b"}}\n"

    assert (await wire.ask(line))["error"]["code"] in (-32003, -32602, -32700)
    assert (await wire.ask(call(2)))["id"] == 2


# Bad input.


async def test_an_unparsable_line_is_answered_and_the_connection_stays(wire):
    refused = await wire.ask(b"nonsense\n")

    assert (refused["id"], refused["error"]["code"]) == (None, -32700)
    assert (await wire.ask(call(1)))["id"] == 1


async def test_sixteen_unparsable_lines_in_a_row_close_the_connection(wire):
    wire.send(b"nonsense\n" * BAD_LINES_MAX)

    assert [(await wire.receive())["error"]["code"] for _ in range(BAD_LINES_MAX)] == [-32700] * BAD_LINES_MAX
    assert await wire.receive() is None


async def test_an_over_long_line_is_answered_and_the_connection_closed(tmp_path):
    async with serving(tmp_path, limits=Limits(frame_bytes_max=1000, linger_s=0.2)) as daemon:
        wire = await daemon.connect()

        assert (await wire.ask(b"x" * 1001))["error"]["code"] == -32011
        assert await wire.receive() is None


async def test_what_came_before_a_fatal_line_is_still_answered(daemon, wire):
    wire.send(call(1, "hold"), b"GET\x00" * 20 + b"\n" * 1, *[b"nonsense\n"] * BAD_LINES_MAX, call(9, name="never"))
    daemon.dispatch.released.set()

    answers = [await wire.receive() for _ in range(BAD_LINES_MAX + 1)]

    assert [a["result"] for a in answers if a["id"] == 1] == [{}]
    assert await wire.receive() is None
    assert "never" not in daemon.dispatch.executed


async def test_a_partial_line_at_the_end_of_input_is_never_executed(daemon, wire):
    wire.send(call(1), json.dumps(call(2, name="partial")).encode())
    wire.writer.write_eof()

    assert (await wire.receive())["id"] == 1
    assert await wire.receive() is None
    assert daemon.dispatch.executed == ["echo"]


async def test_a_client_that_closes_its_half_still_gets_its_answers(daemon, wire):
    wire.send(call(1, "hold"), call(2))
    wire.writer.write_eof()
    assert (await wire.receive())["id"] == 2
    await asyncio.sleep(0.02)
    daemon.dispatch.released.set()

    assert (await wire.receive())["id"] == 1
    assert await wire.receive() is None


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00"])
async def test_http_or_binary_is_told_the_protocol_in_one_line_and_closed(wire, first):
    answer = await wire.ask(first)

    assert "ctxgc/1" in answer["error"]["message"]
    assert await wire.receive() is None


# Deadlines and cancelling.


async def test_a_request_whose_deadline_passed_before_it_started_is_not_executed(daemon, wire):
    held = [call(i, "hold") for i in range(IN_FLIGHT_MAX)]
    wire.send(*held, {**call("late", name="late"), "deadline_ms": 20}, {**call("early"), "deadline_ms": 60_000})
    await asyncio.sleep(0.1)
    daemon.dispatch.released.set()

    answers = {a["id"]: a for a in [await wire.receive() for _ in range(IN_FLIGHT_MAX + 2)]}

    assert answers["late"]["error"]["code"] == -32002
    assert "result" in answers["early"]
    assert "late" not in daemon.dispatch.executed


async def test_a_cancelled_request_stops_where_its_verb_looks(daemon, wire):
    wire.send(call(1, "hold", checks=True), call(2, "hold"), {"method": "$/cancel", "params": {"id": 1}})
    wire.send({"method": "$/cancel", "params": {"id": 2}}, call(3))
    await wire.receive()
    daemon.dispatch.released.set()

    answers = {a["id"]: a for a in [await wire.receive(), await wire.receive()]}

    assert answers[1]["error"]["code"] == -32800
    assert "result" in answers[2], "what a verb has done is reported as done"


# Bounds.


async def test_the_server_starts_no_more_requests_than_the_bound_and_reads_no_further(daemon, wire):
    wire.send(*(call(i, "hold") for i in range(IN_FLIGHT_MAX * 3)))
    await asyncio.sleep(0.05)

    started = len(daemon.dispatch.executed)
    daemon.dispatch.released.set()
    ids = {(await wire.receive())["id"] for _ in range(IN_FLIGHT_MAX * 3)}

    assert started == IN_FLIGHT_MAX
    assert ids == set(range(IN_FLIGHT_MAX * 3))


async def test_a_client_that_never_reads_neither_grows_nor_disturbs_I12(tmp_path):
    limits = Limits(unsent_bytes_max=100_000, linger_s=0.2)
    async with serving(tmp_path, limits=limits) as daemon:
        deaf, other = await daemon.connect(), await daemon.connect()
        deaf.writer.transport.pause_reading()
        deaf.send(*(call(i, "big", bytes=10_000) for i in range(2000)))

        for i in range(50):
            assert (await other.ask(call(i)))["id"] == i

        [connection] = [c for c in daemon.server._hub.connections if c._backlog]
        assert connection._transport.get_write_buffer_size() < 2 * limits.unsent_bytes_max
        assert daemon.dispatch.executed.count("big") < 200
        deaf.writer.transport.resume_reading()
        assert [(await deaf.receive())["id"] for _ in range(2000)] == list(range(2000))


READER = """
import socket, sys, json
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
line = json.dumps({"id": 1, "method": "big", "params": {"bytes": 20000}}).encode() + b"\\n"
print("connected", flush=True)
while True: s.sendall(line)
"""


async def test_a_stopped_process_costs_the_daemon_a_bounded_amount_of_memory(tmp_path):
    async with serving(tmp_path) as daemon:
        reader = await asyncio.create_subprocess_exec(sys.executable, "-c", READER, daemon.path, stdout=subprocess.PIPE)
        try:
            await reader.stdout.readline()
            other = await daemon.connect()
            await asyncio.sleep(0.1)
            reader.send_signal(signal.SIGSTOP)
            before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for i in range(300):
                assert (await other.ask(call(i)))["id"] == i
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 4096
        finally:
            reader.kill()
            await reader.wait()


async def test_sixty_four_clients_at_once_each_get_their_own_answers(daemon):
    async def client(number):
        wire = await daemon.connect()
        wire.send(*(call(i, client=number) for i in range(50)))
        return [await wire.receive() for _ in range(50)]

    answers = await asyncio.gather(*(client(number) for number in range(64)))

    for number, mine in enumerate(answers):
        assert [(a["id"], a["result"]["client"]) for a in mine] == [(i, number) for i in range(50)]


async def test_a_client_that_hangs_up_leaves_nothing_behind(daemon):
    for _ in range(20):
        wire = await daemon.connect()
        wire.send(call(1), call(2, "hold"), b'{"half')
        wire.writer.close()
    daemon.dispatch.released.set()
    await asyncio.sleep(0.1)

    assert (await (await daemon.connect()).ask(call(1, "whoami")))["result"]["connection"] == 21
    assert daemon.server.traffic.connections == 1
    assert not daemon.server._hub.tasks


# Who may connect.


async def test_the_process_of_another_user_is_refused_before_its_requests_are_read(tmp_path):
    async with serving(tmp_path, credentials=lambda _: os.geteuid() + 1) as daemon:
        with pytest.raises(CallFailed) as failed:
            await asyncio.to_thread(LineClient(daemon.path).call, "echo")

        assert failed.value.kind == "foreign_peer"
        assert daemon.dispatch.executed == []


async def test_a_verb_sees_the_uid_of_its_client(wire):
    assert (await wire.ask(call(1, "whoami")))["result"] == {"connection": 1, "uid": os.geteuid()}


STRANGER = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
try:
    s.sendall(b'{"id":1,"method":"echo"}\\n')
except BrokenPipeError:
    pass  # Refused before we could ask: the reason is there to read all the same.
print(s.makefile().readline())
"""


@pytest.fixture
def open_folder():
    """A folder that any user may enter, all the way down: pytest closes its own under other workers."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.root
async def test_a_real_process_of_another_user_is_refused_though_every_door_stands_open(open_folder):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    async with serving(open_folder) as daemon:
        os.chmod(Path(daemon.path).parent, 0o755)
        os.chmod(daemon.path, 0o666)

        run = await asyncio.create_subprocess_exec(
            sys.executable, "-c", STRANGER, daemon.path, stdout=subprocess.PIPE, cwd="/"
        )
        said, _ = await run.communicate()

        assert b"foreign_peer" in said
        assert daemon.dispatch.executed == []


# Events.


async def test_a_subscriber_hears_of_its_topics_and_of_no_other(daemon, wire):
    await wire.ask(call(1, "subscribe", topics=["session"]))

    first = daemon.server.events.publish("session", {"n": 1})
    daemon.server.events.publish("fault", {"n": 2})
    third = daemon.server.events.publish("session", {"n": 3})

    events = [await wire.receive(), await wire.receive()]
    assert [e["params"]["seq"] for e in events] == [first, third]
    assert events[0] == {"jsonrpc": "2.0", "method": "event", "params": {"seq": first, "topic": "session", "n": 1}}


async def test_a_subscriber_resumes_where_it_was(daemon, wire):
    for n in range(5):
        daemon.server.events.publish("session", {"n": n})

    await wire.ask(call(1, "subscribe", topics=["session"], from_seq=3))

    assert [(await wire.receive())["params"]["seq"] for _ in range(3)] == [3, 4, 5]


async def test_events_that_are_no_longer_kept_are_one_gap(tmp_path):
    async with serving(tmp_path, events=Events(100, events_max=3)) as daemon:
        wire = await daemon.connect()
        for n in range(10):
            daemon.server.events.publish("session", {"n": n})

        await wire.ask(call(1, "subscribe", topics=["session"], from_seq=7))

        gap = await wire.receive()
        assert (gap["method"], gap["params"]) == ("event.gap", {"from": 7, "to": 106})
        assert [(await wire.receive())["params"]["seq"] for _ in range(3)] == [107, 108, 109]


def test_the_ring_keeps_to_its_bounds_of_events_and_of_bytes():
    few, small = Events(events_max=10), Events(events_bytes_max=5000)
    for events in (few, small):
        for n in range(1000):
            events.publish("session", {"text": "x" * 100, "n": n})

    assert few.next_seq - few.oldest_seq == 10
    assert sum(len(event.line) for event in small.events_since(0)) <= 5000


async def test_a_subscriber_that_does_not_read_is_cut_off_and_the_others_hear_everything(tmp_path):
    limits = Limits(unsent_bytes_max=50_000, slow_consumer_s=0.1, linger_s=0.2)
    async with serving(tmp_path, limits=limits) as daemon:
        deaf, other = await daemon.connect(), await daemon.connect()
        for wire in (deaf, other):
            await wire.ask(call(1, "subscribe", topics=["session"]))
        deaf.writer.transport.pause_reading()

        for n in range(100):
            daemon.server.events.publish("session", {"n": n, "text": "x" * 20_000})
            assert (await other.receive())["params"]["n"] == n
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if daemon.server.traffic.connections == 1:
                break

        assert daemon.server.traffic.connections == 1
        assert (await other.ask(call(2)))["id"] == 2


# Stopping, and looking back.


async def test_stopping_answers_what_is_in_flight_and_refuses_what_is_new(daemon, wire):
    wire.send(call(1, "hold"))
    await asyncio.sleep(0.05)
    stopping = asyncio.create_task(daemon.server.stop())
    await asyncio.sleep(0.02)

    refused = await wire.ask(call(2, name="new"))
    daemon.dispatch.released.set()

    assert refused["error"]["code"] == -32013
    assert (await wire.receive())["id"] == 1
    assert await wire.receive() is None
    await stopping
    assert daemon.dispatch.executed == ["hold"]


async def test_stopping_does_not_wait_for_ever(tmp_path):
    async with serving(tmp_path, limits=Limits(stop_s=0.05, linger_s=0.05)) as daemon:
        wire = await daemon.connect()
        wire.send(call(1, "hold"))
        await asyncio.sleep(0.05)

        await asyncio.wait_for(daemon.server.stop(), 2)

        assert daemon.server.traffic.connections == 0


async def test_stopping_leaves_the_socket_for_whoever_owns_it(daemon):
    await daemon.server.stop()

    assert stat.S_ISSOCK(os.lstat(daemon.path).st_mode)


async def test_requests_errors_and_slow_calls_are_counted(daemon, wire):
    await wire.ask(call(1))
    await wire.ask(call(2, "missing"))
    wire.send(call(3, "hold"))
    await asyncio.sleep(0.05)
    daemon.dispatch.released.set()
    await wire.receive()

    traffic = daemon.server.traffic
    assert (traffic.connections, traffic.requests, traffic.errors) == (1, 3, 1)
    assert [slow.method for slow in daemon.server.slowest_calls()] == ["hold"]


def test_the_slow_log_keeps_the_slowest():
    log = Slowlog(calls_max=3)
    for number, seconds in enumerate([5.0, 1.0, 4.0, 2.0, 3.0, 1.0]):
        log.note_call(SlowCall(seconds, number, "x", 1, 0.0))

    assert [slow.seconds for slow in log.slowest_calls()] == [5.0, 4.0, 3.0]
