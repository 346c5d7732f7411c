"""The tools at a URL of the gateway: for the folder of the URL, for programs of its own user, and for nobody else."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from ctxgc.fronts.mcp.rpc import VERSIONS
from tests.e2e.test_cli import Home
from tests.e2e.test_mcp import OURS, SECRET, session

START_S = 30
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture(scope="module")
def place():
    """A home with two projects, a gateway, and the URL of one project's tools."""
    pytest.importorskip("aiohttp")
    home = Home()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        home.env["CTXGC_GATEWAY__PORT"] = str(free.getsockname()[1])
    home.own, home.other = home.folder / "own project", home.folder / "other"
    home.own_id = session(home, home.own, "mine", OURS)
    home.other_id = session(home, home.other, "theirs", SECRET)
    home.url, home.other_url = (url_of(home, folder) for folder in (home.own, home.other))
    command = [sys.executable, "-m", "ctxgc.fronts.cli.main", "gateway"]
    gateway = subprocess.Popen(command, env=home.env, stdout=subprocess.DEVNULL)
    try:
        wait_for(home.url)
        yield home
    finally:
        gateway.terminate()
        gateway.wait(START_S)
        home.close()


def url_of(home, folder):
    command = [sys.executable, "-m", "ctxgc.fronts.cli.main", "mcp", "--url"]
    done = subprocess.run(command, env=home.env, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def wait_for(url):
    gives_up_at = time.monotonic() + START_S
    while time.monotonic() < gives_up_at:
        try:
            return post(url, PING)
        except OSError:
            time.sleep(0.1)
    raise AssertionError("no gateway")


def post(url, message, method="POST", **headers):
    """Status and body."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    request = urllib.request.Request(url, body if method == "POST" else None, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=START_S) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


def use(url, tool, **arguments):
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    status, body = post(url, call)
    assert status == 200
    return json.loads(body)["result"]["content"][0]["text"]


def test_the_tools_of_a_url_reach_its_folder_and_no_other(place):
    assert place.own_id in use(place.url, "search", query=OURS)
    assert f"found {OURS} here" in use(place.url, "recall", id=place.own_id)
    assert SECRET not in use(place.url, "search", query=SECRET)
    assert SECRET not in use(place.url, "recall", id=place.other_id, session="client:theirs")
    assert place.other_id in use(place.other_url, "search", query=SECRET)


def test_the_word_of_one_folder_opens_no_other_and_no_word_opens_none(place):
    begin, word = place.url.partition("/mcp/")[0], place.url.partition("/mcp/")[2].partition("/")[0]
    for path in (f"/mcp/{word}{place.other}", f"/mcp/{word}", f"/mcp/{word}/", "/mcp/", f"/mcp/x{place.own}"):
        assert post(begin + path.replace(" ", "%20"), PING)[0] == 403, path


def test_a_page_in_a_browser_is_refused(place):
    assert post(place.url, PING, Origin="https://example.org")[0] == 403
    assert post(place.url, PING, **{"Sec-Fetch-Site": "same-origin"})[0] == 403
    assert post(place.url, PING, Host="example.org")[0] == 403


def test_what_needs_no_reply_is_accepted_and_what_is_no_post_is_not_allowed(place):
    assert post(place.url, {"jsonrpc": "2.0", "method": "notifications/initialized"}) == (202, b"")
    assert post(place.url, b"", method="GET")[0] == 405
    assert post(place.url, b"", method="DELETE")[0] == 405


@pytest.mark.parametrize(("body", "code"), [(b"{", -32700), (b"", -32700), (b"[]", -32600), (b"{}", -32600)])
def test_a_body_that_is_no_message_is_a_bad_request_with_the_protocols_error(body, code, place):
    status, reply = post(place.url, body)

    assert (status, json.loads(reply)["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    ("version", "status"), [*((known, 200) for known in VERSIONS), ("1999-01-01", 400), ("x", 400)]
)
def test_a_header_of_a_version_that_the_server_does_not_know_is_a_bad_request(version, status, place):
    assert post(place.url, PING, **{"MCP-Protocol-Version": version})[0] == status
    assert post(place.url, PING)[0] == 200


def test_the_url_holds_no_secret_of_the_gateways_and_none_is_left_for_others_to_read(place):
    kept = (place.folder / "state" / "gateway.secret").read_text()
    own = place.folder / "state" / "mcp.secret"

    assert kept not in place.url
    assert own.read_text() not in place.url
    assert os.stat(own).st_mode & 0o077 == 0


@pytest.mark.slow
async def test_the_official_client_is_served_over_http(place):
    pytest.importorskip("mcp")
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async with Client(streamable_http_client(place.url), mode="legacy") as client:
        assert len((await client.list_tools()).tools) == 6
        found = await client.call_tool("search", {"query": OURS})
        assert place.own_id in found.content[0].text
