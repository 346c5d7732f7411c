"""What happens when two things happen at once, or one after the other: refusals, switches, restarts, our own faults."""

import asyncio
from dataclasses import replace
from urllib.request import getproxies
from uuid import uuid4

import pytest
from yarl import URL

from ctxgc.config import BadConfig, Config
from ctxgc.gateway.billing.usage import UsageScanner
from ctxgc.gateway.body.splice_memo import SHORT_CACHE_CONTROL
from ctxgc.gateway.daemon_client import DaemonClient
from ctxgc.gateway.editing.request_editor import RequestEditor
from ctxgc.gateway.http import upstream
from ctxgc.gateway.http.upstream import _proxy_for
from ctxgc.gateway.main import _reload_settings
from ctxgc.gateway.settings import settings_of_config
from tests.daemon.harness import DaemonProcess
from tests.gateway.agent import ClaudeAgent, ResponsesAgent
from tests.gateway.stage import CLAUDE, MESSAGES, OPENAI, RESPONSES, ScriptedDaemon, Stage


def all_but_two(ids):
    return [i for i in ids if i.startswith("call_")][:-2]


@pytest.fixture
def stage():
    with Stage(ScriptedDaemon(all_but_two), wait_s=5.0) as made:
        yield made


def collected(stage):
    """An agent of which something is out."""
    agent = ClaudeAgent().run(5)
    stage.ask(MESSAGES, agent.body())
    agent.run(1, 5)
    assert b"[evicted" in stage.ask(MESSAGES, agent.body())
    return agent


# Refusals


@pytest.mark.parametrize("second", [429, 500, 529])
def test_a_session_is_edited_again_if_nobody_could_say_whose_fault_a_refusal_was(stage, second):
    agent = collected(stage)
    stage.upstream.script = [400, second]

    reply = stage.send(MESSAGES, agent.body())
    stage.settle()

    assert reply.status == second
    agent.run(1, 6)
    assert b"[evicted" in stage.ask(MESSAGES, agent.body())


def test_after_a_refused_breakpoint_the_edits_stand_and_the_session_goes_on_without_breakpoints(stage):
    agent = collected(stage)
    stage.upstream.script = [400]
    sent = len(stage.upstream.received)

    stage.ask(MESSAGES, agent.body())
    first, again = [received.body for received in stage.upstream.received[sent:]]
    agent.run(1, 6)
    later = stage.ask(MESSAGES, agent.body())

    assert first.replace(SHORT_CACHE_CONTROL, b"", 1) == again
    assert b"[evicted" in again
    assert b"[evicted" in later
    assert later.count(b"cache_control") == agent.body().count(b"cache_control")
    assert stage.daemon.mode == "on"


def test_a_request_refused_both_times_is_answered_as_it_was_sent_on(stage):
    agent = collected(stage)

    def broke(wire, asked, session, body):
        raise AssertionError("no credit left" if b"[evicted" in body else "prompt is too long")

    stage.upstream._check = broke

    reply = stage.send(MESSAGES, agent.body())

    assert reply.status == 400
    assert b"no credit left" in reply.body
    assert len(stage.upstream.refused) == 3  # With the breakpoint, without the breakpoint, and as the agent wrote it.


def test_the_bill_of_a_request_that_was_sent_again_as_it_came_teaches_nothing(stage):
    agent = collected(stage)
    stage.upstream.script = [400, 400]
    stage.ask(MESSAGES, agent.body())

    agent.run(1, 6)
    stage.ask(MESSAGES, agent.body())

    assert [told["usage"] is None for told in stage.daemon.told[1:]] == [False, False, True]


def test_a_session_that_may_not_be_edited_any_more_is_told_to_be_in_shadow(stage):
    agent = collected(stage)
    stage.upstream.script = [400, 400]
    stage.ask(MESSAGES, agent.body())

    agent.run(1, 6)
    stage.ask(MESSAGES, agent.body())

    assert stage.daemon.mode == "shadow"


