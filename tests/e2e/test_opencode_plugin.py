"""The OpenCode plugin, in Node, with a host that keeps a session and a real daemon."""

import json
import shutil
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.daemon.harness import DaemonProcess

pytestmark = [pytest.mark.npm, pytest.mark.slow]

PLUGIN = Path(__file__).parent.parent.parent / "agents" / "opencode" / "ctxgc.ts"
HOST = Path(__file__).parent / "opencode_host.mjs"
SESSION = "opencode:ses_0000000000000000000001"
TURNS, FILE_CHARS = 70, 8000


@pytest.fixture(scope="module")
def node():
    found = shutil.which("node")
    if found is None:
        pytest.skip("NO node: the OpenCode plugin is not tried")
    return found


@pytest.fixture
def daemon():
    made = DaemonProcess()
    yield made
    made.close()


def hosted(node, daemon, turns=TURNS, **env):
    # Node takes it for what it is, plain JavaScript, under another name.
    plugin = shutil.copy(PLUGIN, daemon.folder / "ctxgc.mjs")
    command = [node, HOST, plugin, str(turns), str(FILE_CHARS)]
    done = subprocess.run(command, env=daemon.env | env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_outputs_leave_the_list_stay_out_and_are_recalled(node, daemon):
    daemon.start()

    said = hosted(node, daemon, CTXGC_OPENCODE_MODE="on")

    ids = [{id_ for id_, _ in turn} for turn in said["edited"]]
    assert all(before <= after for before, after in pairwise(ids)), "between collections only more"
    texts = {(id_, text) for turn in said["edited"] for id_, text in turn}
    assert len(texts) == len(ids[-1]) > 10, "a tombstone never changes"
    for id_ in ids[-1]:
        recalled = daemon.call("stash.recall", session=SESSION, id=id_)["recalled"][0]
        assert recalled["pieces"][-1]["text"] == said["files"][int(id_.removeprefix("call_")) % 3]


def test_in_shadow_nothing_is_edited_and_the_daemon_knows_the_session(node, daemon):
    daemon.start()

    said = hosted(node, daemon, turns=12)

    assert not any(said["edited"])
    for _ in range(100):  # What the plugin tells in passing may be under way when its host has ended.
        if any(session["session"] == SESSION for session in daemon.call("session.list")["sessions"]):
            break
        time.sleep(0.1)
    assert daemon.call("session.show", session=SESSION)["mode"] == "observe"


def test_without_a_daemon_every_list_passes_as_it_is_and_at_once(node, daemon):
    said = hosted(node, daemon, turns=12, CTXGC_OPENCODE_MODE="on")

    assert not any(said["edited"])
    assert max(said["waits"]) < 500
