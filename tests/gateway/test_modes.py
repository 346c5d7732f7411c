"""Shadow, on, off: for all, by agent, by session, and switched while sessions run; and who a session is."""

import json
import threading
import time
from uuid import uuid4

import pytest

from ctxgc.config import BadConfig, Config, load_config
from ctxgc.fronts.setup.toml_edit import edit_mode
from ctxgc.gateway.identity.headers import Identity, identity_from_cache_key, identity_in_headers_or_path
from ctxgc.gateway.main import _reload_settings
from ctxgc.gateway.settings import settings_of_config
from tests.gateway.agent import ClaudeAgent
from tests.gateway.stage import CLAUDE, MESSAGES, SESSION, WAIT_S, ScriptedDaemon, Stage

UUID = str(uuid4())


def everything(ids):
    return [id_ for id_ in ids if id_.startswith("call_")][:3]


def reload(stage, settings):
    """Have the gateway look at its configuration, on its own loop."""
    is_done = threading.Event()
    stage.loop.call_soon_threadsafe(lambda: (_reload_settings(stage.running, settings), is_done.set()))
    assert is_done.wait(WAIT_S)


def test_in_shadow_the_daemon_is_told_and_nothing_is_edited():
    with Stage(ScriptedDaemon(everything), mode="shadow") as stage:
        agent = ClaudeAgent().run(5)
        for _ in range(2):
            assert stage.ask(MESSAGES, agent.body()) == agent.body()

        assert [told.get("mode") for told in stage.daemon.told] == ["shadow", None]


def test_off_means_that_the_daemon_is_not_told():
    with Stage(ScriptedDaemon(everything), mode="off") as stage:
        agent = ClaudeAgent().run(5)

        assert stage.ask(MESSAGES, agent.body()) == agent.body()
        assert stage.daemon.told == []
        assert stage.passed == {"mode_off": 1}


def test_a_session_has_its_own_mode_before_its_agents_and_that_before_the_one_for_all():
    modes = {"codex": "off", "claude_code": "on", f"claude_code:{SESSION}": "shadow"}
    settings = settings_of_config(Config.model_validate({"gateway": {"modes": modes}}))

    assert settings.mode_of_session("codex", "x") == "off"
    assert settings.mode_of_session("claude_code", "x") == "on"
    assert settings.mode_of_session("claude_code", SESSION) == "shadow"
    assert settings.mode_of_session("claude_code", f"{SESSION}/a1") == "shadow"
    assert settings.mode_of_session("opencode", "x") == "shadow"


def test_a_mode_is_switched_while_the_session_runs_and_a_broken_file_switches_nothing():
    with Stage(ScriptedDaemon(everything)) as stage:
        agent = ClaudeAgent().run(5)

        def with_mode(mode):
            ours = {"mode": mode, "upstream_anthropic": stage.upstream.url, "wait_ms": 5000}
            reload(stage, lambda: settings_of_config(Config.model_validate({"gateway": ours})))
            stage.ask(MESSAGES, agent.body())
            return stage.ask(MESSAGES, agent.body()).count(b"[evicted")

        assert [with_mode("on"), with_mode("shadow"), with_mode("on"), with_mode("off")] == [3, 0, 3, 0]

        def broken():
            raise BadConfig("no")

        reload(stage, broken)
        assert stage.running.settings.mode == "off"


def test_what_the_command_writes_switches_one_session_of_a_running_gateway_and_no_other(tmp_path):
    other = {**CLAUDE, "x-claude-code-session-id": str(uuid4())}
    with Stage(ScriptedDaemon(everything), mode="shadow", wait_s=5.0) as stage:
        agent = ClaudeAgent().run(5)
        file = tmp_path / "config.toml"
        text = f'[gateway]\nupstream_anthropic = "{stage.upstream.url}"\nwait_ms = 5000\n'

        def switched_to(mode, headers=CLAUDE):
            nonlocal text
            text = edit_mode(text, f"claude_code:{SESSION}", mode)
            file.write_text(text)
            reload(stage, lambda: settings_of_config(load_config(file, {})))
            stage.ask(MESSAGES, agent.body(), headers)
            return stage.ask(MESSAGES, agent.body(), headers).count(b"[evicted")

        assert [switched_to(mode) for mode in ("on", "off", "on", "shadow", "on", "")] == [3, 0, 3, 0, 3, 0]
        switched_to("on")
        assert switched_to("on", other) == 0


