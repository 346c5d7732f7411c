"""Daemon tests run on uvloop, as the daemon does; the server's also on asyncio's loop, for where uvloop is missing.

The two differ in how they pause, close and end a connection.
"""

import asyncio

import pytest
import uvloop

from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import DaemonProcess, bench_on


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(config, item):
    """The loops an async test of this folder runs on, once each."""
    both = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return both if item.path.name == "test_server.py" else {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def bench():
    """The verbs over a stash in memory."""
    async with bench_on(SqliteStash(MEMORY)) as made:
        yield made


@pytest.fixture
async def kept_bench(tmp_path):
    """The verbs over a stash on disk."""
    async with bench_on(SqliteStash(tmp_path / "state" / "stash.sqlite3", reserve_bytes=0)) as made:
        yield made


@pytest.fixture
def running_daemon():
    """A real daemon in a process and a home of its own."""
    made = DaemonProcess()
    try:
        yield made.start()
    finally:
        made.close()
