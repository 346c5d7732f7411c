"""The MCP server's lines, without a process and without a daemon."""

import io
import json
import os
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.fronts.mcp import server as server_module
from ctxgc.fronts.mcp.handlers import method_handlers
from ctxgc.fronts.mcp.rpc import BATCH_MAX, LINE_BYTES_MAX, VERSIONS, encode_line
from ctxgc.fronts.mcp.scope import Scope, folder_of_uri
from ctxgc.fronts.mcp.server import WAITING_MAX, McpServer
from ctxgc.fronts.mcp.tool_schemas import LIMIT_MAX, SCHEMAS, arguments_problem
from ctxgc.fronts.mcp.tools import Tools
from ctxgc.protocol.blocking_client import Unreachable


def away(method, params):
    raise Unreachable("no daemon at /s")


def replies_to(*lines, call=away):
    """What the server writes to a client that sends these lines and hangs up."""
    scope, sink = Scope(call, "/p", {}), io.BytesIO()
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    source = io.BytesIO(b"\n".join([*encoded, b""]))
    McpServer(lambda: method_handlers(call, scope), scope).serve(source, sink)
    return [json.loads(line) for line in sink.getvalue().splitlines()]


def request(method, id=1, **params):
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_that_the_server_knows_is_taken(version):
    [reply] = replies_to(request("initialize", protocolVersion=version, capabilities={}))

    assert reply["result"]["protocolVersion"] == version


@pytest.mark.parametrize("version", ["1999-01-01", "2030-01-01", 7, None])
def test_to_any_other_version_the_newest_known_is_offered(version):
    [reply] = replies_to(request("initialize", protocolVersion=version))

    assert reply["result"]["protocolVersion"] == VERSIONS[0]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", -32700),
        (b"[" * 100_000, -32700),
        (b"\xff\xfe", -32700),
        (b"7", -32600),
        (b"[]", -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1e999,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
        (b'{"id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"nothing/such"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"rm"}}', -32602),
        (json.dumps([request("ping")] * (BATCH_MAX + 1)).encode(), -32600),
        (b'"' + b"x" * (LINE_BYTES_MAX + 10) + b'"', -32600),
    ],
)
def test_a_faulty_line_is_answered_with_its_error_and_the_next_line_is_served(line, code):
    replies = replies_to(line, request("ping", id=2))

    assert [reply["error"]["code"] for reply in replies if "error" in reply] == [code]
    assert {"jsonrpc": "2.0", "id": 2, "result": {}} in replies


@pytest.mark.parametrize("id", [0, -1, 2**200, 1.0, 2.5, "", "é", "x" * 10_000])
def test_a_reply_has_the_very_id_of_its_request(id):
    [reply] = replies_to(request("ping", id=id))

    assert (reply["id"], type(reply["id"])) == (id, type(id))


@pytest.mark.parametrize("method", ["tools/list", "prompts/list", "resources/templates/list", "resources/list"])
def test_a_page_that_no_reply_named_is_no_page(method):
    first, wrong = replies_to(request(method, cursor=None), request(method, id=2, cursor="elsewhere"), call=no_sessions)

    assert "result" in first
    assert wrong["error"]["code"] == -32602


def no_sessions(method, params):
    return SimpleNamespace(config={"mcp": {"projects": "own"}}, sessions=[])


def test_params_that_are_null_are_none():
    line = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":null}'

    assert replies_to(line)[0]["result"] == {}


def test_each_question_for_roots_has_an_id_of_its_own_and_only_the_newest_is_answered():
    config = SimpleNamespace(config={"mcp": {"projects": "own"}})
    scope, sink = Scope(lambda method, params: config, "/p", {}), io.BytesIO()
    changed = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}
    answers = [
        {"jsonrpc": "2.0", "id": f"ctxgc-roots-{number}", "result": {"roots": [{"uri": f"file:///{number}"}]}}
        for number in (2, 1, 2)
    ]
    lines = [request("initialize", capabilities={"roots": {}}), changed, changed, *answers]
    McpServer(dict, scope).serve(io.BytesIO(b"".join(map(encode_line, lines))), sink)

    asked = [json.loads(line)["id"] for line in sink.getvalue().splitlines()[1:]]
    assert asked == ["ctxgc-roots-1", "ctxgc-roots-2"]
    assert scope.has_project("/2")
    assert not scope.has_project("/1")


def test_notifications_unknown_ones_too_get_no_reply():
    quiet = [{"jsonrpc": "2.0", "method": name} for name in ("notifications/progress", "tools/call", "ping", "x")]

    assert replies_to(*quiet, {"jsonrpc": "2.0", "id": 9, "result": {}}) == []


