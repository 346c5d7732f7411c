"""A daemon for the hooks of frameworks, and names that no test uses twice."""

import itertools
import os

import pytest

import ctxgc
from ctxgc.protocol.blocking_client import Unreachable
from tests.daemon.harness import DaemonProcess

DEADLINE_S = 20.0
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # Else LiteLLM fetches its prices as it is imported.


@pytest.fixture(scope="session", autouse=True)
def _starts_no_daemon():
    """A client of a page is closed by nobody, and would start a daemon anew once the test's own is gone."""

    def refuse(*arguments, **options):
        raise Unreachable("a test starts no daemon")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctxgc.client.daemon.ensure_daemon", refuse)
        yield


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
