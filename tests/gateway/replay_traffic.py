"""Recorded sessions as the traffic their agents would have made, through a running gateway.

    transcript ──▶ episodes ──▶ for each turn the request, rendered in its agent's wire format ──▶ gateway ──▶ upstream
                      └──▶ the simulator: the same turns, predicted

The upstream refuses what the real APIs refuse and bills by exact prefix, in o200k tokens, at the prices that the
daemon reckons with. That the two costs may be compared, an episode is a session of its own: its turns count from 0,
and neither has a pause after which a cache is cold, nor page faults (nobody misses what is gone), nor thinking
(recorded without its signatures, it cannot be sent), and both evict results and large inputs.

Run: python -m tests.gateway.replay_traffic [--turns N] PATH…
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

from ctxgc.adapters.contract import Slot, Tombstone
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.pacing.pacer import PacerRules
from ctxgc.core.pacing.price_profiles import PROFILE_DEFAULT, openai_profile
from ctxgc.core.pacing.prompt_cache import CacheState
from ctxgc.core.pacing.regret_budget import PacerRequest, decide_within_allowance
from ctxgc.core.segment import Kind
from ctxgc.gateway.daemon_client import DaemonClient
from ctxgc.replay.demand import Demand, EvictionScope
from ctxgc.replay.policies import NoCollection, ShippedPolicy
from ctxgc.replay.policy_registry import shipped_policy
from ctxgc.replay.recorded_files import find_transcripts, read_recorded_file, token_counter
from ctxgc.replay.script import script_of
from ctxgc.replay.session_cache import IDEAL
from ctxgc.replay.simulate import Simulation, simulate_policy
from ctxgc.replay.terms import StudyTerms
from ctxgc.replay.trace import CountedSegment, Episode
from tests.daemon.harness import DaemonProcess
from tests.gateway.cached_prompt import layers_of
from tests.gateway.stage import CHAT, MESSAGES, RESPONSES, Stage
from tests.gateway.upstream import READ, WRITE, Bill, Upstream

WIRES = {"claude_code": ("anthropic_messages", MESSAGES), "codex": ("openai_responses", RESPONSES)}
OTHERS = ("openai_chat", CHAT)
CLEARED = Tombstone("[Old tool result content cleared]", "[cleared]")
"""What a host puts where it cleared a result itself."""
TURNS_MIN = 20
MODEL = "gpt-5"
"""Its tokens are those that raw tokens are."""
SCOPE = EvictionScope(inputs=True)


class Request(NamedTuple):
    wire: str
    path: str
    body: bytes


def requests_of(episode: Episode) -> Iterator[Request]:
    """The requests of an episode, one a turn: everything before, and what joined."""
    wire, path = WIRES.get(episode.source, OTHERS)
    slots: list[Slot] = []
    for turn in episode.turns:
        slots += [Slot(sized.segment) for sized in turn.before]
        cleared = frozenset(turn.cleared)
        slots = [slot._replace(tombstone=CLEARED) if slot.segment.id in cleared else slot for slot in slots]
        yield Request(wire, path, framed(wire, WIRE_FORMATS[wire].render(slots), episode.hidden_tokens))
        slots += [Slot(sized.segment) for sized in turn.reply]


def framed(wire: str, rendered: bytes, hidden_tokens: int) -> bytes:
    """A whole request: with a tool whose description is as long as what the transcript does not show."""
    words = "tide " * hidden_tokens
    tool = {"name": "harbour", "description": words, "parameters": {"type": "object"}}
    if wire == "anthropic_messages":
        tool = {"name": "harbour", "description": words, "input_schema": {"type": "object"}}
    elif wire == "openai_chat":
        tool = {"type": "function", "function": tool}
    head = json.dumps({"model": MODEL, "max_tokens": 9, "tools": [tool]}).encode()
    return head[:-1] + b"," + rendered[1:]


@dataclass
class TokenUpstream(Upstream):
    """Bills in o200k tokens of what is said, each part counted once in the life of the process."""

    sizes: dict[bytes, int] = field(default_factory=dict)
    _cached: set[bytes] = field(default_factory=set)

    def _bill(self, wire, asked, session):
        chain, read, total = json.dumps(asked.get("model")).encode(), 0, 0
        # Rendered without breakpoints: as if its agent had set them well.
        for unit in (block.data for _, layer in layers_of(wire, asked) for block in layer):
            name = blake2b(unit, digest_size=16).digest()
            if name not in self.sizes:
                self.sizes[name] = token_counter().count("\n".join(said_in(json.loads(unit))).encode())
            chain = blake2b(chain + name, digest_size=16).digest()
            total += self.sizes[name]
            read = total if chain in self._cached else read
            self._cached.add(chain)
        bill = self.bills.setdefault(session, Bill())
        written, plain = (0, total - read) if wire.startswith("openai") else (total - read, 0)
        bill.read += read
        bill.written += written
        bill.plain += plain
        return read, written, plain


def said_in(value) -> Iterator[str]:
    """Every text in a JSON value, unescaped: what a model reads of it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from said_in(part)


