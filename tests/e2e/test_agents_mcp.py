"""The real agents with `ctxgc mcp` in their settings, and a model that searches and recalls by its own tools."""

import json
import re
import shlex
import subprocess
import time
from dataclasses import dataclass, field

import pytest

from ctxgc.fronts.setup.agent_tools import COMMAND_TEXT, SKILL_TEXT
from tests.e2e import agent_model
from tests.e2e.agent_model import AgentModel, Call, _tool_names
from tests.e2e.agent_run import AGENTS, CTXGC, Served, Through, Workplace, agents_folder, file_text
from tests.e2e.long_session import Desk
from tests.e2e.opencode_app import OpenCodeApp
from tests.e2e.scripted_model import ScriptedModel
from tests.e2e.stories import FIRST_PARTY
from tests.e2e.test_agents import FILE_BYTES, installed

pytestmark = [pytest.mark.e2e_agents, pytest.mark.slow, pytest.mark.xdist_group("agents")]

assert installed  # The fixture.

TURNS, SHADOW_TURNS = 70, 40
RESULT_CHARS = 20_000
USES = 3
FIRST_USE = 8
"""The turn from which there is something to find: a daemon that has just begun has read nothing."""
NAMED = re.compile(r"get it back: (\w+) (\d+-\d+)\]")
LISTED = re.compile(r"id (\S+), session (\S+),")
NUMBERED = "000.0001"
"""The first words of the second line of the first file."""

CODEX = AGENTS["codex"]
SERVED = {
    "claude": AGENTS["claude"],
    "codex": CODEX,
    "codex_tools": CODEX._replace(words=(*CODEX.words[:-1], "-c", 'model="gpt-5"', CODEX.words[-1])),
    "opencode": AGENTS["opencode_own"],
}
"""`codex` has its default model, whose tools are calls in a script; `codex_tools` one with tools in the API's list."""

SCRIPT = """const shown = await tools.{name}({arguments});
text(shown.content.map((part) => part.text).join(""));"""


def called(asked, number, tool, arguments):
    """A call of the server's tool as this agent's model writes calls; None where the agent has no such tool."""
    named = [*_tool_names(asked.get("tools") or ())]
    for item in asked.get("input", ()):
        named += _tool_names(item["tools"]) if item.get("type") == "additional_tools" else ()
    for name in (f"mcp__ctxgc__{tool}", f"ctxgc_{tool}"):
        if name in named:
            return Call(f"call_{number:03}", name, arguments)
    if "mcp__ctxgc" in named:
        return Call(f"call_{number:03}", f"mcp__ctxgc.{tool}", arguments)
    if "exec" in named:
        script = SCRIPT.format(name=f"mcp__ctxgc__{tool}", arguments=json.dumps(arguments))
        return Call(f"call_{number:03}", "exec", script)
    return None


@dataclass
class AskingModel(AgentModel):
    """Searches at one turn and recalls two turns later, what a tombstone names or what the search found.

    At turns without reasoning, which is sealed to the calls as they are written here.
    """

    used: list[str] = field(default_factory=list)
    searched: list[str] = field(default_factory=list)

    def next_call(self, wire, asked, done):
        if "tools" not in asked and "input" not in asked:
            return super().next_call(wire, asked, done)  # A title.
        text = json.dumps(asked.get("messages", asked.get("input")))
        is_time = FIRST_USE <= done < self.turns
        if is_time and done % 4 == 2 and len(self.used) < 2 * USES:
            return self._use(asked, done, "search", {"query": f"{NUMBERED} {file_text(0, 200).split()[2]}"})
        if is_time and done % 4 == 0 and len(self.used) < 2 * USES:
            stones, hits = NAMED.findall(text), LISTED.findall(text)
            if stones:
                return self._use(asked, done, "recall", {"id": stones[-1][1]})
            if hits:
                return self._use(asked, done, "recall", {"id": hits[0][0], "session": hits[0][1]})
        return super().next_call(wire, asked, done)

    def _use(self, asked, done, tool, arguments):
        call = called(asked, done, tool, arguments)
        if call is not None:
            self.used.append(call.id)
            self.searched += [call.id] if tool == "search" else []
        return call


SERVER = {"command": CTXGC[0], "args": [*CTXGC[1:], "mcp"]}
VARIABLES = ["CTXGC_SOCKET", "CTXGC_DAEMON__STATE_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME"]
"""Codex hands a server no others than those that its settings name."""