# Switches and pauses


@pytest.mark.slow
def test_no_request_is_edited_in_shadow_even_if_the_daemon_was_asked_before_the_switch():
    with Stage(ScriptedDaemon(), wait_s=0.1) as stage:
        agent = ClaudeAgent().run(5)
        stage.ask(MESSAGES, agent.body())
        stage.daemon.victims, stage.daemon.delay_s = all_but_two, 0.5
        agent.run(1, 5)
        stage.send(MESSAGES, agent.body())
        shadow = replace(stage.running.settings, mode="shadow")
        stage.loop.call_soon_threadsafe(_reload_settings, stage.running, lambda: shadow)
        stage.until(lambda: stage.running.settings.mode == "shadow")
        agent.run(1, 6)
        stage.send(MESSAGES, agent.body())
        stage.until(lambda: any(session.has_stand_ins for session in stage.running.syncer._sessions.values()))

        stage.daemon.delay_s = 0.0
        for number in range(7, 9):
            agent.run(1, number)
            stage.send(MESSAGES, agent.body())
            assert stage.upstream.last == agent.body()
            stage.settle()


def hour(agent):
    return agent.body().replace(b'{"type": "ephemeral"}', b'{"type": "ephemeral", "ttl": "1h"}')


@pytest.mark.parametrize(("pause_s", "is_cold"), [(600.0, False), (4000.0, True)])
def test_a_cache_lives_as_long_as_the_request_that_wrote_it_said(stage, pause_s, is_cold):
    agent = ClaudeAgent().run(5)
    stage.ask(MESSAGES, hour(agent))
    for session in stage.running.syncer._sessions.values():
        for branch in session.branches.values():
            branch.last_request_s -= pause_s
    agent.run(1, 5)

    stage.ask(MESSAGES, hour(agent))

    assert (stage.daemon.told[-1]["profile"], stage.daemon.told[-1]["is_cold"]) == ("cache_1h", is_cold)


# Twins


@pytest.mark.parametrize("begin", ["at once", "one after the other"])
def test_sub_agents_that_were_begun_with_the_same_words_are_sessions_of_their_own(stage, begin):
    stage.ask(MESSAGES, ClaudeAgent("main").run(3).body())
    twins = [ClaudeAgent("Explore the code", size=1500) for _ in range(2)]
    names = [[], []]

    def ask(which):
        stage.ask(MESSAGES, twins[which].body())
        names[which].append(stage.daemon.told[-1]["session"])
        twins[which].run(1, 100 * (which + 1) + len(names[which]))

    for which in (0, 1, 0, 1, 0, 1, 1, 0) if begin == "at once" else (0, 0, 0, 1, 1, 0, 1, 1):
        ask(which)

    one, other = (set(told[1:]) for told in names)
    assert len(one) == len(other) == 1
    assert one != other


def test_a_sub_agent_that_asks_for_the_same_again_stays_who_it_was(stage):
    stage.ask(MESSAGES, ClaudeAgent("main").run(3).body())
    agent = ClaudeAgent("Explore the code", size=1500)
    for _ in range(3):
        for _ in range(2):
            stage.ask(MESSAGES, agent.body())
        agent.run(1, 100)

    assert len({told["session"] for told in stage.daemon.told}) == 2


# Restarts


@pytest.mark.slow
@pytest.mark.parametrize(("turns", "size"), [(24, 8000), (60, 16000)])
def test_the_first_request_after_a_restart_is_what_it_would_have_been_without_one(turns, size):
    daemon, agent = DaemonProcess().start(), ClaudeAgent(size=size).run(turns)
    headers = {"x-claude-code-session-id": str(uuid4())}
    try:
        with Stage(DaemonClient(daemon.socket), wait_s=5.0) as stage:
            for number in range(turns, turns + 4):
                stage.pause()
                before = stage.ask(agent.path, agent.body(), headers)
                agent.run(1, number)
            assert b"evicted by ctxgc" in before
            before = stage.ask(agent.path, agent.body(), headers)
        with Stage(DaemonClient(daemon.socket), wait_s=0.05) as stage:
            agent.run(1, turns + 4)
            with stage.waiting(agent.path, agent.body(), headers) as call:  # However busy the machine is.
                call.reply()
            stage.settle()
            after = stage.upstream.last
            assert stage.passed == {}
    finally:
        daemon.close()

    assert after.startswith(before[: before.rindex(b"evicted by ctxgc")])


