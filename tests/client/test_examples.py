"""The examples run, and say what their page says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon.harness import DaemonProcess

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_collecting_agent_does_what_its_page_says():
    daemon = DaemonProcess()
    command = [sys.executable, str(ROOT / "examples" / "collecting_agent.py")]
    try:
        done = subprocess.run(command, env=daemon.env, cwd=ROOT, capture_output=True, text=True, timeout=120)
        daemon.call("shutdown")
    finally:
        daemon.close()
    page = (ROOT / "docs" / "howto" / "collecting-agent.md").read_text()
    shown = re.search(r"^```sh\n[^`]*```\n\n```\n(.*?)^```", page, re.M | re.S)[1].splitlines()

    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert printed[-2:] == shown[-2:]
    assert re.sub(r"[\d,]+", "N", printed[0]) == re.sub(r"[\d,]+", "N", shown[0])
