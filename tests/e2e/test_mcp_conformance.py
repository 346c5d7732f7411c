"""The protocol's own rules, over both ways to the server, in every version; and the protocol's own conformance suite.

The suite comes from `install_conformance.sh`, at test time if CTXGC_AGENTS=1; without it its tests are skipped.
"""

import json
import os
import subprocess
from itertools import count
from pathlib import Path

import pytest

from ctxgc.fronts.mcp.rpc import BATCH_MAX, VERSIONS, VERSIONS_WITHOUT_BATCHES
from tests.e2e.agent_run import agents_folder
from tests.e2e.test_mcp import Agent
from tests.e2e.test_mcp_http import OURS, place, post  # noqa: F401 (place is a fixture)

pytestmark = pytest.mark.slow

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
RESOURCE_NOT_FOUND = -32002
LISTS = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")
RESULTS = {
    "initialize": "InitializeResult",
    "ping": "EmptyResult",
    "tools/list": "ListToolsResult",
    "tools/call": "CallToolResult",
    "prompts/list": "ListPromptsResult",
    "prompts/get": "GetPromptResult",
    "resources/list": "ListResourcesResult",
    "resources/templates/list": "ListResourceTemplatesResult",
    "resources/read": "ReadResourceResult",
}
"""The official SDK's type of each method's result."""


class OverStdio:
    """A client on the server's two pipes."""

    def __init__(self, place, version):  # noqa: F811
        self._agent, self._fences = Agent(place, place.own), count()
        self.begun = self._agent.ask("initialize", **initialize(version)["params"])
        self._agent.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def exchange(self, message):
        """The server's messages between this one and the reply to a ping behind it."""
        fence = f"fence {next(self._fences)}"
        self._agent.send(message)
        # A tool's reply comes from another thread than a ping's: a call waits for those before it.
        self._agent.send(request("tools/call", id=fence, name="status", arguments={}))
        replies = []
        while not isinstance(reply := self._agent.receive(), dict) or reply["id"] != fence:
            replies.append(reply)
        return replies

    def close(self):
        self._agent.close()


class OverHttp:
    """A client that sends each message to the URL."""

    def __init__(self, place, version):  # noqa: F811
        self._url, self._version = place.url, version
        self.begun = json.loads(post(place.url, initialize(version))[1])

    def exchange(self, message):
        status, body = post(self._url, message, **{"MCP-Protocol-Version": self._version})
        assert (status == 202) == (body == b"")
        replies = [json.loads(body)] if body else []
        is_unreadable = any(isinstance(reply, dict) and reply["id"] is None for reply in replies)
        assert status == (400 if is_unreadable else 200 if body else 202)
        return replies

    def close(self):
        pass


