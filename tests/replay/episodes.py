"""Small random episodes, and short ones by hand, for the laws of the replay."""

import json
from dataclasses import replace
from itertools import pairwise

from hypothesis import strategies as st

from ctxgc.adapters.facts.tool_facts import call_facts_without_input
from ctxgc.core.collector import Victim
from ctxgc.core.heap import RESIDENT
from ctxgc.core.heap_entry import SegmentTokens
from ctxgc.core.pacing.pacer import PacerRules
from ctxgc.core.pacing.price_profiles import PROFILES
from ctxgc.core.rules import Rules
from ctxgc.core.segment import Access, Kind, PathUse, Piece, Role, Segment
from ctxgc.replay.demand import ALL, RESULTS, EvictionScope, demand_of
from ctxgc.replay.oracle import oracles
from ctxgc.replay.policies import (
    ClearOld,
    JustEnough,
    KeyWatermarks,
    ObservationMasking,
    PlanJustEnough,
    ShippedPolicy,
    baselines,
)
from ctxgc.replay.script import EpisodeScript, script_of
from ctxgc.replay.simulate import Policy, Simulation
from ctxgc.replay.trace import CountedSegment, Episode, Turn
from tests.effort import effort

PRICES = PROFILES["cache_5m"]
WORDS = [f"code_word_{letter}" for letter in "abcdefghij"]
LINES = [f"return the_value_{letter} + one" for letter in "abcd"]
PATHS = ["/src/a.py", "/src/b.py"]

few = effort(20)
"""For laws whose every example plays whole episodes, or every policy on them."""

scopes = st.sampled_from([RESULTS, ALL, EvictionScope(inputs=True)])
profiles = st.sampled_from(sorted(PROFILES)).map(PROFILES.__getitem__)
budgets = st.integers(0, 6000)


def sized(
    segment_id: str,
    kind: Kind,
    turn: int,
    *pieces: tuple[str, str, int],
    skeleton: int = 10,
    tombstone: int = 20,
    **facts: object,
) -> CountedSegment:
    """A segment of these (name, text, tokens), its size free of its text."""
    call = {"call_id": segment_id, "name": "Read", "input": {}} if kind is Kind.TOOL_CALL else {}
    segment = Segment(
        id=segment_id,
        kind=kind,
        role=Role.USER if kind is Kind.USER else Role.ASSISTANT,
        place=0,
        born_turn=turn,
        skeleton=json.dumps(call).encode(),
        body=tuple(Piece(name, text.encode()) for name, text, _ in pieces),
        **facts,
    )
    tokens = SegmentTokens(skeleton, tuple((name, count) for name, _, count in pieces), tombstone)
    if kind is Kind.TOOL_CALL and not segment.facts.attempt:
        segment = replace(segment, facts=call_facts_without_input(segment.tool, segment.command, segment.paths))
    return CountedSegment(segment, tokens)


def said(turn: int, text: str, tokens: int = 5, **facts: object) -> CountedSegment:
    return sized(f"said{turn}", Kind.ASSISTANT, turn, ("text", text, tokens), skeleton=0, **facts)


def asked(turn: int, text: str = "go on", tokens: int = 5) -> CountedSegment:
    return sized(f"asked{turn}", Kind.USER, turn, ("text", text, tokens), skeleton=0)


def result(segment_id: str, turn: int, text: str, tokens: int, **facts: object) -> CountedSegment:
    return sized(segment_id, Kind.TOOL_CALL, turn, ("result", text, tokens), **facts)


def episode_of(*turns: Turn, hidden: int = 1000, session: str = "s") -> Episode:
    return Episode("claude_code", session, 0, list(turns), hidden)


def script(episode: Episode, scope: EvictionScope = RESULTS) -> EpisodeScript:
    return script_of(episode, scope, demand_of(episode, scope))


# One draw each: what an example costs is the number of its draws.
texts = st.sampled_from(["nothing", *LINES, *(f"{one} {two}" for one, two in pairwise(WORDS)), " ".join(WORDS)])
sizes = st.sampled_from([0, 15, 60, 400, 900, 2500])
small = st.sampled_from([0, 10, 30, 60])
edits = st.sampled_from([(), (), *((line,) for line in LINES), tuple(LINES[:2])])


@st.composite
def calls(draw: st.DrawFn, segment_id: str, turn: int) -> CountedSegment:
    pieces = [("result", draw(texts), draw(sizes))]
    rare = draw(st.integers(0, 9))
    if rare < 3:
        pieces.insert(0, ("input.content", draw(texts), draw(sizes)))
    use = draw(st.none() | st.builds(PathUse, st.sampled_from(PATHS), st.sampled_from(list(Access))))
    return sized(
        segment_id,
        Kind.TOOL_CALL,
        turn,
        *pieces,
        tombstone=draw(small),
        tool="Read",
        paths=(use,) if use else (),
        edit_sources=draw(edits),
        has_opaque=rare == 9,
    )


