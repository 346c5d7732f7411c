"""The explanation of a turn's faults: the needed segments, the evicted segments among those, with turn and reason.

For the person at the terminal: unlike the report this explanation shows the words and lines themselves.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ctxgc.core.collector import Victim
from ctxgc.core.heap import RESIDENT
from ctxgc.core.tombstone import segment_label
from ctxgc.replay.demand import RESULTS, EvictionScope, Want, demand_of, greedy_cover
from ctxgc.replay.policy_registry import shipped_policy
from ctxgc.replay.recorded_files import read_recorded_file
from ctxgc.replay.script import EpisodeScript, script_of
from ctxgc.replay.simulate import Policy, Simulation, simulate_policy
from ctxgc.replay.tally import Fault
from ctxgc.replay.terms import SHIPPED, StudyTerms
from ctxgc.replay.trace import Episode

WANTED_MAX = 8
"""Words and lines shown of each need."""


@dataclass(slots=True)
class _ResidencyProbe:
    """The shipped policy, with a look at the resident segments at a turn."""

    inner: Policy
    turn: int
    resident: set[int] = field(default_factory=set)
    name: str = "glance"

    def begin_episode(self, script: EpisodeScript) -> None:
        """Pass on."""
        self.inner.begin_episode(script)

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """Pass on; at the turn, remember the resident slots."""
        found = self.inner.victims(run)
        if run.turn == self.turn:
            gone = {victim.slot for victim in found}
            self.resident = {slot for slot, state in enumerate(run.heap.state) if state == RESIDENT} - gone
        return found


def find_session_episodes(files: Iterable[str], session: str) -> list[Episode]:
    """The episodes of the session named, or of the first whose id begins so; files of that name are read first."""
    bare = session.rpartition(":")[2]
    for path in sorted(files, key=lambda path: (bare not in os.path.basename(path), path)):
        for name, episodes in sorted(read_recorded_file(path).sessions.items()):
            if name.startswith(session) or f"{episodes[0].source}:{name}".startswith(session):
                return episodes
    return []


def explain_turn(
    episodes: Sequence[Episode], turn: int, terms: StudyTerms, scope: EvictionScope = RESULTS
) -> dict[str, Any] | None:
    """The turn's needed and missing segments, as an object for JSON; `None` if the session has no such turn."""
    for episode in episodes:
        numbers = [one.number for one in episode.turns]
        if turn in numbers:
            return _explain_episode_turn(episode, numbers.index(turn), terms, scope)
    return None


def _explain_episode_turn(episode: Episode, at: int, terms: StudyTerms, scope: EvictionScope) -> dict[str, Any]:
    script = script_of(episode, scope, demand_of(episode, scope))
    turn = episode.turns[at].number
    glance = _ResidencyProbe(shipped_policy(terms), turn)
    tally = simulate_policy(script, glance, terms.prices, cache=terms.cache_rules_of(SHIPPED))
    sized = {one.segment.id: one.segment for each in episode.turns for one in (*each.before, *each.reply)}
    faults = {fault.segment: fault for fault in tally.worst if fault.turn == turn}
    wants = script.demand.wants[at]
    picks = dict.fromkeys([*greedy_cover(wants, None), *(script.demand.ids.index(id_) for id_ in faults)])
    needs = []
    for pick in picks:
        segment = sized[script.demand.ids[pick]]
        needs.append(
            {
                "segment": segment.id,
                "what": segment_label(segment),
                "born_turn": segment.born_turn,
                "wanted": _wanted_texts_of_provider(wants, pick),
                "in_window": script.slots[pick] in glance.resident,
                "missing": _fault_fields(faults.get(segment.id)),
            }
        )
    return {
        "source": episode.source,
        "session": episode.session,
        "turn": turn,
        "episode": episode.number,
        "needs": needs,
        "faults": len(faults),
    }


def _wanted_texts_of_provider(wants: Iterable[Want], pick: int) -> list[str]:
    """The heaviest wants first: an edited line says more than a word."""
    found = sorted((want for want in wants if pick in want.providers), key=lambda want: -want.weight)
    return [want.text for want in found[:WANTED_MAX]]


def _fault_fields(fault: Fault | None) -> dict[str, Any] | None:
    if fault is None:
        return None
    return {"gone_turn": fault.gone_turn, "reason": fault.reason, "size_tokens": fault.size_tokens}
