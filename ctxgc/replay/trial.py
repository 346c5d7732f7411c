"""A session under every policy: the real session and its placebo, in both scopes.

    episodes ──▶ demand ──▶ script ──▶ every policy plays it ──▶ sums
        └── the same with another session's outputs: what coincidence alone would call faults

A trial is the unit that workers share out; the results are small, and hold no text of a session but labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter

from ctxgc.core.tombstone import segment_label
from ctxgc.replay.demand import ALL, RESULTS, EvictionScope, Output, demand_of, output_of
from ctxgc.replay.lower_bounds import cost_lower_bound, faults_lower_bound
from ctxgc.replay.policy_registry import is_oracle, policies_of, timed_policy
from ctxgc.replay.profile import HeapProfile, heap_profile_of
from ctxgc.replay.script import EpisodeScript, script_of
from ctxgc.replay.simulate import simulate_policy
from ctxgc.replay.statistics import median
from ctxgc.replay.tally import PolicyCounts, Tally
from ctxgc.replay.terms import NONE, SHIPPED, WINDOWS, StudyTerms
from ctxgc.replay.trace import Episode

SCOPES = {"results": RESULTS, "all": ALL}
"""Tool results only; and with old tool inputs and old thinking."""
WORST_FAULTS_MAX = 20
WARM_UP_TURNS = 6
"""Turns of a session that the worst turn leaves out."""
LABEL_BYTES_MAX = 60
"""Fits a line of a page; of a path the end stays."""


@dataclass(slots=True)
class Sums(PolicyCounts):
    """A policy's tally on a session, over all episodes."""

    strict_faults: int = 0
    """The strict rule, where a single missing rare word is a fault."""
    placebo_faults: int = 0
    placebo_uses: int = 0
    costs: list[float] = field(default_factory=list)
    """What the session had cost by each turn."""
    worst_turn_pct: float = 0.0
    """The most that the session had cost by any turn, in percent of no collection: were the session to end there."""

    def add_tally(self, tally: Tally) -> None:
        """Take in an episode."""
        self.costs += [self.cost + cost for cost in tally.costs]
        self.add_counts(tally)

    def set_worst_turn_pct(self, nothing: Sums) -> None:
        """Where the session stood worst beside no collection. The first turns write a prompt and little else."""
        beside = zip(self.costs[WARM_UP_TURNS:], nothing.costs[WARM_UP_TURNS:], strict=True)
        self.worst_turn_pct = max((100 * cost / full for cost, full in beside if full), default=100.0)

    def add_placebo_tally(self, tally: Tally) -> None:
        """Take in an episode's placebo."""
        self.placebo_faults += tally.faults
        self.placebo_uses += tally.uses


@dataclass(frozen=True, slots=True)
class WorstFault:
    """A fault of the shipped policy, in labels: the missing segment, since when, and why the segment had gone."""

    source: str
    session: str
    turn: int
    what: str
    size_tokens: int
    born_turn: int
    gone_turn: int
    reason: str


@dataclass(slots=True)
class TrialResult:
    """A session's trial."""

    source: str
    session: str
    turns: int = 0
    episodes: int = 0
    has_placebo: bool = False
    sums: dict[tuple[str, str], Sums] = field(default_factory=dict)
    """By (scope, policy)."""
    policy_us: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Median and longest microseconds of a turn, by policy, results only."""
    profile: HeapProfile = field(default_factory=HeapProfile)
    host_lost: int = 0
    """Files read again after the host's own cuts …"""
    host_read: int = 0
    """… of so many read before them."""
    bounds: dict[str, tuple[float, int]] = field(default_factory=dict)
    """By scope: what no policy can cost less than, and no policy that holds the budget fault less often than."""
    windows: dict[str, list[int]] = field(default_factory=dict)
    """Prompt tokens by turn under the policies the page draws."""
    cuts: list[int] = field(default_factory=list)
    """Indexes into the windows where the host itself cut."""
    worst: list[WorstFault] = field(default_factory=list)
    model: str = ""
    """The session's model, which prices its tokens."""


def choose_placebo_sessions(turns: Sequence[int], at: int) -> list[int]:
    """For each session, by turns, the following sessions whose turns together number at least as many.

    After the last comes the first. Voice twice, an output asks for nothing, because its words are fixed text by then:
    so a placebo takes further sessions instead. All others, where they say less together.
    """
    found, said = [], 0
    for other in (*range(at + 1, len(turns)), *range(at)):
        if said >= turns[at]:
            break
        found.append(other)
        said += turns[other]
    return found