@st.composite
def replies(draw: st.DrawFn, number: int) -> list[CountedSegment]:
    found = [said(number, draw(texts), draw(small))]
    if draw(st.booleans()):
        found.append(sized(f"thought{number}", Kind.THINKING, number, ("thinking", draw(texts), draw(sizes))))
    return found + [draw(calls(f"call{number}.{call}", number)) for call in range(draw(st.integers(0, 2)))]


@st.composite
def episodes(draw: st.DrawFn, max_turns: int = 9, session: str = "s") -> Episode:
    """Turns that read, say and edit in a tiny vocabulary, with pauses and clears by the host."""
    turns: list[Turn] = []
    number, wall_s = 0, 1000.0
    for _ in range(draw(st.sampled_from([1, *range(5, max_turns + 1)]))):
        turn = Turn(number, wall_s)
        if draw(st.integers(0, 3)) == 0:
            turn.before.append(asked(number, "please", draw(small)))
        turn.reply += draw(replies(number))
        called = [sized.segment.id for old in turns for sized in old.reply if sized.segment.kind is Kind.TOOL_CALL]
        if called and draw(st.integers(0, 7)) == 0:
            turn.cleared.append(draw(st.sampled_from(called)))
        turns.append(turn)
        number += draw(st.sampled_from([1, 1, 1, 3]))
        wall_s += draw(st.sampled_from([10.0, 10.0, 10.0, 400.0, 4000.0]))
    return episode_of(*turns, hidden=draw(st.integers(0, 3000)), session=session)


@st.composite
def scripts(draw: st.DrawFn, max_turns: int = 9) -> EpisodeScript:
    """Random episodes under a random scope."""
    return script(draw(episodes(max_turns)), draw(scopes))


def free_turns(count: int, gap_s: float = 10.0) -> list[Turn]:
    """Turns in which the model says a plain word and nothing else happens."""
    return [Turn(number, 1000.0 + gap_s * number, reply=[said(number, "fine")]) for number in range(count)]


class Scripted:
    """Evicts these ids at these steps: a policy as plain as an argument."""

    name = "scripted"

    def __init__(self, **by_step: str) -> None:
        self.by_step = {int(step.removeprefix("at")): ids.split() for step, ids in by_step.items()}

    def begin_episode(self, script: EpisodeScript) -> None:
        pass

    def victims(self, run: Simulation) -> list[Victim]:
        ids = self.by_step.get(run.step, [])
        return [Victim(run.heap.slot_of[id_], "scripted", -1, 0, 0.0) for id_ in ids]


class Peak:
    """Another policy under watch: the most tokens of evictable bodies that any prompt held under it."""

    def __init__(self, inner: Policy) -> None:
        self.inner, self.name, self.tokens = inner, inner.name, 0

    def begin_episode(self, script: EpisodeScript) -> None:
        self.inner.begin_episode(script)
        self.tokens = 0

    def victims(self, run: Simulation) -> list[Victim]:
        found = list(self.inner.victims(run))
        # What the model has not seen stays, whoever names it.
        named = {victim.slot for victim in found if victim.slot < run.seen_slots}
        gone = {slot for slot in named if run.heap.state[slot] == RESIDENT}
        held = run.heap.evictable_tokens - sum(run.heap.body[slot] for slot in gone)
        self.tokens = max(self.tokens, held)
        return found


def everyone(budget_tokens: int = 1500) -> list[Policy]:
    """Every policy there is, small enough to bite on small episodes."""
    found: list[Policy] = [
        *baselines(),
        *oracles(budget_tokens),
        ClearOld("clear_soon", 3000, 1),
        ObservationMasking("mask_1", 1),
    ]
    found += [ShippedPolicy(f"phi{dial}", PacerRules(fault_price_tokens=dial)) for dial in (0.0, 300.0, 14_000.0)]
    found += [
        ShippedPolicy("no_roots", PacerRules(fault_price_tokens=0.0, horizon_turns=200.0), Rules(file_turns=0)),
        ShippedPolicy("limit", PacerRules(window_max_tokens=2 * budget_tokens), Rules(recent_turns=1, file_turns=0)),
        KeyWatermarks("key_low", 0, 1000, 100, Rules(recent_turns=1, file_turns=0)),
    ]
    for policy in found:
        if isinstance(policy, JustEnough | PlanJustEnough):
            policy.budget_tokens = budget_tokens
    return found
