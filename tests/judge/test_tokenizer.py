"""The tokenizer is the vocabulary's, with its digits and its spaces."""

import pytest

from perf.judge.tokenizer import UNKNOWN, make_tokenizer, spelled_bytes

SPECIAL = "<|end|>"
MERGES = ["Ġ Ġ", "h e", "l l", "he ll", "Ċ Ċ", "Ġ x", "4 2", "Ġ <", "| >"]
LETTERS = [character for character, byte in spelled_bytes().items() if byte != 0xFF]
WORDS = [SPECIAL, *LETTERS, *(merge.replace(" ", "") for merge in MERGES)]


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(WORDS, MERGES)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("hello", ["hell", "o"]),
        ("42", ["4", "2"]),  # No merge joins digits.
        ("  42", ["  ", "4", "2"]),
        ("  x", [" ", " x"]),
        ("\n\n  x", ["\n\n", " ", " x"]),
        ("x  ", ["x", "  "]),
        ("é", ["\N{REPLACEMENT CHARACTER}"] * 2),
    ],
)
def test_text_is_cut_as_the_vocabulary_was_trained(tokenizer, text, pieces):
    ids = tokenizer.encode(text)

    assert [tokenizer.decode([each]) for each in ids] == pieces
    assert tokenizer.decode(ids) == text


def test_the_spelling_of_a_special_token_is_plain_text(tokenizer):
    ids = tokenizer.encode(SPECIAL)

    assert 0 not in ids
    assert tokenizer.decode(ids) == SPECIAL


def test_a_byte_that_the_vocabulary_lacks_is_unknown():
    without_x = make_tokenizer(
        [word for word in WORDS if "x" not in word], [merge for merge in MERGES if "x" not in merge]
    )

    assert without_x.encode("x") == [UNKNOWN]


def test_a_vocabulary_out_of_the_order_of_its_merges_is_refused():
    with pytest.raises(ValueError, match="order"):
        make_tokenizer(WORDS, [MERGES[1], MERGES[0], *MERGES[2:]])
