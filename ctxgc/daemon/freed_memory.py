"""Freed memory without text: what was forgotten stays in no block that an allocator keeps for later.

    free() ──glibc overwrites each chunk──▶ chunks          set once, at the start
    forget ──erased on disk──▶ drop caches ──▶ fill the free blocks of Python's own allocator ──▶ give pages back

Freeing only lists a block as free. The text of the block stays until somebody else is given the block: for hours, in a
daemon that mostly waits. Filled blocks were free, and are freed again.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any

import msgspec

M_PERTURB = -6
FILLER = 0x5A
"""The byte that glibc writes over a chunk that is freed."""
BLOCK_BYTES_MAX = 512
"""Python's allocator serves requests up to this size, from blocks of multiples of `BLOCK_STEP_BYTES`."""
BLOCK_STEP_BYTES = 16
BLOCKS_A_LOOK = 4096
ARENAS_A_SIZE = 2
"""New arenas that a size may cost: then no free block of the size is left, and growth of another's was allowed for."""
ARENA_BYTES = 2**20
CHUNK_BYTES_MAX = 1040
CHUNKS_A_SIZE = 8
"""glibc keeps seven freed chunks of each small size for their thread, and overwrites none of these."""
BUFFER_BYTES_MAX = 64 * 2**10
KEYS_FORGOTTEN = 20_000
"""Made-up names, read so that a decoder's cache of names holds no other."""


def enable_overwrite_on_free() -> None:
    """Have the C library overwrite freed chunks; a library without the setting stays as before."""
    library = _c_library()
    if library is not None and hasattr(library, "mallopt"):
        library.mallopt(M_PERTURB, FILLER)


def clear_function_caches(functions: Iterable[Any]) -> None:
    """Empty the functions' `lru_cache`: words of a query, the last parsed commands."""
    for function in functions:
        function.cache_clear()


def find_cached_functions() -> list[Any]:
    """Our functions whose results `lru_cache` keeps; of those imported so far."""
    wrapper = type(lru_cache(_c_library))
    gc.unfreeze()  # The collector lists no frozen object.
    found = (one for one in gc.get_objects() if isinstance(one, wrapper))
    ours = [one for one in found if one.__module__.partition(".")[0] == __name__.partition(".")[0]]
    gc.freeze()
    return ours


def fill_free_blocks() -> None:
    """Overwrite the free blocks of Python's allocator and of this thread, and give free pages back to the system.

    Costs about a tenth of a second for 100 MB of free blocks.
    """
    gc.unfreeze()  # A frozen cycle may hold what was forgotten.
    gc.collect()
    gc.freeze()
    msgspec.json.decode(b"{" + b",".join(b'"k%d":0' % n for n in range(KEYS_FORGOTTEN)) + b"}")
    # Blocks of 16 bytes cover a pool of the allocator to its last byte; of longer ones the end of a pool is left over.
    _exhaust_free_blocks(object)
    overhead = sys.getsizeof(b"")
    blocks = [
        _exhaust_free_blocks(partial(bytes, size - overhead))
        for size in range(BLOCK_BYTES_MAX, overhead, -BLOCK_STEP_BYTES)
    ]
    del blocks
    fill_free_chunks()


def _exhaust_free_blocks(make: Callable[[], object]) -> list[object]:
    """New blocks of a size, until none of that size was free any more."""
    blocks: list[object] = []
    before = _virtual_memory_bytes()
    while before > 0 and _virtual_memory_bytes() - sys.getsizeof(blocks) < before + ARENAS_A_SIZE * ARENA_BYTES:
        blocks += [make() for _ in range(BLOCKS_A_LOOK)]
    return blocks


def fill_free_chunks() -> None:
    """Overwrite glibc's small chunks of this thread, and give free pages back."""
    library = _c_library()
    if library is None or not hasattr(library, "malloc_trim"):
        return
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    for size in (*range(24, CHUNK_BYTES_MAX, 16), *range(CHUNK_BYTES_MAX, BUFFER_BYTES_MAX, 512)):
        chunks = [library.malloc(size) for _ in range(CHUNKS_A_SIZE)]
        for chunk in chunks:
            ctypes.memset(chunk, 0, size)
            library.free(chunk)
    library.malloc_trim(0)


def _c_library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None) if sys.platform == "linux" else None
    except OSError:
        return None


def _virtual_memory_bytes() -> int:
    """The process's size; 0 where nobody says it, and then no block is filled."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
