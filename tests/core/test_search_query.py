"""Queries: what is typed is text unless it is unmistakable."""

import pytest
from hypothesis import given

from ctxgc.core.search.query import TERMS_READ_MAX, parse_query
from tests.stash.samples import any_text


def ways(text, flags=()):
    return [term.ways for term in parse_query(text, flags).terms]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("C++", [(("c++",),)]),
        ("-x", [(("-x",),)]),
        ("--no-verify", [(("--no-verify",),), (("no", "verifi"),)]),
        ("#include", [(("#include",),), (("includ",),)]),
        ("foo::bar", [(("foo", "bar"),)]),
        ("1.2.3", [(("1", "2", "3"), ("v1", "2", "3"))]),
        ("v1.2", [(("v1", "2"), ("1", "2"))]),
        ("getUserName", [(("getusernam",), ("get", "user", "name"))]),
        ("数据库", [(("数据", "据库"),)]),
        ("🚀", [(("🚀",),)]),
        ("what is the lamp", [(("lamp",),)]),
        ("to be or not to be", [((word,),) for word in ("to", "be", "or", "not")]),
        ("kind:string", [(("kind", "string"),)]),
        ("std::path::Path", [(("std", "path", "path"),)]),
    ],
)
def test_signs_are_text_and_stop_words_fall_out_where_other_words_are_left(text, expected):
    assert ways(text) == expected
    assert not parse_query(text).excluded


@pytest.mark.parametrize("text", ["9f86d08", "conn*", "ContentOver", "src/stash/sea", "数"])
def test_starts_of_hashes_humps_and_path_parts_are_prefixes(text):
    assert [term.is_prefix for term in parse_query(text).terms] == [True]


def test_a_plain_word_is_no_prefix():
    assert not parse_query("overlp").terms[0].is_prefix


@pytest.mark.parametrize(
    ("text", "excluded"),
    [
        ("lamp NOT draft", ["draft"]),
        ("lamp -draft", ["draft"]),
        ("grep -rn lamp", []),
        ("-draft", []),
        ("lamp-draft", []),
        ("lamp --draft", []),
        ("CREATE TABLE IF NOT EXISTS", []),
        ("IS NOT NULL", []),
        ("column is NOT NULL", []),
        ("WHERE NOT deleted", []),
        ('"lamp NOT draft"', []),
    ],
)
def test_an_exclusion_is_only_what_cannot_be_mistaken(text, excluded):
    assert [str(term) for term in parse_query(text).excluded] == excluded


def test_a_word_with_a_dash_that_texts_have_as_a_flag_is_a_word():
    assert parse_query("find -name x").excluded
    assert not parse_query("find -name x", ["-name"]).excluded


def test_filters_stand_among_the_words_and_leave_them():
    query = parse_query('lamp path:src/*.py Tool:bash kind:user since:2d project:"my app" task:')

    assert query.filters == (
        *(("path", "src/*.py"), ("tool", "bash"), ("kind", "user")),
        *(("since", "2d"), ("project", "my app")),
    )
    assert [str(term) for term in query.terms] == ["lamp", "task:"]


def test_a_query_of_filters_is_empty_and_a_query_of_signs_is_not():
    assert parse_query("").is_empty
    assert parse_query("kind:user").is_empty
    assert not parse_query("!!").is_empty
    assert not parse_query("!!").terms


def test_words_as_they_stand_are_a_phrase_with_the_stop_words_in_it():
    assert parse_query("failed to open").phrase == ("fail", "to", "open")
    assert parse_query("alone").phrase == ()


def test_a_path_in_a_long_query_counts_by_its_parts_too():
    assert ways("src/auth.py") == [(("src", "auth", "py"),)]
    assert (("auth",),) in ways("read src/auth.py again")


@given(any_text)
def test_any_text_parses_within_its_bounds(text):
    query = parse_query(text)

    assert len(query.terms) <= TERMS_READ_MAX
    assert all(lexeme for term in (*query.terms, *query.excluded) for way in term.ways for lexeme in way)
    assert all(way for term in (*query.terms, *query.excluded) for way in term.ways)
