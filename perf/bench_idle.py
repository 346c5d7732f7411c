"""What does a daemon cost that nobody asks anything?  Run: python -m perf.bench_idle

Before the first count, so without the ranks; then with them; then following an empty folder.
"""

import sys
import tempfile
import time
from pathlib import Path

from ctxgc.fronts.cli.private_daemon import PrivateDaemon
from perf.bench_import import memory_mb
from perf.record import record

IDLE_S = 10.0
SETTLE_S = 2.0


def main(argv: list[str]) -> None:
    with PrivateDaemon(timeout_s=60) as daemon, tempfile.TemporaryDirectory() as folder:
        client = daemon.client
        pid = client.call("stats")["pid"]
        record("idle/fresh", idle(pid))
        client.call("session.open", {"session": "bench"})
        client.call("segment.add", {"segment": {"kind": "user", "text": "the ferry is late"}})
        record("idle/counted", idle(pid))
        client.call("watch.add", {"path": folder})
        record("idle/watching", idle(pid))


def idle(pid: int) -> dict[str, int | float | str]:
    """Processor per cent over some seconds of doing nothing, and memory at their end."""
    time.sleep(SETTLE_S)
    before_ns, slept = on_cpu_ns(pid), sleeps(pid)
    time.sleep(IDLE_S)
    used_ns = on_cpu_ns(pid) - before_ns
    return {
        "cpu_percent": used_ns / IDLE_S / 1e7,
        "wakeups_per_s": (sleeps(pid) - slept) / IDLE_S,
        "rss_mb": memory_mb(pid, "VmRSS"),
        "threads": len(list(Path(f"/proc/{pid}/task").iterdir())),
    }


def on_cpu_ns(pid: int) -> int:
    """Nanoseconds on a processor of all threads: clock ticks are too coarse for a process that sleeps."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def sleeps(pid: int) -> int:
    """How often its threads went to sleep: once for each time that something woke one."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    lines = [line for task in tasks for line in (task / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


if __name__ == "__main__":
    main(sys.argv[1:])
