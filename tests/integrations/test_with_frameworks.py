"""Every framework's tests, by a Python that has the frameworks: `.ci/run` installs these apart from ctxgc's own."""

import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TIMEOUT_S = 600


@pytest.mark.slow
def test_every_hook_works_in_its_framework():
    python = os.environ.get("CTXGC_FRAMEWORKS", "")
    if not python:
        pytest.skip("NO frameworks: CTXGC_FRAMEWORKS names no Python that has them; `.ci/run` makes one")
    files = sorted(str(path) for path in HERE.glob("test_*.py") if path != Path(__file__))
    command = [python, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", "-rs", *files]

    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=TIMEOUT_S)

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "skipped" not in done.stdout, done.stdout[-2000:]
