"""The bodies that the judge is asked about: at collections of the shipped policy, and at lexical uses.

    play the shipped policy ──▶ each collection is a moment: the policy's victims free F tokens
        lru, random   take F tokens of the same candidates, each group in its own order
        garbage       bodies with a proof at the moment;   kept   candidates that are no victims
    each turn with lexical uses is a moment too: the used bodies, and candidates that the turn did not use

Some victims of a moment are drawn, and of every other group a match for each: the body nearest in length. A victim
that another group holds as well is its own match there. All cases of a moment share one reply, drawn from the next
turns. A seed decides every draw; the order of recordings is fixed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from math import log
from random import Random

from ctxgc.core.collector import Victim, evictable_mask
from ctxgc.core.garbage import garbage_proof
from ctxgc.core.heap import RESIDENT
from ctxgc.core.roots import find_roots
from ctxgc.core.rules import Rules
from ctxgc.replay.policies import ShippedPolicy, collectable_bodies, rank_at_random, rank_by_touch
from ctxgc.replay.policy_registry import shipped_policy
from ctxgc.replay.script import EpisodeScript
from ctxgc.replay.simulate import Simulation, simulate_policy
from ctxgc.replay.terms import StudyTerms
from perf.judge.recordings import SIZE_RATIO_MAX, Body, PlaceboPool, Recording, size_gap

SHIPPED = "shipped"
USED = "used"
UNUSED = "unused"
REPLY_CHARS_MIN = 80
"""A shorter reply says too little to tell bodies apart."""
BODY_TOKENS_MIN = 60
TRIES_MAX = 8

Groups = dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Draw:
    """How cases are drawn."""

    seed: int = 17
    victims: int = 3
    """Victims drawn of a moment."""
    ahead: int = 8
    """Turns from which a moment's reply is drawn, the collection's own first."""


@dataclass(frozen=True, slots=True)
class Case:
    """A body of a group, its placebo, and the reply that both are held against."""

    group: str
    pair: str
    """Names the leading body that this case is, or is the match of."""
    body: Body
    placebo: Body
    recent: str
    reply: str
    age_turns: int
    """Turns from the body's birth to the reply."""
    is_used: bool
    """By the lexical count, in the turn of the reply."""
    is_used_later: bool
    """By the lexical count, at any turn from the moment on."""
    is_used_later_by_placebo: bool


@dataclass(slots=True)
class MomentWitness:
    """The shipped policy, and beside it the groups at each collection."""

    inner: ShippedPolicy
    name: str = "judge"
    moments: list[tuple[int, Groups]] = field(default_factory=list)
    """(step, slots by group)."""
    uses: list[tuple[int, Groups]] = field(default_factory=list)

    def begin_episode(self, script: EpisodeScript) -> None:
        """A new window."""
        self.inner.begin_episode(script)
        self.moments, self.uses = [], []

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """The inner policy's victims; the groups are taken before they leave."""
        victims = self.inner.victims(run)
        candidates = candidate_slots(run)
        chosen = [victim.slot for victim in victims if victim.slot in set(candidates)]
        if chosen:
            self.moments.append((run.step, groups_of(run, candidates, chosen)))
        used = [slot for slot in run.script.uses[run.step] if slot in set(candidates)]
        if used:
            rest = [slot for slot in candidates if slot not in set(used)]
            self.uses.append((run.step, {USED: used, UNUSED: rest}))
        return victims


def candidate_slots(run: Simulation) -> list[int]:
    """Bodies that the shipped policy may take at this turn."""
    roots = find_roots(run.heap, run.paths, run.now, Rules())
    mask = evictable_mask(run.heap, roots)
    return [slot for slot in collectable_bodies(run) if mask[slot] and run.heap.state[slot] == RESIDENT]


def groups_of(run: Simulation, candidates: Sequence[int], chosen: Sequence[int]) -> Groups:
    """What each policy would take of the candidates to free as much as the chosen slots do; garbage; and the kept."""
    heap, taken = run.heap, set(chosen)
    freed = sum(heap.freed[slot] for slot in chosen)

    def until_freed(order: Callable[[Simulation, int], float]) -> list[int]:
        slots, left = [], freed
        for slot in sorted(candidates, key=lambda slot: (order(run, slot), slot)):
            if left <= 0:
                break
            slots.append(slot)
            left -= heap.freed[slot]
        return slots

    return {
        SHIPPED: list(chosen),
        "lru": until_freed(rank_by_touch),
        "random": until_freed(rank_at_random),
        "garbage": [slot for slot in candidates if garbage_proof(heap, slot, run.now, Rules()) is not None],
        "kept": [slot for slot in candidates if slot not in taken],
    }