def outputs_of_episodes(episodes: Iterable[Episode]) -> list[Output]:
    """Another session's turns in place of the session's own."""
    return [output_of(turn) for episode in episodes for turn in episode.turns]


def simulate_session(episodes: Sequence[Episode], placebo: Sequence[Output], terms: StudyTerms) -> TrialResult:
    """Play every policy on a session. `placebo` is empty where no other session of the agent is known."""
    first = episodes[0]
    result = TrialResult(first.source, first.session, episodes=len(episodes), has_placebo=bool(placebo))
    result.model = episodes[-1].model
    for episode in episodes:
        if episode.number:
            result.host_lost += episode.lost_reads
            result.host_read += episode.read_before
        result.turns += len(episode.turns)
    for scope_name, scope in SCOPES.items():
        scripts = [_script_with_derived_demand(episode, scope) for episode in episodes]
        placebos = [_script_with_derived_demand(episode, scope, placebo) for episode in episodes] if placebo else []
        costs = (cost_lower_bound(script, terms.prices) for script in scripts)
        result.bounds[scope_name] = (
            sum(costs),
            sum(faults_lower_bound(script, terms.budget_tokens) for script in scripts),
        )
        _simulate_policies(result, scope_name, scripts, placebos, terms)
        if scope is RESULTS:
            result.profile = sum(map(heap_profile_of, scripts), HeapProfile())
            _record_windows_and_faults(result, episodes, scripts, terms)
    return result


def _script_with_derived_demand(
    episode: Episode, scope: EvictionScope, outputs: Sequence[Output] | None = None
) -> EpisodeScript:
    return script_of(episode, scope, demand_of(episode, scope, outputs))


def _simulate_policies(
    result: TrialResult,
    scope_name: str,
    scripts: Sequence[EpisodeScript],
    placebos: Sequence[EpisodeScript],
    terms: StudyTerms,
) -> None:
    for policy in policies_of(terms):
        sums = result.sums.setdefault((scope_name, policy.name), Sums())
        eye = timed_policy(policy)
        playing = partial(simulate_policy, prices=terms.prices, cache=terms.cache_rules_of(policy.name))
        entry = terms.entry_rules_of(policy.name)
        played = [replace(script, entry=entry) for script in scripts]
        # A session's episodes are played in a row: a policy keeps its account from one to the next.
        for script in played:
            sums.add_tally(playing(script, eye))
        if not is_oracle(policy.name):
            sums.strict_faults = sum(playing(script, policy, threshold=1).faults for script in played)
        sums.set_worst_turn_pct(result.sums[scope_name, NONE])
        if scope_name == "results":
            result.policy_us[policy.name] = median(eye.spent_us), max(eye.spent_us)
        for script in placebos:
            sums.add_placebo_tally(playing(replace(script, entry=entry), policy))


def _record_windows_and_faults(
    result: TrialResult, episodes: Sequence[Episode], scripts: Sequence[EpisodeScript], terms: StudyTerms
) -> None:
    """Windows by turn for the page, and the shipped policy's worst faults by label."""
    drawn = {policy.name: policy for policy in policies_of(terms) if policy.name in WINDOWS}
    for name, policy in drawn.items():
        window = result.windows.setdefault(name, [])
        for episode, script in zip(episodes, scripts, strict=True):
            if name == NONE and episode is not episodes[0]:
                result.cuts.append(len(window))
            tally = simulate_policy(script, policy, terms.prices, cache=terms.cache_rules_of(name))
            window += tally.window
            if name == SHIPPED:
                result.worst += _faults_with_labels(episode, tally)
    # Ties are broken by place, never by the order of a dictionary.
    result.worst.sort(key=attrgetter("turn", "what"))
    result.worst.sort(key=attrgetter("size_tokens"), reverse=True)
    del result.worst[WORST_FAULTS_MAX:]


def _faults_with_labels(episode: Episode, tally: Tally) -> list[WorstFault]:
    labels = {
        sized.segment.id: segment_label(sized.segment, LABEL_BYTES_MAX)
        for turn in episode.turns
        for sized in (*turn.before, *turn.reply)
    }
    return [
        WorstFault(
            episode.source,
            episode.session,
            fault.turn,
            labels.get(fault.segment, ""),
            fault.size_tokens,
            fault.turn - fault.age_turns,
            fault.gone_turn,
            fault.reason,
        )
        for fault in tally.worst
    ]
