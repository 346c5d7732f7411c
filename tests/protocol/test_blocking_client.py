"""The line client: where the daemon is, how it is asked, and how it is started."""

import importlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from ctxgc.protocol import discovery
from ctxgc.protocol.blocking_client import BadSocketPath, CallFailed, LineClient, TimedOut, Unreachable
from ctxgc.protocol.discovery import socket_path
from ctxgc.protocol.peer import peer_uid
from ctxgc.protocol.spawn import ensure_daemon

FAKE_DAEMON = """
import os, socket, sys, time, json
from ctxgc.daemon.server.single_instance import Instance, InstanceError
path = sys.argv[sys.argv.index("--socket") + 1]
open(os.path.dirname(path) + "/starts", "a").write("x")
if "--broken" in sys.argv:
    print("the config is wrong", file=sys.stderr)
    sys.exit(78)
try:
    listener = Instance(os.path.dirname(path)).listen(path)
except InstanceError as error:
    sys.exit(error.exit_code)
listener.settimeout(20)
while True:
    connection, _ = listener.accept()
    connection.settimeout(None)
    for line in connection.makefile("rb"):
        asked = json.loads(line)
        connection.sendall(json.dumps({"id": asked["id"], "result": os.getpid()}).encode() + b"\\n")
        if asked["method"] == "stop":
            sys.exit()
"""
DAEMON = (sys.executable, "-c", FAKE_DAEMON)


@pytest.fixture
def path(tmp_path):
    """Where a fake server may listen."""
    return str(tmp_path / "s")


@pytest.fixture
def serve(path):
    """Run a function as the server of one connection: it gets the socket and a file of its lines."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    threads = []

    def start(behave):
        def run():
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                behave(connection, lines)

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
        return LineClient(path, timeout_s=5)

    yield start
    for thread in threads:
        thread.join(5)
    listener.close()


def answer(connection, request, result):
    connection.sendall(json.dumps({"id": json.loads(request)["id"], "result": result}).encode() + b"\n")


@pytest.mark.parametrize(
    ("flag", "environment", "path"),
    [
        ("/a/s", {"CTXGC_SOCKET": "/b/s", "XDG_RUNTIME_DIR": "/run/user/1"}, "/a/s"),
        ("", {"CTXGC_SOCKET": "/b/s", "XDG_RUNTIME_DIR": "/run/user/1"}, "/b/s"),
        ("", {"XDG_RUNTIME_DIR": "/run/user/1", "HOME": "/h"}, "/run/user/1/ctxgc/ctxgc.sock"),
        ("", {"HOME": "/h", "XDG_STATE_HOME": "/state"}, "/state/ctxgc/ctxgc.sock"),
        ("", {"HOME": "/h"}, "/h/.local/state/ctxgc/ctxgc.sock"),
    ],
)
def test_the_socket_is_where_the_flag_says_then_the_environment_then_the_users_own_folders(flag, environment, path):
    assert socket_path(flag, environment) == path


def test_a_path_that_no_socket_can_have_is_a_configuration_error():
    with pytest.raises(BadSocketPath) as refused:
        socket_path("/" + "x" * 107, {})

    assert refused.value.kind == "config"


def test_an_answer_of_a_megabyte_in_small_pieces_is_one_result(serve):
    def behave(connection, lines):
        line = json.dumps({"id": json.loads(next(lines))["id"], "result": "x" * 2**20}).encode() + b"\n"
        for at in range(0, len(line), 5000):
            connection.sendall(line[at : at + 5000])

    with serve(behave) as client:
        assert client.call("ping") == "x" * 2**20


def test_events_and_late_answers_are_not_taken_for_the_answer(serve):
    def behave(connection, lines):
        request = next(lines)
        connection.sendall(b'{"method":"event","params":{}}\n{"id":-7,"result":"late"}\n')
        answer(connection, request, "mine")

    with serve(behave) as client:
        assert client.call("ping") == "mine"


def test_a_refusal_carries_kind_number_message_and_hint(serve):
    def behave(connection, lines):
        next(lines)
        data = {"kind": "not_found", "hint": "list them"}
        connection.sendall(
            json.dumps({"id": 1, "error": {"code": -32003, "message": "no", "data": data}}).encode() + b"\n"
        )

    with serve(behave) as client, pytest.raises(CallFailed) as failed:
        client.call("segment.get", {"id": "x"})

    assert (failed.value.kind, failed.value.number, failed.value.message, failed.value.hint) == (
        "not_found", -32003, "no", "list them",
    )  # fmt: skip


def test_a_silent_daemon_is_given_up_after_the_timeout(serve):
    done = threading.Event()
    with serve(lambda connection, lines: done.wait(5)) as client:
        with pytest.raises(TimedOut) as failed:
            client.call("ping", timeout_s=0.05)
        done.set()

    assert failed.value.kind == "deadline"


def test_a_daemon_that_hangs_up_is_unreachable(serve):
    with serve(lambda connection, lines: next(lines)) as client, pytest.raises(Unreachable):
        client.call("ping")


def test_no_daemon_is_unreachable_with_the_next_step(path):
    with pytest.raises(Unreachable, match="no daemon") as failed:
        LineClient(path).call("ping")

    assert "ctxgc up" in failed.value.hint


class MacSocket:
    """A Unix socket of a Mac, as far as its peer's credentials go."""

    def __init__(self, version, uid):
        self.answer = struct.pack("=IIh2x16I", version, uid, 1, *[20] * 16)

    def getsockopt(self, level, name, size):
        assert (level, name, size) == (0, 1, len(self.answer))
        return self.answer