def request(method, id=1, **params):
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def initialize(version):
    about = {"capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    return request("initialize", protocolVersion=version, **about)


@pytest.fixture(
    scope="module", params=[(way, version) for way in (OverStdio, OverHttp) for version in VERSIONS], ids=str
)
def client(request, place):  # noqa: F811
    way, version = request.param
    made = way(place, version)
    made.version = version
    yield made
    made.close()


def check_result(method, result):
    types = pytest.importorskip("mcp.types")
    getattr(types, RESULTS[method]).model_validate(result)


def test_a_session_begins_in_the_clients_version_with_what_the_server_can_do(client):
    result = client.begun["result"]

    check_result("initialize", result)
    assert result["protocolVersion"] == client.version
    assert result["capabilities"].keys() == {"tools", "resources", "prompts"}
    assert result["serverInfo"]["name"] == "ctxgc"


SERVED = {
    "ping": request("ping"),
    "ping without params": {"jsonrpc": "2.0", "id": 1, "method": "ping"},
    "ping with a progress token": request("ping", _meta={"progressToken": "p"}),
    **{method: request(method) for method in LISTS},
    "a tool": request("tools/call", name="search", arguments={"query": OURS}),
    "a tool with a progress token": request("tools/call", name="status", arguments={}, _meta={"progressToken": 7}),
    "a tool without arguments": request("tools/call", name="status"),
    "a tool with arguments that its schema forbids": request("tools/call", name="search", arguments={"query": 7}),
    "a prompt": request("prompts/get", name="status"),
    "a prompt with an argument": request("prompts/get", name="recall", arguments={"what": "x"}),
    "a resource": request("resources/read", uri="ctxgc://sessions"),
    "a text as the id": request("ping", id="one"),
}


@pytest.mark.parametrize("name", SERVED)
def test_a_request_has_one_reply_with_its_id_and_a_result_of_the_protocols_type(name, client):
    asked = SERVED[name]

    [reply] = client.exchange(asked)

    assert reply.keys() == {"jsonrpc", "id", "result"}
    assert (reply["jsonrpc"], reply["id"]) == ("2.0", asked["id"])
    check_result(asked["method"], reply["result"])
    assert reply["result"].get("isError", False) == (name == "a tool with arguments that its schema forbids")


UNDECLARED = ("logging/setLevel", "completion/complete", "resources/subscribe", "resources/unsubscribe", "tasks/list")
REFUSED = {
    "no method of the protocol": (request("no/such"), METHOD_NOT_FOUND),
    "a notification's method as a request": (request("notifications/initialized"), METHOD_NOT_FOUND),
    "a client's method": (request("sampling/createMessage"), METHOD_NOT_FOUND),
    **{f"{name}, undeclared": (request(name, level="info", uri="x"), METHOD_NOT_FOUND) for name in UNDECLARED},
    "params in a list": ({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": [1]}, INVALID_PARAMS),
    "a tool that there is not": (request("tools/call", name="rm"), INVALID_PARAMS),
    "a tool without a name": (request("tools/call"), INVALID_PARAMS),
    "a prompt that there is not": (request("prompts/get", name="rm"), INVALID_PARAMS),
    "a prompt without its argument": (request("prompts/get", name="pin"), INVALID_PARAMS),
    "a resource without a URI": (request("resources/read"), INVALID_PARAMS),
    "a resource that there is not": (request("resources/read", uri="ctxgc://none"), RESOURCE_NOT_FOUND),
    **{f"{name}, a page of nobody's": (request(name, cursor="x"), INVALID_PARAMS) for name in LISTS},
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_cannot_be_carried_out_has_one_error_with_its_id(name, client):
    asked, code = REFUSED[name]

    [reply] = client.exchange(asked)

    assert reply.keys() == {"jsonrpc", "id", "error"}
    assert (reply["id"], reply["error"]["code"]) == (asked["id"], code)
    assert isinstance(reply["error"]["message"], str)


UNREADABLE = {
    "no JSON": (b'{"jsonrpc": "2.0", "id": 1', PARSE_ERROR),
    "a number": (b"7", INVALID_REQUEST),
    "an empty object": ({}, INVALID_REQUEST),
    "an id that is null": ({"jsonrpc": "2.0", "id": None, "method": "ping"}, INVALID_REQUEST),
    "an id that is an object": ({"jsonrpc": "2.0", "id": {}, "method": "ping"}, INVALID_REQUEST),
    "a batch without messages": ([], INVALID_REQUEST),
    "a batch that is too long": ([request("ping")] * (BATCH_MAX + 1), INVALID_REQUEST),
    "a batch that begins the session": ([initialize(VERSIONS[0])], INVALID_REQUEST),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_message_has_one_error_without_an_id(name, client):
    sent, code = UNREADABLE[name]

    [reply] = client.exchange(sent)

    assert (reply["id"], reply["error"]["code"]) == (None, code)


UNANSWERED = {
    "initialized": {"jsonrpc": "2.0", "method": "notifications/initialized"},
    "a notification of nobody's": {"jsonrpc": "2.0", "method": "notifications/no_such", "params": {"x": 1}},
    "a notification with a request's method": {"jsonrpc": "2.0", "method": "tools/list"},
    "a cancellation of no request": {
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "none", "reason": "x"}
    },
    "a cancellation without an id": {"jsonrpc": "2.0", "method": "notifications/cancelled"},
    "progress": {
        "jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 0.5}
    },
    "a result that nobody asked for": {"jsonrpc": "2.0", "id": 9, "result": {}},
    "an error that nobody asked for": {"jsonrpc": "2.0", "id": 9, "error": {"code": 1, "message": "x"}},
}  # fmt: skip


@pytest.mark.parametrize("name", UNANSWERED)
def test_notifications_and_answers_have_no_reply(name, client):
    assert client.exchange(UNANSWERED[name]) == []


def test_a_batch_is_answered_in_the_versions_that_have_batches_alone(client):
    notification = UNANSWERED["a notification of nobody's"]

    [reply] = client.exchange([request("ping", id="a"), notification, request("no/such", id="b")])

    if client.version in VERSIONS_WITHOUT_BATCHES:
        assert (reply["id"], reply["error"]["code"]) == (None, INVALID_REQUEST)
    else:
        assert {one["id"]: "result" in one for one in reply} == {"a": True, "b": False}
        assert client.exchange([notification, notification]) == []


INSTALL = Path(__file__).parent / "install_conformance.sh"
SUITE = agents_folder() / "conformance"
INSTALL_S, SUITE_S = 120, 120
NOT_DECLARED = (
    "logging-set-level",
    "tools-call-with-logging",
    "completion-complete",
    "resources-subscribe",
    "resources-unsubscribe",
)
"""Capabilities that the server does not declare."""
NO_STREAM = (
    "tools-call-with-progress",
    "tools-call-sampling",
    "tools-call-elicitation",
    "elicitation-sep1034-defaults",
    "elicitation-sep1330-enums",
    "server-sse-polling",
    "server-sse-multiple-streams",
)
"""The server opens no stream, asks its client for nothing, and has no tool so long that it would tell of progress. Of
the streams the suite only warns, which its list of expected failures counts as a failure."""
OF_THE_REFERENCE = (
    "tools-call-simple-text",
    "tools-call-image",
    "tools-call-audio",
    "tools-call-embedded-resource",
    "tools-call-mixed-content",
    "tools-call-error",
    "json-schema-2020-12",
    "resources-read-text",
    "resources-read-binary",
    "resources-templates-read",
    "prompts-get-simple",
    "prompts-get-with-args",
    "prompts-get-embedded-resource",
    "prompts-get-with-image",
)
"""Of tools, resources and prompts that a server has for the suite alone."""


@pytest.fixture(scope="module")
def suite():
    """The suite's command; installed if that is wanted, else whatever is there."""
    if os.environ.get("CTXGC_AGENTS") == "1":
        done = subprocess.run([INSTALL], capture_output=True, text=True, timeout=INSTALL_S)
        if done.returncode:
            pytest.skip(f"THE SUITE CANNOT BE INSTALLED: {done.stderr.strip()[-300:]}")
    if not (SUITE / ".installed").exists():
        pytest.skip(f"NO SUITE in {SUITE}: CTXGC_AGENTS=1 installs it, or {INSTALL.name} by hand")
    return SUITE / "node_modules" / ".bin" / "conformance"


def run_suite(suite, url, tmp_path, expected_failures):
    """Run all scenarios. A failure that is not expected fails, and so does an expected one that did not come."""
    baseline = tmp_path / "expected.yml"
    baseline.write_text("server:\n" + "".join(f"  - {name}\n" for name in expected_failures))
    env = os.environ | {"PATH": f"{suite.parent}:{os.environ['PATH']}"}
    command = [suite, "server", "--url", url, "--suite", "all", "--expected-failures", baseline]
    return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=SUITE_S)


@pytest.mark.npm
def test_the_protocols_conformance_suite_passes_at_the_gateway(suite, place, tmp_path):  # noqa: F811
    done = run_suite(suite, place.url, tmp_path, (*NOT_DECLARED, *NO_STREAM, *OF_THE_REFERENCE))

    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.npm
def test_the_protocols_conformance_suite_passes_with_the_reference_tools_behind_our_server(suite, tmp_path):
    pytest.importorskip("aiohttp")
    from tests.e2e.reference_tools import ReferenceServer

    with ReferenceServer() as server:
        done = run_suite(suite, server.url, tmp_path, (*NOT_DECLARED, *NO_STREAM))

    assert done.returncode == 0, done.stdout[-3000:]
