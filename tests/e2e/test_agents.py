"""Claude Code, Codex and OpenCode, the real ones, at work behind the gateway against a model that refuses and bills.

Installed by `install_agents.sh`, at test time if CTXGC_AGENTS=1; without them every test here is skipped.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ctxgc.adapters.contract import WireWindow
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from tests.e2e.agent_run import AGENTS, CTXGC, ROOT, Served, Through, Workplace, agents_folder, straight
from tests.e2e.compacting_model import CompactingModel

# One worker runs them all: what an agent did in a long session is looked at by several tests, and made once.
pytestmark = [pytest.mark.e2e_agents, pytest.mark.slow, pytest.mark.xdist_group("agents")]

INSTALL = Path(__file__).parent / "install_agents.sh"
INSTALL_S = 300
TURNS, FILE_BYTES = 80, 8000
EDITED_MIN = 10
SHADOW_TURNS = 6
PLUGIN_TURNS = 60
SANDBOX_TURNS = 64
COMPACT_TURNS, COMPACT_TOKENS = 110, 45_000
WINDOW_TURNS, WINDOW_TOKENS = 24, 40_000
MARK = re.compile(r"\[(evicted by ctxgc\b|evicted\])")


@pytest.fixture(scope="module")
def installed():
    """The agents; installed if that is wanted, else whatever is there."""
    if os.environ.get("CTXGC_AGENTS") == "1":
        done = subprocess.run([INSTALL], capture_output=True, text=True, timeout=INSTALL_S)
        if done.returncode:
            pytest.skip(f"THE AGENTS CANNOT BE INSTALLED: {done.stderr.strip()[-300:]}")
    if not (agents_folder() / ".installed").exists():
        pytest.skip(f"NO AGENTS in {agents_folder()}: CTXGC_AGENTS=1 installs them, or {INSTALL.name} by hand")


@pytest.fixture(scope="module", params=list(AGENTS))
def worked(request, installed):
    """A long session of one agent through the gateway, and the model that the same work was done with without it."""
    alone = straight(AGENTS[request.param], TURNS, FILE_BYTES)
    with Through(AGENTS[request.param], TURNS, FILE_BYTES) as through:
        yield through, alone


def test_not_one_request_of_a_long_session_is_refused(worked):
    through, alone = worked

    assert alone.refused == through.model.refused == []
    assert len(through.model.requests) == len(alone.requests) > TURNS


def test_a_request_differs_from_what_the_agent_sent_in_evicted_bodies_and_one_cache_breakpoint_alone(worked):
    through, _ = worked
    pairs = through.pairs()
    edited = [pair for pair in pairs if pair[0] != pair[1]]

    assert len(edited) >= EDITED_MIN
    for sent, arrived in edited:
        found = list(changes(json.loads(sent), json.loads(arrived)))
        assert found.count(OWN_BREAKPOINT) <= 1
        assert set(found) <= {TOMBSTONE, OWN_BREAKPOINT}
    first = pairs.index(edited[0])
    assert all(sent == arrived for sent, arrived in pairs[:first])


TOMBSTONE, OWN_BREAKPOINT, OTHER = "a tombstone", "a cache breakpoint", "something else"


def changes(before, after):
    """What stands now where a request differs from the one that the agent sent."""
    if isinstance(before, dict) and isinstance(after, dict):
        if after.keys() - before.keys():
            yield OWN_BREAKPOINT if after.keys() - before.keys() == {"cache_control"} else OTHER
        for key in before:
            yield from changes(before[key], after[key]) if key in after else [OTHER]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for one, other in zip(before, after, strict=True):
            yield from changes(one, other)
    elif before != after:
        yield TOMBSTONE if isinstance(after, str) and MARK.match(after) else OTHER


def test_what_was_evicted_is_recalled_as_the_agent_had_it(worked):
    through, _ = worked
    windows = [parsed(one.wire, sent) for one, (sent, _) in zip(through.model.requests, through.pairs(), strict=True)]
    had = {s.id: {p.name: p.text for p in s.body} for window in windows for s in window.segments}

    with through.place.client() as client:
        evicted = list(evicted_of(client))
        for session, id_ in evicted:
            recalled = client.call("stash.recall", {"session": session, "id": id_})["recalled"][0]
            assert {p["name"]: p["text"] for p in recalled["pieces"]} == had[id_]
    assert len(evicted) >= EDITED_MIN


def test_the_way_back_that_a_tombstone_names_works_where_the_agent_works(worked):
    through, _ = worked
    command = re.search(r"get it back: ctxgc (recall [\d-]+)\]", through.model.requests[-1].body.decode())[1]

    done = subprocess.run(
        [*CTXGC, *shlex.split(command)],
        env=through.place.env, cwd=through.place.work, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    files = [path.read_text().strip() for path in through.place.work.glob("part00*.txt")]
    assert any(text in done.stdout for text in files), done.stderr


@pytest.mark.parametrize(("sandbox", "way"), [("workspace-write", "make the call again"), (None, "ctxgc recall")])
def test_in_codexs_sandbox_a_tombstone_names_no_command_that_the_sandbox_forbids(installed, sandbox, way):
    codex = AGENTS["codex"]
    free = "--dangerously-bypass-approvals-and-sandbox"
    words = [word for word in codex.words if word != free]
    words[1:1] = ["-s", sandbox] if sandbox else [free]

    with Through(codex._replace(words=tuple(words)), SANDBOX_TURNS, FILE_BYTES) as through:
        said = re.findall(rb"get it back: ([a-z ]+)", through.model.requests[-1].body)

    assert len(said) > 1
    assert {text.decode().strip() for text in said} == {way}


@pytest.mark.parametrize("login", ["codex", "codex_chatgpt"])
def test_codex_goes_on_being_read_and_collected_after_its_server_has_summed_it_up(installed, login):
    codex = AGENTS[login]
    codex = codex._replace(words=("-c", f"model_auto_compact_token_limit={COMPACT_TOKENS}", *codex.words))

    with Through(codex, COMPACT_TURNS, FILE_BYTES, model_class=CompactingModel) as through:
        requests, sessions = through.model.requests, through.sessions()
        compacted = [at for at, one in enumerate(requests) if b'"compaction_trigger"' in one.body]
        edited = [at for at, (sent, arrived) in enumerate(through.pairs()) if sent != arrived]

    assert through.model.refused == []
    assert through.model.compactions == len(compacted) >= 1
    assert edited[-1] > compacted[0], "nothing was collected behind the summary"
    assert len(sessions) == 1


def parsed(wire, body) -> WireWindow:
    return WIRE_FORMATS[wire].parse(body)


def evicted_of(client):
    for session in client.call("session.list", {})["sessions"]:
        listed = client.call("segment.list", {"session": session["session"], "states": ["evicted"]})
        for row in listed["segments"]:
            yield session["session"], row["id"]


def test_the_bill_is_lower_than_without(worked, capsys):
    through, alone = worked
    with_, without = (sum(bill.cost for bill in model.bills.values()) for model in (through.model, alone))
    edited = sum(sent != arrived for sent, arrived in through.pairs())

    with capsys.disabled():
        print(
            f"\n{through.agent.name}: {len(through.model.requests)} requests, 0 refused, {edited} edited; "
            f"cost {with_:,.0f} with, {without:,.0f} without ({with_ / without - 1:+.1%})"
        )
    assert with_ < 0.95 * without


@pytest.mark.parametrize("name", AGENTS)
def test_in_shadow_every_request_arrives_byte_for_byte(installed, name):
    with Through(AGENTS[name], SHADOW_TURNS, FILE_BYTES, mode="shadow") as through:
        assert through.model.refused == []
        assert len(through.pairs()) > SHADOW_TURNS
        assert all(sent == arrived for sent, arrived in through.pairs())
        assert any(name.startswith(f"{through.agent.source}:") for name in through.sessions())


def test_opencode_collects_by_its_plugin_without_a_gateway(installed):
    agent, place = AGENTS["opencode_own"], Workplace(PLUGIN_TURNS, FILE_BYTES, CTXGC_OPENCODE_MODE="on")
    plugins = place.folder / "config" / "opencode" / "plugins"
    plugins.mkdir(parents=True)
    shutil.copy(ROOT / "agents" / "opencode" / "ctxgc.ts", plugins)
    subprocess.run([*CTXGC, "up"], env=place.env, check=True, capture_output=True, timeout=60)
    try:
        with Served(PLUGIN_TURNS) as served:
            place.run(agent, [agent.name], served.model.url)
    finally:
        place.close()

    assert served.model.refused == []
    assert sum(b"[evicted by ctxgc" in one.body for one in served.model.requests) >= EDITED_MIN


def installed_first(name):
    """The words that install an agent's way through the gateway, and then start the agent by itself."""
    install = shlex.join([*CTXGC, "install", name, "--no-service", "--yes"])
    return ["sh", "-c", f'{install} >&2 && exec {name} "$@"', "sh"]


