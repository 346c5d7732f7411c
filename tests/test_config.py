"""Settings: from file and environment, checked as a whole, and every mistake named with its way out."""

from typing import get_args

import pytest
from pydantic import ValidationError

from ctxgc.adapters.transcripts.formats import TRANSCRIPT_FORMATS
from ctxgc.config import BadConfig, Config, config_path, load_config
from ctxgc.config_sections import PacerConfig
from ctxgc.core.pacing.price_profiles import PROFILES
from ctxgc.core.rules import Rules
from ctxgc.core.segment import Kind
from ctxgc.daemon.settings import model_price, pacer_rules
from ctxgc.gateway.settings import settings_of_config
from ctxgc.protocol.agents import CLAUDE_CODE, CODEX, OPENCODE
from ctxgc.protocol.discovery import default_state_folder

HOME = {"HOME": "/home/u"}


@pytest.fixture
def write(tmp_path):
    """Write a configuration file; its path."""

    def writing(text):
        path = tmp_path / "config.toml"
        path.write_text(text)
        return path

    return writing


def fault_of(path, env=HOME):
    with pytest.raises(BadConfig) as caught:
        load_config(path, env)
    assert caught.value.exit_code == 78
    return str(caught.value)


def test_without_a_file_the_defaults_are_in_force_under_the_users_home(tmp_path):
    config = load_config(None, {"HOME": str(tmp_path)})

    assert config.daemon.state_dir == tmp_path / ".local/state/ctxgc"
    assert config.daemon.socket is None
    assert config.redact.enabled
    assert not config.pacer.enabled
    assert config.collect.kinds == ("tool_call", "attachment", "thinking")


def test_a_daemon_that_keeps_nothing_has_its_locks_in_the_default_folder(write, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/s")

    config = load_config(write("[daemon]\nstate_dir = ':memory:'"), HOME)

    assert (str(config.daemon.state_dir), str(config.daemon.lock_dir)) == (":memory:", "/s/ctxgc")


def test_the_users_file_is_found_and_read(tmp_path):
    env = {"XDG_CONFIG_HOME": str(tmp_path), **HOME}
    config_path(env).parent.mkdir()
    config_path(env).write_text('[pacer]\nprofile = "cache_1h"\n[protect]\npaths = ["**/AGENTS.md"]\n')

    config = load_config(None, env)

    assert config.pacer.profile == "cache_1h"
    assert config.protect.paths == ("**/AGENTS.md",)


def test_the_environment_overrides_the_file_and_leaves_the_rest_of_it(write):
    path = write("[collect]\nrecent_turns = 9\nfile_turns = 7\n")
    env = {
        "CTXGC_COLLECT__RECENT_TURNS": "5",
        "CTXGC_PACER__ENABLED": "true",
        "CTXGC_PACER__LOW_RATIO": "0.25",
        "CTXGC_PROTECT__TOOLS": '["Read", "Grep"]',
        "CTXGC_DAEMON__STATE_DIR": "/var/x",
        "CTXGC_SOCKET": "/not/a/setting",
        **HOME,
    }

    config = load_config(path, env)

    assert (config.collect.recent_turns, config.collect.file_turns) == (5, 7)
    assert (config.pacer.enabled, config.pacer.low_ratio) == (True, 0.25)
    assert config.protect.tools == ("Read", "Grep")
    assert str(config.daemon.state_dir) == "/var/x"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[collect]\nrecent_turn = 3\n", ":2: unknown key `collect.recent_turn`; did you mean `recent_turns`?"),
        ("[colect]\nx = 1\n", ":1: unknown section `colect`; did you mean `collect`?"),
        ("\n[collect]\n\nrecent_turns = -1 # oops\n", ":4: `collect.recent_turns`: input should be greater than"),
        ('[pacer]\nprofile = "cheap"\n', ":2: `pacer.profile`: input should be 'auto', 'cache_5m'"),
        ('[watch]\npaths = ["logs"]\n', ":2: `watch.paths`: must be an absolute path, or start with ~/, not 'logs'"),
        ('collect = "all"\n', ":1: `collect` is a section; write [collect]"),
        ('[redact]\nenabled = "maybe"\n', ":2: `redact.enabled`: input should be a valid boolean"),
        ("[collect\n", "not TOML"),
        ("frobnicate = 1\n", "unknown section `frobnicate`; there are: daemon, collect"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line_and_the_way_out(write, text, says):
    path = write(text)

    fault = fault_of(path)

    assert fault.startswith(str(path))
    assert says in fault


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CTXGC_COLLECT__RECENT_TURNS", "soon", "CTXGC_COLLECT__RECENT_TURNS: `collect.recent_turns`: input should be"),
        ("CTXGC_COLECT__X", "1", "CTXGC_COLECT__X: unknown section `colect`; did you mean `collect`?"),
        ("CTXGC_PROTECT__PATHS", "[a, b", 'CTXGC_PROTECT__PATHS: not a list; write it as in the file: ["one", "two"]'),
        (
            "CTXGC_STASH__RESERVE_BYTES",
            "-1",
            "CTXGC_STASH__RESERVE_BYTES: `stash.reserve_bytes`: input should be greater",
        ),
    ],
)
def test_a_mistake_in_the_environment_is_named_by_its_variable(name, value, says, write):
    assert says in fault_of(write(""), {name: value, **HOME})