def test_contents_that_came_under_known_ids_are_counted_once_each(stage):
    agent = ClaudeAgent().run(5)
    stage.ask(MESSAGES, agent.body())
    for number in (1, 2):
        agent.messages[2 * number]["content"][0]["content"] = "what its host made of it"
        stage.daemon.conflicts.add(f"call_{number - 1}")
        for _ in range(3):
            stage.ask(MESSAGES, agent.body())

    assert stage.counters.conflicts == 2
    assert stage.counters.status_fields()["conflicts"] == 2


def test_a_session_that_the_daemon_knows_is_told_of_without_its_content_after_a_restart(stage):
    agent = collected(stage)

    with Stage(stage.daemon, wait_s=5.0) as restarted:
        agent.run(1, 6)
        restarted.ask(MESSAGES, agent.body())

    new = [segment["id"] for segment in stage.daemon.told[-1]["new"]]
    assert [id_ for id_ in new if id_.startswith("call_")] == ["call_6"]


class SlowToTell(ScriptedDaemon):
    """Says at once what it knows of a session, and takes its time over what is to be out of it."""

    syncs = 0

    async def call(self, method, params, timeout_s):
        if method == "window.sync":
            self.syncs += 1
            await asyncio.sleep(0.3)
        return await super().call(method, params, timeout_s)


@pytest.mark.parametrize(("victims", "passed"), [(all_but_two, {}), (lambda ids: (), {"daemon_late": 1})])
def test_after_a_restart_a_session_is_waited_for_only_if_something_of_it_is_out(victims, passed):
    daemon = SlowToTell(victims)
    with Stage(daemon, wait_s=5.0) as stage:
        agent = ClaudeAgent().run(6)
        before = stage.ask(MESSAGES, agent.body())

    told = daemon.syncs
    with Stage(daemon, wait_s=0.05) as restarted:
        with restarted.waiting(MESSAGES, agent.body()) as call:
            restarted.until(lambda: daemon.syncs > told)
            call.passes(0.05)
            call.passes(0.25)
            call.reply()
        restarted.settle()
        assert restarted.upstream.last == before
        assert restarted.passed == passed


# Faults of our own


def fails(*_, **__):
    raise RuntimeError("a bug of our own")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (RequestEditor, "_triage_by_headers"),
        (RequestEditor, "_triage_session"),
        (RequestEditor, "_new_call"),
        (RequestEditor, "_edit_from_contents"),
        (UsageScanner, "feed"),
    ],
)
@pytest.mark.parametrize("is_known", [False, True])
def test_no_fault_of_our_own_keeps_a_request_or_its_reply(stage, monkeypatch, owner, name, is_known):
    agent = collected(stage) if is_known else ClaudeAgent().run(2)
    agent.messages[0]["content"][0]["text"] = "No memo begins like this."
    monkeypatch.setattr(owner, name, fails)

    reply = stage.send(MESSAGES, agent.body())

    assert reply.status == 200
    assert reply.body.endswith(b"\n\n")


@pytest.mark.parametrize("mode", ["on", "shadow"])
def test_no_fault_of_our_own_keeps_a_request_that_streams_through(monkeypatch, mode):
    monkeypatch.setattr(RequestEditor, "_new_call", fails)
    with Stage(ScriptedDaemon(), mode=mode) as stage:
        assert stage.send(MESSAGES, ClaudeAgent().run(2).body()).status == 200
        assert stage.passed == {"own_fault": 1}


