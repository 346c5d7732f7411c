"""What passes between systemd and the daemon, and what the shipped units ask for."""

import os
import re
import shutil
import socket
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from ctxgc.core.errors import Incompatible
from ctxgc.daemon.server.systemd import inherited_sockets, sd_notify, watchdog_interval_s

UNITS = Path(__file__).parents[2] / "systemd"
ME = str(os.getpid())
EFFECTIVE = {
    *("NoNewPrivileges", "LockPersonality", "RestrictRealtime", "RestrictSUIDSGID", "RestrictNamespaces"),
    *("RestrictAddressFamilies", "SystemCallArchitectures", "SystemCallFilter", "SystemCallErrorNumber"),
    *("MemoryDenyWriteExecute", "KeyringMode", "UMask", "LimitNOFILE", "TasksMax", "MemoryHigh", "MemoryMax"),
    *("OOMPolicy", "WatchdogSec", "Type", "NotifyAccess", "Environment", "ExecStart", "Restart", "RestartSec"),
    *("RestartPreventExitStatus", "TimeoutStopSec"),
}


@pytest.fixture
def manager(tmp_path):
    """A socket that stands for systemd's, and the environment that names it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(str(tmp_path / "notify"))
        receiving.settimeout(5)
        yield receiving, {"NOTIFY_SOCKET": str(tmp_path / "notify")}


@pytest.fixture
def passed(monkeypatch):
    """Make `inherited_sockets` find these sockets where systemd would put them."""

    def passing(*sockets):
        copies = [os.dup(each.fileno()) for each in sockets]
        assert copies == list(range(copies[0], copies[0] + len(copies)))
        monkeypatch.setattr("ctxgc.daemon.server.systemd.FIRST_FD", copies[0])
        return {"LISTEN_PID": ME, "LISTEN_FDS": str(len(copies))}

    return passing


def listening(path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def test_each_state_reaches_the_manager_as_one_datagram(manager):
    receiving, env = manager

    for state in ("READY=1", "WATCHDOG=1", "STOPPING=1\nSTATUS=bye"):
        assert sd_notify(state, env)
        assert receiving.recv(4096).decode() == state


def test_an_abstract_notify_socket_is_reached():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(f"\0ctxgc-test-{ME}")
        receiving.settimeout(5)

        assert sd_notify("READY=1", {"NOTIFY_SOCKET": f"@ctxgc-test-{ME}"})
        assert receiving.recv(64) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "vsock:2:3", "@" + "x" * 200])
def test_a_manager_that_cannot_be_reached_is_no_error(address):
    assert not sd_notify("READY=1", {"NOTIFY_SOCKET": address})


def test_a_passed_socket_is_served_as_it_is_and_stays_on_disk(tmp_path, passed):
    path = tmp_path / "s"
    with listening(path) as server, socket.socket(socket.AF_UNIX) as client:
        (taken,) = inherited_sockets(passed(server))

        client.connect(str(path))
        with taken:
            taken.accept()[0].close()
            assert not taken.get_inheritable()
            assert not taken.getblocking()

    assert path.exists()


@pytest.mark.parametrize("env", [{}, {"LISTEN_FDS": "1"}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_PID": ME}])
def test_sockets_that_are_not_for_this_process_are_left_alone(env):
    assert inherited_sockets(env) == []


def test_a_network_socket_is_refused(passed):
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(Incompatible, match="Unix stream"):
        inherited_sockets(passed(server))


def test_a_socket_that_does_not_listen_is_refused(passed):
    with socket.socket(socket.AF_UNIX) as idle, pytest.raises(Incompatible, match="not a listening"):
        inherited_sockets(passed(idle))


@pytest.mark.parametrize(
    ("env", "interval_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ME}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks_and_only_by_whom_it_watches(env, interval_s):
    assert watchdog_interval_s(env) == interval_s


def unit(name):
    parser = RawConfigParser(delimiters="=", comment_prefixes="#", strict=True)
    parser.optionxform = str
    parser.read(UNITS / name)
    return parser


def test_the_service_asks_only_for_what_an_unprivileged_manager_can_apply():
    assert set(unit("ctxgcd.service")["Service"]) <= EFFECTIVE


def test_the_units_agree_with_the_daemons_own_rules():
    opened, service = unit("ctxgcd.socket")["Socket"], unit("ctxgcd.service")["Service"]

    assert opened["ListenStream"] == "%t/ctxgc/ctxgc.sock"
    assert (opened["SocketMode"], opened["DirectoryMode"], service["UMask"]) == ("0600", "0700", "0077")
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert service["RestrictAddressFamilies"] == "AF_UNIX"


@pytest.mark.systemd
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_finds_no_fault_in_the_units(tmp_path):
    for each in UNITS.iterdir():
        text = re.sub(r"%h/\.local/bin/ctxgcd?", shutil.which("true"), each.read_text())
        (tmp_path / each.name).write_text(text)

    result = subprocess.run(
        ["systemd-analyze", "--user", "verify", *sorted(map(str, tmp_path.iterdir()))],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )

    # Warnings do not change its exit code; it also complains about units of the host that are none of ours.
    assert not [line for line in result.stderr.splitlines() if "ctxgc" in line]
    assert result.returncode == 0
