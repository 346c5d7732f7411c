"""`ctxgc run` as a person uses it: nothing runs before, everything serves after, and the agent notices nothing."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from tests.e2e.test_cli import Home

pytestmark = pytest.mark.slow

AGENT = f"""#!{sys.executable}
import json, os, sys, urllib.request
gateway = os.environ["ANTHROPIC_BASE_URL"].removesuffix("/anthropic")
with urllib.request.urlopen(gateway + "/ctxgc/status") as reply:
    print(json.dumps({{"status": json.load(reply), "words": sys.argv[1:], "input": sys.stdin.read()}}))
sys.exit(7)
"""


@pytest.fixture
def home():
    made = Home()
    (made.folder / "claude").write_text(AGENT)
    (made.folder / "claude").chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made.env |= {"PATH": f"{made.folder}:{os.environ['PATH']}", "CTXGC_GATEWAY__PORT": str(port)}
    yield made
    made.close()


def ran(home, *argv):
    command = [sys.executable, "-m", "ctxgc.fronts.cli.main", "run", *argv]
    return subprocess.run(command, input="typed", env=home.env, capture_output=True, text=True, timeout=60)


def test_the_first_run_starts_what_is_needed_and_the_next_one_uses_it(home):
    first = ran(home, "--mode", "on", "claude", "-p", "hi", "--json")
    pid = int(re.search(r"pid (\d+)", first.stderr).group(1))
    try:
        second = ran(home, "claude", "again")
        other = ran(home, "--mode", "off", "claude")
    finally:
        os.kill(pid, signal.SIGTERM)

    said = json.loads(first.stdout)
    assert (said["words"], said["input"], said["status"]["mode"]) == (["-p", "hi", "--json"], "typed", "on")
    assert first.returncode == second.returncode == 7, "the agent's own exit code"
    assert json.loads(second.stdout)["words"] == ["again"]
    assert second.stderr == ""
    assert (other.returncode, other.stdout) == (1, "")
    assert home.ask("status")["pid"] != pid
