"""How fast is a verb over the socket, against Redis GET in the same run?  Run: python -m perf.bench_protocol [--json]

One C load generator (`load.c`, compiled at each run) drives three servers alternately: Redis, our socket server with
verbs that look into a dictionary, and a real daemon's `segment.get` from cache. Requests have about 200 bytes, answers
500; the server runs on one core, the generator on another. The ratios are the result: they hold on a busy machine,
where the absolute numbers do not. Goals: 0.9 sequential, 0.25 with 64 in flight, 0.35 with 50 clients.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import uvloop

from ctxgc.daemon.rpc import CallContext
from ctxgc.daemon.server.single_instance import Instance
from ctxgc.daemon.server.socket_server import Server
from ctxgc.protocol.blocking_client import LineClient
from ctxgc.protocol.messages import SegmentGet
from perf.record import record

MODES = {"sequential": (1, 1), "64_deep": (1, 64), "50_clients": (50, 1)}
"""Connections, and requests in flight on each."""
REDIS = "redis"
VALUE_BYTES = 500
ROUNDS = 5
SEGMENT = "00000000000000000000000000000000"
CWD = "/home/someone/projects/a-project-of-usual-depth/packages/server"
REDIS_GET = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"


def request(method: str, params: dict[str, Any]) -> bytes:
    """One request line with a counter for its id."""
    return json.dumps({"jsonrpc": "2.0", "id": "@@@@@@@@", "method": method, "params": params}).encode() + b"\n"


class Target(NamedTuple):
    """A server that is being measured."""

    name: str
    path: str
    pid: int
    request: bytes
    newlines_per_reply: int = 1


class Run(NamedTuple):
    """What one run of the generator saw."""

    requests_per_s: float
    p50_us: float
    p99_us: float
    server_cpu_us: float
    """CPU time of the server per request."""


class _GetParams(msgspec.Struct, forbid_unknown_fields=True):
    session: str
    id: str
    cwd: str = ""
    with_content: bool = True


class MemoryDispatch:
    """Verbs that look a segment up: params by msgspec, params by pydantic, and an answer encoded beforehand."""

    def __init__(self) -> None:
        self._segments = {SEGMENT: {"id": SEGMENT, "kind": "tool_call", "tokens": 120, "is_pinned": False, "pieces": [
            {"name": "result", "bytes": 300, "tokens": 100, "text": "x" * 300, "next_offset": -1}]}}  # fmt: skip
        self._encoded = {SEGMENT: msgspec.json.encode(self._segments[SEGMENT])}
        self._params = msgspec.json.Decoder(_GetParams)

    def call(self, method: str, params: msgspec.Raw, context: CallContext) -> Any:
        """Answer."""
        if method == "get.msgspec":
            return self._segments[self._params.decode(params).id]
        if method == "get.pydantic":
            return self._segments[SegmentGet.model_validate_json(bytes(params)).id]
        return self._encoded[self._params.decode(params).id]


async def serve(path: str) -> None:
    """Be the server until killed."""
    server = Server(MemoryDispatch())
    await server.start(Instance(os.path.dirname(path)).listen(path))
    print("ready", flush=True)
    await asyncio.Event().wait()


def compiled(folder: Path) -> Path:
    """The load generator."""
    binary = folder / "load"
    subprocess.run(["gcc", "-O2", "-o", binary, Path(__file__).with_name("load.c")], check=True)
    return binary


def cores() -> tuple[set[int], set[int]]:
    """A core for the server and another for the generator, where there are two."""
    usable = sorted(os.sched_getaffinity(0))
    return {usable[0]}, {usable[-1]}


@contextmanager
def started(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A server process, pinned, for as long as the block lasts."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
    os.sched_setaffinity(process.pid, cores()[0])
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def cpu_s(pid: int) -> float:
    """CPU time that a process has used."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def run(load: Path, target: Target, mode: str, seconds: float) -> Run:
    """Load a server once."""
    connections, depth = MODES[mode]
    words = [str(load), target.path, str(connections), str(depth), str(seconds), str(target.newlines_per_reply)]
    before_s, started_s = cpu_s(target.pid), time.perf_counter()
    done = subprocess.run(
        words,
        input=target.request,
        capture_output=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores()[1]),
    )
    wall_s, used_s = time.perf_counter() - started_s, cpu_s(target.pid) - before_s
    served, window_s, p50_us, p99_us = map(float, done.stdout.split())
    per_s = served / window_s
    return Run(per_s, p50_us, p99_us, used_s / (per_s * wall_s) * 1e6)


