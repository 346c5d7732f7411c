"""The daemon as a process: many clients, rude clients, rivals, and the manager that starts it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from ctxgc.protocol.blocking_client import Unreachable
from tests.daemon.harness import STOP_S, DaemonProcess
from tests.daemon.transcripts import worked

ADDS = 10
BUSY = 75
CONFIGURATION = 78


@pytest.fixture
def home():
    """A home for a daemon that is not started yet."""
    made = DaemonProcess()
    yield made
    made.close()


def at_once(work, count):
    """Run `work(n)` on that many threads, begun together; what went wrong."""
    ready, trouble = threading.Barrier(count), []

    def run(n):
        try:
            ready.wait()
            work(n)
        except BaseException as error:
            trouble.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return trouble


def text_of(client, n):
    return f"client {client} says {n}: the ferry is late\n" * 30


def adds_of(client):
    return [{"kind": "user", "id": f"{client}-{n}", "text": text_of(client, n)} for n in range(ADDS)]


@pytest.mark.parametrize("clients", [4, pytest.param(64, marks=pytest.mark.slow)])
def test_i1_of_many_clients_at_once_each_finds_all_that_was_acknowledged_even_after_a_kill(home, clients):
    home.start()

    def write(n):
        with home.client() as client:
            client.call("session.open", {"session": f"c{n}"})
            calls = [("segment.add", {"session": f"client:c{n}", "segment": each}) for each in adds_of(n)]
            assert all(reply["added"] == 1 for reply in client.call_many(calls))

    assert at_once(write, clients) == []
    home.kill()
    home.start()

    with home.client() as client:
        for n in range(clients):
            for each in adds_of(n):
                got = client.call("segment.get", {"session": f"client:c{n}", "id": each["id"]})
                assert got["pieces"][0]["text"] == each["text"]


@pytest.mark.slow
def test_a_client_that_never_reads_costs_the_others_nothing_and_the_daemon_little(home):
    home.start()
    home.call("session.open", session="s")
    home.call("segment.add", segment={"kind": "user", "id": "big", "text": "the ferry " * 50_000})
    before = home.call("stats")["rss_bytes"]
    request = json.dumps({"id": 1, "method": "segment.get", "params": {"id": "big"}}).encode() + b"\n"

    with socket.socket(socket.AF_UNIX) as rude:
        rude.connect(home.socket)
        rude.setblocking(False)
        for _ in range(400):
            try:
                rude.send(request)
            except BlockingIOError:
                break
        for _ in range(20):
            assert home.call("ping") == {"pong": True}
        after = home.call("stats")["rss_bytes"]

    assert after - before < 64 * 2**20


@pytest.mark.slow
def test_of_twenty_daemons_that_race_one_serves_and_the_others_leave_with_75(home):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": home.env}
    racers = [subprocess.Popen(home.command(), **quiet) for _ in range(20)]
    try:
        gives_up_at = time.monotonic() + 60
        while sum(racer.poll() is None for racer in racers) > 1 and time.monotonic() < gives_up_at:
            time.sleep(0.05)

        [winner] = [racer for racer in racers if racer.poll() is None]
        assert {racer.returncode for racer in racers if racer is not winner} == {BUSY}
        assert home.call("hello")["pid"] == winner.pid
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()


@pytest.mark.slow
def test_two_daemons_never_share_a_state_folder_whatever_their_sockets(home):
    home.start()

    code, said = home.run("--socket", str(home.folder / "other" / "s"))

    assert code == CONFIGURATION
    assert f"another ctxgcd (pid {home.child.pid})" in said
    assert f"listens at {home.socket}" in said


@pytest.mark.slow
def test_a_daemon_in_memory_serves_as_any_other_and_leaves_nothing_but_its_lock(home):
    home.env |= {"CTXGC_DAEMON__STATE_DIR": ":memory:", "XDG_STATE_HOME": str(home.folder / "default")}
    home.start()
    home.call("session.open", session="s")
    home.call("segment.add", segment={"kind": "user", "text": "swordfish", "id": "it"})

    assert len(home.call("stash.search", query="swordfish")["hits"]) == 1
    assert home.call("doctor")["ok"]
    home.stop()

    assert [path.name for path in (home.folder / "default" / "ctxgc").iterdir()] == ["ctxgcd.lock"]
    assert not home.state.exists()
    home.start()
    assert home.call("stash.search", query="swordfish")["hits"] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_that_is_told_to_stop_in_an_import_stops_in_order_and_goes_on_next_time(home, number):
    path = home.folder / "a1.jsonl"
    path.write_bytes(worked(3000).data)
    home.start()
    asking = threading.Thread(target=at_once, args=(lambda _: home.call("import", paths=[str(path)]), 1))
    asking.start()
    time.sleep(0.3)

    home.child.send_signal(number)

    assert home.child.wait(STOP_S) == 0, home.log
    asking.join()
    assert "Traceback" not in home.log
    home.start()
    home.call("import", paths=[str(path)])
    assert home.call("session.show", session="a1")["segments"] == 3001


@pytest.mark.slow
def test_shutdown_answers_stops_and_removes_its_socket(home):
    home.start()

    assert home.call("shutdown")["changed"]

    assert home.child.wait(STOP_S) == 0
    assert not os.path.exists(home.socket)
    with pytest.raises(Unreachable):
        home.call("ping")


@pytest.mark.slow
def test_a_daemon_that_nobody_needs_leaves_after_its_time(home):
    home.env["CTXGC_DAEMON__IDLE_EXIT_S"] = "0.2"
    home.start()

    assert home.child.wait(STOP_S) == 0


@pytest.mark.slow
def test_a_configuration_is_read_again_on_sighup_and_a_bad_one_changes_nothing(home):
    config = home.folder / "config" / "ctxgc" / "config.toml"
    config.parent.mkdir(parents=True)
    home.start()
    home.call("ping")

    def recent_turns_after(text):
        config.write_text(text)
        home.child.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        return home.call("config.get")["config"]["collect"]["recent_turns"]

    assert recent_turns_after("[collect]\nrecent_turns = 9\n") == 9
    assert recent_turns_after("[collect]\nrecent_turns = 'many'\n") == 9
    assert "not reloaded" in home.log


@pytest.mark.slow
def test_configured_watches_wait_for_what_is_not_there_yet(home):
    home.env["CTXGC_WATCH__PATHS"] = f'["{home.folder}/logs"]'
    home.start()

    (home.folder / "logs").mkdir()
    (home.folder / "logs" / "a1.jsonl").write_bytes(worked(2).data)

    gives_up_at = time.monotonic() + 10
    while home.call("stats")["segments"] < 3 and time.monotonic() < gives_up_at:
        time.sleep(0.05)
    assert home.call("session.show", session="a1")["segments"] == 3


@pytest.mark.slow
def test_a_backup_is_a_stash_that_a_daemon_can_serve(home):
    home.start()
    home.call("session.open", session="s")
    home.call("segment.add", segment={"kind": "user", "id": "it", "text": "the ferry"})
    copy = home.folder / "copy"

    assert home.call("backup", path=str(copy))["bytes"] > 0
    home.call("segment.add", segment={"kind": "user", "id": "later", "text": "the tide"})
    home.stop()
    copy.replace(home.stash_path)

    home.start()
    assert home.call("segment.get", id="it")["pieces"][0]["text"] == "the ferry"
    assert home.call("session.show")["segments"] == 1


@pytest.mark.slow
@pytest.mark.systemd
def test_systemd_passes_the_socket_and_hears_that_it_is_ready_alive_and_stopping(home):
    if shutil.which("systemd-socket-activate") is None:
        pytest.skip("needs systemd-socket-activate")
    os.makedirs(os.path.dirname(home.socket), mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(home.folder / "notify"))
        manager.settimeout(STOP_S)
        told = {"NOTIFY_SOCKET": str(home.folder / "notify"), "WATCHDOG_USEC": "400000"}
        passed = [f"--setenv={name}={value}" for name, value in (home.env | told).items() if name.isidentifier()]
        command = ["systemd-socket-activate", "-l", home.socket, *passed, *home.command()]
        home.child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not os.path.exists(home.socket):
            time.sleep(0.01)

        assert home.call("ping") == {"pong": True}  # The first client starts the daemon.

        heard = [manager.recv(4096).decode() for _ in range(3)]
        assert heard[0].startswith("READY=1\n")
        assert heard[1:] == ["WATCHDOG=1", "WATCHDOG=1"]
        assert home.call("stats")["pid"] == home.child.pid
        assert home.stop() == 0
        while (last := manager.recv(4096).decode()) == "WATCHDOG=1":
            pass
        assert last == "STOPPING=1"
    assert os.path.exists(home.socket), "the socket is the manager's, not ours to remove"
