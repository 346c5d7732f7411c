"""A stranger can neither fill a gateway nor lock its user out: heads have their time, and connections their places."""

import asyncio
import contextlib

import pytest

from ctxgc.gateway.http import connections
from ctxgc.gateway.http.connections import HEAD_BYTES_MAX, HEAD_S, Bounds, Connections, connection_bounds
from tests.gateway.stage import Stage

SECRET = "aHlwb3RoZXRpY2FsLXNlY3JldC1mb3ItdGVzdHM"
STATUS = "/ctxgc/status"
HALF_HEADS, PLACES = 300, 20


@pytest.fixture
def strangers(monkeypatch):
    """A gateway to which every peer is somebody else until its request brings the secret."""
    monkeypatch.setattr(Connections.__init__, "__defaults__", (lambda own, peer: False,))
    monkeypatch.setattr("ctxgc.gateway.http.listener.connection_bounds", lambda files: Bounds(PLACES, PLACES))
    with Stage(mode="shadow", secret=SECRET) as stage:
        yield stage


def is_closed(connection):
    connection.settimeout(5)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.slow
def test_three_hundred_half_heads_hold_no_more_places_than_there_are_and_the_user_gets_in(strangers):
    held = [strangers.raw(b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\nx-half:") for _ in range(HALF_HEADS)]
    try:
        assert strangers.send(f"/k/{SECRET}{STATUS}", method="GET").status == 200
        assert all(is_closed(connection) for connection in held[: HALF_HEADS - PLACES])
    finally:
        for connection in held:
            connection.close()


def test_a_half_head_is_closed_after_its_time_and_so_is_a_silent_connection():
    with Stage(mode="shadow") as stage:
        half = stage.raw(b"GET /ctxgc/status HTTP/1.1\r\nhost: 127.0.0.1\r\n")
        silent = stage.raw(b"")
        with stage.waiting(STATUS, b"") as call:
            call.passes(HEAD_S + 1)
        assert is_closed(half)
        assert is_closed(silent)


def test_a_second_half_head_on_a_used_connection_is_closed_after_its_time():
    with Stage(mode="shadow") as stage:
        used = stage.raw(b"GET /ctxgc/status HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert used.recv(2**16).startswith(b"HTTP/1.1 200")
        stage.turn()
        used.sendall(b"GET /ctxgc/status HTTP/1.1\r\nhost:")
        stage.turn()
        with stage.waiting(STATUS, b"") as call:
            call.passes(HEAD_S + 1)
        assert is_closed(used)


def test_a_head_without_an_end_is_cut_off(strangers):
    endless = strangers.raw(b"GET / HTTP/1.1\r\n")
    line = b"x-long: " + b"x" * 2**16 + b"\r\n"
    sent = 0
    with contextlib.suppress(ConnectionError):
        for _ in range(20 * HEAD_BYTES_MAX // len(line)):
            endless.sendall(line)
            sent += len(line)
    assert sent < 10 * HEAD_BYTES_MAX


def test_a_connection_that_brought_the_secret_is_not_closed_for_a_strangers(strangers):
    own = strangers.raw(f"GET /k/{SECRET}{STATUS} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
    assert own.recv(2**16).startswith(b"HTTP/1.1 200")
    held = [strangers.raw(b"GET ") for _ in range(3 * PLACES)]
    strangers.turn()

    own.sendall(f"GET /k/{SECRET}{STATUS} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
    assert own.recv(2**16).startswith(b"HTTP/1.1 200")
    for connection in held:
        connection.close()


class Transport(asyncio.Transport):
    """A connection of nobody."""

    def __init__(self):
        super().__init__({"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)})
        self.is_aborted = False

    def abort(self):
        self.is_aborted = True


@pytest.mark.parametrize("is_owned", [True, False])
async def test_places_are_bounded_for_the_user_and_for_strangers_and_come_back(is_owned):
    places = Connections(Bounds(3, 2), lambda own, peer: is_owned)
    opened = []
    for _ in range(6):
        connection, transport = places.guarded_protocol_factory(asyncio.Protocol)(), Transport()
        connection.connection_made(transport)
        opened.append((connection, transport))

    kept = [transport for _, transport in opened if not transport.is_aborted]
    assert len(kept) == len(places.owned) + len(places.unproven) == (3 if is_owned else 2)
    assert kept == [transport for _, transport in (opened[:3] if is_owned else opened[4:])]
    for connection, _ in opened:
        connection.connection_lost(None)
    assert not places.owned
    assert not places.unproven


@pytest.mark.parametrize("files", [32, 256, 1024, 2**20])
def test_all_places_together_fit_into_the_files_that_a_process_may_open(files):
    bounds = connection_bounds(files)

    assert bounds.unproven >= 1
    assert bounds.owned >= 1
    assert 2 * bounds.owned + bounds.unproven <= max(files - connections.FILES_SPARED, 8)