def rounds(recordings: Sequence[Recording], pool: PlaceboPool, draw: Draw) -> Iterator[list[Case]]:
    """The cases of one moment after another, in turn over sessions, so that any beginning is spread over all."""
    by_session: dict[str, list[list[Case]]] = defaultdict(list)
    for recording in recordings:
        by_session[recording.session] += _moments_of(recording, pool, draw)
    chance = Random(draw.seed)
    queues = list(by_session.values())
    for queue in queues:
        chance.shuffle(queue)
    chance.shuffle(queues)
    for layer in zip_longest(*queues):
        yield from (cases for cases in layer if cases)


def _moments_of(recording: Recording, pool: PlaceboPool, draw: Draw) -> list[list[Case]]:
    policy = shipped_policy(StudyTerms("cache_5m"))
    assert isinstance(policy, ShippedPolicy)
    witness = MomentWitness(policy)
    terms = StudyTerms("cache_5m")
    simulate_policy(recording.script, witness, terms.prices, cache=terms.cache_rules_of("ctxgc"))
    chance = Random(f"{draw.seed}/{recording.script.name}")
    moments_cases = []
    for lead, ahead, moments in ((SHIPPED, draw.ahead, witness.moments), (USED, 1, witness.uses)):
        for step, groups in moments:
            moment = Moment(recording, pool, step, chance)
            cases = moment.cases(groups, lead, draw.victims if lead == SHIPPED else 1, ahead)
            moments_cases += [cases] if cases else []
    return moments_cases


@dataclass(slots=True)
class Moment:
    """A turn at which bodies are asked about."""

    recording: Recording
    pool: PlaceboPool
    step: int
    chance: Random

    def cases(self, groups: Groups, lead: str, most: int, ahead: int) -> list[Case]:
        """Cases of some slots of the leading group, and of their matches in the other groups."""
        at = self._reply_step(ahead)
        if at < 0:
            return []
        leaders = [slot for slot in groups[lead] if self._is_askable(slot)]
        leaders = self.chance.sample(leaders, min(most, len(leaders)))
        leader_of = {(lead, slot): slot for slot in leaders}
        for group, slots in groups.items():
            free = {slot for slot in slots if self._is_askable(slot)} if group != lead else set()
            for leader in leaders:
                match = min(free, key=lambda slot: (self._gap(leader, slot), slot), default=-1)
                if match >= 0 and self._gap(leader, match) <= log(SIZE_RATIO_MAX):
                    leader_of[group, match] = leader
                    free.discard(match)
        return [
            self._case(group, slot, at, f"{self.recording.script.name}/{self.step}/{leader}")
            for (group, slot), leader in leader_of.items()
        ]

    def _reply_step(self, ahead: int) -> int:
        """The turn of a reply that says enough, from the next ones; −1 where none is found."""
        last = min(self.step + ahead, len(self.recording.script.steps))
        steps = list(range(self.step, last))
        self.chance.shuffle(steps)
        telling = (step for step in steps[:TRIES_MAX] if len(self.recording.reply_text(step)) >= REPLY_CHARS_MIN)
        return next(telling, -1)

    def _body(self, slot: int) -> Body:
        return self.recording.body(slot)

    def _gap(self, one: int, other: int) -> float:
        return size_gap(self._body(one).tokens, self._body(other).tokens)

    def _is_askable(self, slot: int) -> bool:
        body = self._body(slot)
        return body.tokens >= BODY_TOKENS_MIN and self.pool.placebo(body) is not None

    def _case(self, group: str, slot: int, at: int, pair: str) -> Case:
        script, body = self.recording.script, self._body(slot)
        placebo = self.pool.placebo(body)
        assert placebo is not None
        later, by_placebo = (
            any(slot in used for used in played.uses[self.step :]) for played in (script, self.recording.placebo_script)
        )
        born = self.recording.segments[slot].segment.born_turn
        return Case(
            group,
            pair,
            body,
            placebo,
            self.recording.recent_text(at),
            self.recording.reply_text(at),
            script.steps[at].turn - born,
            slot in script.uses[at],
            later,
            by_placebo,
        )
