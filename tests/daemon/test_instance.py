"""One daemon per socket: who wins, what is refused, and what is left behind."""

import os
import socket
import stat
import subprocess
import sys
import time

import pytest

from ctxgc.daemon.server.single_instance import AlreadyRunning, Instance, UnsafeFolder
from ctxgc.protocol.blocking_client import BadSocketPath
from ctxgc.protocol.discovery import read_lock_file, socket_path

CONTENDER = """
import sys, time
from ctxgc.daemon.server.single_instance import Instance, InstanceError
try:
    listener = Instance(sys.argv[1]).listen(sys.argv[1] + "/ctxgc.sock")
except InstanceError as error:
    sys.exit(error.exit_code)
print("won", flush=True)
sys.stdin.read()
"""


def connects(path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def leave_a_stale_socket(path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))


@pytest.fixture
def folder(tmp_path):
    """A folder that does not exist yet, where an instance may live."""
    return tmp_path / "ctxgc"


def test_of_twenty_processes_that_race_for_a_socket_one_wins_and_the_others_exit_75(folder):
    folder.mkdir(mode=0o700)
    leave_a_stale_socket(folder / "ctxgc.sock")
    command = [sys.executable, "-c", CONTENDER, str(folder)]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(20)]
    try:
        gives_up_at = time.monotonic() + 20
        while sum(racer.poll() is None for racer in racers) > 1 and time.monotonic() < gives_up_at:
            time.sleep(0.02)

        winners = [racer for racer in racers if racer.poll() is None]
        assert [racer.stdout.readline() for racer in winners] == [b"won\n"]
        assert {racer.returncode for racer in racers if racer not in winners} == {75}
        assert connects(folder / "ctxgc.sock")
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()


def test_folder_and_socket_are_for_their_owner_alone(folder):
    instance = Instance(str(folder))
    with instance.listen(f"{folder}/ctxgc.sock"):
        modes = [
            stat.S_IMODE(os.lstat(path).st_mode) for path in (folder, folder / "ctxgc.sock", folder / "ctxgcd.lock")
        ]

    assert modes == [0o700, 0o600, 0o600]
    instance.close()


def test_the_socket_can_be_connected_to_from_the_moment_it_appears(folder):
    with Instance(str(folder)).listen(f"{folder}/ctxgc.sock"):
        assert sorted(os.listdir(folder)) == ["ctxgc.sock", "ctxgcd.lock"]
        assert connects(folder / "ctxgc.sock")


def test_a_second_instance_is_refused_while_the_first_lives_and_not_after(folder):
    first = Instance(str(folder))
    with pytest.raises(AlreadyRunning) as refused:
        Instance(str(folder))

    first.close()

    assert refused.value.exit_code == 75
    Instance(str(folder)).close()


def test_a_killed_daemon_leaves_a_socket_that_the_next_one_replaces(folder):
    folder.mkdir(mode=0o700)
    for leftover in ("ctxgc.sock", "ctxgc.soc~"):
        leave_a_stale_socket(folder / leftover)

    with Instance(str(folder)).listen(f"{folder}/ctxgc.sock"):
        assert connects(folder / "ctxgc.sock")


def test_closing_removes_our_socket_and_no_other(folder):
    instance = Instance(str(folder))
    path = folder / "ctxgc.sock"
    with instance.listen(str(path)):
        path.unlink()
        leave_a_stale_socket(path)

        instance.close()

    assert path.exists()


def test_a_closed_instance_leaves_no_socket(folder):
    instance = Instance(str(folder))
    with instance.listen(f"{folder}/ctxgc.sock"):
        instance.close()

    assert os.listdir(folder) == ["ctxgcd.lock"]


def test_a_link_to_a_folder_is_refused(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(UnsafeFolder, match="link"):
        Instance(str(folder))


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o720, 0o755, 0o777])
def test_a_folder_that_others_may_enter_is_refused_and_left_as_it_is(folder, mode):
    folder.mkdir()
    folder.chmod(mode)

    with pytest.raises(UnsafeFolder, match="chmod 0700"):
        Instance(str(folder))

    assert stat.S_IMODE(folder.stat().st_mode) == mode