def with_server(agent):
    """The agent with the server in its settings."""
    if agent.name == "claude":
        servers = json.dumps({"mcpServers": {"ctxgc": SERVER | {"alwaysLoad": True}}})
        return agent._replace(words=(*agent.words, "mcp__ctxgc", "--mcp-config", servers))
    if agent.name == "codex":
        words = ", ".join(f"{key}={json.dumps(value)}" for key, value in (SERVER | {"env_vars": VARIABLES}).items())
        return agent._replace(words=(*agent.words[:-1], "-c", f"mcp_servers.ctxgc={{{words}}}", agent.words[-1]))
    server = {"type": "local", "command": [SERVER["command"], *SERVER["args"]]}
    return agent._replace(config=agent.config | {"mcp": {"ctxgc": server}})


@pytest.fixture(scope="module", autouse=True)
def namespaces():
    """Write a call of a namespace's tool as the API does."""
    plain = agent_model.STREAMS["openai_responses"]

    def stream(*asked):
        for event in plain(*asked):
            yield re.sub(rb'"name": "(mcp__ctxgc)\.(\w+)"', rb'"name": "\2", "namespace": "\1"', event)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(agent_model.STREAMS, "openai_responses", stream)
        yield


@pytest.fixture(scope="module", params=list(SERVED))
def talked(request, installed):
    with Through(with_server(SERVED[request.param]), TURNS, FILE_BYTES, model_class=AskingModel) as through:
        yield through


def test_the_model_searches_and_recalls_by_its_own_tools_and_no_request_is_refused(talked):
    assert talked.model.refused == []
    assert len(talked.model.used) == 2 * USES


def test_a_search_lists_what_the_agent_read_and_each_recall_brings_lines_of_a_file_back(talked):
    bodies = [one.body.decode() for one in talked.model.requests]
    listed = []
    for id in talked.model.used:
        asked = next(body for body in bodies if f'"{id}"' in body)
        result = asked[asked.rindex(f'"{id}"') :][:RESULT_CHARS]
        if id in talked.model.searched:
            listed.append("text of past sessions follows" in result)
        else:
            assert re.search(r"\d+\|\d{3}\.\d{4} ", result), result

    # A gateway that tells the daemon of a window beside the request may be behind an agent that goes on at once.
    assert listed == sorted(listed)
    assert listed[-1]


def test_tombstones_name_the_tool_that_the_model_has(talked):
    ways = set(re.findall(r"get it back: (\w+) \d+-\d+\]", talked.model.requests[-1].body.decode()))

    assert ways == {"ctxgc_recall" if talked.agent.name == "opencode" else "mcp__ctxgc__recall"}


@pytest.mark.parametrize("name", SERVED)
def test_in_shadow_the_tools_work_and_every_request_arrives_byte_for_byte(installed, name):
    agent = with_server(SERVED[name])
    with Through(agent, SHADOW_TURNS, FILE_BYTES, mode="shadow", model_class=AskingModel) as through:
        assert through.model.refused == []
        assert len(through.model.used) >= 2
        assert b"text of past sessions follows" in through.model.requests[-1].body
        assert all(sent == arrived for sent, arrived in through.pairs())


INSTALLED = {
    "claude": AGENTS["claude"]._replace(words=(*AGENTS["claude"].words, "mcp__ctxgc")),
    "codex": CODEX,
    "opencode": AGENTS["opencode_anthropic"],
}


@pytest.mark.parametrize("name", INSTALLED)
def test_an_agent_has_the_tools_once_they_are_installed(installed, name):
    agent = INSTALLED[name]
    install = shlex.join([*CTXGC, "install", agent.name, "--gateway", "--mcp", "--no-service", "--yes"])
    before = ["sh", "-c", f'{install} >&2 && exec {agent.name} "$@"', "sh"]

    with Through(agent, SHADOW_TURNS, FILE_BYTES, mode="shadow", before=before, model_class=AskingModel) as through:
        assert through.model.refused == []
        assert len(through.model.used) >= 2
        assert b"text of past sessions follows" in through.model.requests[-1].body


HOOKED_TURNS = 6
TRUSTED = ("exec", "--dangerously-bypass-hook-trust", *CODEX.words[1:])


HOOKED = [AGENTS["claude"], CODEX._replace(words=TRUSTED), AGENTS["opencode_own"]]


