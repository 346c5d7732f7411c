"""A run evaluates whole moments until its minutes are over, and says what is missing."""

import sys
from dataclasses import replace

import pytest

pytest.importorskip("numpy", reason="numpy is of the extras dev and judge")

from perf.judge import __main__ as judge_main
from perf.judge.evaluation import Evaluator, NatsCache
from perf.judge.groups import evidence, lexical
from tests.judge.test_evaluation import WordJudge, case


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by a minute whenever somebody looks."""
    minutes = iter(range(1000))
    monkeypatch.setattr(judge_main.time, "monotonic", lambda: 60.0 * next(minutes))


@pytest.mark.usefixtures("clock")
def test_a_run_stops_after_its_minutes_and_between_moments():
    moments = [[case(), case(body="yankee alpha")]] * 9

    verdicts, evaluated = judge_main.evaluate(Evaluator(WordJudge(), NatsCache()), moments, minutes=4)

    assert (len(verdicts), evaluated) == (2 * 4, 4)


@pytest.mark.usefixtures("clock")
def test_progress_says_how_far_a_run_is_and_when_it_ends(capsys):
    judge_main.evaluate(Evaluator(WordJudge(), NatsCache()), [[case()]] * 40, minutes=99)

    assert "20 of 40 moments, 20 cases, 2 replies evaluated" in capsys.readouterr().err


def test_uses_beyond_the_asked_number_leave_no_gap_among_the_collections():
    shipped, used = [case()], [replace(case(), group="used")]

    assert judge_main.at_most([used, shipped, used, used, shipped], uses=2) == [used, shipped, used, shipped]


def test_the_table_for_people_has_a_line_for_each_group_and_each_difference():
    verdicts, _ = judge_main.evaluate(Evaluator(WordJudge(), NatsCache()), [[case()]], minutes=1)

    text = judge_main.text_of(
        evidence(verdicts) | {"lexical": lexical([case()]), "replies": 2, "asked": 2, "wall_s": 1}
    )

    assert [line.split()[0] for line in text.splitlines()] == [
        "group",
        "shipped",
        "shipped,",
        "any,",
        "lexical",
        "shipped",
        "2",
    ]


def test_without_the_extra_a_run_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.delitem(sys.modules, "perf.judge.weights", raising=False)

    with pytest.raises(SystemExit, match=r"gguf is missing: pip install -e '\.\[judge\]'"):
        judge_main.language_model(None)
