"""Settings every test shares: how hard property tests search, and where recorded sessions are."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SLOW_OK = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("fast", max_examples=40, deadline=None, suppress_health_check=SLOW_OK)
settings.register_profile("deep", max_examples=1000, deadline=None, suppress_health_check=SLOW_OK)
settings.load_profile(os.environ.get("CTXGC_HYPOTHESIS", "fast"))


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of recorded sessions; the test is skipped where it is not set."""
    folder = os.environ.get("CTXGC_CORPUS", "")
    if not folder:
        pytest.skip("CTXGC_CORPUS is not set: no recorded sessions to test on")
    return Path(folder)
