"""What does the gateway cost an agent?  Run: python -m perf.gateway [--json]

    client ──▶ upstream                 the same requests, in turn, in one run; every part a process of its own
    client ──▶ gateway ──▶ upstream
                  └──▶ daemon

Goals: 1 MB bodies with nothing to collect (`1mb`) are delayed by less than 2 ms (p50) and 10 ms (p99), the first
streamed byte by less than 1 ms; to find what a new result shows already takes at most 3 ms more (`1mb_entry` beside
`1mb_entry_whole`); 1 MB in zstd, as Codex with a login sends it (`1mb_zstd`), by at most 5 ms (p50); 64
streams at once; memory flat over 1 000 such requests. What it does to the provider's cache, and that a window at its
limit does not flap: `perf.bench_gateway_cache`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple
from urllib.request import urlopen
from uuid import uuid4

import zstandard

from perf.record import record
from perf.texts import code_like

BODY_BYTES = 2**20
RESULT_BYTES = 8000
REQUESTS = 200
PAUSE_S = 0.04
"""Between requests: an agent runs a tool before it asks again."""
EDITED_WINDOW_TOKENS = "200000"
"""A limit that 1 MB is above. The upstream here reports no usage, so that without a limit nothing is collected."""
STREAMS = 64
EVENTS = 100
EVENT_S = 0.01
MANY_REQUESTS = 1000
SESSIONS = 8
START_S = 20.0
EVENT = b"event: ping\ndata: %.9f\n\n"


class Times(NamedTuple):
    """One request, in milliseconds."""

    began_ms: float
    """From the request's first byte out to the reply's first event in."""
    whole_ms: float
    """To its last, without the pause that the upstream makes between events."""
    first_ms: float
    """From when the upstream wrote its first event until the client had it."""


# The upstream: reads a request, streams events that say when they were written


async def _upstream() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, limit=2**22)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
        except (asyncio.IncompleteReadError, ConnectionResetError):
            writer.close()
            return
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        while length:
            length -= len(await reader.read(min(length, 2**18)))
        events = EVENTS if b"x-many" in head else 2
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(events):
            event = EVENT % time.monotonic()
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
            if number + 1 < events:
                await asyncio.sleep(EVENT_S)
        writer.write(b"0\r\n\r\n")


# The processes


@contextmanager
def started(command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the block lasts."""
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode()


class Ports(NamedTuple):
    """Where to ask, and which process to weigh."""

    direct: int
    gated: int
    gateway_pid: int


@contextmanager
def everything(**settings: str) -> Iterator[Ports]:
    """Upstream, daemon and gateway, in mode `on`."""
    with tempfile.TemporaryDirectory(prefix="ctxgc-gw-") as folder:
        python = [sys.executable, "-m"]
        env = {name: value for name, value in os.environ.items() if not name.startswith("CTXGC_")}
        path = Path(folder) / "s" / "s"
        env |= dict.fromkeys(("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"), folder)
        env |= {"CTXGC_SOCKET": str(path), "CTXGC_STASH__RESERVE_BYTES": "0", **settings}
        with (
            started([*python, "perf.bench_gateway", "--upstream"], env) as upstream,
            started([*python, "ctxgc.daemon.main"], env),
        ):
            direct = int(_line(upstream))
            gives_up_at = time.monotonic() + START_S
            while not path.exists() and time.monotonic() < gives_up_at:
                time.sleep(0.02)
            env["CTXGC_GATEWAY__UPSTREAM_ANTHROPIC"] = f"http://127.0.0.1:{direct}"
            words = ["gateway", "--port", "0", "--mode", "on", "--no-spawn"]
            with started([*python, "ctxgc.fronts.cli.main", *words], env) as gateway:
                gated = int(_line(gateway).partition(",")[0].rpartition(":")[2])
                yield Ports(direct, gated, gateway.pid)


# The client