@contextmanager
def redis_target(folder: Path) -> Iterator[Target | None]:
    """Redis on a Unix socket with one value, or None where it is not installed."""
    binary = shutil.which("redis-server")
    if binary is None:
        yield None
        return
    path = str(folder / "redis.sock")
    with started([binary, "--port", "0", "--unixsocket", path, "--save", "", "--dir", str(folder)]) as process:
        gives_up_at = time.monotonic() + 5
        while not os.path.exists(path) and time.monotonic() < gives_up_at:
            time.sleep(0.02)
        subprocess.run(["redis-cli", "-s", path, "SET", "k", "x" * VALUE_BYTES], check=True, stdout=subprocess.DEVNULL)
        yield Target(REDIS, path, process.pid, REDIS_GET, newlines_per_reply=2)


@contextmanager
def memory_targets(folder: Path) -> Iterator[list[Target]]:
    """Our server with verbs that look into a dictionary."""
    path = str(folder / "memory" / "ctxgc.sock")
    params = {"session": "client:bench", "id": SEGMENT, "cwd": CWD, "with_content": True}
    with started([sys.executable, "-m", "perf.bench_protocol", "--serve", path]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        names = {"encoded": "encoded", "get.msgspec": "msgspec", "get.pydantic": "pydantic"}
        yield [Target(name, path, process.pid, request(method, params)) for method, name in names.items()]


@contextmanager
def daemon_targets(folder: Path) -> Iterator[list[Target]]:
    """A real daemon with one segment, and `segment.get` of it."""
    path = str(folder / "run" / "ctxgc.sock")
    (folder / "run").mkdir(mode=0o700)
    home = {name: str(folder) for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME")}
    command = [sys.executable, "-m", "ctxgc.daemon.main", "--socket", path]
    with started(command, env=os.environ | home) as process:
        gives_up_at = time.monotonic() + 20
        while not os.path.exists(path) and time.monotonic() < gives_up_at:
            time.sleep(0.05)
        with LineClient(path) as client:
            client.call("session.open", {"session": "bench"})
            text = " ".join(f"word{n}" for n in range(40))
            added = client.call("segment.add", {"session": "bench", "segment": {"kind": "user", "text": text}})
            params = {"session": "client:bench", "id": added["ids"][0]}
            client.call("segment.get", params)
        yield [Target("segment.get", path, process.pid, request("segment.get", params))]


def measure(seconds: float, rounds: int) -> None:
    """Every mode of every server, in turn, and what they come to."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load = compiled(folder)
        with redis_target(folder) as redis, memory_targets(folder) as memory, daemon_targets(folder) as daemon:
            if redis is None:
                record("socket/redis", {"skipped": "redis not installed: no ratios"})
            for mode in MODES:
                runs: dict[str, list[Run]] = {}
                for _ in range(rounds):
                    for target in [*([redis] if redis else []), *memory, *daemon]:
                        runs.setdefault(target.name, []).append(run(load, target, mode, seconds))
                for server, taken in runs.items():
                    record(f"socket/{mode}/{server}", summary(taken, runs.get(REDIS, [])))


def summary(runs: list[Run], redis_runs: list[Run]) -> dict[str, int | float | str]:
    """The best round: what else the machine does only takes away. Ratios above 1 are faster than Redis."""
    best = max(runs, key=lambda run: run.requests_per_s)
    numbers: dict[str, int | float | str] = dict(best._asdict())
    if redis_runs:
        redis = max(redis_runs, key=lambda run: run.requests_per_s)
        numbers["ratio_to_redis"] = best.requests_per_s / redis.requests_per_s
        numbers["cpu_ratio_to_redis"] = redis.server_cpu_us / best.server_cpu_us
    return numbers


def main(argv: list[str]) -> None:
    """Measure; or be the server that is measured."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object for each server and mode")
    parser.add_argument("--record", action="store_true", help="append to history.jsonl")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each run")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--serve", metavar="PATH", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(arguments.serve))
    elif shutil.which("gcc") is None:
        record("socket", {"skipped": "gcc not installed: no load generator"})
    else:
        measure(arguments.seconds, arguments.rounds)


if __name__ == "__main__":
    main(sys.argv[1:])
