"""A gateway serves its own user: by a secret in the path, or by the uid of the process at the other end."""

import json
import logging
import os
import socket
import stat
import subprocess
import sys
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.fronts.cli import gateway_status
from ctxgc.gateway import peer
from ctxgc.gateway.http.owner_guard import matches_secret
from ctxgc.gateway.http.request_path import split_path
from ctxgc.gateway.secret import SECRET_FILE
from ctxgc.protocol.secret_file import ensure_secret, read_secret
from tests.effort import effort
from tests.gateway.agent import ClaudeAgent
from tests.gateway.stage import CLAUDE, MESSAGES, Stage

SECRET = "aHlwb3RoZXRpY2FsLXNlY3JldC1mb3ItdGVzdHM"
STATUS = "/ctxgc/status"
BODY = ClaudeAgent().run(1).body()
STRANGER = 54_321
"""A uid that no user of this machine has."""
ASK = """
import os, socket, sys
os.setgid({uid}); os.setuid({uid})
for path in sys.argv[2:]:
    connection = socket.socket()
    connection.connect(("127.0.0.1", int(sys.argv[1])))
    connection.sendall(f"GET {{path}} HTTP/1.0\\r\\nhost: 127.0.0.1\\r\\n\\r\\n".encode())
    print(connection.recv(100).split()[1].decode())
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the uid of a peer")


@pytest.fixture
def asked():
    """A gateway that serves base URLs with the secret alone."""
    with Stage(mode="shadow", auth="secret", secret=SECRET) as stage:
        yield stage


@pytest.mark.parametrize("path", [STATUS, "/anthropic/v1/models", "/k/wrong/ctxgc/status", "/k//ctxgc/status", "/k/"])
def test_without_the_secret_nothing_is_answered_where_the_secret_is_asked_for(asked, path):
    reply = asked.send(path, method="GET")

    assert reply.status == 403
    assert "modes" not in json.loads(reply.body)
    assert not asked.upstream.received


def test_a_base_url_with_the_secret_is_served_and_the_secret_stays_here(asked, caplog):
    with caplog.at_level(logging.DEBUG):
        sent = asked.ask(f"/k/{SECRET}/anthropic{MESSAGES}?beta=true", BODY, CLAUDE)
    status = asked.send(f"/k/{SECRET}{STATUS}", method="GET")

    assert sent == BODY
    assert SECRET not in repr(vars(asked.upstream)) + caplog.text + repr(asked.running.settings)
    assert status.status == 200
    assert SECRET.encode() not in status.body


@pytest.mark.parametrize("word", ["", "of-another-folder"])
def test_a_gateway_that_refuses_is_known_for_a_gateway(asked, word):
    with pytest.raises(gateway_status.StatusRefused, match="serves its own user"):
        gateway_status.fetch_status(f"http://127.0.0.1:{asked.running.port}", word)


def test_a_refused_call_with_a_body_reaches_nobody(asked):
    assert asked.send(MESSAGES, BODY, CLAUDE).status == 403
    asked.settle()

    assert not asked.upstream.received
    assert not asked.daemon.told


@linux
def test_a_base_url_of_old_is_served_to_a_process_of_the_gateways_user():
    with Stage(mode="shadow", secret=SECRET) as stage:
        assert stage.ask(MESSAGES, BODY) == BODY
        assert stage.send(STATUS, method="GET").status == 200
        assert stage.send(f"/k/of-another-day{STATUS}", method="GET").status == 200


@pytest.fixture(scope="module")
def own():
    """A gateway that serves every request of its user's processes, with the secret or without."""
    with Stage(mode="shadow", secret=SECRET) as stage:
        yield stage


ESCAPED = "".join(f"%{ord(char):02X}" for char in SECRET)
WORDS = (
    "/",
    "//",
    "/k/",
    "/s/",
    "/k/x",
    "/s/pi:a",
    "/anthropic",
    "/openai",
    "/v1/messages",
    "?",
    "=",
    "%2F",
    "..",
    "x",
)


@linux
@given(st.data())
@effort(60)
def test_the_secret_goes_upstream_from_no_place_of_a_target(own, data):
    words = data.draw(st.lists(st.sampled_from(WORDS), max_size=6))
    form = data.draw(st.sampled_from([SECRET, ESCAPED, ESCAPED[:9] + SECRET[3:]]))
    words.insert(data.draw(st.integers(0, len(words))), form)
    own.upstream.received.clear()

    reply = own.send("/" + "".join(words), BODY, CLAUDE)

    sent = repr(vars(own.upstream)) + repr(own.daemon.told)
    assert SECRET not in unquote(sent), reply.status


