"""Daemon tests run on uvloop, as the daemon does; the server's also on asyncio's loop, for where uvloop is missing.

The two differ in how they pause, close and end a connection.
"""

import asyncio

import pytest
import uvloop


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(config, item):
    """The loops an async test of this folder runs on, once each."""
    both = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return both if item.path.name == "test_server.py" else {"uvloop": uvloop.new_event_loop}
