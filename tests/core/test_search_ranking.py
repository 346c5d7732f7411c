"""Ranking and snippets: which of two candidates comes first, and what of it is shown."""

import pytest
from hypothesis import given

from ctxgc.core.search.positions import NO_POSITIONS, find_lexemes_in_text
from ctxgc.core.search.query import parse_query
from ctxgc.core.search.ranking import Fields, IndexFacts, TermWeights, idf, score_candidate
from ctxgc.core.search.snippets import make_snippet
from tests.stash.samples import any_text


def value(query, known=None, speakers=(), **fields):
    wanted = parse_query(query)
    weights = TermWeights(wanted, dict.fromkeys(wanted.terms, 1.0), frozenset(speakers))
    read = {
        name: find_lexemes_in_text(text, weights.query_lexemes) if isinstance(text, str) else text
        for name, text in fields.items()
    }
    return score_candidate(weights, Fields(**({"text": NO_POSITIONS} | read)), known or IndexFacts()).value


FILLER = " filler" * 400


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"text": "lamp"}, {"text": "lamp" + FILLER}),
        ({"text": "lamp lamp"}, {"text": "lamp desk"}),
        ({"text": "x", "path": "src/lamp.py"}, {"text": "lamp lamp lamp"}),
        ({"text": "x", "input": "lamp"}, {"text": "lamp" + FILLER}),
        ({"text": "x", "said": "the lamp"}, {"text": "x"}),
    ],
)
def test_a_field_that_is_about_the_word_beats_a_text_that_mentions_it(better, worse):
    assert value("lamp", **better) > value("lamp", **worse)


def test_words_side_by_side_beat_words_far_apart():
    assert value("page fault", text="a page fault here") > value("page fault", text="page here and there a fault")


def test_a_turn_has_a_share_of_the_words_around_it_and_a_call_has_none():
    [term] = parse_query("lamp").terms
    near = IndexFacts(near={term: 0.7})

    assert value("lamp", near, text="desk", is_turn=True) == pytest.approx(0.7)
    assert value("lamp", near, text="desk") == 0.0


def test_the_run_of_words_that_the_index_knows_beats_all_words_scattered():
    everything = {"text": "open git failed to repository"}

    assert value("failed to open git", IndexFacts(has_phrase=True), **everything) > 1.5 * value(
        "failed to open git", **everything
    )


def test_the_run_of_words_in_a_long_text_beats_a_short_call_that_has_the_words_in_every_field():
    run, scattered = "open the harbour gate", "gate harbour gate open harbour open"
    everywhere = value(run, text=scattered, input=scattered, path=scattered, said=scattered)

    assert value(run, IndexFacts(has_phrase=True), text=run + FILLER) > everywhere


def test_a_word_that_the_index_knows_beyond_the_scored_part_counts_once():
    [term] = parse_query("lamp").terms

    assert value("lamp", IndexFacts(frozenset({term})), text="desk") == value("lamp", text="lamp")


def test_a_turn_of_the_named_speaker_counts_twice():
    turn = {"text": "lamp", "label": ("ann:",), "is_turn": True}

    assert value("lamp", speakers=("ann:",), **turn) == 2 * value("lamp", **turn)


def test_a_rarer_word_weighs_more_and_no_word_less_than_nothing():
    assert idf(2, 1000) > idf(900, 1000) > 0
    assert idf(2000, 1000) > 0


@given(any_text, any_text)
def test_any_text_is_cut_into_a_snippet_of_one_line_with_highlights_in_pairs(query, text):
    shown = make_snippet(text, parse_query(query))

    assert shown.text.count("\x02") == shown.text.count("\x03")
    assert "\n" not in shown.text
    assert 1 <= shown.first_line <= shown.last_line <= text.count("\n") + 1


def test_the_snippet_shows_where_most_words_stand_and_says_which_lines_these_are():
    text = "page one\n" + "x\n" * 100 + "a page fault\nat last\n" + "page\n" * 50

    shown = make_snippet(text, parse_query("page fault last"))

    assert "\x02page\x03 \x02fault\x03" in shown.text
    assert (shown.first_line, text.split("\n")[shown.first_line - 1]) == (102, "a page fault")


def test_a_word_inside_a_camel_case_word_and_a_word_with_its_sign_are_highlighted():
    assert make_snippet("calls getUserName()", parse_query("user")).text == "calls \x02getUserName\x03()"
    assert make_snippet("git commit --no-verify", parse_query("--no-verify")).text == "git commit \x02--no-verify\x03"
    assert make_snippet("数据库连接", parse_query("据库")).text == "数\x02据库\x03连接"


def test_words_in_their_order_with_others_between_beat_the_same_words_anywhere():
    in_order = value("exit code original token", text="exit code 0 original 12 token")

    assert in_order > value("exit code original token", text="token original 12 code 0 exit") + 1


def test_a_call_that_was_asked_with_the_same_words_beats_a_result_that_has_them_twice():
    assert value("cargo test", text="ok", input="cargo test") > value("cargo test", text="cargo cargo test test")


def test_pairs_of_words_count_in_a_short_query_and_not_in_an_account():
    account = "lamp/desk " + " ".join(f"w{n}" for n in range(20))

    assert value("lamp desk", text="lamp desk") > value("lamp desk", text="lamp x x x x desk") + 1
    assert value(account, text="lamp x desk") == value(account, text="desk x lamp")
