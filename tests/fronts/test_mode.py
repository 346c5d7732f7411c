"""`ctxgc mode`: one line of the configuration changes, and nothing else of it."""

import json
import os
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.fronts.setup.toml_edit import edit_mode
from tests.fronts import replies

SESSION = "claude_code:s1"
COMMENTED = """# mine
[pacer]
profile = "flat"     # a subscription

[gateway.modes]      # who may
codex = "off"
"claude_code:s1" = "shadow" # for now

[gateway]
port = 9000
"""
NAMES = st.sampled_from(["codex", "claude_code", SESSION, 'client:a"b', "client:a.b"])
WANTED = st.sampled_from(["shadow", "on", "off", ""])


@pytest.fixture
def file(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("CTXGC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "ctxgc" / "config.toml"


@pytest.fixture
def server(daemon, file):
    return daemon({"session.show": replies.SHOW | {"session": f"{SESSION}/a1"}})


@given(st.sampled_from(["", "[gateway]\nport = 1", COMMENTED]), st.lists(st.tuples(NAMES, WANTED), max_size=6))
def test_after_any_switches_each_name_has_its_last_mode_and_all_else_is_as_it_was(text, switches):
    expected = tomllib.loads(text).get("gateway", {}).get("modes", {})
    fresh = text
    for name, wanted in switches:
        fresh = edit_mode(fresh, name, wanted)
        expected |= {name: wanted}

    was, now = tomllib.loads(text), tomllib.loads(fresh)
    assert now.get("gateway", {}).pop("modes", {}) == {name: mode for name, mode in expected.items() if mode}
    was.get("gateway", {}).pop("modes", None)
    assert {key: value for key, value in now.items() if value} == {key: value for key, value in was.items() if value}


def test_line_ends_and_lines_of_other_sections_stay_byte_for_byte():
    text = COMMENTED.replace("\n", "\r\n")

    fresh = edit_mode(text, "codex", "on")

    assert fresh == text.replace('codex = "off"', 'codex = "on"')


def test_comments_order_and_rights_of_the_file_survive(run, server, file):
    file.parent.mkdir()
    file.write_text(COMMENTED)
    file.chmod(0o640)

    assert run(server, "mode", "on").code == 0

    expected = COMMENTED.replace('"claude_code:s1" = "shadow" # for now\n', "")
    assert file.read_text() == expected.replace("who may\n", 'who may\n"claude_code:s1" = "on"\n')
    assert file.stat().st_mode & 0o777 == 0o640
    assert os.listdir(file.parent) == ["config.toml"]


def test_a_sub_agents_mode_is_that_of_its_session(run, server, file):
    run(server, "mode", "off")

    assert tomllib.loads(file.read_text()) == {"gateway": {"modes": {SESSION: "off"}}}


def test_a_session_that_is_named_after_a_folder_keeps_its_name(run, daemon, file):
    ran = run(daemon({"session.show": replies.SHOW | {"session": "client:/home/me/src"}}), "mode", "on")

    assert ran.out.startswith("client:/home/me/src: on")


def test_an_agents_mode_needs_no_session_and_no_daemon(run, tmp_path, file):
    ran = run(tmp_path / "none.sock", "mode", "on", "--agent", "codex")

    assert ran.code == 0, ran.err
    assert tomllib.loads(file.read_text()) == {"gateway": {"modes": {"codex": "on"}}}


def test_without_a_mode_it_says_which_is_in_force_and_why_and_writes_nothing(run, server, file):
    said = [json.loads(run(server, "mode", "--json").out)]
    run(server, "mode", "on", "--agent", "claude_code")
    said.append(json.loads(run(server, "mode", "--json").out))
    run(server, "mode", "off")
    said.append(json.loads(run(server, "mode", "--json").out))
    run(server, "mode", "unset")
    said.append(json.loads(run(server, "mode", "--json").out))

    assert [one["mode"] for one in said] == ["shadow", "on", "off", "on"]
    assert [one["by"].split(",")[0] for one in said[:3]] == [
        "gateway.mode", "gateway.modes.claude_code", f"gateway.modes.{SESSION}",
    ]  # fmt: skip


@pytest.mark.parametrize(("served", "is_advised"), [("", True), ("shadow", False)])
def test_on_a_session_that_is_only_watched_a_mode_waits_for_the_gateway(served, is_advised, run, daemon, file):
    server = daemon({"session.show": replies.SHOW | {"session": SESSION, "gateway": served}})

    ran = run(server, "mode", "on")

    assert ran.code == 0
    assert ("`ctxgc run AGENT`" in ran.out) is is_advised
    assert ("next request" in ran.out) is not is_advised


def test_a_link_to_the_configuration_stays_a_link(run, server, file, tmp_path):
    real = tmp_path / "dotfiles.toml"
    real.write_text("")
    file.parent.mkdir()
    file.symlink_to(real)

    run(server, "mode", "on")

    assert file.is_symlink()
    assert tomllib.loads(real.read_text())["gateway"]["modes"] == {SESSION: "on"}


@pytest.mark.parametrize(
    "text",
    ['[gateway]\nmodes = { codex = "on" }\n', '[gateway]\nmodes.codex = "on"\n', "gateway = 1\n", "not = toml = x"],
)
def test_a_file_that_it_cannot_change_safely_is_left_alone_and_the_line_to_write_is_said(text, run, server, file):
    file.parent.mkdir()
    file.write_text(text)

    ran = run(server, "mode", "on")

    assert ran.code == 78
    assert '"claude_code:s1" = "on"' in ran.err
    assert file.read_text() == text


@pytest.mark.parametrize("argv", [["on", "--agent", "Codex"], ["on", "--agent", "codex", "--session", "s"], ["loud"]])
def test_a_name_or_mode_that_the_gateway_would_not_know_is_refused(argv, run, server, file):
    assert run(server, "mode", *argv).code == 2
    assert not file.exists()


def test_an_agent_may_be_named_by_its_program(run, tmp_path, file):
    assert run(tmp_path / "none.sock", "mode", "on", "--agent", "claude").code == 0

    assert tomllib.loads(file.read_text()) == {"gateway": {"modes": {"claude_code": "on"}}}


@pytest.mark.parametrize(
    ("name", "hint"), [("claud", "did you mean `claude_code`?"), ("nonsense", "there are claude_code")]
)
def test_an_agent_that_nobody_has_met_is_refused_with_the_names_there_are(name, hint, run, daemon, file):
    ran = run(daemon({"session.list": {"sessions": [], "next_offset": -1}}), "mode", "on", "--agent", name)

    assert ran.code == 2
    assert hint in ran.err
    assert not file.exists()


def test_a_program_that_named_its_sessions_itself_is_known_by_them(run, daemon, file):
    ran = run(
        daemon({"session.list": {"sessions": [replies.SESSION], "next_offset": -1}}), "mode", "on", "--agent", "mine"
    )

    assert ran.code == 0, ran.err
    assert tomllib.loads(file.read_text()) == {"gateway": {"modes": {"mine": "on"}}}