@dataclass(frozen=True)
class Result:
    """One episode: what it cost with and without, and what the simulator says it would."""

    name: str
    wire: str
    requests: int
    edited: int
    evicted: int
    cost: float
    full_cost: float
    predicted_part: float
    """By the simulator, which decides before a request goes."""
    timed_part: float
    """By the simulator with the gateway's timing."""
    refused: tuple[str, ...]
    lost: tuple[str, ...]
    """Ids of evicted segments that did not come back as they were sent."""

    @property
    def part(self) -> float:
        """The cost, relative to never collecting."""
        return self.cost / self.full_cost

    @property
    def error(self) -> float:
        """How far the cost lies over what was predicted."""
        return self.part / self.predicted_part - 1

    @property
    def timed_error(self) -> float:
        """How far the cost lies over what was predicted with the gateway's timing."""
        return self.part / self.timed_part - 1


class Traffic:
    """A daemon, a gateway in mode `on` and an upstream, for as many episodes as are sent through."""

    def __init__(self, limit_tokens=0):
        self.limit_tokens = limit_tokens
        limit = {"CTXGC_PACER__WINDOW_MAX_TOKENS": str(limit_tokens)} if limit_tokens else {}
        self.daemon = DaemonProcess(CTXGC_COLLECT__KINDS='["tool_call"]', **limit).start()
        self.upstream = TokenUpstream(keeps=False)
        self.stage = Stage(DaemonClient(self.daemon.socket), mode="on", wait_s=5.0, upstream=self.upstream)

    def __enter__(self):
        self.stage.__enter__()
        return self

    def __exit__(self, *error):
        self.stage.__exit__(*error)
        self.daemon.close()

    def send(self, episode: Episode) -> Result:
        """Send an episode's requests, each after the daemon has been told of the one before."""
        source = episode.source if episode.source in WIRES else "client"
        session = f"{episode.session.replace('/', '.')}.{episode.number}"[:120]
        # The gateway keeps its own header to itself; the upstream bills by the other.
        headers = dict.fromkeys(("x-ctxgc-session", "x-claude-code-session-id"), f"{source}:{session}")
        alone, counts, had = TokenUpstream(sizes=self.upstream.sizes), self.stage.counters, {}
        before, refused, number = counts.edited, len(self.upstream.refused), 0
        for number, asked in enumerate(requests_of(episode), 1):  # noqa: B007 (counted)
            had |= bodies(asked)
            alone._bill(asked.wire, json.loads(asked.body), session)
            self.stage.send(asked.path, asked.body, headers)
            self.stage.settle()
        evicted, lost = self._recalled(headers["x-ctxgc-session"], had)
        return Result(
            name=episode.name,
            wire=asked.wire,
            requests=number,
            edited=counts.edited - before,
            evicted=evicted,
            cost=self.upstream.bills[headers["x-ctxgc-session"]].cost,
            full_cost=alone.bills[session].cost,
            predicted_part=predicted(episode, self.limit_tokens),
            timed_part=predicted_on_the_wire(episode, self.limit_tokens),
            refused=tuple(self.upstream.refused[refused:]),
            lost=lost,
        )

    def _recalled(self, session, had):
        with self.daemon.client() as client:
            rows = client.call("segment.list", {"session": session, "states": ["evicted"], "limit": 10_000})
            calls = [("stash.recall", {"session": session, "id": row["id"]}) for row in rows["segments"]]
            answers = list(client.call_many(calls))
        texts = [{piece["name"]: piece["text"] for piece in answer["recalled"][0]["pieces"]} for answer in answers]
        lost = [row["id"] for row, text in zip(rows["segments"], texts, strict=True) if text != had[row["id"]]]
        return len(rows["segments"]), tuple(lost)


def bodies(asked: Request) -> dict[str, dict[str, str]]:
    """What each segment of a request says, by id and piece."""
    segments = WIRE_FORMATS[asked.wire].parse(asked.body).segments
    return {segment.id: {piece.name: piece.text for piece in segment.body} for segment in segments}


@dataclass
class Told(ShippedPolicy):
    """The shipped policy as the gateway's daemon asks it: of a request that has gone already."""

    was_cached_tokens: int = 0

    def victims(self, run):
        heap = run.heap
        request = PacerRequest(CacheState(heap.resident_tokens), run.absent_tokens, self.was_cached_tokens)
        decision, self.account = decide_within_allowance(heap, run.paths, run.now, self._dials, self.account, request)
        self.was_cached_tokens = run.heap.resident_tokens
        return decision.plan.victims if decision else ()


def predicted(episode: Episode, limit_tokens: int = 0) -> float:
    """What the simulator makes of the same requests: their cost under the shipped policy, relative to none."""
    script = script_of(episode, SCOPE, Demand((), tuple(() for _ in episode.turns)))
    terms = terms_of(episode)
    policy = shipped_policy(terms)
    policy.pacer = limited(policy.pacer, episode, limit_tokens)
    nothing = simulate_policy(script, NoCollection(), terms.prices, cache=IDEAL).cost
    return simulate_policy(script, policy, terms.prices, cache=IDEAL).cost / nothing