@pytest.mark.root
def test_a_folder_of_another_user_is_refused(folder):
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)

    with pytest.raises(UnsafeFolder, match="belongs to user 65534"):
        Instance(str(folder))


def test_a_folder_that_is_a_file_is_refused(folder):
    folder.touch()

    with pytest.raises(UnsafeFolder):
        Instance(str(folder))


def test_a_linked_lock_is_refused(folder, tmp_path):
    folder.mkdir(mode=0o700)
    (folder / "ctxgcd.lock").symlink_to(tmp_path / "precious")

    with pytest.raises(UnsafeFolder, match="lock"):
        Instance(str(folder))

    assert not (tmp_path / "precious").exists()


def test_a_file_where_the_socket_should_be_is_refused_and_not_replaced(folder):
    instance = Instance(str(folder))
    (folder / "ctxgc.sock").write_text("precious")

    with pytest.raises(UnsafeFolder, match="no socket"):
        instance.listen(f"{folder}/ctxgc.sock")

    assert (folder / "ctxgc.sock").read_text() == "precious"


def test_the_longest_path_that_the_system_allows_works(tmp_path):
    folder = tmp_path / ("d" * (107 - len(str(tmp_path)) - len("//s")))
    path = socket_path(f"{folder}/s", {})

    with Instance(str(folder)).listen(path):
        assert len(path) == 107
        assert connects(path)


def test_a_path_of_108_bytes_is_refused_with_the_number_and_the_way_out():
    with pytest.raises(BadSocketPath, match="108 bytes") as refused:
        socket_path("/" + "é" * 53 + "x", {})

    assert "CTXGC_SOCKET" in refused.value.hint


def test_without_its_lock_file_a_folder_has_its_daemon_all_the_same(folder):
    first = Instance(str(folder))
    with first.listen(f"{folder}/ctxgc.sock"):
        first.announce_address(f"{folder}/ctxgc.sock")
        (folder / "ctxgcd.lock").unlink()

        with pytest.raises(AlreadyRunning):
            Instance(str(folder))

        assert connects(folder / "ctxgc.sock")
    first.close()
    Instance(str(folder)).close()


@pytest.mark.parametrize("put_another_there", [False, True])
def test_a_lock_file_that_was_removed_is_written_again_with_the_socket(folder, put_another_there):
    instance = Instance(str(folder))
    instance.announce_address("/somewhere/ctxgc.sock")
    (folder / "ctxgcd.lock").unlink()
    if put_another_there:
        (folder / "ctxgcd.lock").write_text("")

    instance.renew_lock_file()

    assert read_lock_file(str(folder)) == (os.getpid(), "/somewhere/ctxgc.sock")
    instance.close()
    assert read_lock_file(str(folder)) == (0, "")


def test_a_lock_that_is_no_plain_file_is_refused_in_a_sentence(folder):
    folder.mkdir(mode=0o700)
    os.mkfifo(folder / "ctxgcd.lock", 0o600)

    with pytest.raises(UnsafeFolder, match="no plain file"):
        Instance(str(folder))


@pytest.mark.slow
def test_a_daemon_whose_lock_files_are_removed_is_neither_joined_nor_cut_off(running_daemon):
    for lock in running_daemon.folder.rglob("ctxgcd.lock"):
        lock.unlink()

    code, text = running_daemon.run()

    assert (code, "Traceback" in text) == (75, False)
    running_daemon.call("session.open", session="s")
    gives_up_at = time.monotonic() + 20
    while read_lock_file(str(running_daemon.state)) != (running_daemon.child.pid, running_daemon.socket):
        assert time.monotonic() < gives_up_at
        time.sleep(0.05)
    assert running_daemon.run()[0] == 75
    running_daemon.call("ping")


@pytest.mark.parametrize("turn", range(3))
def test_a_daemon_that_is_told_to_stop_as_soon_as_its_socket_is_there_ends_in_order(running_daemon, turn):
    """A connection is accepted before the loop runs, so whoever connects may stop the daemon before that, too."""
    assert running_daemon.stop() == 0
    running_daemon.spawn()
    until = time.monotonic() + 20
    while not os.path.exists(running_daemon.socket):
        assert time.monotonic() < until

    assert running_daemon.stop() == 0
    assert running_daemon.log == ""
    assert running_daemon.start().call("ping")