def test_a_batch_is_answered_by_one_batch_without_its_notifications():
    batch = [request("ping"), {"method": "notifications/x"}, request("tools/list", id="b"), 5]

    [replies] = replies_to(batch)
    assert [reply["id"] for reply in replies] == [1, "b", None]


def test_a_tool_without_a_daemon_fails_in_words_and_the_session_goes_on():
    ping, failed = sorted(
        replies_to(request("tools/call", name="status"), request("ping", id=0)), key=lambda r: r["id"]
    )

    assert failed["result"]["isError"]
    assert "no daemon" in failed["result"]["content"][0]["text"]
    assert ping["result"] == {}


def test_a_fault_of_a_handler_is_an_error_of_its_request_alone():
    def broken(method, params):
        raise RuntimeError("secret text")

    failed, after = replies_to(request("resources/list"), request("resources/list", id=2), call=broken)

    assert failed["error"]["code"] == after["error"]["code"] == -32603
    assert "secret text" not in failed["error"]["message"]


class Held:
    """A server whose tool calls wait until they are let go; a client on real pipes."""

    def __enter__(self):
        self.go = threading.Event()
        self.began = threading.Event()
        scope = Scope(away, "/p", {})
        in_read, in_write = os.pipe()
        out_read, out_write = os.pipe()
        self.to, self.out = os.fdopen(in_write, "wb", 0), os.fdopen(out_read, "rb")
        source, self.sink = os.fdopen(in_read, "rb"), os.fdopen(out_write, "wb")
        server = McpServer(lambda: {"tools/call": self.wait}, scope)
        self.thread = threading.Thread(target=server.serve, args=(source, self.sink), daemon=True)
        self.thread.start()
        return self

    def wait(self, params):
        self.began.set()
        assert self.go.wait(30)
        return {"content": []}

    def send(self, message):
        self.to.write(json.dumps(message).encode() + b"\n")

    def receive(self):
        return json.loads(self.out.readline())

    def __exit__(self, *error):
        self.go.set()
        self.to.close()
        self.thread.join(30)
        self.sink.close()
        self.out.close()


def test_a_ping_is_answered_while_the_daemon_is_waited_for():
    with Held() as held:
        held.send(request("tools/call", id=1))
        assert held.began.wait(30)
        held.send(request("ping", id=2))

        assert held.receive()["id"] == 2
        held.go.set()
        assert held.receive()["id"] == 1


def test_a_cancelled_request_is_not_answered_whether_it_waits_or_runs():
    with Held() as held:
        for id in (1, 2, 3):
            held.send(request("tools/call", id=id))
        assert held.began.wait(30)
        for id in (1, 2, 77):
            held.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})
        held.send(request("ping", id="sync"))
        assert held.receive()["id"] == "sync"
        held.go.set()

        assert held.receive()["id"] == 3


def test_a_client_that_leaves_ends_the_server_however_much_waits_for_a_daemon_that_is_stuck(monkeypatch):
    monkeypatch.setattr(server_module, "LAST_REPLIES_S", 0.05)
    with Held() as held:
        for id in range(WAITING_MAX + 1):
            held.send(request("tools/call", id=id))
        assert held.began.wait(30)
        held.to.close()

        held.thread.join(30)

        assert not held.thread.is_alive()


def test_more_requests_than_may_wait_are_refused_at_once():
    with Held() as held:
        held.send(request("tools/call", id=0))
        assert held.began.wait(30)
        for id in range(1, WAITING_MAX + 2):
            held.send(request("tools/call", id=id))

        refused = held.receive()
        assert refused["id"] == WAITING_MAX + 1
        assert "wait already" in refused["error"]["message"]


@pytest.mark.parametrize(
    ("tool", "arguments", "fault"),
    [
        ("search", {}, "`query` is missing"),
        ("search", {"query": " "}, "not empty"),
        ("search", {"query": "x" * 5000}, "2000 characters"),
        ("search", {"query": "x", "limit": True}, "whole number"),
        ("search", {"query": "x", "limit": 0}, "from 1 to 20"),
        ("search", {"query": "x", "project": "/"}, "no argument `project`"),
        ("pin", {"ids": []}, "1 to 50"),
        ("pin", {"ids": ["a", 3]}, "text"),
        ("why", [], "object"),
    ],
)
def test_an_argument_that_the_schema_forbids_is_named(tool, arguments, fault):
    assert fault in arguments_problem(arguments, SCHEMAS[tool])


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "object"),
        ("", "object"),
        ({"query": "x", "limit": 2.5}, "whole number"),
        ({"query": "x", "limit": float("nan")}, "whole number"),
        ({"query": "x", "offset": 10**5}, "from 0 to 10000"),
    ],
)
def test_a_call_with_faulty_arguments_says_so_to_the_model(arguments, fault):
    [reply] = replies_to(request("tools/call", name="search", arguments=arguments))

    assert reply["result"]["isError"]
    assert fault in reply["result"]["content"][0]["text"]


