"""`ctxgc mcp` as agents start it: a process on two pipes, a real daemon, the official client, and a hostile model."""

import json
import re
import string
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.test_cli import Home

MCP = [sys.executable, "-m", "ctxgc.fronts.cli.main", "mcp"]
REPLY_S = 30
FILLING_LINES = 400
SECRET = "crimson-walrus-7741"
OURS = "amber-otter-2093"


class Agent:
    """An agent's end of the server's two pipes."""

    def __init__(self, home, folder, *words):
        self.server = subprocess.Popen(
            [*MCP, *words], cwd=folder, env=home.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._last = 0

    def send(self, message):
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.server.stdin.write(line + b"\n")
        self.server.stdin.flush()

    def receive(self):
        return json.loads(self.server.stdout.readline())

    def ask(self, method, **params):
        self._last += 1
        self.send({"jsonrpc": "2.0", "id": self._last, "method": method, "params": params})
        reply = self.receive()
        assert reply["id"] == self._last
        return reply

    def use(self, tool, **arguments):
        """A tool's text, and whether it is a failure."""
        result = self.ask("tools/call", name=tool, arguments=arguments)["result"]
        return result["content"][0]["text"], result["isError"]

    def close(self):
        self.server.stdin.close()
        code = self.server.wait(REPLY_S)
        self.server.stdout.close()
        return code


def session(home, folder, name, text):
    """A session of this folder with one segment; the segment's address."""
    folder.mkdir()
    home.ask("call", "session.open", json.dumps({"session": name, "project": str(folder), "title": f"about {text}"}))
    long_text = "\n".join([f"found {text} here", *(f"line {number}" for number in range(FILLING_LINES))])
    segment = {"kind": "tool_call", "tool": "Bash", "text": long_text, "input": {"command": f"grep {text}"}}
    added = home.ask("call", "segment.add", json.dumps({"session": f"client:{name}", "segment": segment}))
    return added["ids"][0]


@pytest.fixture(scope="module")
def place():
    """A home with a session in each of two projects."""
    home = Home()
    folder = home.folder
    try:
        home.own, home.other = folder / "own", folder / "other"
        home.own_id = session(home, home.own, "mine", OURS)
        home.other_id = session(home, home.other, "theirs", SECRET)
        yield home
    finally:
        home.close()


@pytest.fixture
def agent(place):
    started = Agent(place, place.own)
    yield started
    started.close()


def test_a_model_finds_reads_and_keeps_what_its_own_project_holds(place, agent):
    listed, _ = agent.use("search", query=OURS)
    assert place.own_id in listed

    assert f"found {OURS} here" in agent.use("recall", id=place.own_id)[0]
    assert agent.use("pin", ids=[place.own_id]) == ("1 segment kept from now on", False)
    assert "pinned" in agent.use("why", id=place.own_id)[0]
    assert agent.use("unpin", ids=[place.own_id])[0] == "1 segment no longer pinned"
    assert "client:mine" in agent.use("status")[0]


def test_a_query_in_place_of_an_id_brings_back_its_best_hits(agent):
    text, is_failure = agent.use("recall", query=OURS)

    assert f"found {OURS} here" in text
    assert not is_failure


def test_sessions_are_resources_to_browse_down_to_a_segments_content(place, agent):
    listed = agent.ask("resources/list")["result"]["resources"]
    uri = next(one["uri"] for one in listed if one["name"] == "client:mine")
    inside = agent.ask("resources/read", uri=uri)["result"]["contents"][0]["text"]

    assert place.own_id in inside
    below = f"{uri.replace('//session/', '//segment/')}/{place.own_id}"
    assert OURS in agent.ask("resources/read", uri=below)["result"]["contents"][0]["text"]


words_of_an_attack = st.sampled_from(
    [
        *("client:theirs", "theirs", "client:t", "", "client:mine", "*", "%", "client:mine/../theirs", "../other"),
        *(SECRET, "crimson", "project:", "project:*", "session:client:theirs", "NOT amber", "OR", '"', "/", "other"),
        *("--everywhere", "everywhere:true", "scope:any", "\0", "\n", "'; --", "ID", "ADDRESS", "FOLDER", "file://"),
    ]
)
attacks = st.lists(words_of_an_attack | st.text(string.printable, max_size=5), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def hostile(place):
    """An agent whose model wants what another project holds, and knows all the names of it."""
    started = Agent(place, place.own)
    yield started
    started.close()


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(parts=attacks, joint=st.sampled_from(["", " ", ":", "/"]), data=st.data())
def test_no_argument_of_a_tool_and_no_uri_reaches_another_project(place, hostile, parts, joint, data):
    known = {"ID": place.other_id, "ADDRESS": address_of(place), "FOLDER": str(place.other)}
    text = joint.join(known.get(part, part) for part in parts)
    session = data.draw(st.sampled_from(["client:theirs", "theirs", "client:mine", text]))
    asked = [
        {"name": "search", "arguments": {"query": text}},
        {"name": "search", "arguments": {"query": SECRET, "session": session}},
        {"name": "search", "arguments": {"query": SECRET, "project": str(place.other)}},
        {"name": "recall", "arguments": {"query": text}},
        {"name": "recall", "arguments": {"id": text}},
        {"name": "recall", "arguments": {"id": data.draw(st.sampled_from([*known.values()])), "session": session}},
        {"name": "why", "arguments": {"id": place.other_id, "session": session}},
        {"name": "pin", "arguments": {"ids": [place.own_id, known["ADDRESS"]]}},
        {"name": "status", "arguments": {"session": session}},
    ]
    replies = [hostile.ask("tools/call", **one) for one in asked]
    replies += [
        hostile.ask("resources/read", uri=uri)
        for uri in (f"ctxgc://session/{text}", f"ctxgc://segment/{text}/{place.other_id}", f"ctxgc://{text}", text)
    ]

    shown = json.dumps(replies)
    for asked_for in (text, session):  # A refusal repeats the name that was asked for, and no more.
        shown = shown.replace(json.dumps(asked_for)[1:-1], "")
    assert "here" not in re.findall(rf"{SECRET} (\w+)", shown)
    assert "about" not in re.findall(rf"(\w+) {SECRET}", shown)


def address_of(place):
    """The address of the other project's segment, as a tombstone would name it."""
    if not hasattr(place, "address"):
        place.ask("stash", place.other_id, "--session", "client:theirs")
        rendered = json.dumps(place.ask("render", "--session", "client:theirs"))
        place.address = re.search(r"recall (\d+-\d+)", rendered)[1]
    return place.address


@pytest.mark.slow
def test_the_users_configuration_alone_opens_other_projects(place):
    place.env["CTXGC_MCP__PROJECTS"] = "all"
    try:
        mine = Agent(place, place.own)
        assert SECRET not in mine.use("search", query=SECRET)[0], "the model's environment is not the daemon's"
        mine.close()
        place.run("down")
        free = Agent(place, place.own)
        assert place.other_id in free.use("search", query=SECRET)[0]
        assert f"found {SECRET} here" in free.use("recall", id=place.other_id, session="client:theirs")[0]
        free.close()
    finally:
        del place.env["CTXGC_MCP__PROJECTS"]
        place.run("down")


@pytest.mark.slow
def test_a_clients_roots_take_the_place_of_the_working_directory(place):
    agent = Agent(place, place.own)
    agent.ask("initialize", protocolVersion="2025-06-18", capabilities={"roots": {"listChanged": True}})
    agent.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
    asked = agent.receive()
    assert asked["method"] == "roots/list"
    agent.send({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": [{"uri": place.other.as_uri()}]}})

    assert place.other_id in agent.use("search", query=SECRET)[0]
    assert OURS not in agent.use("search", query=OURS)[0]
    agent.close()


@pytest.mark.slow
def test_a_daemon_that_ends_between_two_calls_is_started_again(place, agent):
    assert place.own_id in agent.use("search", query=OURS)[0]
    place.run("down")
    assert place.own_id in agent.use("search", query=OURS)[0]


@pytest.mark.slow
def test_without_a_daemon_a_tool_says_so_and_the_server_goes_on(place):
    agent = Agent(place, place.own, "--no-spawn")
    place.run("down")

    text, is_failure = agent.use("search", query=OURS)
    assert "no daemon" in text
    assert is_failure
    assert agent.ask("ping")["result"] == {}
    place.run("up")
    assert place.own_id in agent.use("search", query=OURS)[0]
    assert agent.close() == 0


@asynccontextmanager
async def official(place, mode="legacy", **more):
    """The official SDK's client, connected."""
    pytest.importorskip("mcp")
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client

    server = StdioServerParameters(command=MCP[0], args=MCP[1:], env=place.env, cwd=str(place.own))
    async with Client(stdio_client(server), mode=mode, **more) as client:
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_official_client_finds_the_server_in_order(place, mode):
    async with official(place, mode) as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == ["search", "recall", "why", "pin", "unpin", "status"]
        found = await client.call_tool("search", {"query": OURS})
        assert place.own_id in found.content[0].text
        assert (await client.call_tool("recall", {"id": "x", "query": "y"})).is_error
        listed = (await client.list_resources()).resources
        assert "client:mine" in {one.name for one in listed}
        assert (await client.read_resource(listed[1].uri)).contents[0].text
        assert len((await client.list_resource_templates()).resource_templates) == 2
        assert {one.name for one in (await client.list_prompts()).prompts} == {"status", "recall", "pin"}
        assert "x" in (await client.get_prompt("recall", {"what": "x"})).messages[0].content.text


@pytest.mark.slow
async def test_the_official_client_is_told_of_unknown_tools_and_methods_as_the_protocol_has_it(place):
    async with official(place) as client:
        from mcp import MCPError

        with pytest.raises(MCPError, match="no tool"):
            await client.call_tool("forget", {})
        with pytest.raises(MCPError, match="no such resource"):
            await client.read_resource("ctxgc://nowhere")


@pytest.mark.slow
async def test_the_official_client_may_ask_for_progress_and_give_a_call_up(place):
    anyio = pytest.importorskip("anyio")  # As its client does.
    async with official(place) as client:
        with anyio.move_on_after(0):
            await client.call_tool("search", {"query": OURS})

        async def note(*progress):
            raise AssertionError("nothing takes so long")

        found = await client.call_tool("search", {"query": OURS}, progress_callback=note)
        assert place.own_id in found.content[0].text


def test_a_server_without_a_stream_or_a_folder_fails_in_no_traceback(place, tmp_path):
    gone = tmp_path / "gone"
    ping = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    for script, said in (("{mcp} <&-", ""), ("rmdir {gone}; echo '{ping}' | {mcp}", '"result":{}')):
        gone.mkdir(exist_ok=True)
        command = script.replace("{mcp}", " ".join(MCP)).replace("{gone}", str(gone)).replace("{ping}", ping)

        done = subprocess.run(["bash", "-c", command], cwd=gone, env=place.env, capture_output=True, text=True)

        assert (done.returncode, done.stderr) == (0, "")
        assert said in done.stdout
