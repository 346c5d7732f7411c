"""Stems, camelCase parts and occurrences: the same words for every engine."""

import random
import re
import sqlite3
import time

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.ranking import COUNT_MAX, Candidate, Term, count, occurrences, parse, rank, snippet
from ctxgc.core.segment import Piece
from ctxgc.core.words import WORD, camel_parts, camel_words, stem
from ctxgc.stash import index_text
from tests.stash.samples import any_bytes, any_text

STARTS = [
    "hop",
    "rel",
    "nat",
    "connect",
    "agre",
    "fil",
    "y",
    "sky",
    "gener",
    "b",
    "controll",
    "caress",
    "tr",
    "oscillat",
]
ENDS = [
    "s",
    "es",
    "ies",
    "sses",
    "ed",
    "eed",
    "ing",
    "y",
    "ational",
    "ization",
    "iveness",
    "ement",
    "ion",
    "sion",
    "e",
    "ll",
]


def sqlite_stems(words):
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE t USING fts5(x, tokenize='porter unicode61')")
    db.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, instance)")
    db.executemany("INSERT INTO t (rowid, x) VALUES (?, ?)", enumerate(words))
    return {words[doc]: term for doc, term in db.execute("SELECT doc, term FROM v")}


def test_stems_are_letter_for_letter_those_of_the_index():
    rng = random.Random(7)
    built = {a + b + c for a in STARTS for b in ENDS for c in ["", *ENDS]}
    noise = {"".join(rng.choices("abcdefgilnorstuvyz", k=rng.randint(1, 9))) for _ in range(5000)}
    words = sorted(built | noise)

    expected = sqlite_stems(words)

    assert {word: stem(word) for word in words} == expected


def test_camel_case_falls_into_its_parts():
    assert camel_parts("getUserName") == ("get", "user", "name")
    assert camel_parts("parseHTTPResponse2") == ("parse", "http", "response", "2")
    assert camel_parts("HTTPServer") == ("http", "server")
    assert camel_parts("plain") == camel_parts("URLs") == camel_parts("a" * 65 + "B") == ()
    assert camel_words("aaB x aaB ccD") == ["aaB", "ccD"]


@given(st.text(alphabet="abAB0_é ß.", max_size=90))
def test_a_camel_case_word_is_a_run_of_letters_and_digits_with_a_hump_and_nothing_else(text):
    """The index takes a row out by the text it was made from: another choice of words would leave its postings."""
    runs = re.findall(r"(?<![^\W_])[^\W_]{3,64}(?![^\W_])", text)
    humped = [run for run in runs if re.search(r"[a-z0-9][A-Z]|[A-Z]{2}[a-z]{2}", run)]

    assert camel_words(text) == list(dict.fromkeys(humped))


def test_a_megabyte_of_anything_is_split_in_linear_time():
    for text in (" " * 2**20, "aB" * 2**19, "QWxhZGRpbjpvcGVuIHNlc2FtZQ" * 40_000, "Aa " * 300_000):
        start = time.process_time()

        index_text.add_word_parts(text)

        assert time.process_time() - start < 2.0


@given(any_bytes)
def test_index_text_holds_nothing_an_engine_refuses(data):
    text = index_text.searchable_text(b"{}", (Piece("text", data),))

    assert text.encode("utf-8").decode("utf-8") == text
    assert "\0" not in text


@given(any_text, any_text)
def test_any_query_parses_and_any_text_is_ranked_and_cut(query, text):
    wanted = parse(query)

    scored = rank(wanted.terms, [Candidate(0, text, True)], {}, 1)
    piece = snippet(text, wanted.terms)

    assert len(scored) == 1
    assert piece.count("\x02") == piece.count("\x03")


@given(st.sampled_from(["connect", "happy", "user", "http"]), any_text)
def test_every_occurrence_is_a_word_of_that_stem(word, noise):
    text = f"{noise} Connected happier getUserName HTTPServer {noise}"

    for start, end in occurrences(text, text.lower(), word):
        assert stem(text.lower()[start:end]) == stem(word)


def test_counting_stops_where_more_would_tell_nothing():
    text = "word " * 10_000

    assert count(text, text, Term((("word",),))) == COUNT_MAX


def test_a_query_is_words_phrases_exclusions_and_prefixes():
    wanted = parse('token "page fault" -draft conn* src/auth.py getUserName " -')

    assert [str(term) for term in wanted.terms] == ["token", "page fault", "conn*", "src auth py", "getusername"]
    assert [str(term) for term in wanted.excluded] == ["draft"]
    assert wanted.terms[4].ways == (("getusername",), ("get", "user", "name"))


def test_a_rarer_word_counts_for_more_and_a_longer_text_for_less():
    terms = parse("rare common").terms
    df = {terms[0]: 2, terms[1]: 900}
    texts = ["common here", "rare here", "rare here " + "filler " * 50]

    order = [c.key for c, _ in rank(terms, [Candidate(n, t, False) for n, t in enumerate(texts)], df, 1000)]

    assert order == [1, 2, 0]


@given(st.lists(st.sampled_from(["a", "bc", "Dé", "x1"]), max_size=5))
def test_words_are_runs_of_letters_and_digits(words):
    assert WORD.findall("_ .".join(words)) == words
