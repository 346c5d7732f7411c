"""One loaded encoding for all token tests."""

import pytest

from ctxgc.tokens.counter import TokenCounter
from ctxgc.tokens.ranks import Ranks
from tests.ranks import shipped_ranks


@pytest.fixture(scope="session")
def ranks() -> Ranks:
    """The shipped ranks."""
    return shipped_ranks()


@pytest.fixture
def counter(ranks) -> TokenCounter:
    """A counter with an empty cache."""
    return TokenCounter(lambda: ranks)
