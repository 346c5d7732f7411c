"""Settings every test shares: no way off this machine, how hard properties search, where recorded sessions are."""

import gc
import os
import runpy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.effort import EXAMPLES

OFFLINE = Path(__file__).parent / "offline"
runpy.run_path(str(OFFLINE / "sitecustomize.py"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(OFFLINE), os.environ.get("PYTHONPATH"))))

SLOW_OK = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
for name, examples in EXAMPLES.items():
    settings.register_profile(name, max_examples=examples, deadline=None, suppress_health_check=SLOW_OK)
settings.load_profile(os.environ.get("CTXGC_HYPOTHESIS", "test"))


def pytest_collection_finish():
    """What was collected stays to the end: the garbage collector need not look through it again and again."""
    gc.freeze()


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of recorded sessions; the test is skipped where it is not set."""
    folder = os.environ.get("CTXGC_CORPUS", "")
    if not folder:
        pytest.skip("CTXGC_CORPUS is not set: no recorded sessions to test on")
    return Path(folder)
