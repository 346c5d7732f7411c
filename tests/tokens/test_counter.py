"""Counting: exact, within bounds, never stalled or killed by its input."""

import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ctxgc.tokens.counter import CHUNK_CHARS, SAFE_CUT, TokenCounter
from ctxgc.tokens.ranks import Ranks
from tests.ranks import shipped_ranks

RANKS = shipped_ranks()
CODE = (
    "def f():\n",
    "    return x\n",
    "it's",
    " a b c",
    "\n\n",
    "/",
    " ",
    "  \n",
    "\t",
    "1234567",
    "-----",
    "A",
    "b",
    " b",
)
ODD = ("<|endoftext|>", "漢字", "😀", "é\u0301", "\r\n", "\x1c", "\x85", "\u3000", "\x00", "\ud800")
words = st.sampled_from(CODE + ODD)
texts = st.one_of(st.lists(words, max_size=40).map("".join), st.text(max_size=60))


@given(texts)
def test_a_count_is_what_the_encoding_says_of_the_whole_text(text):
    counter = TokenCounter(lambda: RANKS)

    assert counter.count(text) == len(RANKS.encoding.encode_ordinary(text))


@given(texts)
def test_bytes_and_their_text_count_alike(text):
    counter = TokenCounter(lambda: RANKS)

    assert counter.count(text.encode("utf-8", "surrogatepass")) == counter.count(text)


@given(st.binary(max_size=600))
def test_bytes_that_are_no_text_are_counted_all_the_same(data):
    assert TokenCounter(lambda: RANKS).count(data) >= bool(data)


@given(texts)
def test_a_token_has_one_byte_at_least_and_128_at_most(text):
    size_bytes = len(text.encode("utf-8", "surrogatepass"))

    assert size_bytes / 128 <= TokenCounter(lambda: RANKS).count(text) <= size_bytes


@example("-----\n/A")
@given(texts)
def test_no_token_straddles_a_safe_cut(text):
    encode = RANKS.encoding.encode_ordinary

    for cut in SAFE_CUT.finditer(text):
        assert encode(text[: cut.start()]) + encode(text[cut.start() :]) == encode(text)


def test_long_text_with_safe_cuts_is_counted_exactly(counter):
    text = "".join(f"def function_{n}(a, b):\n    return a + b  # line {n}\n\n" for n in range(6000))
    assert len(text) > 4 * CHUNK_CHARS

    assert counter.count(text) == len(RANKS.encoding.encode_ordinary(text))


@pytest.mark.parametrize("unit", [" ", "a", "\u3000", *(pytest.param(c, marks=pytest.mark.slow) for c in "\t\n-\x00")])
def test_a_million_of_the_same_character_neither_panics_nor_stalls(counter, unit):
    tokens = counter.count(unit * 2**20)

    assert 2**20 / 128 <= tokens <= len(unit.encode()) * 2**20


def test_a_run_of_one_letter_goes_through_the_engine_once(counter):
    tokens = counter.count("a" * 2**24)

    assert counter.encoded_chars <= 2 * CHUNK_CHARS
    assert tokens == 2**24 // CHUNK_CHARS * len(RANKS.encoding.encode_ordinary("a" * CHUNK_CHARS))


def test_a_panic_of_the_engine_costs_an_estimate_not_the_thread():
    class PanicException(BaseException):
        pass

    class Engine:
        def encode_ordinary(self, text):
            raise PanicException("StackOverflow")

    counter = TokenCounter(lambda: Ranks(Engine(), "test"))

    assert 100 / 128 <= counter.count("x" * 100) <= 100


def test_an_interrupt_is_not_taken_for_a_panic():
    class Engine:
        def encode_ordinary(self, text):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TokenCounter(lambda: Ranks(Engine(), "test")).count("x")


def test_the_same_content_is_encoded_once(counter):
    counter.count("the same content " * 100)
    encoded = counter.encoded_chars

    counter.count(b"the same content " * 100)

    assert counter.encoded_chars == encoded


def test_the_cache_forgets_the_oldest_content_beyond_its_bound(ranks):
    counter = TokenCounter(lambda: ranks, cache_entries_max=2)
    for letter in "abc":
        counter.count(letter * 300)
    encoded = counter.encoded_chars

    for letter in "bc":
        counter.count(letter * 300)
    assert counter.encoded_chars == encoded
    counter.count("a" * 300)
    assert counter.encoded_chars == encoded + 300


def test_threads_that_count_at_once_agree(counter):
    texts_ = [f"text number {n} " * 50 for n in range(40)]
    results = [[] for _ in range(4)]

    threads = [threading.Thread(target=lambda r=r: r.extend(map(counter.count, texts_))) for r in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [[counter.count(text) for text in texts_]] * 4
