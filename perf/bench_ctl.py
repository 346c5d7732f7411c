"""What does one `ctxgc` command cost, from start to exit, against a daemon that runs?  Run: python -m perf.bench_ctl"""

import os
import statistics
import sys
import time
from pathlib import Path

from ctxgc.fronts.cli.private_daemon import PrivateDaemon
from perf.record import record

CTXGC = Path(sys.executable).with_name("ctxgc")
"""The console script, as a person runs it."""
RUNS = 21
COMMANDS = (("status",), ("sessions",), ("search", "ferry"), ("status", "--json"))


def main(argv: list[str]) -> None:
    with PrivateDaemon(timeout_s=60) as daemon:
        daemon.client.call("session.open", {"session": "bench"})
        daemon.client.call("segment.add", {"segment": {"kind": "user", "text": "the ferry is late"}})
        env = dict(os.environ) | {"CTXGC_SOCKET": daemon.client.call("stats")["socket"]}
        # As an installed command runs: with its bytecode cached, whatever this shell says of that.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        bare = [sys.executable, "-c", ""]
        record("ctl/python", costs(bare, env))
        for words in COMMANDS:
            command = [str(CTXGC), *words]
            run(command, env)
            record(f"ctl/{' '.join(words)}", costs(command, env))


def costs(command: list[str], env: dict[str, str]) -> dict[str, int | float | str]:
    """Median wall and processor time of some runs of a command."""
    walls, cpus = [], []
    for _ in range(RUNS):
        wall_s, cpu_s = run(command, env)
        walls.append(wall_s * 1000)
        cpus.append(cpu_s * 1000)
    return {
        "wall_ms": statistics.median(walls),
        "cpu_ms": statistics.median(cpus),
        "wall_ms_min": min(walls),
        "cpu_ms_min": min(cpus),
    }


def run(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """(wall, processor) seconds of one run, which must succeed."""
    actions = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    started = time.perf_counter()
    pid = os.posix_spawn(command[0], command, env, file_actions=actions)
    _, status, used = os.wait4(pid, 0)
    wall_s = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return wall_s, used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(sys.argv[1:])