def terms_of(episode: Episode) -> StudyTerms:
    """The prices that the upstream bills, and by which the daemon decides."""
    is_openai = WIRES.get(episode.source, OTHERS)[0].startswith("openai")
    terms = StudyTerms(profile=openai_profile(MODEL) if is_openai else PROFILE_DEFAULT)
    assert (terms.prices.read, terms.prices.write) == (READ, 1.0 if is_openai else WRITE)
    return terms


def limited(pacer: PacerRules, episode: Episode, limit_tokens: int) -> PacerRules:
    """These dials under a hard limit on the whole prompt: the window may have what the hidden prefix leaves."""
    return replace(pacer, window_max_tokens=max(limit_tokens - episode.hidden_tokens, 1) if limit_tokens else 0)


def predicted_on_the_wire(episode: Episode, limit_tokens: int = 0) -> float:
    """The same, had the simulator the gateway's timing: decided once a request has gone, in force with the next one."""
    script = script_of(episode, SCOPE, Demand((), tuple(() for _ in episode.turns)))
    terms = terms_of(episode)
    policy = Told(pacer=limited(shipped_policy(terms).pacer, episode, limit_tokens))
    run, decided = Simulation(script, terms.prices, cache=IDEAL), ()
    policy.begin_episode(script)
    for number, step in enumerate(script.steps):
        run.step, run.turn = number, step.turn
        for admission in step.before:
            run.admit(admission)
        edited_at = min(run.clear_by_host(step.cleared), run.collect(decided))
        run.bill_request(edited_at)
        run.seen_slots = len(run.heap)
        decided = policy.victims(run)
        for admission in step.reply:
            run.admit(admission)
    return run.tally.cost / simulate_policy(script, NoCollection(), terms.prices, cache=IDEAL).cost


def episodes_in(paths, turns_max):
    """Episodes worth sending, without pauses and thinking, the turns of each cut off at `turns_max`."""
    for path in find_transcripts(paths):
        for episodes in read_recorded_file(path).sessions.values():
            for episode in episodes:
                episode.turns = episode.turns[:turns_max]
                first = episode.turns[0].number if episode.turns else 0
                for turn in episode.turns:
                    turn.number, turn.wall_s = turn.number - first, 0.0
                    turn.before = [born_since(first, sized) for sized in turn.before]
                    spoken = [sized for sized in turn.reply if sized.segment.kind is not Kind.THINKING]
                    turn.reply = [born_since(first, sized) for sized in spoken]
                if len(episode.turns) >= TURNS_MIN:
                    yield episode


def born_since(first: int, sized: CountedSegment) -> CountedSegment:
    """The segment with its turn counted from `first`; what the host carried over into the episode is born there."""
    return replace(sized, segment=replace(sized.segment, born_turn=max(sized.segment.born_turn - first, 0)))


def report(results):
    """Lines of a table, the sum last."""
    names = ("edited", "evicted", "cost", "replay", "off by", "timed", "off by")
    yield f"{'requests':>8} " + " ".join(f"{name:>7}" for name in names) + "  session"
    for one in results:
        yield (
            f"{one.requests:8} {one.edited:7} {one.evicted:7} {one.part:7.1%} {one.predicted_part:7.1%} "
            f"{one.error:+7.1%} {one.timed_part:7.1%} {one.timed_error:+7.1%}  {one.name[:60]}"
        )
    cost, full, said, timed = sums(results)
    yield (
        f"{sum(r.requests for r in results):8} {sum(r.edited for r in results):7} "
        f"{sum(r.evicted for r in results):7} {cost / full:7.1%} {said / full:7.1%} {cost / said - 1:+7.1%} "
        f"{timed / full:7.1%} {cost / timed - 1:+7.1%}  all; "
        f"refused {sum(len(r.refused) for r in results)}, lost {sum(len(r.lost) for r in results)}"
    )


def sums(results):
    """Cost through the gateway, without it, as predicted, and with the gateway's timing; of all sessions together."""
    return (
        sum(r.cost for r in results),
        sum(r.full_cost for r in results),
        sum(r.full_cost * r.predicted_part for r in results),
        sum(r.full_cost * r.timed_part for r in results),
    )


def main(argv):
    """Send everything named; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--turns", type=int, default=400, help="of an episode at most")
    parser.add_argument("--episodes", type=int, default=1000, help="at most")
    args = parser.parse_args(argv)
    results = []
    with Traffic() as traffic:
        for episode in islice(episodes_in(args.paths, args.turns), args.episodes):
            results.append(traffic.send(episode))
            print(*list(report(results))[len(results) : len(results) + 1], *results[-1].refused[:1], flush=True)
    print(*report(results), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
