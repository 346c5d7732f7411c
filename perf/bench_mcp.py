"""What does an agent wait for that starts `ctxgc mcp`, and what does the server hold?  Run: python -m perf.bench_mcp

ready     from the start of the process to the reply to `initialize`
recall    a segment of some 2,000 characters, by its id, against a daemon that runs
memory    of the server, after the recalls
"""

import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from ctxgc.fronts.cli.private_daemon import PrivateDaemon
from perf.bench_ctl import CTXGC
from perf.bench_import import memory_mb
from perf.record import record

STARTS, RECALLS = 11, 200
PROJECT = "/"
TEXT = "the ferry is late\n" * 110
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}


def main(argv: list[str]) -> None:
    with PrivateDaemon(timeout_s=60) as daemon:
        daemon.client.call("session.open", {"session": "bench", "project": PROJECT})
        added = daemon.client.call("segment.add", {"segment": {"kind": "user", "text": TEXT}})
        env = dict(os.environ) | {"CTXGC_SOCKET": daemon.client.call("stats")["socket"]}
        # As an installed command runs: with its bytecode cached, whatever this shell says of that.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        record("mcp", measure(env, added["ids"][0]))


def measure(env: dict[str, str], segment_id: str) -> dict[str, int | float | str]:
    """Of some servers the median time until ready; of the last one recalls and memory."""
    asked = {"name": "recall", "arguments": {"id": segment_id}}
    ready_ms, recall_ms, rss_mb = [], [], 0.0
    for at in range(STARTS + 1):  # The first start writes the bytecode.
        started = time.perf_counter()
        with subprocess.Popen(
            [CTXGC, "mcp"], cwd=PROJECT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as server:
            ask(server, "initialize", HELLO)
            ready_ms += [(time.perf_counter() - started) * 1e3] if at else []
            for _ in range(RECALLS if at == STARTS else 1):
                before = time.perf_counter()
                reply = ask(server, "tools/call", asked)
                recall_ms.append((time.perf_counter() - before) * 1e3)
                assert "the ferry is late" in json.dumps(reply), reply
            rss_mb = memory_mb(server.pid, "VmRSS")
            assert server.stdin
            server.stdin.close()
    kept = sorted(recall_ms[-RECALLS:])
    return {
        "ready_ms_p50": statistics.median(ready_ms),
        "ready_ms_max": max(ready_ms),
        "rss_mb": rss_mb,
        "recall_ms_p50": statistics.median(kept),
        "recall_ms_p99": kept[int(0.99 * len(kept))],
    }


def ask(server: subprocess.Popen[bytes], method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The result of one request."""
    assert server.stdin
    assert server.stdout
    server.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n")
    server.stdin.flush()
    result: dict[str, Any] = json.loads(server.stdout.readline())["result"]
    return result


if __name__ == "__main__":
    main(sys.argv[1:])
