"""How many segments a second does a daemon take in through its socket, durable when answered?

Run: python -m perf.bench_intake

Two questions of the stash's own benchmark, asked of the whole way: intake → redact → count → refer → stash → reply.
`segment.add_many`, 100 segments of 500 B a call, on one connection; and `segment.add`, one at a time, on 50 connections
at once. Beside the rates stands the processor time of the daemon, which a busy machine changes less.
"""

import random
import sys
import threading
import time

from ctxgc.fronts.cli.private_daemon import PrivateDaemon
from ctxgc.protocol.blocking_client import LineClient
from perf.bench_import import cpu_s
from perf.bench_stash import quantile
from perf.record import record
from perf.texts import WORDS

SEGMENTS = 6_000
BATCH = 100
TEXT_CHARS = 500
CLIENTS = 50
ADDS_PER_CLIENT = 20
NAMES = [*WORDS, *(f"name_{number}" for number in range(3000))]


def main(argv: list[str]) -> None:
    with PrivateDaemon(timeout_s=60) as daemon:
        client = daemon.client
        about = client.call("stats")
        pid = about["pid"]
        client.call("session.open", {"session": "warm"})
        client.call(
            "segment.add", {"session": "client:warm", "segment": {"kind": "user", "text": "the ranks are read"}}
        )
        record("intake/add_many", many(client, pid))
        record("intake/add", single(about["socket"], pid))


def segment(number: int) -> dict[str, object]:
    chance = random.Random(number)
    text = " ".join(chance.choices(NAMES, k=TEXT_CHARS // 4))[:TEXT_CHARS]
    return {"kind": "tool_call", "id": f"e{number}", "tool": "Bash", "text": text, "input": {"command": f"c {number}"}}


def many(client: LineClient, pid: int) -> dict[str, int | float | str]:
    client.call("session.open", {"session": "many"})
    batches = [[segment(n) for n in range(at, at + BATCH)] for at in range(0, SEGMENTS, BATCH)]
    cpu_before_s, started_s = cpu_s(pid), time.perf_counter()
    for batch in batches:
        client.call("segment.add_many", {"session": "client:many", "segments": batch})
    took_s, used_s = time.perf_counter() - started_s, cpu_s(pid) - cpu_before_s
    return {"segments_per_s": SEGMENTS / took_s, "segments_per_cpu_s": SEGMENTS / used_s}


def single(path: str, pid: int) -> dict[str, int | float | str]:
    """Each connection is a thread of its own; a session each, as agents have."""
    times_s: list[float] = []
    ready = threading.Barrier(CLIENTS)

    def one(number: int) -> None:
        with LineClient(path) as client:
            session = client.call("session.open", {"session": f"s{number}"})["session"]
            ready.wait()
            for at in range(ADDS_PER_CLIENT):
                sent = segment(number * ADDS_PER_CLIENT + at)
                before_s = time.perf_counter()
                client.call("segment.add", {"session": session, "segment": sent})
                times_s.append(time.perf_counter() - before_s)

    cpu_before_s, started_s = cpu_s(pid), time.perf_counter()
    threads = [threading.Thread(target=one, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s, used_s = time.perf_counter() - started_s, cpu_s(pid) - cpu_before_s
    return {
        "add_ms_p50": quantile(times_s, 0.5),
        "add_ms_p99": quantile(times_s, 0.99),
        "segments_per_s": len(times_s) / took_s,
        "segments_per_cpu_s": len(times_s) / used_s,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
