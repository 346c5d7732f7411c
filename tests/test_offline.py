"""The suite, and every Python that it starts, reaches this machine and no other."""

import socket
import subprocess
import sys

import pytest

FAR = ("192.0.2.1", 9)
"""An address that documents are given, and that no machine has."""


@pytest.mark.parametrize(
    "leave",
    [
        lambda: socket.create_connection(FAR, timeout=1),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", FAR),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).bind(("", 0)),
        lambda: socket.getaddrinfo("example.invalid", 80),
    ],
    ids=["connect", "send", "listen to all", "ask for a name"],
)
def test_no_test_leaves_this_machine(leave):
    with pytest.raises(RuntimeError, match="may not leave"):
        leave()


def test_no_child_of_a_test_leaves_this_machine():
    code = f"import socket; socket.create_connection({FAR}, timeout=1)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)

    assert "may not leave" in done.stderr


def test_this_machine_is_reached():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
