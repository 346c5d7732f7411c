"""A daemon for the hooks of frameworks, and names that no test uses twice."""

import itertools
import os

import pytest

import ctxgc
from tests.daemon.harness import DaemonProcess

DEADLINE_S = 20.0
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # Else LiteLLM fetches its prices as it is imported.


@pytest.fixture(scope="module")
def daemon():
    daemon = DaemonProcess().start()
    yield daemon
    daemon.close()


@pytest.fixture
def client(daemon):
    with ctxgc.Client(daemon.socket, start_daemon=False, deadline_s=DEADLINE_S) as client:
        yield client


@pytest.fixture
def async_client(daemon):
    return ctxgc.AsyncClient(daemon.socket, start_daemon=False, deadline_s=DEADLINE_S)


@pytest.fixture
def away(tmp_path):
    """Where no daemon listens."""
    return {"socket": str(tmp_path / "none"), "start_daemon": False, "deadline_s": 2.0}


_numbers = itertools.count()


@pytest.fixture
def name():
    return f"hook-{next(_numbers)}"