@pytest.mark.parametrize("name", ["claude", "codex", "opencode_anthropic", "opencode_openai"])
def test_an_installed_agent_goes_through_the_gateway_by_itself(installed, name):
    agent = AGENTS[name]

    with Through(agent, SHADOW_TURNS, FILE_BYTES, mode="shadow", before=installed_first(agent.name)) as through:
        assert through.model.refused == []
        assert len(through.pairs()) > SHADOW_TURNS
        assert any(name.startswith(f"{agent.source}:") for name in through.sessions())


@pytest.mark.parametrize("name", ["claude", "codex", "opencode_anthropic"])
def test_a_run_with_a_window_collects_at_its_limit(installed, name):
    agent = AGENTS[name]
    run = [*CTXGC, "run", "--window", f"{WINDOW_TOKENS}", "--mode", "on", agent.name]

    with Through(agent, WINDOW_TURNS, FILE_BYTES, before=run) as through:
        [session] = [name for name in through.sessions() if "/" not in name]
        with through.place.client() as client:
            shown = client.call("session.show", {"session": session})
            log = client.call("heap.log", {"session": session})["collections"]

    assert shown["next_collection"]["limit_tokens"] == WINDOW_TOKENS
    assert shown["billed_tokens"] < 1.1 * WINDOW_TOKENS
    assert "hard_limit" in {one["trigger"] for one in log}
