"""The o200k ranks: their places, and the encoding built of them. Never the network.

    explicit path ──▶ $TIKTOKEN_CACHE_DIR ──▶ the file that ships with the package ──▶ none: counts are estimates

Every candidate is read, never written, and is used only if its sha256 is the known hash below. tiktoken's own loader is
not called: that loader downloads without a timeout and deletes a cached file of another hash.
"""

from __future__ import annotations

import gzip
import zlib
from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from tiktoken import Encoding

RANKS_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
RANKS_BYTES_MAX = 16 * 2**20
"""The real file has 3.6 MB; a longer file is not read to its end."""

CACHE_NAME = "fb374d419588a4632f3f557e76b4b70aebbca790"
"""The name tiktoken gives the file in its cache: the sha1 of the address it is published at."""

SHIPPED_NAME = "o200k_base.tiktoken.gz"

# As tiktoken defines o200k_base. Another pattern is another count: a test holds the two equal.
SPLIT_PATTERN = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)


@dataclass(frozen=True, slots=True)
class Ranks:
    """A loaded encoding, or none; and in words the encoding's place and the candidates passed over."""

    encoding: Encoding | None
    source: str
    notes: tuple[str, ...] = ()


def load_ranks(env: Mapping[str, str], path: Path | None = None) -> Ranks:
    """The first candidate with the right content. About 170 ms and 55 MB, so call late and once.

    Raises no error: without any candidate `encoding` is `None`, and `notes` gives the reason for each candidate.
    """
    notes: list[str] = []
    for candidate in _rank_file_candidates(env, path):
        try:
            content = _read_rank_file(candidate)
        except (OSError, EOFError, zlib.error) as error:
            notes.append(f"{candidate}: not readable ({error})")
            continue
        if sha256(content).hexdigest() != RANKS_SHA256:
            notes.append(f"{candidate}: not the o200k_base ranks (its sha256 differs)")
            continue
        return Ranks(_build_encoding(content), str(candidate), tuple(notes))
    return Ranks(None, "estimate", tuple(notes))


def _rank_file_candidates(env: Mapping[str, str], path: Path | None) -> Iterator[Traversable]:
    if path is not None:
        yield path
    if env.get("TIKTOKEN_CACHE_DIR"):
        yield Path(env["TIKTOKEN_CACHE_DIR"]) / CACHE_NAME
    yield resources.files("ctxgc.tokens") / SHIPPED_NAME


def _read_rank_file(candidate: Traversable) -> bytes:
    with candidate.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if is_gzip:
            with gzip.open(file) as unpacked:
                return unpacked.read(RANKS_BYTES_MAX)
        return file.read(RANKS_BYTES_MAX)


def _build_encoding(content: bytes) -> Encoding:
    words = content.split()
    ranks = dict(zip(map(a2b_base64, words[::2]), map(int, words[1::2]), strict=True))
    # No special tokens: `<|endoftext|>` in a transcript is text, and is counted as text.
    encoding = Encoding("o200k_base", pat_str=SPLIT_PATTERN, mergeable_ranks=ranks, special_tokens={})
    # The engine holds its own copy. Emptying ours frees 26 MB; only pickling an encoding would want it back.
    ranks.clear()
    return encoding