@pytest.mark.parametrize("agent", HOOKED, ids=["claude", "codex", "opencode"])
def test_hooks_follow_a_session_and_give_its_working_set_to_the_next_without_a_gateway(installed, agent):
    place = Workplace(HOOKED_TURNS, FILE_BYTES)
    try:
        ctxgc(place, "up")
        ctxgc(place, "install", agent.name, "--hooks", "--yes")
        first, second = straight_bodies(agent, place), straight_bodies(agent, place)
        with place.client() as client:
            sessions = client.call("session.list", {"project": str(place.work)})["sessions"]
    finally:
        place.close()

    assert b"text of past sessions follows" not in first
    assert b"text of past sessions follows" in second
    assert {session["session"].partition(":")[0] for session in sessions} == {agent.source}


def ctxgc(place, *words):
    done = subprocess.run([*CTXGC, *words], env=place.env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def straight_bodies(agent, place, *, waits=True):
    """The bodies of a session's requests without a gateway. `waits`: its transcript has been read then."""
    with Served(HOOKED_TURNS) as served:
        url = served.model.url
        variables, words = agent.straight
        variables = {name: value.replace("$URL", url) for name, value in variables.items()}
        place.run(agent, [agent.name], url, [word.replace("$URL", url) for word in words], variables)
    with place.client() as client:
        gives_up_at = time.monotonic() + (20 if waits else 0)
        while time.monotonic() < gives_up_at and not client.call("session.list", {})["sessions"]:
            time.sleep(0.1)
    return b"".join(one.body for one in served.model.requests)


COMPACTS_AT = 22_000
"""Codex compacts a window of so many tokens: after every three files."""
BEFORE, AFTER = "Read every part that there is (PROMPT-A).", "Read what is left (PROMPT-B)."


def tell_claude(desk):
    """Work, a compaction, more work; the number of requests before the working set."""
    words = ("--output-format", "json", "--allowedTools", "Bash")
    desk.run("-p", BEFORE, *words, turns=HOOKED_TURNS)
    desk.run("-p", "/compact", "--continue", *words, turns=0)
    before = len(desk.model.requests)
    desk.run("-p", AFTER, "--continue", *words, turns=2)
    return before


def tell_codex(desk):
    """Work in which Codex compacts by itself, more than once; the number of requests before the first working set."""
    words = ("exec", "-c", f"model_auto_compact_token_limit={COMPACTS_AT}", *TRUSTED[1:-1])
    desk.run(*words, BEFORE, turns=2 * HOOKED_TURNS)
    return next(number for number, one in enumerate(desk.model.requests) if HEAD in one.body.decode())


@pytest.mark.parametrize("folder", [".", "newest"])
@pytest.mark.parametrize(("name", "tell"), [("claude", tell_claude), ("codex", tell_codex)], ids=["claude", "codex"])
def test_after_a_compaction_the_model_has_the_sessions_working_set_and_hears_what_it_may_have_back(
    installed, name, tell, folder
):
    place, agent = Workplace(HOOKED_TURNS, FILE_BYTES), AGENTS[name]
    place.env["PATH"] = f"{agents_folder() / folder / 'node_modules' / '.bin'}:{place.env['PATH']}"
    try:
        ctxgc(place, "up")
        ctxgc(place, "install", name, "--hooks", "--yes")
        with Served(0, ScriptedModel) as served:
            variables, words = agent.straight
            variables = {name: value.replace("$URL", served.model.url) for name, value in variables.items()}
            command = [name, *(word.replace("$URL", served.model.url) for word in words)]
            env = place.env | agent.variables | FIRST_PARTY | variables
            before = tell(Desk(served.model, command, env, place.work, None))
        bodies = [one.body.decode() for one in served.model.requests]
    finally:
        place.close()

    assert len(bodies) > before > 2
    assert not any(HEAD in body for body in bodies[:before])
    for body in bodies[before:]:
        note = body[body.rindex(HEAD) :]
        assert BEFORE in note
        assert int(re.search(r"(\d+) segments of this session \(.*?\) left the window", note)[1]) > 2


@pytest.mark.parametrize("parts", [("--hooks",), ("--hooks", "--gateway", "--no-service")], ids=" ".join)
def test_opencode_goes_on_after_its_compaction_from_the_sessions_own_working_set(installed, parts):
    agent = AGENTS["opencode_anthropic"]
    with Compacted(agent, HOOKED_TURNS, FILE_BYTES, mode="shadow", before=parts, model_class=ScriptedModel) as through:
        bodies = [one.body.decode() for one in through.model.requests]
        session = next(name for name in through.sessions() if "/" not in name)
        with through.place.client() as client:
            rows = client.call("segment.list", {"session": session, "limit": 1000})["segments"]
            typed = [
                client.call("segment.get", {"session": session, "id": row["id"]})
                for row in rows
                if row["kind"] == "user"
            ]

    assert through.model.refused == []
    at = next(number for number, body in enumerate(bodies) if "anchored summary" in body)
    assert not any(HEAD in body for body in bodies[: at + 1])
    after = [body for body in bodies[at + 1 :] if '"tools"' in body]
    after = after if HEAD in after[0] else after[1:]  # No list waits for a note on a busy machine.
    assert len(after) > 1
    notes = {body[body.index(HEAD) :].partition("end of that text")[0] for body in after}
    assert len(notes) == 1, "the same text at the same place in each request, for the prompt cache"
    assert BEFORE in notes.pop()
    is_plugins = "--gateway" not in parts  # To the gateway a list of which nothing is left is another branch.
    assert not is_plugins or {row["state"] for row in rows if row["kind"] == "tool_call"} == {"departed", "resident"}
    assert "PROMPT-A" in json.dumps(typed)
    assert HEAD not in json.dumps(typed), "a note is no word of the person"


HEAD = "text of past sessions follows"


class Compacted(Through):
    """OpenCode with its hooks: reads files, sums its session up, and reads on."""

    def work(self, url):
        place, model = self.place, self.model
        place.prepare(self.agent, url)
        parts = self._before
        ctxgc(place, "up")
        ctxgc(place, "install", "opencode", *parts, "--yes")
        variables = {} if "--gateway" in parts else self.agent.straight[0]
        variables = {name: value.replace("$URL", model.url) for name, value in variables.items()}
        desk = Desk(model, ["opencode"], place.env | self.agent.variables | variables, place.work, None)
        with desk.start("serve", turns=HOOKED_TURNS) as server:
            app = OpenCodeApp(server)
            app.begin()
            app.type(BEFORE)
            app.finish()
            app.compact("anthropic", "m")
            model.begin_stage(HOOKED_TURNS)
            app.type(AFTER)
            app.finish()


ASKED = "recall the harbour lamps"


@pytest.mark.parametrize("folder", [".", "newest"])
def test_codex_knows_the_skill_that_comes_with_the_tools(installed, folder):
    agent = CODEX._replace(words=(*CODEX.words[:-1], f"$ctxgc {ASKED}"))
    place = Workplace(1, FILE_BYTES)
    place.env["PATH"] = f"{agents_folder() / folder / 'node_modules' / '.bin'}:{place.env['PATH']}"
    try:
        ctxgc(place, "install", "codex", "--mcp", "--yes")
        body = straight_bodies(agent, place, waits=False)
    finally:
        place.close()

    assert json.dumps(SKILL_TEXT)[1:-1].encode() in body
    assert ASKED.encode() in body


def test_opencode_knows_the_command_that_comes_with_the_tools(installed):
    agent = AGENTS["opencode_anthropic"]
    place = Workplace(1, FILE_BYTES)
    try:
        ctxgc(place, "install", "opencode", "--mcp", "--yes")
        with Served(1, ScriptedModel) as served:
            variables = {name: value.replace("$URL", served.model.url) for name, value in agent.straight[0].items()}
            place.prepare(agent, served.model.url)
            desk = Desk(served.model, ["opencode"], place.env | agent.variables | variables, place.work, None)
            with desk.start("serve", turns=0) as server:
                app = OpenCodeApp(server)
                app.begin()
                known = {one["name"]: one["description"] for one in app.ask("GET", "/command")}
                app.ask("POST", f"/session/{app.session}/command", {"command": "ctxgc", "arguments": ASKED})
        body = b"".join(one.body for one in served.model.requests).decode()
    finally:
        place.close()

    assert "recall WORDS" in known["ctxgc"]
    assert (
        json.dumps(COMMAND_TEXT.partition("---\n")[2].partition("---\n")[2].strip())[1:-1].replace("$ARGUMENTS", ASKED)
        in body
    )
