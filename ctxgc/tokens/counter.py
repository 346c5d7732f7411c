"""Counting tokens: exact, bounded in time for any input, and cached by content.

    text ──▶ cached? ──▶ cut where tokens cannot straddle ──▶ count each chunk ──▶ sum

The guard: about a million consecutive spaces make the engine panic with a `BaseException`, so the engine never sees
more than `CHUNK_CHARS` at once. A chunk ends at the first *safe cut* of its second half: a place that no token of o200k
crosses, in any surroundings. Only text without such a place is cut hard, at a cost of at most a token or two a cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import blake2b
from threading import Lock

from cachetools import LRUCache
from tiktoken import Encoding

from ctxgc.tokens.ranks import Ranks

CHUNK_CHARS = 64 * 2**10
CACHE_ENTRIES_MAX = 50_000
CACHED_BYTES_MIN = 256
"""Shorter text is counted about as fast as it is looked up."""

TOKEN_BYTES_MAX = 128
"""The longest token of o200k: `bytes / 128 <= tokens <= bytes` for every text."""

ESTIMATED_BYTES_PER_TOKEN = 3.3
"""The median of JSON tool output, the densest common kind: an estimate rather errs high."""

# After a newline that a non-space other than "/" follows, or before a single space between two ASCII letters: the
# split pattern lets no match cross either place. Python's \s holds all of the engine's whitespace and a few more.
SAFE_CUT = re.compile(r"(?<=\n)(?=[^\s/])|(?<=[A-Za-z])(?= [A-Za-z])")


class TokenCounter:
    """Counts raw o200k tokens. A process has one; `count` may be called from any thread.

    The ranks are loaded on the first count. Without ranks, `is_estimated` turns true and counts are derived from bytes:
    flagged, never silently wrong.
    """

    def __init__(self, load: Callable[[], Ranks], cache_entries_max: int = CACHE_ENTRIES_MAX) -> None:
        self._load = load
        self._ranks: Ranks | None = None
        self._cache: LRUCache[bytes, int] = LRUCache(cache_entries_max)
        self._lock = Lock()
        self.encoded_chars = 0
        """Characters that went through the engine: the work that cache and cuts save."""

    @property
    def ranks(self) -> Ranks:
        """The ranks behind the counts; loads the ranks at the first count."""
        with self._lock:
            if self._ranks is None:
                self._ranks = self._load()
            return self._ranks

    @property
    def is_loaded(self) -> bool:
        """Whether the ranks are in memory already, so that asking is free."""
        return self._ranks is not None

    @property
    def is_estimated(self) -> bool:
        """Whether counts are byte estimates, because no rank file was right."""
        return self.ranks.encoding is None

    def count(self, text: bytes | str) -> int:
        """Tokens of `text`; bytes are UTF-8, lone surrogates and broken sequences count as U+FFFD.

        Exact up to `CHUNK_CHARS` characters and beyond that wherever a safe cut exists. Linear in the text.
        """
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        if len(data) < CACHED_BYTES_MIN:
            return self._count_by_chunks(_decode_text(data))
        key = blake2b(data, digest_size=16, person=b"ctxgc-tok-v1").digest()
        with self._lock:
            known = self._cache.get(key)
        if known is not None:
            return known
        tokens = self._count_by_chunks(_decode_text(data))
        with self._lock:
            self._cache[key] = tokens
        return tokens

    def count_chunk(self, chunk: str) -> int:
        """Tokens of at most `CHUNK_CHARS` characters, past the cache. Raises `ValueError` on a longer chunk."""
        if len(chunk) > CHUNK_CHARS:
            raise ValueError("a chunk this long may stall or panic the engine")
        encoding = self.ranks.encoding
        self.encoded_chars += len(chunk)
        return _estimate_tokens(chunk) if encoding is None else _count_with_encoding(encoding, chunk)

    def _count_by_chunks(self, text: str) -> int:
        tokens = start = before_tokens = 0
        before = ""
        while len(text) - start > CHUNK_CHARS:
            end = chunk_end(text, start)
            chunk = text[start:end]
            if chunk != before:  # A run of one letter, the engine's slowest text, is the same chunk over and over.
                before, before_tokens = chunk, self.count_chunk(chunk)
            tokens += before_tokens
            start = end
        return tokens + self.count_chunk(text[start:])


def chunk_end(text: str, start: int) -> int:
    """Where the chunk that begins at `start` ends: its first safe cut past the half, else `CHUNK_CHARS` on."""
    limit = start + CHUNK_CHARS
    match = SAFE_CUT.search(text, start + CHUNK_CHARS // 2, limit)
    return match.start() if match else limit


def _decode_text(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


def _count_with_encoding(encoding: Encoding, chunk: str) -> int:
    try:
        return len(encoding.encode_ordinary(chunk))
    except BaseException as panic:
        # The engine's panic derives from BaseException and cannot be imported; all else is not ours to catch.
        if type(panic).__name__ != "PanicException":
            raise
        return _estimate_tokens(chunk)


def _estimate_tokens(chunk: str) -> int:
    size_bytes = len(chunk.encode("utf-8", "surrogatepass"))
    return max(-(-size_bytes // TOKEN_BYTES_MAX), round(size_bytes / ESTIMATED_BYTES_PER_TOKEN))
