"""What the daemon must never do: reach for the network, or start a process."""

import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.daemon.harness import DaemonProcess
from tests.daemon.transcripts import worked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
FAMILIES = ("tcp", "tcp6", "udp", "udp6", "raw", "raw6")


@pytest.fixture(scope="module")
def busy():
    """A daemon that has done of everything a little."""
    made = DaemonProcess()
    try:
        made.start()
        log = made.folder / "a1.jsonl"
        log.write_bytes(worked(20).data)
        made.call("import", paths=[str(log)])
        made.call("watch.add", path=str(log))
        made.call("heap.collect", session="claude_code:a1", budget_tokens=0)
        made.call("stash.recall", query="ferry")
        made.call("doctor")
        yield made
    finally:
        made.close()


def open_in(process):
    """What a process holds open; what it closes meanwhile is left out."""
    for fd in (process / "fd").iterdir():
        with suppress(FileNotFoundError):
            yield os.readlink(fd)


def test_the_daemon_opens_no_network_socket(busy):
    process = Path(f"/proc/{busy.child.pid}")
    held = set(open_in(process))

    tables = [(process / "net" / family).read_text().splitlines()[1:] for family in FAMILIES]
    ours = [row for table in tables for row in table if f"socket:[{row.split()[9]}]" in held]

    assert any(target.startswith("socket:") for target in held), "its own Unix socket is seen"
    assert ours == []


def test_the_daemon_starts_no_process(busy):
    threads = Path(f"/proc/{busy.child.pid}/task").iterdir()

    assert "".join((thread / "children").read_text() for thread in threads) == ""
