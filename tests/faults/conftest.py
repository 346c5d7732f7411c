"""Fixtures of the fault tests: a real daemon, and verbs over a stash on disk that can be made to fail."""

import pytest

from ctxgc.stash.sqlite import SqliteStash
from tests.daemon.harness import DaemonProcess, bench_on


@pytest.fixture
def home():
    """A home for a daemon that is not started yet."""
    made = DaemonProcess()
    yield made
    made.close()


@pytest.fixture
def running_daemon(home):
    """A daemon that runs."""
    return home.start()


@pytest.fixture
async def kept_bench(tmp_path):
    """The verbs over a stash on disk."""
    async with bench_on(SqliteStash(tmp_path / "state" / "stash.sqlite3", reserve_bytes=0)) as made:
        yield made
