"""The shipped ranks are tiktoken's own, and nothing but the right bytes is ever used."""

import gzip
from importlib import resources

import pytest
import tiktoken

from ctxgc.tokens.counter import TokenCounter
from ctxgc.tokens.ranks import CACHE_NAME, RANKS_BYTES_MAX, SHIPPED_NAME, load_ranks

SHIPPED = resources.files("ctxgc.tokens") / SHIPPED_NAME
SAMPLES = (
    "def f(x):\n    return x ** 2  # it's\r\n\r\n\tи 漢字 😀 1234567",
    '{"a": [1.5e10, "\\u00e9"], "b": null}\n' * 3,
    "<|endoftext|> the end <|fim_prefix|>",
    " \t \n\n  \n x\u3000y\x00z \x1c\x85",
    "'ſ 'S THEY'LL don'T",
)


@pytest.fixture
def cache_folder(tmp_path):
    """A tiktoken cache folder that holds the unpacked ranks under tiktoken's name."""
    (tmp_path / CACHE_NAME).write_bytes(gzip.decompress(SHIPPED.read_bytes()))
    return tmp_path


@pytest.fixture
def unbuilt(monkeypatch):
    """For which file is taken, what is built of its bytes does not matter, and takes the longest."""
    monkeypatch.setattr("ctxgc.tokens.ranks._build_encoding", lambda content: None)


def test_the_shipped_ranks_are_the_encoding_that_tiktoken_calls_o200k_base(ranks, cache_folder, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache_folder))

    theirs = tiktoken.get_encoding("o200k_base")

    assert ranks.encoding._pat_str == theirs._pat_str
    for sample in SAMPLES:
        assert ranks.encoding.encode_ordinary(sample) == theirs.encode_ordinary(sample)


def test_an_explicit_file_comes_first_then_tiktokens_cache_then_the_shipped_file(cache_folder, tmp_path, unbuilt):
    explicit = tmp_path / "ranks.gz"
    explicit.write_bytes(SHIPPED.read_bytes())
    env = {"TIKTOKEN_CACHE_DIR": str(cache_folder)}

    assert load_ranks(env, explicit).source == str(explicit)
    assert load_ranks(env).source == str(cache_folder / CACHE_NAME)
    assert load_ranks({}).source == str(SHIPPED)


@pytest.mark.parametrize(
    "content", [b"", b"aGk= 1\n", b"\x1f\x8b broken", gzip.compress(b"other", mtime=0), b"\xff" * 99]
)
def test_a_wrong_cache_file_is_passed_over_named_and_left_as_it_is(tmp_path, content, unbuilt):
    wrong = tmp_path / CACHE_NAME
    wrong.write_bytes(content)

    ranks = load_ranks({"TIKTOKEN_CACHE_DIR": str(tmp_path)})

    assert ranks.source == str(SHIPPED)
    assert str(wrong) in ranks.notes[0]
    assert wrong.read_bytes() == content


def test_a_file_that_unpacks_without_end_is_not_read_to_its_end(tmp_path, unbuilt):
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(bytes(4 * RANKS_BYTES_MAX), 1))

    ranks = load_ranks({}, bomb)

    assert ranks.source == str(SHIPPED)


def test_without_any_ranks_counts_are_flagged_estimates_within_the_bounds(monkeypatch):
    monkeypatch.setattr("ctxgc.tokens.ranks.RANKS_SHA256", "0" * 64)
    counter = TokenCounter(lambda: load_ranks({}))

    tokens = counter.count("word " * 100)

    assert counter.is_estimated
    assert "sha256 differs" in counter.ranks.notes[0]
    assert 500 / 128 <= tokens <= 500


def test_nothing_is_loaded_before_the_first_count(ranks):
    loads = []
    counter = TokenCounter(lambda: loads.append(1) or ranks)
    assert not counter.is_loaded

    counter.count("a")
    counter.count(b"b")

    assert loads == [1]