@pytest.mark.parametrize("metadata", ["[" * 100_000, '{"session_id":' * 10_000, '{"session_id":"\\ud800"}'])
def test_a_header_that_is_nested_without_end_names_nobody(stage, metadata):
    body = ResponsesAgent().run(1).body()

    reply = stage.send(RESPONSES, body, {"x-codex-turn-metadata": metadata})

    assert reply.status == 200
    assert stage.upstream.last == body
    assert stage.passed == {"no_identity": 1}


# Headers and ways


def test_a_header_that_comes_twice_in_two_spellings_comes_twice(stage):
    twice = b"Anthropic-Beta: a-1\r\nanthropic-beta: b-2\r\nx-name: caf\xe9!\r\n"
    lines = b"".join(b"%s: %s\r\n" % (name.encode(), value.encode()) for name, value in CLAUDE.items())
    with stage.raw(
        b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n" + twice + lines + b"\r\n{}"
    ) as got:
        got.recv(100)

    headers = [(name.lower(), value) for name, value in stage.upstream.received[-1].headers]
    assert [value for name, value in headers if name == "anthropic-beta"] == ["a-1", "b-2"]
    assert ("x-name", "café!") in headers


def test_the_name_that_a_client_gives_its_session_is_no_business_of_the_providers(stage):
    stage.ask(MESSAGES, ClaudeAgent().body(), {"x-ctxgc-session": "a-private-name"})

    assert "a-private-name" not in str(stage.upstream.received[-1].headers)


def test_a_proxy_of_the_environment_is_used_but_not_to_this_machine(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example")

    proxies = getproxies()
    assert _proxy_for(URL("https://api.example/v1"), proxies) == "http://proxy.example:3128"
    for url in ("http://127.0.0.1:8000", "http://[::1]:8000", "http://localhost:8000", "https://inside.example"):
        assert _proxy_for(URL(url), proxies) is None


def test_the_environment_is_looked_through_when_the_gateway_starts_and_for_no_request(stage, monkeypatch):
    read = []
    monkeypatch.setattr(upstream, "getproxies", lambda: read.append("again") or {})

    stage.send(MESSAGES, b"{}")

    assert not read


@pytest.mark.parametrize("url", ["http://127.0.0.1:8787", "http://localhost:8787/v1", "http://[::1]:8787"])
def test_a_gateway_is_not_its_own_upstream(url):
    with pytest.raises(BadConfig, match="itself"):
        settings_of_config(Config.model_validate({"gateway": {"upstream_openai": url}}))


@pytest.mark.parametrize("url", ["http://127.0.0.1:8788", "http://localhost", "https://api.example:8787"])
def test_another_server_may_be_the_upstream_of_a_gateway(url):
    assert settings_of_config(Config.model_validate({"gateway": {"upstream_openai": url}})).upstreams["openai"] == url


def test_the_window_that_a_run_asks_for_reaches_the_daemon_and_not_the_upstream(stage):
    agent = ClaudeAgent().run(3)

    stage.ask(MESSAGES, agent.body(), headers=CLAUDE | {"x-ctxgc-window": "60000"})
    stage.ask(MESSAGES, agent.run(1, 3).body())

    assert [one["window_max_tokens"] for one in stage.daemon.told] == [60_000, 0]
    assert not [name for one in stage.upstream.received for name, _ in one.headers if name.lower() == "x-ctxgc-window"]


@pytest.mark.parametrize(("point", "profile"), [(b"", "openai"), (b'"cache_control": {"type": "ephemeral"}, ', None)])
def test_an_openai_api_has_a_cache_of_its_own_unless_the_body_breakpoints_for_another(point, profile, stage):
    body = ResponsesAgent().run(3).body()

    stage.ask(RESPONSES, b"{" + point + body[1:], headers=OPENAI)

    assert stage.daemon.told[-1].get("profile") == profile
