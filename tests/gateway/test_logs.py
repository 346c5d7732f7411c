"""No key and no text reaches the log, whichever library has what to say about it."""

import asyncio
import logging
import socket
import subprocess
import sys

import pytest

from ctxgc.gateway.logs import DiscreetFormatter, log_loop_fault
from tests.daemon.harness import DaemonProcess

SECRET = "sk-ant-SECRET"


@pytest.fixture
def logged():
    """Formats whatever is logged meanwhile."""
    lines, handler = [], logging.Handler()
    handler.emit = lambda record: lines.append(DiscreetFormatter().format(record))
    root = logging.getLogger()
    root.addHandler(handler)
    yield lines
    root.removeHandler(handler)


def test_what_a_library_says_is_left_out_and_where_it_said_it_is_not(logged):
    try:
        raise ValueError(f"cannot parse {SECRET}") from KeyError(SECRET)
    except ValueError:
        logging.getLogger("aiohttp.server").exception("header %r", SECRET)

    assert SECRET not in "".join(logged)
    assert all(word in logged[0] for word in ("aiohttp.server", "test_logs.py", "ValueError", "KeyError"))


def test_a_fault_of_our_own_is_told_by_its_kind_and_place(logged):
    try:
        raise ExceptionGroup("tasks", [ValueError(SECRET)])
    except ExceptionGroup:
        logging.getLogger("ctxgc.gateway").exception("a request could not be read")

    assert logged[0].startswith("ERROR a request could not be read\n")
    assert SECRET not in logged[0]
    assert "ValueError" in logged[0]


async def test_a_task_that_nobody_waited_for_does_not_show_what_it_held(logged):
    asyncio.get_running_loop().set_exception_handler(log_loop_fault)

    asyncio.get_running_loop().call_soon(int, SECRET)
    await asyncio.sleep(0.01)

    assert "ValueError" in logged[-1]
    assert SECRET not in "".join(logged)


MALFORMED = [
    b"x-api-key: sk-ant-SECRET\x01\r\ncontent-length: 2\r\n\r\n{}",
    b"authorization: Bearer sk-ant-SECRET\rX\r\ncontent-length: 2\r\n\r\n{}",
    b"transfer-encoding: chunked\r\n\r\n5\r\nhelloA sk-ant-SECRET TEXT\r\n0\r\n\r\n",
    b"content-length: sk-ant-SECRET\r\n\r\n{}",
    b"content-length: 2\r\nx-codex-turn-metadata: " + b"[" * 9000 + b"sk-ant-SECRET\r\n\r\n{}",
]


@pytest.mark.slow
def test_a_malformed_request_leaves_no_key_in_the_log_of_the_process():
    home = DaemonProcess()
    command = [sys.executable, "-m", "ctxgc.fronts.cli.main", "gateway", "--port", "0", "--no-spawn"]
    process = subprocess.Popen(command, env=home.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = process.stdout.readline() + process.stdout.readline()
    port = int(said.rpartition("http://127.0.0.1:")[2].partition(",")[0])

    for rest in MALFORMED:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"POST /v1/models HTTP/1.1\r\nhost: localhost\r\n" + rest)
            assert connection.recv(100)[:10] in (b"HTTP/1.1 4", b"HTTP/1.0 4", b"HTTP/1.1 5")
    process.terminate()
    _, log = process.communicate(timeout=20)
    home.close()

    assert "BadHttpMessage" in log or "InvalidHeader" in log, "the library speaks there, or this proves nothing"
    assert SECRET not in log
