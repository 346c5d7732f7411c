"""`ctxgc run` and `ctxgc env`: what an agent is started with, and when it is not."""

import http.server
import json
import os
import shlex
import threading
import tomllib
from itertools import pairwise

import pytest

from ctxgc.fronts.cli import agents, claude_settings
from ctxgc.fronts.cli.agents import AGENTS
from ctxgc.fronts.cli.context import CommandRefused
from ctxgc.fronts.cli.main import main
from ctxgc.fronts.cli.own_base_urls import READERS
from ctxgc.gateway.secret import SECRET_FILE
from ctxgc.protocol.build import build_id
from ctxgc.protocol.secret_file import ensure_secret
from tests.fronts.fake_daemon import FakeDaemon

MODES = {"mode": "shadow", "modes": {"codex": "on"}}


class Became(Exception):
    """The process would be the agent now."""


@pytest.fixture
def gateway():
    """Something that listens and answers what it is told to."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            data = json.dumps(server.status).encode()
            self.send_response(server.code)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.status, server.code = MODES, 200
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()  # Else it ends after 0.5 s.
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def home(tmp_path, monkeypatch, gateway):
    """A user with all three agents, no settings, and a gateway that serves."""
    for name in [name for name in os.environ if name.startswith(("CTXGC_", "ANTHROPIC_", "OPENAI_", "OPENCODE_"))]:
        monkeypatch.delenv(name)
    for name in (*AGENTS, "my-agent"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("PWD", str(tmp_path / "work"))
    for name in ("CLAUDE_CONFIG_DIR", "ENABLE_TOOL_SEARCH", "_CLAUDE_CODE_ASSUME_FIRST_PARTY_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CODEX_HOME", str(tmp_path))
    monkeypatch.delenv("CODEX_API_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("CTXGC_GATEWAY__PORT", str(gateway.server_address[1]))
    return tmp_path


@pytest.fixture
def base(gateway, home):
    """The beginning of the user's base URLs: the gateway's address with the secret."""
    return f"http://127.0.0.1:{gateway.server_address[1]}/k/{ensure_secret(str(home / 'ctxgc'), SECRET_FILE)}"


@pytest.fixture
def run(home, monkeypatch, capfd):
    """Run a command against a daemon; (words, variables) of the agent it became, or its code and what it said."""
    daemon = FakeDaemon(home / "s", {})

    def become(program, words, variables):
        raise Became(program, words, variables)

    monkeypatch.setattr(os, "execve", become)

    def run_command(*argv):
        try:
            return main(["--socket", daemon.path, "--no-spawn", *argv]), capfd.readouterr()
        except Became as became:
            return became.args[1:]

    yield run_command
    daemon.close()


def test_claude_code_gets_the_gateway_as_its_base_url_and_its_own_arguments(run, base, home):
    words, variables = run("run", "claude", "-p", "hi", "--json", "--socket", "x")

    assert words == [str(home / "claude"), "-p", "hi", "--json", "--socket", "x"]
    assert variables["ANTHROPIC_BASE_URL"] == f"{base}/anthropic"


@pytest.mark.parametrize("upstream", ["", "https://api.anthropic.com/v1", "https://proxy.example.org"])
def test_claude_code_keeps_its_tool_search_and_before_anthropic_its_window(run, monkeypatch, upstream):
    monkeypatch.setenv("CTXGC_GATEWAY__UPSTREAM_ANTHROPIC", upstream)

    _, variables = run("run", "claude")

    assert variables["ENABLE_TOOL_SEARCH"] == "true"
    assert ("_CLAUDE_CODE_ASSUME_FIRST_PARTY_BASE_URL" in variables) is ("proxy" not in upstream)


def test_what_the_user_set_of_claude_code_stays_as_it_is_set(run, monkeypatch):
    monkeypatch.setenv("ENABLE_TOOL_SEARCH", "auto")
    monkeypatch.setenv("_CLAUDE_CODE_ASSUME_FIRST_PARTY_BASE_URL", "0")

    _, variables = run("run", "claude")

    assert variables["ENABLE_TOOL_SEARCH"] == "auto"
    assert variables["_CLAUDE_CODE_ASSUME_FIRST_PARTY_BASE_URL"] == "0"


def write_claude_settings(folder, **variables):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps({"env": variables}))


def test_a_base_url_in_claude_codes_settings_is_won_over_where_it_is_the_gateways_upstream(run, home, base):
    write_claude_settings(home / ".claude", ANTHROPIC_BASE_URL="https://api.anthropic.com/")

    words, _ = run("run", "claude", "-p", "hi")

    given = json.loads(words[words.index("--settings") + 1])
    assert given == {"env": {"ANTHROPIC_BASE_URL": f"{base}/anthropic"}}
    assert words[-2:] == ["-p", "hi"]
    code, said = run("run", "claude", "--settings=mine.json")
    assert code != 0
    assert "--settings" in said.err


@pytest.mark.parametrize("folder", [".claude", "work/.claude"])
def test_a_base_url_in_claude_codes_settings_that_leads_elsewhere_is_refused_by_name(run, home, folder):
    write_claude_settings(home / folder, ANTHROPIC_BASE_URL="https://proxy.example.org")

    code, said = run("run", "claude")

    assert code != 0
    assert "https://proxy.example.org" in said.err
    assert f"{folder}/settings.json" in said.err


def test_a_managed_base_url_is_refused_for_nothing_wins_over_it(run, home, monkeypatch):
    write_claude_settings(home / "managed", ANTHROPIC_BASE_URL="https://api.anthropic.com")
    monkeypatch.setattr(claude_settings, "MANAGED", (str(home / "managed" / "settings.json"),))

    code, said = run("run", "claude")

    assert code != 0
    assert "nothing wins over" in said.err


def test_bedrock_in_claude_codes_settings_is_refused_too(run, home):
    write_claude_settings(home / ".claude", CLAUDE_CODE_USE_BEDROCK="1")

    code, said = run("run", "claude")

    assert code != 0
    assert "CLAUDE_CODE_USE_BEDROCK" in said.err


def test_codex_gets_a_provider_of_this_run_alone(run, base):
    words, variables = run("run", "codex", "exec", "hi")

    given = tomllib.loads("\n".join(word for flag, word in pairwise(words) if flag == "-c"))
    provider = given["model_providers"][given["model_provider"]]
    assert provider["base_url"] == f"{base}/openai/v1"
    assert provider["requires_openai_auth"]
    assert not provider["supports_websockets"]
    assert words[-2:] == ["exec", "hi"]
    assert "CODEX_HOME" not in set(variables) - set(os.environ)


@pytest.mark.parametrize(
    ("login", "way"),
    [
        ({"tokens": {"access_token": "t"}, "OPENAI_API_KEY": None}, "/chatgpt"),
        ({"auth_mode": "chatgpt", "tokens": {"access_token": "t"}, "OPENAI_API_KEY": "k"}, "/chatgpt"),
        ({"OPENAI_API_KEY": "k", "tokens": None}, "/openai/v1"),
        ({"OPENAI_API_KEY": "k", "tokens": {"access_token": "t"}}, "/openai/v1"),
        ({"auth_mode": "apikey", "tokens": {"access_token": "t"}, "OPENAI_API_KEY": "k"}, "/openai/v1"),
        (["forged"], "/openai/v1"),
    ],
)
@pytest.mark.parametrize("upstream", ["", "https://proxy.example.org/api/v1"])
def test_codex_is_sent_where_its_login_is_taken(run, monkeypatch, base, home, login, way, upstream):
    (home / "auth.json").write_text(json.dumps(login))
    monkeypatch.setenv("CODEX_HOME", str(home))
    monkeypatch.setenv("CTXGC_GATEWAY__UPSTREAM_OPENAI", upstream)

    words, _ = run("run", "codex")

    way = way.removesuffix("/v1") if upstream else way
    assert f'"{base}{way}"' in words[-1]
    assert "access_token" not in " ".join(words)


def test_a_key_in_the_environment_goes_before_a_login_of_codex(run, monkeypatch, home):
    (home / "auth.json").write_text('{"tokens": {"access_token": "t"}}')
    monkeypatch.setenv("CODEX_HOME", str(home))
    monkeypatch.setenv("CODEX_API_KEY", "k")

    words, _ = run("run", "codex", "exec")

    assert "/openai/v1" in words[-2]


def test_an_upstream_with_a_path_of_its_own_gets_no_version_from_us(run, monkeypatch, base):
    monkeypatch.setenv("CTXGC_GATEWAY__UPSTREAM_OPENAI", "https://example.org/backend/codex")

    words, _ = run("run", "codex")

    assert f'"{base}/openai"' in words[-1]


def test_opencodes_own_overlay_stays_under_ours(run, monkeypatch):
    own = {"model": "openai/m", "provider": {"openai": {"options": {"apiKey": "k"}, "models": {"m": {}}}}}
    monkeypatch.setenv("OPENCODE_CONFIG_CONTENT", json.dumps(own))

    _, variables = run("run", "opencode")

    laid = json.loads(variables["OPENCODE_CONFIG_CONTENT"])
    assert laid["model"] == "openai/m"
    assert laid["provider"]["openai"]["models"] == {"m": {}}
    assert laid["provider"]["openai"]["options"].keys() == {"apiKey", "baseURL"}


@pytest.mark.parametrize(
    ("agent", "name", "value"),
    [
        ("claude", "ANTHROPIC_BASE_URL", "https://proxy.example.org"),
        ("codex", "OPENAI_BASE_URL", "https://proxy.example.org/v1"),
        ("claude", "CLAUDE_CODE_USE_BEDROCK", "1"),
        ("opencode", "OPENCODE_CONFIG_CONTENT", "{ // mine"),
        (
            "opencode",
            "OPENCODE_CONFIG_CONTENT",
            '{"provider": {"anthropic": {"options": {"baseURL": "https://p/v1"}}}}',
        ),
        ("opencode", "ANTHROPIC_BASE_URL", "https://proxy.example.org"),
    ],
)
def test_an_agent_that_is_sent_elsewhere_already_is_not_redirected_unasked(run, monkeypatch, agent, name, value):
    monkeypatch.setenv(name, value)

    code, said = run("run", agent)

    assert code != 0
    assert name in said.err


ELSEWHERE, AT_THE_MAKER = "https://proxy.example.org/v1", "https://api.openai.com/v1"
OPENCODE_FILES = [
    "config/opencode/opencode.json",
    "work/opencode.jsonc",
    "work/.opencode/opencode.json",
    "opencode.json",
]


def json_config(template):
    return lambda url: template.replace("@", url)


opencode_config = json_config('{ // mine\n "provider": {"openai": {"options": {"baseURL": "@",}}}}')


def in_a_file(name, text):
    def write(home, url):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text(url))

    return write


OWN_FILES = [
    *(("opencode", in_a_file(name, opencode_config)) for name in OPENCODE_FILES),
    ("codex", in_a_file("config.toml", lambda url: f'openai_base_url = "{url}"')),
    ("pi", in_a_file(".pi/agent/models.json", json_config('{"providers": {"openai": {"baseUrl": "@"}}}'))),
    ("crush", in_a_file("work/.crush.json", json_config('{"providers": {"openai": {"base_url": "@"}}}'))),
    ("goose", in_a_file("config/goose/config.yaml", lambda url: f'OPENAI_HOST: "{url}"\nGOOSE_MODEL: m')),
]


@pytest.mark.parametrize(("agent", "write"), OWN_FILES)
def test_no_run_lays_the_gateway_over_a_base_url_in_the_agents_own_files_unasked(run, home, monkeypatch, agent, write):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    write(home, ELSEWHERE)

    code, said = run("run", agent)

    assert code != 0
    assert ELSEWHERE in said.err
    assert str(home) in said.err
    assert "`upstream_openai`" in said.err

    monkeypatch.setenv("CTXGC_GATEWAY__UPSTREAM_OPENAI", ELSEWHERE)
    assert isinstance(run("run", agent)[1], dict)


@pytest.mark.parametrize(("agent", "write"), OWN_FILES)
def test_a_base_url_in_the_agents_own_files_that_the_gateway_serves_is_no_obstacle(
    run, home, base, monkeypatch, agent, write
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    for url in (AT_THE_MAKER, f"{base}/openai/v1"):
        write(home, url)
        assert isinstance(run("run", agent)[1], dict)


def test_a_base_url_of_opencodes_by_a_variable_is_that_variables(run, home, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("MY_URL", ELSEWHERE)
    in_a_file("config/opencode/opencode.json", opencode_config)(home, "{env:MY_URL}")

    assert ELSEWHERE in run("run", "opencode")[1].err


def test_a_provider_of_codexs_users_own_is_not_replaced_by_ours(run, home):
    (home / "config.toml").write_text('model_provider = "azure"\n[model_providers.azure]\nbase_url = "https://a/v1"')

    code, said = run("run", "codex")

    assert code != 0
    assert "model_provider = azure" in said.err


def test_an_installation_of_codex_does_not_keep_a_run_from_the_route_of_todays_login(run, home, base):
    (home / "config.toml").write_text(f'openai_base_url = "{base}/chatgpt"')

    assert isinstance(run("run", "codex")[1], dict)


def test_a_base_url_that_the_gateway_knows_as_its_upstream_is_no_obstacle(run, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://proxy.example.org/")
    monkeypatch.setenv("CTXGC_GATEWAY__UPSTREAM_ANTHROPIC", "https://proxy.example.org/v1")

    _, variables = run("run", "claude")

    assert variables["ANTHROPIC_BASE_URL"].startswith("http://127.0.0.1:")


def test_a_gateway_that_serves_in_another_mode_is_not_taken_for_the_one_asked_for(run):
    code, said = run("run", "--mode", "on", "claude")

    assert code == 1
    assert "mode shadow" in said.err
    assert isinstance(run("run", "--mode", "on", "codex")[1], dict)


def test_what_answers_there_must_be_a_gateway(run, gateway):
    gateway.status = {"hello": "world"}

    code, said = run("run", "claude")

    assert code == 1
    assert "something else" in said.err


def test_a_gateway_of_an_older_version_is_to_be_started_again(run, gateway):
    message = "ctxgc gateway: path and headers name neither of Anthropic and OpenAI"
    gateway.status, gateway.code = {"type": "error", "error": {"message": message}}, 400

    code, said = run("run", "claude")

    assert code == 1
    assert "something else" not in said.err
    assert "another version" in said.err
    assert "`ctxgc gateway --stop`" in said.err


def test_env_tells_no_older_gateway_the_secret(run, gateway):
    message = "ctxgc gateway: path and headers name neither of Anthropic and OpenAI"
    gateway.status, gateway.code = {"type": "error", "error": {"message": message}}, 400

    code, said = run("env", "claude")

    assert code == 1
    assert said.out == ""
    assert "`ctxgc gateway --stop`" in said.err


@pytest.mark.parametrize("command", ["run", "env"])
def test_a_gateway_of_another_build_is_said_to_be_with_the_next_step(run, gateway, home, capfd, command):
    gateway.status = MODES | {"build": "0.0.9+dead"}
    run(command, "claude")
    said = capfd.readouterr().err if command == "run" else run(command, "claude")[1].err
    assert "0.0.9+dead" in said
    assert "`ctxgc gateway --stop`" in said

    gateway.status = MODES | {"build": build_id()}
    run(command, "claude")
    said = capfd.readouterr().err if command == "run" else run(command, "claude")[1].err
    assert "ctxgc gateway" not in said


FOREIGN = [[], {"error": "no"}, {"error": {"message": "not found"}}, {"error": {"message": 5}}]


@pytest.mark.parametrize("status", FOREIGN)
def test_an_error_of_another_program_is_no_gateways(run, gateway, status):
    gateway.status, gateway.code = status, 404

    assert "something else" in run("run", "claude")[1].err


def test_without_a_gateway_and_without_leave_to_start_one_nothing_is_run(run, gateway, monkeypatch):
    monkeypatch.setenv("CTXGC_GATEWAY__PORT", "9")

    code, said = run("run", "claude")

    assert code == 69
    assert "ctxgc gateway" in said.err


def test_an_agent_that_is_not_installed_is_said_so(run, home):
    (home / "claude").unlink()

    code, said = run("run", "claude")

    assert code == 1
    assert "claude" in said.err


@pytest.mark.parametrize("agent", ["claude", "codex", "opencode"])
def test_what_env_prints_is_what_run_would_do(run, agent):
    words, variables = run("run", agent)

    _, said = run("env", agent)
    exported = dict(line[7:].split("=", 1) for line in said.out.splitlines() if line.startswith("export "))
    aliased = [line.partition("=")[2] for line in said.out.splitlines() if line.startswith("alias ")]

    assert all(shlex.split(value) == [variables[name]] for name, value in exported.items())
    assert [shlex.split(shlex.split(value)[0])[1:] for value in aliased] == ([words[1:]] if words[1:] else [])


OTHERS = {
    "pi": ("pi", "CTXGC_PI_ANTHROPIC", "/anthropic"),
    "qwen": ("qwen_code", "OPENAI_BASE_URL", "/openai/v1"),
    "copilot": ("copilot_cli", "COPILOT_PROVIDER_BASE_URL", "/openai/v1"),
    "aider": ("aider", "OPENAI_API_BASE", "/openai/v1"),
    "goose": ("goose", "ANTHROPIC_HOST", "/anthropic"),
    "crush": ("crush", "OPENAI_API_ENDPOINT", "/openai/v1"),
    "mini": ("mini_swe_agent", "ANTHROPIC_API_BASE", "/anthropic"),
}


def test_every_agent_without_a_name_of_its_sessions_is_tried_here():
    assert OTHERS.keys() == AGENTS.keys() - {"claude", "codex", "opencode"}


@pytest.mark.parametrize("agent", OTHERS)
def test_an_agent_that_names_no_session_gets_a_named_one_in_its_base_url(run, base, monkeypatch, agent):
    monkeypatch.setenv("COPILOT_PROVIDER_API_KEY", "k")
    source, variable, end = OTHERS[agent]

    words, variables = run("run", "--name", "mine", agent, "do", "it")

    assert variables[variable] == f"{base}/s/{source}:mine{end}"
    assert words[-2:] == ["do", "it"]


def test_each_run_has_a_session_of_its_own_unless_one_is_named(run, base):
    urls = [run("run", "--", "my-agent", "--flag")[1]["OPENAI_BASE_URL"] for _ in range(2)]

    assert len(set(urls)) == 2
    assert all(url.startswith(f"{base}/s/my-agent-") for url in urls)


def test_goose_gets_its_path_beside_the_host(run, base):
    _, variables = run("run", "--name", "mine", "goose")

    joined = f"{variables['OPENAI_HOST']}/{variables['OPENAI_BASE_PATH']}"
    assert joined == f"{base}/s/goose:mine/openai/v1/chat/completions"


def test_copilot_without_a_key_of_the_users_is_not_started(run, monkeypatch):
    code, said = run("run", "copilot")

    assert code != 0
    assert "COPILOT_PROVIDER_API_KEY" in said.err
    monkeypatch.setenv("COPILOT_PROVIDER_API_KEY", "k")
    monkeypatch.setenv("COPILOT_PROVIDER_TYPE", "azure")
    assert run("run", "copilot")[0] != 0


MAKERS = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com/"}
BASES = {
    "mini": {"openai": "OPENAI_BASE_URL", "anthropic": "ANTHROPIC_API_BASE"},
    "qwen": {"openai": "OPENAI_API_BASE", "anthropic": "ANTHROPIC_BASE_URL"},
    "crush": {"openai": "OPENAI_API_ENDPOINT", "anthropic": "ANTHROPIC_API_ENDPOINT"},
    "goose": {"openai": "OPENAI_HOST", "anthropic": "ANTHROPIC_HOST"},
    "copilot": {"openai": "COPILOT_PROVIDER_BASE_URL", "anthropic": "COPILOT_PROVIDER_BASE_URL"},
}
every_base = pytest.mark.parametrize(
    ("agent", "provider"), [(agent, provider) for agent in BASES for provider in MAKERS]
)


@pytest.fixture
def copilot_key(monkeypatch):
    def use(provider):
        monkeypatch.setenv("COPILOT_PROVIDER_API_KEY", "k")
        monkeypatch.setenv("COPILOT_PROVIDER_TYPE", provider)

    return use


@every_base
def test_no_other_agent_is_sent_elsewhere_than_its_user_said(run, base, monkeypatch, copilot_key, agent, provider):
    variable, other = BASES[agent][provider], next(name for name in MAKERS if name != provider)
    copilot_key(provider)
    for own in ("https://proxy.example.org/v1", MAKERS[other], f"{base}/s/{provider}/{other}/v1", f"{base}/chatgpt"):
        monkeypatch.setenv(variable, own)
        code, said = run("run", agent)
        assert code != 0
        assert variable in said.err
        assert f"`upstream_{provider}`" in said.err

    for own in (f"{base}/s/{other}/{provider}/v1", base.partition("/k/")[0], MAKERS[provider]):
        monkeypatch.setenv(variable, own)
        assert run("run", agent)[1][variable].startswith(base.partition("/k/")[0])


@every_base
def test_a_key_for_the_maker_is_not_sent_to_the_users_proxy(run, monkeypatch, copilot_key, agent, provider):
    copilot_key(provider)
    monkeypatch.setenv(f"CTXGC_GATEWAY__UPSTREAM_{provider.upper()}", "https://proxy.example.org/v1")
    monkeypatch.setenv(BASES[agent][provider], MAKERS[provider])

    assert run("run", agent)[0] != 0
    monkeypatch.setenv(BASES[agent][provider], "https://proxy.example.org")
    assert isinstance(run("run", agent)[1], dict)


@pytest.mark.parametrize(("agent", "name"), [("claude", "x"), ("pi", "a/b"), ("pi", "-x"), ("pi", "x" * 200)])
def test_a_name_that_no_request_could_carry_is_refused(run, agent, name):
    code, _ = run("run", f"--name={name}", agent)

    assert code == 2


def test_the_window_of_a_run_goes_to_the_gateway_as_a_header_of_each_agents_own_kind(run, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-team: blue")

    _, claude = run("run", "--window", "60k", "claude")
    words, _ = run("run", "--window", "60k", "codex", "exec")
    _, opencode = run("run", "--window", "60k", "opencode")

    assert claude["ANTHROPIC_CUSTOM_HEADERS"].splitlines() == ["x-team: blue", "x-ctxgc-window: 60000"]
    headers = tomllib.loads([word for flag, word in pairwise(words) if flag == "-c"][-1])
    assert headers == {"model_providers": {"ctxgc": {"http_headers": {"x-ctxgc-window": "60000"}}}}
    providers = json.loads(opencode["OPENCODE_CONFIG_CONTENT"])["provider"]
    assert [one["options"]["headers"] for one in providers.values()] == [{"x-ctxgc-window": "60000"}] * 2


def test_a_run_whose_gateway_edits_nothing_says_that_its_window_is_not_held(home, monkeypatch, capfd):
    daemon = FakeDaemon(home / "s", {})
    monkeypatch.setattr(os, "execve", lambda *_: None)

    main(["--socket", daemon.path, "--no-spawn", "run", "--window", "60k", "claude"])
    daemon.close()

    assert "in mode shadow: no window is held to 60.0 k" in capfd.readouterr().err


def test_a_window_of_an_agent_that_sends_no_header_of_ours_is_refused_not_forgotten():
    with pytest.raises(CommandRefused, match="--window is for claude, codex, opencode"):
        agents._setup_with_limit_header("pi", agents.AgentSetup({}), 60_000)


@pytest.mark.parametrize("relative", ["config", "./config", "~/config"])
@pytest.mark.parametrize("agent", ["opencode", "crush", "goose"])
def test_a_relative_folder_of_configurations_is_ignored_as_the_agents_ignore_one(home, monkeypatch, agent, relative):
    files = {
        "opencode": ("opencode/opencode.json", opencode_config),
        "crush": ("crush/crush.json", json_config('{"providers": {"openai": {"base_url": "@"}}}')),
        "goose": ("goose/config.yaml", "OPENAI_HOST: {}".format),
    }
    name, text_of = files[agent]
    monkeypatch.chdir(home)
    for folder, url in ((".config", ELSEWHERE), (relative, AT_THE_MAKER)):
        in_a_file(f"{folder}/{name}", text_of)(home, url)
    environment = {"HOME": str(home), "PWD": str(home), "XDG_CONFIG_HOME": relative}

    assert [found.url for found in READERS[agent](environment)] == [ELSEWHERE]
