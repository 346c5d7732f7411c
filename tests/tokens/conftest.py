"""One loaded encoding for all token tests: loading takes a sixth of a second."""

import pytest

from ctxgc.tokens.counter import TokenCounter
from ctxgc.tokens.ranks import Ranks, load_ranks


@pytest.fixture(scope="session")
def ranks() -> Ranks:
    """The shipped ranks."""
    return load_ranks({})


@pytest.fixture
def counter(ranks) -> TokenCounter:
    """A counter with an empty cache."""
    return TokenCounter(lambda: ranks)