def conversation(size_bytes: int, seed: int) -> list[dict[str, object]]:
    """A list of messages of about this size: calls and their results."""
    found: list[dict[str, object]] = [{"role": "user", "content": [{"type": "text", "text": f"Begin {seed}."}]}]
    for number in range(size_bytes // (RESULT_BYTES + 300)):
        call = {
            "type": "tool_use",
            "id": f"toolu_{seed}_{number}",
            "name": "Read",
            "input": {"file_path": f"/f{number}"},
        }
        text = code_like(RESULT_BYTES, seed * 1000 + number).decode()
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": text}
        found += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    return found


def request(messages: object, session: str, *, many: bool = False, is_zstd: bool = False) -> bytes:
    """A whole request."""
    asked = {"model": "m", "max_tokens": 9, "stream": True, "tools": [{"name": "Read"}], "messages": messages}
    body = json.dumps(asked).encode()
    if is_zstd:
        body = zstandard.ZstdCompressor().compress(body)
    lines = ["POST /v1/messages HTTP/1.1", "host: localhost", "x-api-key: k", f"content-length: {len(body)}"]
    lines += [f"x-claude-code-session-id: {session}", *(["x-many: 1"] if many else [])]
    lines += ["content-encoding: zstd"] if is_zstd else []
    return "\r\n".join([*lines, "", ""]).encode() + body


class Client:
    """One connection that is kept."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, data: bytes) -> Times:
        """Send, and read the reply to its end."""
        started_s = time.perf_counter()
        self._socket.sendall(data)
        got, began_ms, first_ms = b"", 0.0, 0.0
        while not got.endswith(b"0\r\n\r\n"):
            part = self._socket.recv(65536)
            assert part, "the connection ended before the reply"
            got += part
            if not first_ms and b"data: " in got:
                began_ms = (time.perf_counter() - started_s) * 1e3
                first_ms = (time.monotonic() - float(got.partition(b"data: ")[2].split(b"\n")[0])) * 1e3
        assert got.startswith(b"HTTP/1.1 200"), got[:200]
        # The upstream waits between its events on purpose.
        return Times(began_ms, (time.perf_counter() - started_s - EVENT_S) * 1e3, first_ms)


def percentile(values: Sequence[float], part: int) -> float:
    """The value that this many of a hundred are below."""
    return quantiles(values, n=100, method="inclusive")[part - 1]


def new_turn(number: int, *, has_result: bool) -> list[dict[str, object]]:
    """What a turn adds to the list: words, or a call whose result the list shows already but for its first lines."""
    if not has_result:
        said: dict[str, object] = {"role": "assistant", "content": [{"type": "text", "text": f"Step {number}."}]}
        return [said, {"role": "user", "content": [{"type": "text", "text": f"Go on {number}."}]}]
    call = {"type": "tool_use", "id": f"toolu_new_{number}", "name": "Read", "input": {"file_path": f"/f{number % 50}"}}
    text = f"changed {number}\n" + code_like(RESULT_BYTES, 1000 + number % 50).decode()
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": text}
    return [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]


def measure_latency(
    name: str, ports: Ports, requests: int, *, is_zstd: bool = False, has_results: bool = False
) -> None:
    """The same requests to both, in turn, each a turn longer than the last."""
    load_before = os.getloadavg()[0]
    direct, gated = Client(ports.direct), Client(ports.gated)
    messages, session = conversation(BODY_BYTES, 1), str(uuid4())
    seen: dict[str, list[Times]] = {"direct": [], "gated": []}
    for number in range(requests):
        messages += new_turn(number, has_result=has_results)
        data = request(messages, session, is_zstd=is_zstd)
        pairs = [("direct", direct), ("gated", gated)]
        for way, client in pairs if number % 2 else reversed(pairs):
            time.sleep(PAUSE_S)
            seen[way].append(client.ask(data))
    numbers: dict[str, float | int] = {"requests": requests, "body_bytes": len(data)}
    if is_zstd:
        numbers["decoded_bytes"] = len(request(messages, session))  # With the head, as `body_bytes` has it.
    numbers |= {"load_before": load_before, "edited_requests": edited_requests(ports.gated)}
    for part in (50, 99):
        began = {way: percentile([t.began_ms for t in times[5:]], part) for way, times in seen.items()}
        whole = {way: percentile([t.whole_ms for t in times[5:]], part) for way, times in seen.items()}
        numbers |= {f"direct_p{part}_ms": began["direct"], f"gated_p{part}_ms": began["gated"]}
        numbers[f"added_p{part}_ms"] = began["gated"] - began["direct"]
        numbers[f"added_to_end_p{part}_ms"] = whole["gated"] - whole["direct"]
    fastest = {way: min(t.began_ms for t in times[5:]) for way, times in seen.items()}
    numbers["added_min_ms"] = fastest["gated"] - fastest["direct"]  # What is left when nothing else disturbs.
    first = {way: [t.first_ms for t in times[5:]] for way, times in seen.items()}
    numbers["first_byte_delay_p50_ms"] = median(first["gated"]) - median(first["direct"])
    numbers["first_byte_delay_p99_ms"] = percentile(first["gated"], 99) - percentile(first["direct"], 99)
    record(name, numbers)


def edited_requests(port: int) -> int:
    """The requests that the gateway sent on edited."""
    with urlopen(f"http://127.0.0.1:{port}/ctxgc/status") as reply:
        return int(json.load(reply)["edited"])


async def _stream(port: int, data: bytes) -> list[float]:
    """The delay of every event of one stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    writer.write(data)
    delays = []
    while (line := await reader.readline()) != b"0\r\n":
        assert line, "the stream broke off"
        if line.startswith(b"data: "):
            delays.append((time.monotonic() - float(line[6:])) * 1e3)
    writer.close()
    return delays


async def measure_streams(ports: Ports) -> None:
    """Many streams at once, of sessions of their own, with bodies of usual size."""
    bodies = [request(conversation(100_000, 100 + n), str(uuid4()), many=True) for n in range(STREAMS)]
    numbers: dict[str, float | int] = {"streams": STREAMS, "events": STREAMS * EVENTS}
    for name, port in (("direct", ports.direct), ("gated", ports.gated)):
        started_s = time.perf_counter()
        streams = await asyncio.gather(*(_stream(port, body) for body in bodies))
        delays = [delay for stream in streams for delay in stream]
        numbers[f"{name}_s"] = time.perf_counter() - started_s
        numbers[f"{name}_broken_streams"] = sum(len(stream) != EVENTS for stream in streams)
        numbers |= {f"{name}_event_p{part}_ms": percentile(delays, part) for part in (50, 99)}
    record("gateway/streams", numbers)


def rss_mb(pid: int) -> float:
    """What a process holds in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure_growth(ports: Ports, requests: int) -> None:
    """The gateway's memory over many requests of several sessions."""
    client = Client(ports.gated)
    chats = [(conversation(BODY_BYTES, 10 + n), str(uuid4())) for n in range(SESSIONS)]
    marks = []
    for number in range(requests):
        messages, session = chats[number % SESSIONS]
        messages[-1] = {"role": "user", "content": [{"type": "text", "text": f"Go on {number}."}]}
        client.ask(request(messages, session))
        if number % (requests // 10) == requests // 10 - 1:
            time.sleep(0.3)
            marks.append(rss_mb(ports.gateway_pid))
    record(
        "gateway/growth",
        {
            "requests": requests,
            "rss_mb_after_a_fifth": marks[1],
            "rss_mb_at_end": marks[-1],
            "grown_percent": (marks[-1] / marks[1] - 1) * 100,
        },
    )


def main(argv: list[str]) -> None:
    """Measure; or be the upstream."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object for each answer")
    parser.add_argument("--record", action="store_true", help="append to history.jsonl")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--upstream", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.upstream:
        asyncio.run(_upstream())
        return
    with everything(CTXGC_PROTECT__TOOLS='["Read"]') as ports:
        measure_latency("gateway/1mb", ports, arguments.requests)
    with everything(CTXGC_PROTECT__TOOLS='["Read"]') as ports:
        measure_latency("gateway/1mb_zstd", ports, arguments.requests, is_zstd=True)
    with everything(CTXGC_PACER__WINDOW_MAX_TOKENS=EDITED_WINDOW_TOKENS) as ports:
        measure_latency("gateway/1mb_zstd_edited", ports, arguments.requests, is_zstd=True)
    with everything(CTXGC_PACER__WINDOW_MAX_TOKENS=EDITED_WINDOW_TOKENS) as ports:
        measure_latency("gateway/1mb_edited", ports, arguments.requests)
    for way in ("false", "true"):  # The same requests, whose new results enter whole, and with pointers.
        with everything(CTXGC_PACER__FAULT_PRICE_TOKENS=str(10**9), CTXGC_ENTRY__REFERENCES=way) as ports:
            name = "1mb_entry" if way == "true" else "1mb_entry_whole"
            measure_latency(f"gateway/{name}", ports, arguments.requests // 2, has_results=True)
    with everything() as ports:
        asyncio.run(measure_streams(ports))
    with everything() as ports:
        measure_growth(ports, MANY_REQUESTS)


if __name__ == "__main__":
    main(sys.argv[1:])
