"""What does a session cost through ctxgc, in percent of what it costs straight?

Run: python -m perf.bench_bills [--json] [--record] [--only NAME]… [--entry whole|references]

    requests ──▶ upstream                                   straight: the same bodies, checked and billed
    requests ──▶ gateway, mode on ──▶ upstream              through: each after the sync of the one before
                    └──▶ ctxgcd, fresh for each session     `NAME_entry`: new results with pointers

The upstream is the tests' own: it refuses what the real ones refuse and bills by breakpoints, look-back and lives. Its
clock stands, so that no cache goes cold. Work that is generated never misses what is gone: faults are in none of the
numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

from ctxgc.gateway.daemon_client import DaemonClient
from perf.agent_traffic import (
    LONG,
    SHORT,
    Agent,
    ClaudeCode,
    Codex,
    OpenCode,
    Request,
    Turn,
    Work,
    parallel,
    requests_of,
    round_three,
)
from perf.record import record
from tests.daemon.harness import DaemonProcess
from tests.gateway.stage import Stage
from tests.gateway.upstream import LONG_WRITE, READ, WRITE, Upstream

WARM_REQUESTS = 4
"""The worst point is looked for from here on: before that, the first requests' writes are all of the bill."""
ENTRIES = ("whole", "references")
ENTERED = "_entry"
"""Ends the name of a session whose results enter with pointers."""
NEAR_PART = 0.05
"""A billed number of cached tokens this near the prediction counts as foretold."""


class Session(NamedTuple):
    """One session to send: an agent, made anew for each way, and its work."""

    agent: Callable[[], Agent]
    turns: Callable[[], Iterator[Turn]]

    def requests(self) -> Iterator[Request]:
        """Its requests, the same each time."""
        return requests_of(self.agent(), self.turns())


def _claude(point: dict[str, str], turns: Callable[[], Iterator[Turn]]) -> Session:
    return Session(lambda: ClaudeCode(point), turns)


SESSIONS = {
    "key_80": _claude(SHORT, lambda: round_three(80)),
    "key_250": _claude(SHORT, lambda: round_three(250)),
    "login_80": _claude(LONG, lambda: round_three(80)),
    "login_250": _claude(LONG, lambda: round_three(250)),
    "work_key": _claude(SHORT, lambda: Work().turns(188)),
    "work_login": _claude(LONG, lambda: Work().turns(188)),
    "parallel_12": _claude(SHORT, lambda: parallel(40)),
    "opencode_80": Session(OpenCode, lambda: round_three(80)),
    "codex_80": Session(Codex, lambda: round_three(80)),
}


