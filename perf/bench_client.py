"""What does the client cost a program, and what does it save?  Run: python -m perf.bench_client

    client/collect   a list of 200 messages and one megabyte that grows by a turn, nothing to do: milliseconds above the
                     JSON round trip of the same list, by the pacer and by a budget; and what `import ctxgc` takes
    client/key_80    an agent of 80 turns with Claude's prices and breakpoints: in percent of the same agent without
                     ctxgc, billed and checked by the tests' own upstream

The goals are 5 ms, 15 ms, and 70 % with no request refused. Counted: rounds whose list was not the caller's own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from statistics import median
from typing import Any

from ctxgc.client.client import Client, ClientSession
from perf.agent_traffic import SHORT, ClaudeCode, requests_of, round_three
from perf.bench_bills import cost_of
from perf.record import record
from perf.texts import code_like
from tests.daemon.harness import DaemonProcess
from tests.gateway.upstream import Upstream

MESSAGES = 200
RESULT_BYTES = 10_000
ROUNDS = 25
PLENTY = 10**7
MODEL = "claude-sonnet-4-5"


def main(argv: list[str]) -> None:
    daemon = DaemonProcess().start()
    try:
        with Client(daemon.socket, start_daemon=False, deadline_s=30.0) as client:
            record("client/collect", _measure_idle_collect(client) | {"import_ms": _import_ms()})
            record("client/key_80", _measure_bills(client))
    finally:
        daemon.close()


def _measure_idle_collect(client: Client) -> dict[str, float]:
    """Medians of a list that grows by two messages a round; all of it is live, so that nothing leaves."""
    numbers: dict[str, float] = {}
    changed = 0
    for way, budget in (("pacer", None), ("budget", PLENTY)):
        session = client.session(f"idle-{way}", model="gpt-4.1")
        messages = _long_list(MESSAGES)
        session.collect(messages, budget=budget)
        client.flush()
        trip_ms, collect_ms = [], []
        for _ in range(ROUNDS):
            messages = [*messages, *_turn(len(messages), 400)]
            trip_ms.append(_took_ms(lambda messages=messages: json.loads(json.dumps(messages))))
            started = time.perf_counter()
            collected = session.collect(messages, budget=budget)
            collect_ms.append((time.perf_counter() - started) * 1e3)
            changed += collected.messages is not messages
            client.flush()
        numbers |= {f"{way}_ms": median(collect_ms), f"{way}_over_json_ms": median(collect_ms) - median(trip_ms)}
        numbers["json_ms"] = median(trip_ms)
    return numbers | {"bytes": len(json.dumps(messages)), "changed_lists": changed}


def _long_list(count: int) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Say what you see."}]
    while len(messages) < count:
        messages += _turn(len(messages), RESULT_BYTES)
    return messages


def _turn(seed: int, size_bytes: int) -> list[dict[str, Any]]:
    """Words of a person, which never leave, and a reply."""
    return [
        {"role": "assistant", "content": f"I see part {seed}."},
        {"role": "user", "content": code_like(size_bytes, seed).decode()},
    ]


def _took_ms(work: Any) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def _import_ms() -> float:
    """Milliseconds that `import ctxgc` adds to a bare interpreter."""
    code = "import time; t = time.perf_counter(); import ctxgc; print((time.perf_counter() - t) * 1e3)"
    return median(float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(7))


def _measure_bills(client: Client) -> dict[str, float]:
    """The same requests straight, and through the client: each list collected, each bill handed back."""
    straight, through = Upstream(keeps=False), Upstream(keeps=False)
    session = client.session("key-80", model=MODEL)
    edited = refused = 0
    for request in requests_of(ClaudeCode(SHORT), round_three(80)):
        asked = json.loads(request.body)
        _send(straight, request.wire, asked)
        collected = _collect(session, asked)
        edited += collected is not asked["messages"]
        try:
            bill = _send(through, request.wire, asked | {"messages": collected})
        except AssertionError as refusal:
            print(f"refused: {refusal}", file=sys.stderr)
            refused += 1
            continue
        names = ("cache_read_input_tokens", "cache_creation_input_tokens", "input_tokens")
        session.usage(dict(zip(names, bill, strict=True)) | {"output_tokens": 100})
        client.flush()
    ours, theirs = (sum(map(cost_of, upstream.billed)) for upstream in (through, straight))
    return {
        "requests": len(through.billed),
        "of_straight_percent": 100 * ours / theirs,
        "edited_requests": edited,
        "refused_requests": refused,
    }


def _collect(session: ClientSession, asked: dict[str, Any]) -> Any:
    return session.collect(asked["messages"], system=asked.get("system"), tools=asked.get("tools")).messages


def _send(upstream: Upstream, wire: str, asked: dict[str, Any]) -> Any:
    upstream._check(wire, asked, "agent", json.dumps(asked).encode())
    return upstream._bill(wire, asked, "agent")


if __name__ == "__main__":
    main(sys.argv[1:])
