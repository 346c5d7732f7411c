"""Byte-level BPE of a GGUF vocabulary by tiktoken: ranks are token ids, since ids follow the order of merges.

A tokenizer is refused where the ids of a vocabulary do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import tiktoken

PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"
"""GPT-2's pieces, each digit alone: a digit ends a run of white space as the end of the text does."""
UNKNOWN = 0


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """Text to ids and back. Bytes that the vocabulary lacks become the unknown token."""

    encoding: tiktoken.Encoding
    known: int
    """Ids from here on are stand-ins for lacking bytes."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text; special tokens in the text are plain text."""
        return [each if each < self.known else UNKNOWN for each in self.encoding.encode_ordinary(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; half a character reads as U+FFFD. Raises `KeyError` for a special token."""
        return self.encoding.decode(list(ids), errors="replace")


def make_tokenizer(words: Sequence[str], merges: Sequence[str]) -> Tokenizer:
    """The tokenizer of a vocabulary in GPT-2's spelling of bytes, and its merges in order."""
    byte_of = spelled_bytes()
    at = {word: number for number, word in enumerate(words)}
    order = [at[merge.replace(" ", "", 1)] for merge in merges]
    if any(one >= other for one, other in pairwise(order)):
        raise ValueError("the ids of this vocabulary do not follow the order of its merges")
    # Special tokens stay out: text that spells a special token is plain text.
    plain = [*sorted(at[word] for word in byte_of if word in at), *order]
    ranks = {bytes(map(byte_of.__getitem__, words[number])): number for number in plain}
    lacking = [bytes([each]) for each in range(256) if bytes([each]) not in ranks]
    ranks |= {each: len(words) + number for number, each in enumerate(lacking)}
    encoding = tiktoken.Encoding("judge", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    return Tokenizer(encoding, len(words))


def spelled_bytes() -> dict[str, int]:
    """GPT-2's spelling: a printable byte is its own character, any other the next of those from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [each for each in range(256) if each not in set(printable)]
    return {chr(each): each for each in printable} | {chr(0x100 + number): each for number, each in enumerate(others)}