@linux
@pytest.mark.parametrize(
    "path",
    [
        f"/anthropic/k/{SECRET}{MESSAGES}",
        f"//k/{SECRET}/anthropic{MESSAGES}",
        f"/k/S/anthropic/k/{SECRET}{MESSAGES}",
        f"/anthropic/k/{ESCAPED}{MESSAGES}",
        f"/s/{SECRET}/anthropic{MESSAGES}",
        f"/anthropic{MESSAGES}?key={SECRET}",
    ],
)
def test_a_base_url_with_the_secret_at_another_place_is_refused_with_the_right_place(own, path):
    reply = own.send(path, BODY, CLAUDE)

    assert reply.status == 400
    assert b"/k/SECRET" in reply.body
    assert SECRET.encode() not in reply.body


@linux
@pytest.mark.parametrize("begin", [f"/k/{SECRET}/s/pi%3Aa", f"/s/pi:a/k/{SECRET}"])
def test_secret_and_session_are_taken_in_either_order(own, begin):
    assert own.ask(f"{begin}/anthropic{MESSAGES}", BODY, CLAUDE) == BODY


@linux
@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
def test_a_process_of_another_user_gets_nothing_without_the_secret():
    with Stage(mode="shadow", secret=SECRET) as stage:
        words = [str(stage.running.port), STATUS, "/v1/models", f"/k/{SECRET}{STATUS}"]
        command = [sys.executable, "-c", ASK.format(uid=STRANGER), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.stdout.split() == ["403", "403", "200"], done.stderr


@linux
@pytest.mark.parametrize("lookup", [peer._uid_by_diag, peer._uid_by_table])
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_kernel_tells_the_uid_of_an_open_connection_alone(lookup, family, host):
    with socket.create_server((host, 0), family=family) as server:
        client = socket.create_connection(server.getsockname()[:2])
        here, _ = server.accept()
        with here:
            ends = here.getsockname()[:2], here.getpeername()[:2]
            assert lookup(*ends, peer.ESTABLISHED) == os.geteuid()
            assert peer.peer_uid(*ends) == peer.listener_uid(ends[0]) == os.geteuid()
            assert peer.listener_uid(ends[1]) is None
            client.close()
            assert peer.peer_uid(*ends) is None, "a closed socket has uid 0 there, whoever closed it"


def test_where_no_uid_can_be_known_the_secret_is_asked_for(monkeypatch):
    monkeypatch.setattr(peer.sys, "platform", "darwin")
    with Stage(mode="shadow", secret=SECRET) as stage:
        assert stage.send(STATUS, method="GET").status == 403
        assert stage.send(f"/k/{SECRET}{STATUS}", method="GET").status == 200


def test_a_gateway_without_a_secret_takes_no_word_for_the_secret():
    assert not matches_secret("", "")
    assert not matches_secret("x", "")
    assert not matches_secret("gründe", SECRET)
    assert matches_secret(SECRET, SECRET)


def test_the_secret_is_its_users_alone_and_outlives_restarts(tmp_path):
    folder = tmp_path / "state"
    made = ensure_secret(str(folder), SECRET_FILE)

    assert len(made) >= 32
    assert ensure_secret(str(folder), SECRET_FILE) == read_secret(str(folder), SECRET_FILE) == made
    assert stat.S_IMODE((folder / SECRET_FILE).stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == [SECRET_FILE]
    (folder / SECRET_FILE).chmod(0o640)
    with pytest.raises(PermissionError):
        ensure_secret(str(folder), SECRET_FILE)


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("/k/S/s/pi:a/openai/v1/responses?x=/k/", ("S", "pi:a", "/openai/v1/responses?x=/k/")),
        ("/s/a/v1/messages", ("", "a", "/v1/messages")),
        ("/k/S", ("S", "", "/")),
        ("/kitchen/x", ("", "", "/kitchen/x")),
        ("/anthropic/k/S/x", ("", "", "/anthropic/k/S/x")),
        ("/s/pi%3Aa/k/S/v1/messages", ("S", "pi:a", "/v1/messages")),
        ("/k/S/k/T/x", ("S", "", "/k/T/x")),
    ],
)
def test_a_path_is_taken_apart_once_from_its_beginning_in_either_order(target, parts):
    assert split_path(target) == parts
