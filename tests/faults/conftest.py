"""Fixtures of the fault tests: a real daemon, and verbs over a stash on disk that can be made to fail."""

import pytest

from tests.daemon.harness import DaemonProcess


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