def test_the_daemon_is_told_once_that_a_session_is_only_passed_on_and_again_when_it_is_not():
    with Stage(ScriptedDaemon(everything)) as stage:
        agent = ClaudeAgent().run(5)

        def switch_to(mode):
            ours = {"mode": mode, "upstream_anthropic": stage.upstream.url, "wait_ms": 5000}
            reload(stage, lambda: settings_of_config(Config.model_validate({"gateway": ours})))

        stage.ask(MESSAGES, agent.body())
        for _ in range(2):
            switch_to("off")
            stage.until(lambda: stage.daemon.mode == "off")
            stage.ask(MESSAGES, agent.body())
        switch_to("on")
        stage.ask(MESSAGES, agent.body())

        assert [told["mode"] for told in stage.daemon.told if "mode" in told] == ["on", "off", "on"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-claude-code-session-id": UUID}, Identity("claude_code", UUID)),
        ({"x-opencode-session": "ses_1"}, Identity("opencode", "ses_1")),
        ({"x-codex-turn-metadata": json.dumps({"session_id": UUID})}, Identity("codex", UUID)),
        ({"session_id": UUID}, Identity("codex", UUID)),
        ({"x-ctxgc-session": "mine"}, Identity("client", "mine")),
        ({"x-ctxgc-session": "pi:mine"}, Identity("pi", "mine")),
        ({"session_id": UUID, "x-client-request-id": UUID, "user-agent": "OpenAI/JS 6.26.0"}, Identity("pi", UUID)),
        ({"session_id": UUID, "x-client-request-id": UUID, "originator": "codex_cli_rs"}, Identity("codex", UUID)),
        ({"session_id": UUID, "user-agent": "OpenAI/JS 6.26.0"}, None),
        ({"session_id": "1"}, None),
        ({"x-codex-turn-metadata": "not json"}, None),
        ({"x-ctxgc-session": "a/b"}, None),
        ({"x-ctxgc-session": "Pi:x"}, None),
        ({"authorization": "Bearer k"}, None),
        ({}, None),
    ],
)
def test_a_session_is_what_the_client_says_or_nothing(headers, expected):
    assert identity_in_headers_or_path(headers) == expected


@pytest.mark.parametrize(
    ("headers", "named", "expected"),
    [
        ({}, "pi:mine", Identity("pi", "mine")),
        ({}, "mine", Identity("client", "mine")),
        ({"session_id": UUID}, "pi:mine", Identity("pi", "mine")),
        ({"x-ctxgc-session": "other"}, "pi:mine", Identity("client", "other")),
        ({"x-opencode-session": "ses_1"}, "", Identity("opencode", "ses_1")),
        ({"x-opencode-session": "ses_1"}, "..", Identity("opencode", "ses_1")),
        ({}, "a%2Fb", None),
    ],
)
def test_a_session_named_in_the_path_is_the_users_word_and_comes_before_an_agents(headers, named, expected):
    assert identity_in_headers_or_path(headers, named) == expected


def test_a_cache_key_is_a_session_only_where_it_is_codexs():
    assert identity_from_cache_key("openai_responses", UUID) == Identity("codex", UUID)
    assert identity_from_cache_key("openai_responses", "all-my-chats") is None
    assert identity_from_cache_key("openai_chat", UUID) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "localhost", "example.org", ""])
def test_only_this_machine_is_served(host):
    with pytest.raises(BadConfig):
        settings_of_config(Config.model_validate({"gateway": {"host": host}}))


