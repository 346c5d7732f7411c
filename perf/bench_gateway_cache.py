"""What does the gateway do to the provider's cache, and does a window at its limit flap?

Run: python -m perf.bench_gateway_cache [--json]

One scripted agent, the strict upstream of the tests with and without gateway and daemon. A provider caches by exact
prefix: of what a request could read (all that the last one held) the gateway must not cost anything but in the request
that follows a collection. At the edge of a hard limit each collection frees a batch; more collections than batches, or
a prefix edited without one, would be flapping.
"""

import sys
from itertools import pairwise
from uuid import uuid4

from ctxgc.gateway.daemon_client import DaemonClient
from perf.record import record
from tests.daemon.harness import DaemonProcess
from tests.gateway.agent import ClaudeAgent
from tests.gateway.stage import Stage
from tests.gateway.upstream import ANSWERS, Bill, Upstream

TURNS = 100
RESULT_BYTES = 8000
PAUSE_TURNS = 16
"""After so many turns the provider has forgotten what it cached."""
EDGES = {"edge": (1000, 1500, 90_000), "beyond_edge": (300, 700, 12_000)}
"""Turns, bytes of a result, hard limit in billed tokens. In the second, calls and tombstones alone exceed the limit."""


def bill_of(upstream):
    """What has been billed so far: (read, written)."""
    bill = next(iter(upstream.bills.values()), Bill())
    return bill.read, bill.written


def asked(stage, body, headers):
    """One request's own bill."""
    before = bill_of(stage.upstream)
    got = stage.ask("/v1/messages", body, headers)
    after = bill_of(stage.upstream)
    return got, after[0] - before[0], after[1] - before[1]


def retained(bills):
    """Of what the request before held, the part that was read: over requests that follow no collection and no pause."""
    could = sum(before[0] + before[1] for before, after in pairwise(bills) if not after[2])
    did = sum(after[0] for after in bills[1:] if not after[2])
    return 100 * did / could


def measure_retention():
    """A session as agents have them."""
    daemon = DaemonProcess().start()
    agent, headers = ClaudeAgent(size=RESULT_BYTES), {"x-claude-code-session-id": str(uuid4())}
    gated, plain, last = [], [], b""
    try:
        with Stage(DaemonClient(daemon.socket)) as stage, Stage(mode="off") as without:
            for number in range(TURNS):
                is_cold = number % PAUSE_TURNS == PAUSE_TURNS - 1
                if is_cold:
                    stage.pause()
                    without.pause()
                body = agent.body()
                got, *bill = asked(stage, body, headers)
                is_edit = got.count(b"evicted by ctxgc") != last.count(b"evicted by ctxgc")
                gated.append((*bill, is_edit or is_cold))
                plain.append((*asked(without, body, headers)[1:], is_cold))
                last = got
                agent.take(ANSWERS[agent.wire](f"call_{number}", number, (0, 0, 0)), number)
            costs = [next(iter(s.upstream.bills.values())).cost for s in (stage, without)]
            refused = len(stage.upstream.refused)
            collections = stage.counters.collections
    finally:
        daemon.close()
    record(
        "gateway/retention",
        {
            "turns": TURNS,
            "collections": collections,
            "refused": refused,
            "gated_percent": retained(gated),
            "ungated_percent": retained(plain),
            "of_ungated_percent": 100 * retained(gated) / retained(plain),
            "lost_percent": 100 - 100 * retained(gated) / retained(plain),
            "cost_percent": 100 * costs[0] / costs[1],
        },
    )


def measure_edge(name, turns, result_bytes, limit_tokens):
    """Many turns with the window at its hard limit."""
    daemon = DaemonProcess(CTXGC_PACER__WINDOW_MAX_TOKENS=str(limit_tokens)).start()
    agent, headers = ClaudeAgent(size=result_bytes), {"x-claude-code-session-id": str(uuid4())}
    edits = misses = 0
    last, last_bill = b"", (0, 0)
    upstream = Upstream()
    try:
        with Stage(DaemonClient(daemon.socket), upstream=upstream) as stage:
            for number in range(turns):
                got, read, written = asked(stage, agent.body(), headers)
                edits += got.count(b"evicted by ctxgc") != last.count(b"evicted by ctxgc")
                misses += number > 0 and read < sum(last_bill)
                last, last_bill = got, (read, written)
                upstream.received.clear()
                agent.take(ANSWERS[agent.wire](f"call_{number}", number, (0, 0, 0)), number)
        key = f"claude_code:{headers['x-claude-code-session-id']}"
        journal = daemon.call("heap.log", session=key, limit=1000)["collections"]
    finally:
        daemon.close()
    freed = [entry["before_tokens"] - entry["after_tokens"] for entry in journal]
    record(
        f"gateway/{name}",
        {
            "turns": turns,
            "collections": len(journal),
            "edits_beyond_collections": max(edits - len(journal), 0),
            "misses_beyond_collections": max(misses - len(journal), 0),
            "freed_tokens_min": min(freed, default=0),
            "turns_per_collection": turns / max(len(journal), 1),
            "refused": len(upstream.refused),
        },
    )


def main(argv):
    measure_retention()
    for name, edge in EDGES.items():
        measure_edge(name, *edge)


if __name__ == "__main__":
    main(sys.argv[1:])
