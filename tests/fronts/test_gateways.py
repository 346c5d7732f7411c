"""Gateways that run are found, shown with what they count, and stopped; nobody else's process ever is."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ctxgc.fronts.cli import gateway_status
from ctxgc.gateway import pidfile
from ctxgc.gateway.metrics import Counters, Reason
from tests.fronts import replies

COUNTED = {"calls": 81, "others": 12, "edited": 58, "untouched": 3, "kept_out_bytes": 1_200_000}
REPORT = Counters(**COUNTED, pointers=37, late_entries=2).status_fields() | {
    "passed_unedited": {"daemon_late": 8, "no_identity": 12}, "mode": "shadow", "modes": {"codex": "on"},
}  # fmt: skip
SERVES = """
import sys, time
from ctxgc.gateway import pidfile
pidfile.create_pidfile(sys.argv[1], "http://127.0.0.1:4711")
print("there", flush=True)
time.sleep(60)
"""


@pytest.fixture
def another(tmp_path):
    """Start another process that says it is a gateway."""
    started = []

    def start():
        command = [sys.executable, "-c", SERVES, str(tmp_path)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "there\n"
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.fixture
def here(tmp_path):
    """This process says that it serves at an address; whoever is told to stop must not be it."""
    locks = []

    def serve(url):
        locks.append(pidfile.create_pidfile(str(tmp_path), url))

    yield serve
    for lock in locks:
        pidfile.remove_pidfile(str(tmp_path), lock)


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGKILL])
def test_a_gateway_is_found_as_long_as_its_process_lives_however_it_ends(ends, another, tmp_path):
    process = another()

    [found] = pidfile.running_gateways(str(tmp_path))
    assert (found.pid, found.url) == (process.pid, "http://127.0.0.1:4711")
    assert abs(found.since_s - time.time()) < 60

    process.send_signal(ends)
    process.wait()
    assert pidfile.running_gateways(str(tmp_path)) == []


def test_a_gateway_of_another_container_or_host_is_neither_stopped_by_its_number_nor_taken_for_dead(
    another, here, tmp_path, monkeypatch
):
    another()
    monkeypatch.setattr(pidfile, "pid_space", lambda: "another host's")

    assert pidfile.running_gateways(str(tmp_path)) == []
    here("http://127.0.0.1:1")

    assert len(os.listdir(tmp_path)) == 2
    assert [one.pid for one in pidfile.running_gateways(str(tmp_path))] == [os.getpid()]


def test_what_a_killed_gateway_left_behind_goes_with_the_next_that_starts(another, here, tmp_path):
    process = another()
    process.kill()
    process.wait()

    here("http://127.0.0.1:1")

    assert os.listdir(tmp_path) == [f"gateway-{os.getpid()}.lock"]


def test_a_file_that_nobody_holds_or_that_is_a_link_is_no_gateway(here, tmp_path):
    here("http://127.0.0.1:1")
    (tmp_path / "gateway-1.lock").write_text("1\nhttp://127.0.0.1:2\n")
    (tmp_path / "gateway-2.lock").symlink_to(tmp_path / f"gateway-{os.getpid()}.lock")
    (tmp_path / "gateway-3.lock").mkdir()

    assert [one.pid for one in pidfile.running_gateways(str(tmp_path))] == [os.getpid()]
    assert pidfile.running_gateways(str(tmp_path / "not there")) == []


def test_only_its_user_may_read_where_a_gateway_is(here, tmp_path):
    here("http://127.0.0.1:1")

    assert (tmp_path / f"gateway-{os.getpid()}.lock").stat().st_mode & 0o777 == 0o600


def served(monkeypatch, report):
    def status_of(url, secret=""):
        if report is None:
            raise ConnectionRefusedError
        return report

    monkeypatch.setattr(gateway_status, "fetch_status", status_of)


def of(folder):
    return {"ping": {}, "stats": replies.STATS | {"state_folder": str(folder)}, "session.show": replies.SHOW}


def test_status_shows_where_a_gateway_is_its_modes_and_what_it_counts(here, daemon, run, tmp_path, monkeypatch):
    here("http://127.0.0.1:8787")
    served(monkeypatch, REPORT)

    page = run(daemon(of(tmp_path)), "status").out

    assert f"gateway at http://127.0.0.1:8787, pid {os.getpid()}, up " in page
    assert "shadow, codex on" in page
    assert "81 calls to a model: 58 edited, 3 with nothing to edit; 12 other requests" in page
    assert "12 without a session's name, 8 daemon too slow" in page
    assert "1.2 MB of requests" in page
    assert "37 runs of lines that the window shows already; 2 requests whole: the daemon was late" in page
    assert "none runs" not in page


def test_json_has_the_gateways_with_all_that_they_count(here, daemon, run, tmp_path, monkeypatch):
    here("http://127.0.0.1:8787")
    served(monkeypatch, REPORT)

    [one] = json.loads(run(daemon(of(tmp_path)), "status", "--json").out)["gateways"]

    assert (one["pid"], one["url"], one["status"]) == (os.getpid(), "http://127.0.0.1:8787", REPORT)


def test_a_gateway_that_does_not_answer_is_said_to(here, daemon, run, tmp_path, monkeypatch):
    here("http://127.0.0.1:8787")
    served(monkeypatch, None)

    assert "it does not answer; `ctxgc gateway --stop` ends it" in run(daemon(of(tmp_path)), "status").out


def test_without_a_gateway_status_says_how_to_start_one(daemon, run, tmp_path):
    assert "none runs; `ctxgc run AGENT` starts one" in run(daemon(of(tmp_path)), "status").out


def test_every_reason_to_pass_a_call_unedited_is_said_in_words():
    assert set(gateway_status.WHY) == {reason.value for reason in Reason}


def test_without_a_daemon_down_and_status_say_that_a_gateway_goes_on(here, run, tmp_path, monkeypatch):
    monkeypatch.setenv("CTXGC_DAEMON__STATE_DIR", str(tmp_path))
    here("http://127.0.0.1:8787")

    assert "a gateway still runs at http://127.0.0.1:8787" in run(tmp_path / "none", "down").out
    assert "http://127.0.0.1:8787 goes on without it" in run(tmp_path / "none", "status").err


@pytest.mark.parametrize(
    ("words", "stopped"), [([], True), (["--port", "4711"], True), (["--port", "471"], False), (["--port", "9"], False)]
)
def test_stop_ends_the_gateways_meant_and_says_which(words, stopped, another, run, tmp_path, monkeypatch):
    monkeypatch.setenv("CTXGC_DAEMON__STATE_DIR", str(tmp_path))
    process = another()

    ran = run(tmp_path / "none", "gateway", "--stop", *words)

    assert ran.code == 0
    assert (f"the gateway at http://127.0.0.1:4711 (pid {process.pid}) has stopped" in ran.out) is stopped
    assert (pidfile.running_gateways(str(tmp_path)) == []) is stopped


def test_to_stop_one_needs_no_sound_configuration(another, run, tmp_path, monkeypatch):
    process = another()
    monkeypatch.setenv("CTXGC_DAEMON__STATE_DIR", str(tmp_path))
    broken = tmp_path / "config.toml"
    broken.write_text("[gateway]\nmode = 'onn'\n")

    ran = run(tmp_path / "none", "gateway", "--stop", "--config", str(broken))

    assert f"(pid {process.pid}) has stopped" in ran.out


def test_to_stop_what_is_not_there_is_fine_and_says_so(run, tmp_path, monkeypatch):
    monkeypatch.setenv("CTXGC_DAEMON__STATE_DIR", str(tmp_path))
    monkeypatch.setenv("CTXGC_GATEWAY__PORT", "9")

    assert run(tmp_path / "none", "gateway", "--stop").out == "no gateway runs\n"
    assert run(tmp_path / "none", "gateway", "--stop", "--mode", "on").code == 2


def test_a_gateway_that_is_none_of_this_state_folder_is_not_stopped_but_named(run, tmp_path, monkeypatch):
    monkeypatch.setenv("CTXGC_DAEMON__STATE_DIR", str(tmp_path))
    served(monkeypatch, REPORT)

    ran = run(tmp_path / "none", "gateway", "--stop")

    assert ran.code == 1
    assert "http://127.0.0.1:8787 is none of the state folder" in ran.err


def test_a_gateway_that_answers_nobody_without_its_secret_is_named_all_the_same(run, tmp_path, monkeypatch):
    monkeypatch.setenv("CTXGC_DAEMON__STATE_DIR", str(tmp_path))

    def status_of(url, secret=""):
        raise gateway_status.StatusRefused("the gateway serves its own user")

    monkeypatch.setattr(gateway_status, "fetch_status", status_of)

    ran = run(tmp_path / "none", "gateway", "--stop")

    assert ran.code == 1
    assert "http://127.0.0.1:8787 is none of the state folder" in ran.err
