"""The content cache: a byte-bounded LRU of segment contents, in front of the stash."""

from __future__ import annotations

from collections.abc import Sequence

from cachetools import LRUCache

from ctxgc.core.segment import Piece, SessionKey
from ctxgc.stash.contract import Stash

READ_SLICE = 512
"""Contents read, and put into the cache, at a time."""

Content = tuple[bytes, tuple[Piece, ...]]
"""Skeleton and body."""


def _content_size_bytes(content: Content) -> int:
    skeleton, body = content
    return 200 + len(skeleton) + sum(len(piece.data) + 100 for piece in body)


class ContentCache:
    """Contents by (session, seq). A cache of rows: a dropped row costs a read."""

    def __init__(self, stash: Stash, bytes_max: int) -> None:
        self._stash = stash
        self._cache: LRUCache[tuple[SessionKey, int], Content] = LRUCache(bytes_max, getsizeof=_content_size_bytes)

    @property
    def size_bytes(self) -> int:
        """The bytes in the cache, about."""
        return int(self._cache.currsize)

    @property
    def segment_count(self) -> int:
        """The number of segments with content in the cache."""
        return len(self._cache)

    async def get(self, key: SessionKey, seqs: Sequence[int]) -> dict[int, Content]:
        """Contents by seq; a forgotten or unknown segment is absent."""
        contents = {seq: content for seq in seqs if (content := self._cache.get((key, seq)))}
        missing = [seq for seq in seqs if seq not in contents]
        # In slices: the loop serves others between them.
        for start in range(0, len(missing), READ_SLICE):
            for seq, content in (await self._stash.contents(key, missing[start : start + READ_SLICE])).items():
                contents[seq] = content
                if _content_size_bytes(content) <= self._cache.maxsize:
                    self._cache[key, seq] = content
        return contents

    def drop(self, key: SessionKey, seqs: Sequence[int]) -> None:
        """Drop the contents of these segments, which changed or must not be seen again."""
        for seq in seqs:
            self._cache.pop((key, seq), None)
