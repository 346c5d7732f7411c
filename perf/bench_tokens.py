"""What does counting cost: loading the ranks, a first count and a repeated one?

Run: python -m perf.bench_tokens [--json] [--record]
"""

import os
import sys
from time import perf_counter

from ctxgc.tokens.counter import TokenCounter
from ctxgc.tokens.ranks import Ranks, load_ranks
from perf.record import best_s, record
from perf.texts import code_like, json_like

TEXT_BYTES = 2_000_000
SEGMENT_BYTES = 8192


def main(argv: list[str]) -> None:
    ranks = loaded()
    counted("code", code_like(TEXT_BYTES, seed=1), ranks)
    counted("json", json_like(TEXT_BYTES, seed=2), ranks)
    record("tokens/spaces", {"count_ms": best_s(lambda: TokenCounter(lambda: ranks).count(b" " * 2**20), 3) * 1000})


def loaded() -> Ranks:
    """The ranks: how long to load, how much memory once loaded."""
    before_mb, started = rss_mb(), perf_counter()
    ranks = load_ranks({})
    record("tokens/load", {"load_ms": (perf_counter() - started) * 1000, "rss_mb": rss_mb() - before_mb})
    return ranks


def counted(name: str, text: bytes, ranks: Ranks) -> None:
    """Segments of 8 KB, first unseen, then known."""
    segments = [text[at : at + SEGMENT_BYTES] for at in range(0, len(text), SEGMENT_BYTES)]
    first_s = best_s(lambda: list(map(TokenCounter(lambda: ranks).count, segments)), repeats=3)
    counter = TokenCounter(lambda: ranks)
    tokens = sum(map(counter.count, segments))
    encoded = counter.encoded_chars
    again_s = best_s(lambda: list(map(counter.count, segments)))
    numbers = {
        "count_mb_per_s": len(text) / first_s / 1e6,
        "cached_mb_per_s": len(text) / again_s / 1e6,
        "bytes_per_token": len(text) / tokens,
        "recounted_chars": counter.encoded_chars - encoded,
    }
    record(f"tokens/{name}", numbers)


def rss_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main(sys.argv[1:])