def test_every_mistake_is_reported_at_once(write):
    fault = fault_of(write("[pacer]\nlow_ratio = 7\n[collect]\nx = 1\n[stash]\nreserve_bytes = -1\n"))

    assert [line.split("`")[1] for line in fault.splitlines()] == [
        "collect.x",
        "pacer.low_ratio",
        "stash.reserve_bytes",
    ]


def test_a_file_that_was_named_must_exist_and_be_readable(tmp_path):
    assert "no such file" in fault_of(tmp_path / "absent.toml")
    assert "cannot be read" in fault_of(tmp_path)
    (tmp_path / "long.toml").write_bytes(b"# " + b"x" * 2**20)
    assert "is it the right file?" in fault_of(tmp_path / "long.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    assert "cannot be read" in fault_of(tmp_path / "binary.toml")


@pytest.mark.parametrize("name", ["claude", "claud", "claude:0b3c", "Claude_code"])
def test_a_mode_of_an_agent_that_the_gateway_never_meets_is_not_silently_kept(tmp_path, name):
    file = tmp_path / "config.toml"
    file.write_text(f'[gateway.modes]\n"{name}" = "on"\n')

    assert "did you mean `claude_code`?" in fault_of(file)


def test_default_folders_follow_the_base_directory_specification():
    assert default_state_folder({"XDG_STATE_HOME": "/s", **HOME}) == "/s/ctxgc"
    assert default_state_folder({"XDG_STATE_HOME": "relative", **HOME}) == "/home/u/.local/state/ctxgc"
    assert str(config_path({"XDG_CONFIG_HOME": "", **HOME})) == "/home/u/.config/ctxgc/config.toml"


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError):
        Config().collect.recent_turns = 4


def test_every_key_is_described():
    for section in Config.model_fields.values():
        for name, key in section.annotation.model_fields.items():
            assert (key.description or "").endswith("."), name


def test_the_defaults_are_those_of_the_core():
    collect, rules = Config().collect, Rules()

    for name in ("recent_turns", "file_turns", "error_turns", "min_gain_tokens"):
        assert getattr(collect, name) == getattr(rules, name)
    assert set(collect.kinds) <= set(Kind)
    assert {*get_args(PacerConfig.model_fields["profile"].annotation)} - {"auto"} <= PROFILES.keys()


def test_each_agent_with_a_transcript_has_one_name_in_configuration_and_adapters():
    assert {CLAUDE_CODE, CODEX, OPENCODE} <= set(TRANSCRIPT_FORMATS)


@pytest.mark.parametrize(
    ("configured", "requested", "prices"),
    [
        ("auto", "cache_1h", PROFILES["cache_1h"]),
        ("auto", "", PROFILES["cache_5m"]),
        ("cache_5m", "cache_1h", PROFILES["cache_5m"]),
        ("uncached", "openai", PROFILES["uncached"]),
        ("flat", "", PROFILES["subscription"]),
        ("auto", "flat", PROFILES["subscription"]),
        ("auto", "openai_6_1", PROFILES["openai_6_1"]),
        ("openai", "openai_6_1", PROFILES["openai_6_1"]),
        ("openai_5_6", "openai_6_1", PROFILES["openai_5_6"]),
        ("openai", "cache_1h", PROFILES["openai"]),
        ("subscription", "cache_1h", PROFILES["subscription"]._replace(ttl_s=3600.0)),
    ],
)
def test_a_price_profile_that_the_user_sets_wins_over_the_breakpoints_of_the_request(configured, requested, prices):
    config = Config(pacer={"profile": configured})

    assert pacer_rules(config, requested).prices == prices
    assert settings_of_config(config).cache_life_s(requested) == prices.ttl_s


def test_a_models_price_may_be_set_and_is_else_the_list_price():
    config = Config(prices={"models": {"house-model": {"input": 0.5}}})

    assert model_price(config, "house-model").input == 0.5
    assert model_price(config, "claude-sonnet-5").input == 2.0
    assert model_price(config, "unheard-of") is None


def test_a_key_of_a_former_version_is_said_to_have_no_effect_and_stops_nothing(write, caplog):
    file = write('[gateway]\nrecall_tool = "always"\nport = 9000\n')

    read = load_config(file, HOME | {"CTXGC_GATEWAY__RECALL_SCOPE": "any"})

    assert read.gateway.port == 9000
    assert "`gateway.recall_tool` has no effect any more; `ctxgc install AGENT --mcp`" in caplog.text
    assert "CTXGC_GATEWAY__RECALL_SCOPE" in caplog.text