class TappedClient(DaemonClient):
    """A link to the daemon that keeps what the daemon answered to each sync."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.answers: list[dict[str, Any]] = []

    async def call(self, method: str, params: dict[str, Any], timeout_s: float) -> Any:
        answer = await super().call(method, params, timeout_s)
        if method == "window.sync":
            self.answers.append(answer)
        return answer


@dataclass
class Outcome:
    """One way of sending a session."""

    costs: list[float] = field(default_factory=list)
    """What each request cost, in input tokens."""
    refused: int = 0
    editing: int = 0
    """Requests in which a collection took hold."""
    foretold: int = 0
    """Of these, those whose billed cached tokens are near the prediction."""
    edited: int = 0
    journal: list[dict[str, Any]] = field(default_factory=list)


def cost_of(billed: Any) -> float:
    """What one request cost, in input tokens."""
    short = billed.written - billed.long_written
    return READ * billed.read + WRITE * short + LONG_WRITE * billed.long_written + billed.plain


def straight(session: Session) -> Outcome:
    """The session without ctxgc."""
    upstream = Upstream()
    for request in session.requests():
        asked = json.loads(request.body)
        upstream._check(request.wire, asked, "straight", request.body)
        upstream._bill(request.wire, asked, "straight")
    return Outcome([cost_of(billed) for billed in upstream.billed])


def through(session: Session, *, has_references: bool = False) -> Outcome:
    """The session through a daemon and a gateway of its own, in mode `on`; results enter whole, or with pointers."""
    outcome = Outcome()
    daemon = DaemonProcess().start()
    link, upstream, headers = TappedClient(daemon.socket), Upstream(keeps=False), session.agent().headers
    try:
        with Stage(link, upstream=upstream, wait_s=5.0, references=has_references) as stage:
            expected: float | None = None
            for request in session.requests():
                answered, billed = len(link.answers), len(upstream.billed)
                stage.send(request.path, request.body, headers)
                stage.settle()
                if expected is not None and len(upstream.billed) > billed:
                    outcome.editing += 1
                    read = upstream.billed[-1].read
                    outcome.foretold += abs(read - expected) <= NEAR_PART * max(expected, 1.0)
                expected = _expected_read(link.answers[answered:], upstream.billed[-1])
            outcome.edited = stage.counters.edited
            outcome.refused = len(upstream.refused)
        rows = daemon.call("session.list", limit=10)["sessions"]
        for row in rows:
            outcome.journal += daemon.call("heap.log", session=row["session"], limit=1000)["collections"]
    finally:
        daemon.close()
    outcome.costs = [cost_of(billed) for billed in upstream.billed]
    return outcome


def _expected_read(answers: list[dict[str, Any]], last: Any) -> float | None:
    """The cached tokens that the next request is predicted to be billed, if a collection was decided on.

    The plan says them itself, as `predicted_read_tokens`, where the daemon models the provider's cache. Else the
    prediction is what stays of the last request in front of the first victim.
    """
    for answer in answers:
        plan = answer.get("plan")
        if plan and answer["mode"] == "on":
            if "predicted_read_tokens" in plan:
                return float(plan["predicted_read_tokens"])
            behind = plan["cache_rewrite_tokens"] + plan["freed_tokens"]
            return last.read + last.written + last.plain - float(answer["window"]["ratio"]) * behind
    return None


def percent_at(through_costs: list[float], straight_costs: list[float]) -> list[float]:
    """Of each request, the percent of straight that the session has cost up to then."""
    percents, ours, theirs = [], 0.0, 0.0
    for one, other in zip(through_costs, straight_costs, strict=False):
        ours, theirs = ours + one, theirs + other
        percents.append(100 * ours / theirs)
    return percents


def measure(name: str, *, has_references: bool) -> None:
    """Send one session both ways."""
    started_s = perf_counter()
    alone, ours = straight(SESSIONS[name]), through(SESSIONS[name], has_references=has_references)
    percents = percent_at(ours.costs, alone.costs)
    done = [entry for entry in ours.journal if entry["actual_cost"] is not None]
    record(
        f"bills/{name}{ENTERED * has_references}",
        {
            "requests": len(ours.costs),
            "straight_cost": round(sum(alone.costs)),
            "of_straight_percent": percents[-1],
            "worst_percent": max(percents[WARM_REQUESTS - 1 :]),
            "collections": len(ours.journal),
            "edited_requests": ours.edited,
            "predicted_cost": round(sum(entry["predicted_cost"] for entry in done)),
            "actual_cost": round(sum(entry["actual_cost"] for entry in done)),
            "priced_collections": len(done),
            "editing_requests": ours.editing,
            "foretold_requests": ours.foretold,
            "unforetold_requests": ours.editing - ours.foretold,
            "refused_requests": ours.refused,
            "took_s": perf_counter() - started_s,
        },
    )


def main(argv: list[str]) -> None:
    """All sessions, or those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=sorted(SESSIONS), help="this session; may be repeated")
    parser.add_argument(
        "--entry",
        choices=ENTRIES,
        help="only with results that enter whole, or with pointers; default: each way in turn",
    )
    args, _ = parser.parse_known_args(argv)
    for name in args.only or SESSIONS:
        for entry in [args.entry] if args.entry else ENTRIES:
            measure(name, has_references=entry == "references")


if __name__ == "__main__":
    main(sys.argv[1:])
