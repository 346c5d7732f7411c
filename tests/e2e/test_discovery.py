"""One daemon, two worlds: who lacks XDG_RUNTIME_DIR, or has another, still finds it, or is told where it is."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ctxgc.protocol import discovery

RUN_S = 60


class House:
    """A home in which nobody names a socket."""

    def __init__(self):
        # Not pytest's tmp_path: a socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ctxgc-w-"))
        unset = ("CTXGC_", "XDG_", "LISTEN_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
        self.env = kept | {"HOME": str(self.folder), "CTXGC_STASH__RESERVE_BYTES": "0"}
        self.runtime = self.folder / "run"
        self.runtime.mkdir(mode=0o700)
        self.logged_in = {"XDG_RUNTIME_DIR": str(self.runtime)}
        self.state = str(self.folder / ".local" / "state" / "ctxgc")

    def run(self, *argv, **env):
        command = [sys.executable, "-m", "ctxgc.fronts.cli.main", *argv]
        done = subprocess.run(
            command, capture_output=True, text=True, env=self.env | env, cwd=self.folder, timeout=RUN_S
        )
        return done.returncode, done.stdout, done.stderr

    def pid(self, **env):
        code, out, err = self.run("status", "--json", **env)
        assert code == 0, err
        return json.loads(out)["pid"]


@pytest.fixture
def house():
    made = House()
    yield made
    pid, _ = discovery.read_lock_file(made.state)
    if pid:
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(made.folder)


@pytest.mark.slow
def test_a_daemon_is_found_from_where_its_runtime_folder_is_not_known(house):
    house.run("up", **house.logged_in)

    code, _, err = house.run("sessions")

    assert (code, err) == (0, "")
    assert house.pid() == house.pid(**house.logged_in)
    assert not (Path(house.state) / "ctxgc.sock").exists(), "no second daemon was begun"


@pytest.mark.slow
def test_a_daemon_that_was_started_without_a_runtime_folder_is_found_with_one_and_stopped(house):
    house.run("up")
    pid = house.pid(**house.logged_in)

    code, out, _ = house.run("down", **house.logged_in)

    assert (code, out) == (0, f"ctxgcd (pid {pid}) has stopped\n")
    assert discovery.read_lock_file(house.state) == (0, "")


@pytest.mark.slow
def test_a_daemon_whose_socket_is_gone_is_named_by_whatever_is_tried(house):
    house.run("up", **house.logged_in)
    pid = house.pid(**house.logged_in)
    shutil.rmtree(house.runtime)  # As a login manager does at the last logout.

    for command in ("status", "down", "sessions", "up"):
        code, _, err = house.run(command)

        assert code in (69, 78), command
        assert f"pid {pid}" in err
        assert str(house.runtime) in err


@pytest.mark.slow
def test_a_daemon_that_died_in_a_crash_is_not_waited_for(house):
    house.run("up", **house.logged_in)
    os.kill(house.pid(**house.logged_in), signal.SIGKILL)

    code, _, err = house.run("sessions")

    assert (code, err) == (0, "")


@pytest.mark.slow
def test_who_asks_for_another_socket_is_told_at_once_who_has_the_state_folder(house):
    house.run("up", **house.logged_in)
    pid = house.pid(**house.logged_in)

    code, _, err = house.run("sessions", "--socket", str(house.folder / "other" / "s"))

    assert code == 78
    assert f"another ctxgcd (pid {pid})" in err
    assert f"`--socket {house.runtime}/ctxgc/ctxgc.sock` reaches it" in err


def test_what_another_user_wrote_into_a_lock_file_is_not_believed(tmp_path, monkeypatch):
    (tmp_path / discovery.LOCK_NAME).write_text("1\n/run/s\n")
    assert discovery.read_lock_file(str(tmp_path)) == (1, "/run/s")

    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)

    assert discovery.read_lock_file(str(tmp_path)) == (0, "")


@pytest.mark.parametrize("said", ["", "7", "7\n", "x\n/run/s\n", "7\nrelative\n", "\n\n", "²\n/run/s\n"])
def test_a_lock_file_that_says_nothing_usable_says_nothing(tmp_path, said):
    (tmp_path / discovery.LOCK_NAME).write_text(said)

    assert discovery.read_lock_file(str(tmp_path)) == (0, "")
