"""The shipped ranks, loaded once for all tests of a process: that takes longer than most tests."""

from functools import cache

from ctxgc.tokens.ranks import Ranks, load_ranks


@cache
def shipped_ranks() -> Ranks:
    return load_ranks({})
