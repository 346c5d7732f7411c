"""Lexemes: what every engine's index holds of a text, and nothing in them that an engine takes for syntax."""

import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.search.lexemes import (
    camel_parts,
    common_word_prefix,
    extra_index_words,
    lexeme_spans,
    lexemes,
    normalize_nfc,
    normalize_word,
    stem,
)
from tests.stash.samples import any_text

ENDINGS = (
    "",
    *[
        "s",
        "es",
        "ed",
        "ing",
        "y",
        "ies",
        "ly",
        "ingly",
        "ational",
        "ization",
        "biliti",
        "ability",
        "ously",
        "fulness",
        "iveness",
        "logy",
        "icity",
    ],
)
SAFE = re.compile(r"[^\x00-\x7f]|[a-z0-9]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Connected connections", ["connect", "connect"]),
        ("get_user_name a.b::c", ["get", "user", "name", "a", "b", "c"]),
        ("Straße STRASSE", ["strass", "strass"]),
        ("résumé re\u0301sume\u0301 resume", ["resum", "resum", "resum"]),
        ("数据库pool", ["数据", "据库", "pool"]),
        ("ゲームの設", ["ゲー", "ーム", "の", "設"]),
        ("캐시무효화", ["캐시", "시무", "무효", "효화"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("ship it 🚀🚀", ["ship", "it", "🚀", "🚀"]),
        ("→ left │ right", ["left", "right"]),
    ],
)
def test_words_are_stems_and_scripts_without_spaces_are_pairs(text, expected):
    assert lexemes(text) == expected


@given(any_text)
def test_a_lexeme_holds_letters_and_digits_and_no_sign_of_any_engines_syntax(text):
    for lexeme in lexemes(text):
        assert lexeme
        assert all(SAFE.match(character) for character in lexeme), lexeme


@given(any_text)
def test_spans_and_lexemes_are_the_same_words_of_the_same_places(text):
    found = list(lexeme_spans(text))

    assert [lexeme for lexeme, _, _ in found] == lexemes(text)
    assert all(0 <= start < end <= len(text) for _, start, end in found)


@given(st.text(alphabet="éÅñ abc가ö", max_size=20))
def test_composed_and_decomposed_letters_are_one_lexeme(text):
    decomposed = unicodedata.normalize("NFD", text)

    assert lexemes(normalize_nfc(decomposed)) == lexemes(unicodedata.normalize("NFC", text))


@given(any_text)
def test_folding_twice_changes_nothing(text):
    assert normalize_word(normalize_word(text)) == normalize_word(text)


def test_camel_case_falls_into_its_parts():
    assert camel_parts("getUserName") == ("get", "user", "name")
    assert camel_parts("parseHTTPResponse2") == ("parse", "http", "response", "2")
    assert camel_parts("HTTPServer") == ("http", "server")
    assert camel_parts("plain") == camel_parts("URLs") == camel_parts("a" * 65 + "B") == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HTTPServer HTTPServer", ["http", "server"]),
        ("git commit --no-verify -m x", ["--no-verify", "-m"]),
        ("#include <a> in C++ and c#", ["#include", "c++", "c#"]),
        ("+import a\n-import b\n---\n- item", []),
        ("a-b x--y a#b", []),
        ("数据库", ["库"]),
    ],
)
def test_parts_signed_words_and_last_letters_stand_behind_the_text_once(text, expected):
    assert extra_index_words(text) == expected


def test_a_megabyte_of_anything_is_split_in_linear_time():
    for text in (" " * 2**20, "aB" * 2**19, "QWxhZGRpbjpvcGVuIHNlc2FtZQ" * 40_000, "Aa " * 300_000, "--" * 2**19):
        start = time.process_time()

        lexemes(text)
        extra_index_words(text)

        assert time.process_time() - start < 3.0


@given(st.lists(st.text("abdegilnorstuyz", min_size=1, max_size=6), min_size=1, max_size=3), st.sampled_from(ENDINGS))
def test_every_word_begins_as_its_stem_does_up_to_the_letters_that_a_stemmer_changes(syllables, ending):
    word = "".join(syllables) + ending

    assert word.startswith(common_word_prefix(stem(word)))


@pytest.mark.parametrize("stemmed", ["in", "py", "git", "src", "cach", "session", "connect", "repositori"])
def test_no_more_letters_of_a_stem_are_left_open_than_its_words_have_otherwise(stemmed):
    # Every word of a text with these first letters is looked at: `py` must not be looked for as `p`.
    assert len(common_word_prefix(stemmed)) >= len(stemmed) - (stemmed == "repositori")


@pytest.mark.parametrize(
    "forms",
    [
        "база базы базам БАЗЕ",
        "подключение подключения подключением",
        "βάση βάσεις ΒΆΣΗ βαση",
        "البيانات بيانات والبيانات بالبيانات",
        "إعادة اعاده الإعادة",
        "הנתונים נתונים והנתונים",
        "yığın YIĞIN yigin",
        "İstanbul ISTANBUL istanbul ıstanbul",
        "Łódź łódź lodz",
        "œuvre ŒUVRE oeuvre",
    ],
)
def test_the_forms_of_a_word_are_one_lexeme_in_scripts_with_endings_articles_and_letters_of_their_own(forms):
    assert len(set(lexemes(forms))) == 1
