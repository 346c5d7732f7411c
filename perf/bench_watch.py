"""How soon is what a live session writes in the stash, whatever is left of the backlog?

Run: python -m perf.bench_watch [--small]

A folder with idle files, a backlog of long ones, and live sessions that each write a result a second. The watch begins
with all of them. `--small` is a fiftieth of it.
"""

import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import quantiles

from ctxgc.fronts.cli.private_daemon import PrivateDaemon
from ctxgc.protocol.blocking_client import CallFailed, LineClient
from perf.bench_import import cpu_s, memory_mb, one_session
from perf.record import record
from perf.texts import code_like

LIVE, IDLE, BACKLOG_FILES = 50, 10_000, 100
BACKLOG_BYTES = 300 * 10**6
LIVE_BYTES = 100 * 10**3
"""Of each live session, when the watch begins."""
NEW_FILE_BYTES = 2_600_000
"""Of a session that a host writes in one go in the middle of the backlog."""
WRITES_S = 1.0
LOOK_S = 0.05
LOOKED_AT = 10
"""Live sessions whose results are looked for: a look costs the daemon time of its own."""
ROUNDS_MAX = 120
DAY_S = 86_400


class LiveSession:
    """A log that grows, and the calls in it that are not in the stash yet."""

    def __init__(self, folder: Path, name: str, size_bytes: int, lines: Iterator[bytes]) -> None:
        self.name = name
        self._path = folder / f"{name}.jsonl"
        self._lines = lines
        self._turn = 0
        self.grow(size_bytes)

    def grow(self, size_bytes: int = 1) -> str:
        """Write whole turns of at least so many bytes at once; the id of the last call."""
        said: list[bytes] = []
        while sum(map(len, said)) < size_bytes:
            said += islice(self._lines, 1 if self._turn == 0 and not said else 3)
            self._turn += 1
        with self._path.open("ab") as file:
            file.write(b"".join(said))
        return f"toolu_{self.name}_{self._turn - 1}"


def main(argv: list[str]) -> None:
    part = 50 if "--small" in argv else 1
    chance = random.Random(7)
    words = [f"{chance.choice('bcdfg')}{chance.choice('aeiou')}{number:x}" for number in range(4000)]
    source = code_like(4_000_000, seed=7).decode()
    with tempfile.TemporaryDirectory() as name, PrivateDaemon(timeout_s=900) as daemon:
        folder = Path(name)

        def session(name: str, size_bytes: int) -> LiveSession:
            return LiveSession(folder, name, size_bytes, one_session(name, chance, words, source))

        for number in range(IDLE // part):
            session(f"idle{number}", 2000)
        for number in range(max(BACKLOG_FILES // part, 1)):
            session(f"old{number}", BACKLOG_BYTES // BACKLOG_FILES)
        for path in folder.iterdir():
            os.utime(path, (time.time() - DAY_S,) * 2)
        live = [session(f"live{number}", LIVE_BYTES) for number in range(LIVE)]
        daemon.client.call("session.open", {"session": "bench"})
        daemon.client.call("segment.add", {"segment": {"kind": "user", "text": "the ferry is late"}})
        record("watch", followed(daemon.client, folder, live, lambda: session("new", NEW_FILE_BYTES)))


def followed(client: LineClient, folder: Path, live: list[LiveSession], add_new) -> dict[str, int | float | str]:
    """Follow the folder, write, and look when each call is there."""
    pid = client.call("stats")["pid"]
    started, before_s = time.monotonic(), cpu_s(pid)
    client.call("watch.add", {"path": str(folder)})
    waiting: dict[tuple[str, str], float] = {}
    stop = threading.Event()
    lock = threading.Lock()

    def write() -> None:
        rounds = 0
        while not stop.wait(0 if not rounds else WRITES_S):
            rounds += 1
            grown = [(one.name, one.grow(), time.monotonic()) for one in live][:LOOKED_AT]
            if rounds == 10:
                grown.append(("new", add_new().grow(), time.monotonic()))
            with lock:
                waiting.update({(session, call): at for session, call, at in grown})

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    took_s: list[float] = []
    first_s, new_s, backlog_s, rounds_end = 0.0, 0.0, 0.0, started + ROUNDS_MAX * WRITES_S
    while time.monotonic() < rounds_end:
        time.sleep(LOOK_S)
        [watch] = client.call("watch.list")["watched"]
        if not backlog_s and watch["files_looked_at"] >= watch["files_found"] > 0:
            backlog_s = time.monotonic() - started
            rounds_end = min(rounds_end, time.monotonic() + 5)
        with lock:
            asked = list(waiting.items())
        for (session, call), at in asked:
            if is_there(client, session, call):
                with lock:
                    del waiting[session, call]
                if session == "new":
                    new_s = time.monotonic() - at
                else:
                    took_s.append(time.monotonic() - at)
        if not first_s and len(took_s) >= LOOKED_AT:
            first_s = time.monotonic() - started
    stop.set()
    writer.join()
    cuts = quantiles(took_s, n=100)
    return {
        "results": len(took_s),
        "missing": len(waiting),
        "latency_median_s": cuts[49],
        "latency_p90_s": cuts[89],
        "latency_max_s": max(took_s),
        "every_live_one_once_s": first_s,
        "new_file_2_6_mb_s": new_s,
        "backlog_s": backlog_s or "not within the bound",
        "backlog_files_part": watch["files_looked_at"] / max(watch["files_found"], 1),
        "backlog_mb": watch["bytes_read"] / 1e6,
        "cpu_s": cpu_s(pid) - before_s,
        "rss_peak_mb": memory_mb(pid, "VmHWM"),
    }


def is_there(client: LineClient, session: str, call: str) -> bool:
    try:
        client.call("segment.get", {"session": f"claude_code:{session}", "id": call, "with_content": False})
    except CallFailed:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
