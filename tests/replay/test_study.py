"""A study of made sessions: what it counts, what it skips, and that nothing but its input decides what it finds."""

import gzip
import json
import os
import subprocess
import sys
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.replay import recorded_files, trial
from ctxgc.replay.policies import NoCollection
from ctxgc.replay.policy_registry import policies_of
from ctxgc.replay.recorded_files import find_transcripts, read_recorded_file
from ctxgc.replay.study import run_study
from ctxgc.replay.study_report import report_of
from ctxgc.replay.terms import StudyTerms
from ctxgc.replay.trial import choose_placebo_sessions
from tests.replay.episodes import episode_of, free_turns
from tests.replay.made_sessions import claude_session


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def sessions(folder):
    """Three sessions; by their ids in another order than by their files."""
    return [str(claude_session(folder / f"{n}.jsonl", f"session-{9 - n}", seed=n)) for n in range(3)]


@pytest.fixture(scope="module")
def study(sessions):
    return run_study(sessions, StudyTerms(), workers=1)


def steady(study):
    """A report without what depends on the machine, as text."""
    report = report_of(study)
    del report["timing"]
    return json.dumps(report)


@pytest.mark.slow
def test_neither_the_order_of_files_nor_the_number_of_workers_changes_the_report(sessions, study):
    other = run_study(sessions[::-1], StudyTerms(), workers=2)

    assert steady(other) == steady(study)
    assert [result.session for result in study.results] == ["session-7", "session-8", "session-9"]


@pytest.mark.slow
def test_the_hash_seed_does_not_change_the_report(sessions):
    code = (
        "import sys; from tests.replay.test_study import *;"
        "print(steady(run_study(sys.argv[1:], StudyTerms(), workers=1)))"
    )

    def report(seed):
        env = os.environ | {"PYTHONHASHSEED": seed}
        return subprocess.run([sys.executable, "-c", code, *sessions], env=env, capture_output=True, check=True).stdout

    assert report("1") == report("2") == report("3")


def test_every_session_is_played_by_every_policy_in_both_scopes(study):
    names = [policy.name for policy in policies_of(StudyTerms())]
    for result in study.results:
        assert sorted(result.sums) == sorted((scope, name) for scope in ("results", "all") for name in names)
        assert result.turns == 30


def test_the_made_sessions_make_policies_evict_and_fault(study):
    tight = [result.sums["results", "lru"] for result in study.results]
    assert all(sums.evictions for sums in tight)
    assert sum(sums.faults for sums in tight) > 0
    assert any(result.sums["results", "ctxgc"].evictions for result in study.results)


def test_sessions_that_share_no_word_have_a_placebo_without_faults(study):
    for result in study.results:
        assert result.has_placebo
        assert result.sums["results", "none"].uses > 0
        assert result.sums["results", "none"].placebo_uses == 0


def test_a_session_whose_double_is_its_placebo_needs_as_much_by_coincidence(tmp_path):
    twins = [str(claude_session(tmp_path / f"{name}.jsonl", name, seed=4, turns=12)) for name in ("a", "b")]

    study = run_study(twins, StudyTerms(), workers=1)

    for result in study.results:
        sums = result.sums["results", "none"]
        assert sums.uses == sums.placebo_uses > 0


def test_the_only_session_of_an_agent_has_no_placebo(sessions):
    study = run_study(sessions[:1], StudyTerms(), workers=1)

    assert not study.results[0].has_placebo
    assert report_of(study)["agents"]["claude_code"]["placebo_precision"] is None


def test_files_that_hold_no_session_are_named_and_the_others_counted(sessions, tmp_path):
    broken = {
        "empty.jsonl": b"",
        "prose.json": b"Once upon a time",
        "noise.jsonl": bytes(range(256)) * 9,
        "cut.jsonl.gz": gzip.compress(b'{"type":"user"}\n')[:9],
    }
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)

    files = [sessions[0], *find_transcripts([str(tmp_path)]), str(tmp_path / "nowhere.jsonl")]
    study = run_study(files, StudyTerms(), workers=1)

    assert len(study.results) == study.files == 1
    assert {os.path.basename(path) for path, why in study.skipped if why} == {*broken, "nowhere.jsonl"}


def test_a_file_that_breaks_a_parser_costs_only_itself(sessions, monkeypatch):
    def broken(format):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(recorded_files, "make_transcript_parser", broken)

    assert "ZeroDivisionError" in read_recorded_file(sessions[0]).trouble


