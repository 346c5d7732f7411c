"""`ctxgc replay` at the terminal: it needs no daemon, asks before it reads what is the user's own, and says no well."""

import json
import re
import subprocess
import sys

import pytest

from tests.replay.made_sessions import claude_session


@pytest.fixture
def replay(run, tmp_path, monkeypatch):
    """Run `ctxgc replay` where no daemon is, in a home of its own, in this process."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("CLAUDE_CONFIG_DIR", "CODEX_HOME"):
        monkeypatch.delenv(variable, raising=False)
    return lambda *argv, **more: run(tmp_path / "no-daemon", "replay", "--workers", "1", *map(str, argv), **more)


@pytest.fixture
def session(tmp_path):
    return claude_session(tmp_path / "one.jsonl", "first-session", turns=12)


@pytest.fixture
def own_session(replay, tmp_path):
    folder = tmp_path / "home" / ".claude" / "projects" / "garden"
    folder.mkdir(parents=True)
    return claude_session(folder / "own.jsonl", "own-session", turns=6)


def test_a_table_names_the_shipped_policy_and_the_baselines(replay, session):
    ran = replay(session)

    assert ran.code == 0, ran.err
    assert "claude_code: 1 session, 12 turns" in ran.out
    assert all(name in ran.out for name in ("ctxgc", "lru", "clear_100k_keep_3", "drag"))


def test_the_answer_comes_before_the_tables(replay, session):
    ran = replay(session)

    answer = re.search(r"ctxgc as it ships would have cost [\d.]+ % of doing nothing, and", ran.out)
    assert 0 <= answer.start() < ran.out.index("claude_code: 1 session")


def test_a_table_fits_a_terminal_of_80_columns(replay, session, terminal):
    replay(session, on=terminal)

    rows = [line for line in terminal.written().splitlines() if line.startswith("  ctxgc")]
    assert rows
    assert all(len(row) <= 80 for row in rows)


def test_json_is_one_object_with_the_report(replay, session):
    ran = replay(session, "--json", "--price", "flat")

    report = json.loads(ran.out)
    assert report["profile"] == "subscription"
    assert report["agents"]["claude_code"]["turns"] == 12


def test_the_page_is_written_where_asked(replay, session, tmp_path):
    ran = replay(session, "--html", tmp_path / "report.html")

    assert ran.code == 0, ran.err
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_a_page_that_cannot_be_written_is_refused_with_a_next_step(replay, session, tmp_path):
    ran = replay(session, "--html", tmp_path / "nowhere" / "report.html")

    assert ran.code == 1
    assert "--html" in ran.err


def test_own_sessions_are_not_read_where_nobody_can_be_asked(replay, own_session):
    ran = replay()

    assert ran.code == 1
    assert "1 transcript" in ran.err
    assert "--yes" in ran.err


def test_own_sessions_are_not_read_without_a_yes(replay, own_session, typed):
    typed(b"\n", is_terminal=True)

    ran = replay()

    assert ran.code == 1
    assert "nothing was read" in ran.err


@pytest.mark.parametrize("argv", [["--yes"], []])
def test_own_sessions_are_read_after_a_yes(replay, own_session, typed, argv):
    typed(b"y\n", is_terminal=True)

    ran = replay(*argv)

    assert ran.code == 0, ran.err
    assert "1 session, 6 turns" in ran.out


def test_where_there_are_no_own_sessions_the_next_step_is_named(replay):
    ran = replay()

    assert ran.code == 1
    assert "ctxgc replay PATH" in ran.err


def test_a_file_that_is_no_transcript_is_named_and_the_others_replayed(replay, session, tmp_path):
    (tmp_path / "notes.json").write_text("not one")

    ran = replay(tmp_path)

    assert ran.code == 0
    assert "notes.json" in ran.err


def test_a_study_of_nothing_is_refused(replay, tmp_path):
    (tmp_path / "notes.json").write_text("not one")

    assert replay(tmp_path / "notes.json").code == 1


@pytest.mark.parametrize(
    "argv",
    [["--policy", "best"], ["--price", "free"], ["--why", "first"], ["--workers", "0"], ["nowhere.jsonl"]],
    ids=lambda argv: argv[0],
)
def test_arguments_that_make_no_sense_are_code_2(replay, session, argv):
    assert replay(*argv, session).code == 2


def test_why_says_what_a_turn_needed(replay, session):
    ran = replay(session, "--why", "claude_code:first:4", "--json")

    found = json.loads(ran.out)
    assert (found["session"], found["turn"]) == ("first-session", 4)
    assert found["needs"], "turn 4 edits a line that an earlier read showed"


def test_why_speaks_to_a_person_too(replay, session):
    ran = replay(session, "--why", "first:4")

    assert ran.code == 0, ran.err
    assert "wanted: part_0_" in ran.out


@pytest.mark.parametrize("turn", ["first:99", "second:1"])
def test_why_refuses_a_turn_that_is_not_there(replay, session, turn):
    assert replay(session, "--why", turn).code == 1


def test_help_loads_neither_the_tokenizer_nor_the_parsers():
    code = "import sys; from ctxgc.fronts.cli.main import main; main(['replay', '--help'])"

    done = subprocess.run([sys.executable, "-c", f"{code}; print(*sys.modules)"], capture_output=True, text=True)

    assert not {"tiktoken", "msgspec", "multiprocessing"} & set(done.stdout.split())


def test_the_bill_is_the_providers_with_our_mark_unless_another_is_asked_for(replay, session):
    asked = replay(session, "--json", "--bill", "ideal", "--mark", "none")
    shipped = replay(session, "--json")

    assert [json.loads(ran.out)[key] for ran in (asked, shipped) for key in ("bill", "mark")] == [
        "ideal", "none", "true", "own",
    ]  # fmt: skip