@pytest.mark.parametrize(("version", "uid"), [(0, 501), (0, 0), (7, -1)])
def test_on_a_simulated_mac_the_peers_user_comes_from_local_peercred(version, uid, monkeypatch):
    monkeypatch.delattr(socket, "SO_PEERCRED")
    monkeypatch.setattr(socket, "LOCAL_PEERCRED", 1, raising=False)

    assert peer_uid(MacSocket(version, max(uid, 0))) == uid


def test_a_mac_takes_shorter_socket_paths(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    try:
        fresh = importlib.reload(discovery)
        assert fresh.socket_path("/" + "x" * 102, {})
        with pytest.raises(BadSocketPath):
            fresh.socket_path("/" + "x" * 103, {})
    finally:
        monkeypatch.undo()
        importlib.reload(discovery)


def test_nothing_is_said_to_a_socket_that_another_user_serves(serve, monkeypatch):
    heard = []
    client = serve(lambda connection, lines: heard.extend(lines))
    monkeypatch.setattr("ctxgc.protocol.blocking_client.peer_uid", lambda _: os.geteuid() + 1)

    with client, pytest.raises(Unreachable, match="not by you"):
        client.call("segment.add", {"text": "private"})

    assert heard == []


def test_the_reason_of_a_refused_connection_is_read_even_if_the_request_could_not_be_sent(serve):
    def behave(connection, lines):
        connection.sendall(b'{"id":null,"error":{"code":-32001,"message":"full","data":{"kind":"busy"}}}\n')

    client = serve(behave)
    client.connect()
    time.sleep(0.05)
    with client, pytest.raises(CallFailed) as failed:
        client.call("ping", {"text": "x" * 10**6})

    assert failed.value.kind == "busy"


def test_pipelined_results_come_in_the_order_of_the_calls_whatever_order_they_are_answered_in(serve):
    def behave(connection, lines):
        held = []
        for number, line in enumerate(lines):
            held.insert(0, line)
            if number % 8 == 7:
                for request in held:
                    answer(connection, request, json.loads(request)["params"]["n"])
                held.clear()

    with serve(behave) as client:
        assert list(client.call_many(("x", {"n": n}) for n in range(200))) == list(range(200))


def test_a_refused_call_among_pipelined_ones_is_given_in_its_place(serve):
    def behave(connection, lines):
        answer(connection, next(lines), 1)
        connection.sendall(b'{"id":2,"error":{"code":-32003,"message":"no","data":{"kind":"not_found"}}}\n')
        next(lines)
        answer(connection, next(lines), 3)

    with serve(behave) as client:
        first, second, third = client.call_many([("x", {})] * 3)

    assert (first, type(second), third) == (1, CallFailed, 3)


def test_pipelining_much_in_both_directions_does_not_block_both_sides(serve):
    def behave(connection, lines):
        # Like the daemon: no further request is read before its answer could be written.
        for request in lines:
            answer(connection, request, "y" * 300_000)

    with serve(behave) as client:
        results = list(client.call_many(("x", {"text": "x" * 300_000}) for _ in range(50)))

    assert results == ["y" * 300_000] * 50


def test_ensuring_a_daemon_starts_one_that_outlives_us_and_only_if_there_is_none(path):
    assert ensure_daemon(path, command=DAEMON) is True
    assert ensure_daemon(path, command=DAEMON) is False

    with LineClient(path) as client:
        pid = client.call("stop")

    assert os.getsid(pid) != os.getsid(0)
    os.waitpid(pid, 0)


CLIENT = """
import sys
from ctxgc.protocol.blocking_client import LineClient
from ctxgc.protocol.spawn import ensure_daemon
ensure_daemon(sys.argv[1], command=(sys.executable, "-c", sys.argv[2]))
print(LineClient(sys.argv[1]).call("ping"))
"""


def test_eight_commands_that_find_no_daemon_start_one_and_are_all_answered_by_it(tmp_path):
    path = str(tmp_path / "run" / "s")
    command = [sys.executable, "-c", CLIENT, path, FAKE_DAEMON]
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(8)]

    pids = {client.communicate()[0] for client in clients}
    with LineClient(path) as client:
        client.call("stop")

    assert len(pids) == 1
    assert (tmp_path / "run" / "starts").read_text() == "x"


def test_a_daemon_that_does_not_come_up_is_quoted(path):
    with pytest.raises(CallFailed, match="the config is wrong") as failed:
        ensure_daemon(path, command=DAEMON, arguments=["--broken"])

    assert failed.value.kind == "config"


@pytest.mark.parametrize("folder", ["/proc/none/of/ours", "/dev/null/none"])
def test_a_folder_that_cannot_be_made_is_named(folder):
    with pytest.raises(CallFailed, match=folder):
        ensure_daemon(f"{folder}/s", command=DAEMON)


def test_importing_the_client_loads_nothing_heavy():
    code = "import ctxgc.protocol.discovery, ctxgc.protocol.spawn, sys; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())

    assert not loaded & {"asyncio", "typing", "subprocess", "pydantic", "msgspec", "pathlib", "argparse", "logging"}
