"""The user's own sessions are looked for where the agents were told to keep them, and shown as one types it."""

import os
import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.fronts.cli import demo, own_sessions


def test_without_other_word_they_are_in_the_home():
    assert own_sessions.session_folders({"HOME": "/h"}) == ["/h/.claude/projects", "/h/.codex/sessions"]


def test_the_agents_own_variables_say_where_else():
    named = {"HOME": "/h", "CLAUDE_CONFIG_DIR": "/c d", "CODEX_HOME": "/x/"}

    assert own_sessions.session_folders(named) == ["/c d/projects", "/x/sessions"]
    assert own_sessions.session_folders(named | {"CODEX_HOME": ""})[1] == "/h/.codex/sessions"


@pytest.mark.parametrize(
    ("folder", "typed"),
    [
        ("/h/.codex/sessions", "~/.codex/sessions"),
        ("/c d/projects", "'/c d/projects'"),
        ("/h/a b", "'/h/a b'"),
        ("/h/{a,b}", "'/h/{a,b}'"),
    ],
)
def test_a_folder_is_shown_as_one_types_it(folder, typed):
    assert own_sessions.folder_as_typed(folder, {"HOME": "/h"}) == typed


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1).filter(lambda name: name != ".."))
def test_what_is_shown_is_one_word_for_a_shell(name):
    typed = own_sessions.folder_as_typed(f"/h/{name}", {"HOME": "/h"})

    assert [os.path.expanduser(word) for word in shlex.split(typed)] in (
        [f"/h/{name}"], [os.path.expanduser(f"~/{name}")]
    )  # fmt: skip


def test_the_demo_offers_them_where_they_are(tmp_path, monkeypatch, capsys):
    (tmp_path / "my codex" / "sessions").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CODEX_HOME", str(tmp_path / "my codex"))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)

    demo._suggest_own_sessions(type("Shell", (), {"args": type("Args", (), {"json": False})}))

    [line] = capsys.readouterr().out.splitlines()
    command = line.partition("`ctxgc demo ")[2].partition("`")[0]
    said = subprocess.run(["sh", "-c", f"printf %s {command}"], capture_output=True, text=True, check=True).stdout
    assert said == str(tmp_path / "my codex" / "sessions")