def test_a_whole_number_is_one_however_a_client_writes_it():
    config = SimpleNamespace(config={"mcp": {"projects": "own"}})
    asked = []

    def call(method, params):
        asked.append(params)
        return config if method == "config.get" else SimpleNamespace(hits=[], next_offset=-1, notes=[])

    tools = Tools(call, Scope(call, "/p", {}))
    for limit in (5, 5.0):
        tools.call_tool({"name": "search", "arguments": {"query": "x", "limit": limit}})

    searches = [params for params in asked if "query" in params]
    assert searches[0] == searches[1]
    assert {type(params["limit"]) for params in searches} == {int}


@given(lines=st.text(min_size=1, max_size=20).filter(str.strip))
def test_lines_that_are_no_range_are_refused_in_words_for_a_model(lines):
    [reply] = replies_to(request("tools/call", name="recall", arguments={"id": "x", "lines": lines}))

    text = reply["result"]["content"][0]["text"]
    assert ("no daemon" in text) != ("is a range" in text)
    assert "rpc.discover" not in text


@given(
    st.dictionaries(
        st.text(max_size=5) | st.sampled_from(list(SCHEMAS["recall"]["properties"])), st.integers() | st.text()
    )
)
def test_arguments_without_a_fault_have_the_schemas_names_alone(arguments):
    if not arguments_problem(arguments, SCHEMAS["recall"]):
        assert arguments.keys() <= SCHEMAS["recall"]["properties"].keys()


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("file:///a/b", "/a/b"),
        ("file://localhost/a%20b/", "/a b"),
        ("file:///a/../../b", "/b"),
        ("file://elsewhere/a", ""),
        ("http://a/b", ""),
        ("file:a", ""),
        ("file:///a%00b", ""),
        ("file://[", ""),
        (None, ""),
    ],
)
def test_a_root_is_a_local_folder_or_nothing(uri, folder):
    assert folder_of_uri(uri) == folder


@given(st.text())
def test_a_line_holds_no_line_end_and_no_lone_surrogate_whatever_its_message_says(text):
    line = encode_line({"text": text, "odd": "\ud800"})

    assert line.count(b"\n") == 1
    assert "\ud800" not in json.loads(line)["odd"]


def test_roots_that_nobody_asked_for_widen_no_scope():
    config = SimpleNamespace(config={"mcp": {"projects": "own"}})
    scope = Scope(lambda method, params: config, "/p", {})
    roots = {"jsonrpc": "2.0", "id": "ctxgc-roots-1", "result": {"roots": [{"uri": "file:///other"}]}}
    asked = [request("initialize", capabilities={"roots": {}}), {"method": "notifications/initialized"}, roots]

    McpServer(dict, scope).answer_line(json.dumps([roots, request("ping")]).encode())
    McpServer(dict, scope).answer_line(json.dumps([*asked, request("ping")]).encode())
    McpServer(dict, scope).serve(io.BytesIO(json.dumps(roots).encode() + b"\n"), io.BytesIO())
    over_http = McpServer(dict, scope)
    for message in asked:
        over_http.answer_line(json.dumps(message).encode())

    assert scope.has_project("/p")
    assert not scope.has_project("/other")


def hit(project, score=1.0):
    return SimpleNamespace(project=project, score=score, **dict.fromkeys(("id", "session", "label", "snippet"), "x"))


@pytest.mark.parametrize("note", ["nothing matches; showing results for evilmark", "segments with words are left out"])
def test_a_search_says_what_was_done_to_its_words_and_nothing_of_another_project(note):
    config = SimpleNamespace(config={"mcp": {"projects": "own"}})
    found = SimpleNamespace(hits=[hit("/other"), hit("/other")], next_offset=1, notes=[note], partial=False)

    def call(method, params):
        return config if method == "config.get" else found

    tools = Tools(call, Scope(call, "/p", {}))

    said = tools.search("evilmrk", limit=1)

    assert "More" not in said
    assert ("left out" in said) == ("left out" in note)
    assert "evilmark" not in said


def test_behind_the_last_hits_of_several_projects_no_page_is_promised():
    config = SimpleNamespace(config={"mcp": {"projects": "own"}})
    found = SimpleNamespace(hits=[hit("/p")] * LIMIT_MAX, next_offset=LIMIT_MAX, notes=[], partial=False)
    scope = Scope(lambda method, params: config if method == "config.get" else found, "/p", {})
    scope.set_roots(["file:///p", "file:///q"])

    said = Tools(lambda method, params: found, scope).search("lamp", offset=2 * LIMIT_MAX)

    assert "More" not in said
