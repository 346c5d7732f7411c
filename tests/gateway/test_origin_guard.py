"""A page in a browser of this machine can neither use the gateway nor read from it."""

import pytest

from ctxgc.gateway.http.origin_guard import names_this_machine
from tests.gateway.agent import ClaudeAgent
from tests.gateway.stage import CLAUDE, MESSAGES, Stage


@pytest.fixture(scope="module")
def stage():
    with Stage(mode="shadow", hosts_allowed=frozenset({"host.docker.internal"})) as made:
        yield made


def answered(stage, *lines, path=MESSAGES, method="POST"):
    """The status of a call with these header lines, and whether it reached the upstream or the daemon."""
    body = ClaudeAgent().run(2).body() if method == "POST" else b""
    before = (len(stage.upstream.received), len(stage.daemon.told))
    head = [f"{method} {path} HTTP/1.1", f"content-length: {len(body)}", *lines]
    head += [f"{name}: {value}" for name, value in CLAUDE.items()]
    with stage.raw("\r\n".join([*head, "", ""]).encode() + body) as connection:
        status = int(connection.recv(100).split()[1])
    stage.settle()
    return status, (len(stage.upstream.received), len(stage.daemon.told)) != before


@pytest.mark.parametrize("path", [MESSAGES, "/anthropic/v1/models", "/ctxgc/status", "/mcp/word/folder"])
@pytest.mark.parametrize(
    "line",
    [
        "host: rebind.evil.example",
        "host: 127.0.0.1.evil.example:8787",
        "host: localhost.evil.example",
        "host: ",
        "host: 127.0.0.1\r\nhost: evil.example",
        "x-forwarded-host: 127.0.0.1",
        "host: 127.0.0.1\r\norigin: https://evil.example",
        "host: 127.0.0.1\r\norigin: null",
        "host: 127.0.0.1\r\norigin: http://127.0.0.1:3000",
        "host: 127.0.0.1\r\nsec-fetch-site: cross-site",
        "host: 127.0.0.1\r\nsec-fetch-site: same-site",
    ],
)
def test_a_page_of_a_browser_reaches_neither_the_model_nor_the_daemon_nor_the_numbers(stage, line, path):
    status, arrived = answered(stage, line, path=path, method="POST" if path == MESSAGES else "GET")

    assert status in (400, 403)
    assert not arrived


def test_a_client_of_the_tools_may_name_the_servers_own_origin_and_no_other_request_may(stage):
    own = "host: 127.0.0.1:8787\r\norigin: http://127.0.0.1:8787"

    assert answered(stage, own, path="/mcp/word/folder", method="GET")[0] != 403
    assert answered(stage, f"{own}\r\norigin: null", path="/mcp/word/folder", method="GET")[0] == 403
    assert answered(stage, f"{own}\r\nsec-fetch-site: same-origin", path="/mcp/word/folder", method="GET")[0] == 403
    assert answered(stage, own) == (403, False)


@pytest.mark.parametrize(
    "line",
    [
        "host: 127.0.0.1:8787",
        "host: LOCALHOST:8787",
        "host: [::1]",
        "host: 127.0.0.2",
        "host: host.docker.internal:8787",
        "host: localhost\r\nsec-fetch-mode: cors",
    ],
)
def test_a_program_of_this_machine_is_served(stage, line):
    assert answered(stage, line) == (200, True)
    assert answered(stage, line, path="/ctxgc/status", method="GET")[0] == 200


@pytest.mark.parametrize("host", ["127.1.evil.example", "[::1]x", "[::1", "1.2.3.4", "", "::1.evil", "localhost:x"])
def test_a_name_that_only_looks_like_the_loopback_is_not_it(host):
    assert not names_this_machine(host)