def test_a_session_that_is_in_two_files_counts_once_and_in_full(tmp_path):
    short = claude_session(tmp_path / "a.jsonl", "same", turns=4)
    full = claude_session(tmp_path / "b.jsonl", "same", turns=9)

    study = run_study([str(short), str(full)], StudyTerms(), workers=1)

    assert [result.turns for result in study.results] == [9]
    assert [(path, "b.jsonl" in why) for path, why in study.skipped] == [(str(short), True)]


def test_no_text_of_a_session_is_left_behind(sessions, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def stop(share, note):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(sessions[:1], StudyTerms(), workers=1, tell=stop)
    run_study(sessions[:1], StudyTerms(), workers=1)

    assert not list(tmp_path.glob("ctxgc-replay-*"))


def test_progress_only_grows_and_ends_at_one(tmp_path):
    short = [str(claude_session(tmp_path / f"{name}.jsonl", name, turns=6)) for name in ("a", "b")]
    shares = []

    run_study(short, StudyTerms(), workers=1, tell=lambda share, note: shares.append(share))

    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


CORPUS_STUDY = """
import json, resource, sys
from ctxgc.replay.terms import StudyTerms
from ctxgc.replay.recorded_files import find_transcripts
from ctxgc.replay.study import run_study
from ctxgc.replay.trial import choose_placebo_sessions

if __name__ == "__main__":
    study = run_study(find_transcripts(sys.argv[1:]), StudyTerms())
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    print(json.dumps({
        "sessions": len(study.results),
        "skipped": [path for path, _ in study.skipped],
        "kilobytes": [resource.getrusage(one).ru_maxrss for one in who],
        "below_the_bound": [
            [result.session, *key] for result in study.results for key, sums in result.sums.items()
            if sums.cost < result.bounds[key[0]][0] * (1 - 1e-9)
        ],
        "evicted_by_none": sum(result.sums["all", "none"].evictions for result in study.results),
        "faults_of_liveness": sum(result.sums["results", "liveness"].faults for result in study.results),
    }))
"""
AGENTS = ("claude_code", "codex", "opencode", "pi", "copilot_cli", "mini_swe_agent", "swe_agent", "tau_bench")


@pytest.mark.slow
@pytest.mark.corpus
def test_the_whole_corpus_is_replayed_within_its_bounds_and_2_gb(corpus):
    folders = [str(corpus / name) for name in AGENTS]

    done = subprocess.run([sys.executable, "-c", CORPUS_STUDY, *folders], capture_output=True, text=True, check=True)

    said = json.loads(done.stdout)
    parent, largest_worker = said["kilobytes"]
    assert said["sessions"] >= 40
    assert not said["skipped"]
    assert parent + 2 * largest_worker < 2_000_000
    assert not said["below_the_bound"]
    assert said["evicted_by_none"] == said["faults_of_liveness"] == 0


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.data())
def test_a_placebo_says_as_much_as_the_session_if_the_others_can_and_never_the_same_twice(turns, data):
    at = data.draw(st.integers(0, len(turns) - 1))

    others = choose_placebo_sessions(turns, at)

    assert at not in others
    assert len(set(others)) == len(others)
    said = sum(turns[other] for other in others)
    assert said >= turns[at] or len(others) == len(turns) - 1
    assert not others or said - turns[others[-1]] < turns[at]


def test_policies_that_anyone_can_run_are_also_judged_by_single_rare_words(study):
    report = report_of(study)["agents"]["claude_code"]
    rows = {row["name"]: row["strict_faults_per_100_turns"] for row in report["policies"]}

    assert rows["none"] == 0
    assert rows["lru"] > 0
    assert rows["liveness"] is None


def test_a_policy_plays_a_sessions_episodes_in_a_row_for_it_keeps_an_account(monkeypatch):
    begun = []

    class Keeping(NoCollection):
        def begin_episode(self, script):
            begun.append(script.number)

    monkeypatch.setattr(trial, "policies_of", lambda terms: [Keeping()])
    episodes = [episode_of(*free_turns(3)) for _ in range(3)]
    for number, episode in enumerate(episodes):
        episode.number = number

    trial.simulate_session(episodes, (), StudyTerms())

    assert begun == [0, 1, 2] * (len(begun) // 3)