def test_a_session_that_was_rewound_or_compacted_stays_the_same_session():
    with Stage(ScriptedDaemon()) as stage:
        agent = ClaudeAgent().run(6)
        stage.ask(MESSAGES, agent.body())
        del agent.messages[7:]
        agent.messages[0]["content"][0]["text"] = "Another first prompt."
        stage.ask(MESSAGES, agent.body())
        summary = "This session is being continued from a previous conversation that ran out of context. " * 3
        agent.messages = [{"role": "user", "content": [{"type": "text", "text": summary}]}]
        stage.ask(MESSAGES, agent.body())

        assert {told["session"] for told in stage.daemon.told} == {f"claude_code:{SESSION}"}


@pytest.mark.parametrize("mode", ["on", "shadow"])
def test_a_title_asked_for_under_the_sessions_id_is_no_session_and_is_counted_as_what_it_is(mode):
    with Stage(ScriptedDaemon(), mode=mode) as stage:
        stage.ask(MESSAGES, ClaudeAgent("Give this chat a title.", tools=[]).body())
        stage.ask(MESSAGES, ClaudeAgent().run(3).body())
        stage.ask(MESSAGES, ClaudeAgent("Is this command safe? " * 900, tools=[]).body())

        assert {told["session"] for told in stage.daemon.told} == {f"claude_code:{SESSION}"}
        assert stage.passed == {"side_call": 2}
        assert stage.counters.untouched == 1


@pytest.mark.parametrize("tools", ["[]", "null", "{}", " [ ] ", None])
@pytest.mark.parametrize(
    "prefill",
    [
        [],
        [{"role": "assistant", "content": "{"}],
        [{"role": "assistant", "content": [{"type": "text", "text": "<title>"}]}],
    ],
)
def test_a_side_call_is_known_however_it_writes_that_it_has_no_tools_and_how_the_reply_begins(tools, prefill):
    with Stage(ScriptedDaemon(), mode="shadow") as stage:
        asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "A title?"}, *prefill]}
        listed = "" if tools is None else f', "tools": {tools}'
        stage.send(MESSAGES, (json.dumps(asked)[:-1] + listed + "}").encode(), CLAUDE)
        stage.settle()

        assert not stage.daemon.told
        assert stage.passed == {"side_call": 1}


def test_a_session_whose_request_is_not_read_is_named_with_the_reason_until_one_is_read_again():
    with Stage(ScriptedDaemon(), mode="shadow") as stage:
        agent = ClaudeAgent().run(2)
        stage.ask(MESSAGES, agent.body())
        assert stage.counters.status_fields()["not_followed"] == {}

        stage.send(MESSAGES, b'{"messages": 1}', CLAUDE | {"x-test": "limited"})
        stage.settle()
        assert stage.counters.status_fields()["not_followed"] == {f"claude_code:{SESSION}": "not_understood"}
        assert (stage.counters.untouched, stage.passed) == (1, {"not_understood": 1})

        stage.ask(MESSAGES, agent.run(1, start=2).body())
        assert stage.counters.status_fields()["not_followed"] == {}


def test_a_client_that_names_its_session_itself_may_ask_without_tools():
    with Stage(ScriptedDaemon()) as stage:
        stage.ask(MESSAGES, ClaudeAgent(tools=[]).body(), {"x-ctxgc-session": "mine", "x-api-key": "k"})

        assert [told["session"] for told in stage.daemon.told] == ["client:mine"]


def test_a_cold_cache_is_used_for_the_very_request_that_finds_it_cold():
    with Stage(ScriptedDaemon(), cache_ttl_s=0.2, wait_s=5.0) as stage:
        agent = ClaudeAgent().run(5)
        stage.ask(MESSAGES, agent.body())
        stage.daemon.victims = everything
        agent.run(1, 5)
        session = stage.running.syncer.find_or_open_session(Identity("claude_code", SESSION))
        stage.until(lambda: session.is_cold(time.monotonic()))

        got = stage.ask(MESSAGES, agent.body(), CLAUDE)

        assert got.count(b"[evicted") == 3
        assert stage.daemon.told[-1]["is_cold"]
