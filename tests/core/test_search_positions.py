"""Readings: a text looked through for a query's words reads as its lexemes do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.search.lexemes import lexemes
from ctxgc.core.search.positions import STARTS_MAX, find_lexemes_in_text, locate_lexemes, make_query_lexemes
from ctxgc.core.search.query import parse_query
from tests.stash.samples import any_text

WORDS = [
    "run",
    "running",
    "runs",
    "ru",
    "die",
    "dying",
    "node",
    "nodes",
    "py",
    "x" * 80,
    "getUserName",
    "a.b",
    "--no",
    "→",
]
worded = st.lists(st.sampled_from(WORDS) | any_text, max_size=30).map(" ".join)


@given(worded, st.lists(st.sampled_from(WORDS) | st.text("abrn*.", max_size=4), max_size=2 * STARTS_MAX).map(" ".join))
def test_a_text_and_its_lexemes_give_the_same_reading(text, query):
    wanted = parse_query(query)
    sought = make_query_lexemes(wanted.terms, wanted.phrase)

    read, known = find_lexemes_in_text(text, sought), locate_lexemes(lexemes(text), sought)

    if sought.word_starts:
        assert read.length == known.length
    assert dict(read.lexeme_at) == dict(known.lexeme_at)
    assert [read.count_term_occurrences(term) for term in wanted.terms] == [
        known.count_term_occurrences(term) for term in wanted.terms
    ]


@given(worded, worded, st.sets(st.sampled_from(WORDS)))
def test_a_text_reads_the_same_where_words_that_it_lacks_are_not_looked_for(text, query, extra):
    wanted = parse_query(f"{query} {' '.join(sorted(extra))}")
    sought = make_query_lexemes(wanted.terms, wanted.phrase)
    absent = frozenset(sought.lexemes - set(lexemes(text)))

    read, known = find_lexemes_in_text(text, sought, absent), find_lexemes_in_text(text, sought)

    assert (read.length, dict(read.lexeme_at)) == (known.length, dict(known.lexeme_at))


def test_a_word_that_a_text_is_known_to_lack_is_not_looked_for():
    sought = make_query_lexemes(parse_query("ferry harbour lamp").terms)

    assert sought.word_starts_without(frozenset({"ferri", "lamp"})) == ("harbour",)
    assert sought.word_starts_without(frozenset()) == sought.word_starts


@pytest.mark.parametrize("count", [1, STARTS_MAX, 3 * STARTS_MAX])
def test_each_place_of_each_word_is_read_however_many_words_are_asked_for(count):
    letters = [chr(ord("a") + n % 26) * (1 + n // 26) * 4 for n in range(count)]
    sought = make_query_lexemes(parse_query(" ".join(letters)).terms)

    read = find_lexemes_in_text(" - ".join(letters * 3), sought)

    assert read.length == 3 * count
    assert sorted(read.lexeme_at) == list(range(3 * count))
