"""The replay bills by the providers' rules: what a request reads, what an edit loses, what our own mark keeps."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.pacing.pacer import PacerRules
from ctxgc.core.pacing.provider_cache import (
    OPENAI,
    STEP_TOKENS,
    Layer,
    Part,
    Prompt,
    Unit,
    entries_after_request,
    findable_prefixes,
    units_of,
)
from ctxgc.replay import simulate
from ctxgc.replay.policies import NoCollection, ShippedPolicy
from ctxgc.replay.session_cache import IDEAL, OWN_MARK, TRUE, CacheRules, MarkedCache, PrefixCache, session_cache
from ctxgc.replay.simulate import simulate_policy
from tests.replay.episodes import (
    PRICES,
    Scripted,
    episode_of,
    everyone,
    few,
    free_turns,
    profiles,
    result,
    script,
    scripts,
)

HIDDEN = 5000


def reads(turns=16, tokens=1000):
    """One result a turn: three blocks each, so that seven turns are more than the look-back."""
    made = free_turns(turns)
    for number, turn in enumerate(made):
        turn.reply.append(result(f"r{number}", number, f"text {number}", tokens))
    return script(episode_of(*made, hidden=HIDDEN))


def read_at(episode, policy, turn, cache):
    """Cached tokens of one turn's request."""
    before, upto = (
        simulate_policy(replace(episode, steps=episode.steps[:end]), policy, PRICES, cache=cache)
        for end in (turn, turn + 1)
    )
    return upto.cached_tokens - before.cached_tokens


def prompt_before(turn):
    """Tokens of the prompt before what a turn's reply brought."""
    return HIDDEN + turn * (5 + 1010)


def test_an_edit_behind_a_recent_request_finds_the_last_one_before_it():
    assert read_at(reads(), Scripted(at12="r9"), 12, TRUE) == prompt_before(9)


def test_an_edit_further_back_than_the_look_back_finds_the_system_prompt_alone():
    assert read_at(reads(), Scripted(at12="r2"), 12, TRUE) == HIDDEN
    assert read_at(reads(), Scripted(at12="r2"), 12, IDEAL) == prompt_before(2) + 5 + 10


def test_the_own_mark_finds_what_lies_further_back():
    assert read_at(reads(), Scripted(at12="r2"), 12, OWN_MARK) == prompt_before(2)


def test_the_own_mark_on_the_last_tombstone_is_read_by_the_next_edit():
    """The edited request ends far behind the next victim: only the mark leaves an entry between the two."""
    policy = Scripted(at12="r2 r3", at13="r4")

    with_mark, without = (read_at(reads(), policy, 13, cache) for cache in (OWN_MARK, TRUE))

    assert with_mark == prompt_before(4) - 2 * 980
    assert without == HIDDEN


def test_a_session_without_edits_costs_the_same_whoever_marks():
    nothing = simulate_policy(reads(), NoCollection(), PRICES, cache=TRUE)

    assert simulate_policy(reads(), NoCollection(), PRICES, cache=OWN_MARK) == nothing
    assert simulate_policy(reads(), NoCollection(), PRICES, cache=IDEAL) == nothing


def test_a_turn_with_more_blocks_than_the_look_back_misses_its_own_cache_unless_a_mark_bridges():
    turns = free_turns(4)
    turns[1].reply += [result(f"p{number}", 1, f"text {number}", 500) for number in range(12)]
    episode = script(episode_of(*turns, hidden=HIDDEN))

    assert read_at(episode, NoCollection(), 2, TRUE) == HIDDEN
    assert read_at(episode, NoCollection(), 2, OWN_MARK) == HIDDEN + 5


def test_a_prompt_too_short_to_be_cached_is_plain_input():
    episode = script(episode_of(*free_turns(2), hidden=500))

    assert simulate_policy(episode, NoCollection(), PRICES, cache=TRUE).cost == 500 + 505


def test_entries_die_with_their_life_though_the_session_stays_warm():
    """Between two short pauses the host marks its end anew: what nobody read since has gone."""
    cache = session_cache(TRUE, PRICES)
    layout = simulate.Layout(HIDDEN)
    for gap_s in (0.0, 200.0, 200.0):
        layout.append_piece(1000, 30, 1000)
        cache.advance_clock(gap_s, is_cold=False)
        cache.bill_prompt(layout, layout.ends[-1].tokens)

    cache.invalidate_from(HIDDEN + 1500)

    assert cache.cache_state(layout, HIDDEN + 3000, 3000).read_tokens(1500) == 0


@pytest.mark.parametrize(("shared", "read"), [(1000, 0), (1100, 1024), (1152, 1152), (1300, 1280)])
def test_openai_reads_the_common_beginning_in_steps_from_its_least_length_on(shared, read):
    cache, layout = session_cache(CacheRules(OPENAI), PRICES), simulate.Layout(0)
    cache.bill_prompt(layout, 5000)
    cache.invalidate_from(shared)

    assert cache.bill_prompt(layout, 5000) == (read, 5000 - read, 0, 0)


class WholeCache(MarkedCache):
    """The same cache with every piece of the prompt for a unit: what the short prompts of the replay must equal."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.pieces = []

    def invalidate_from(self, at_tokens):
        self.pieces = [unit for unit in self.pieces if unit.end.tokens <= at_tokens]

    def _build_prompt_with_host_breakpoints(self, layout):
        known = {unit.end: unit for unit in self.pieces}
        self.pieces = [known.get(end) or Unit(next(self._names), end) for end in layout.ends]
        self._units = self.pieces
        return super()._build_prompt_with_host_breakpoints(layout)

    def bill_prompt(self, layout, prompt_tokens):
        billed = super().bill_prompt(layout, prompt_tokens)
        self._units = self.pieces
        return billed


@given(scripts(), profiles, st.booleans())
@few
def test_places_where_entries_stand_are_enough_to_bill_as_if_every_piece_were_looked_at(script, prices, is_marked):

    def whole(rules, prices):
        return WholeCache(rules.provider, prices.ttl_s, has_own_mark=rules.has_own_mark)

    rules = CacheRules(has_own_mark=is_marked)

    for policy in everyone():
        short = simulate_policy(script, policy, prices, cache=rules)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(simulate, "session_cache", whole)
            assert simulate_policy(script, policy, prices, cache=rules) == short, policy.name


@given(st.lists(st.integers(1, 900), min_size=1, max_size=9), st.integers(0, 9), st.integers(1, 900))
def test_the_common_beginning_is_what_the_model_of_openai_finds(sizes, kept, added):
    """The model looks at parts, so the beginning ends where a part does."""
    first = units_of([Layer([Part(number, tokens) for number, tokens in enumerate(sizes)])])
    entries = entries_after_request(OPENAI, {}, Prompt(first), 0.0)
    kept = min(kept, len(sizes))
    second = units_of([Layer([*(Part(n, tokens) for n, tokens in enumerate(sizes[:kept])), Part("new", added)])])
    modelled = findable_prefixes(OPENAI, entries, Prompt(second), 0.0).predict_bill()

    cache, layout = PrefixCache(OPENAI), simulate.Layout(0)
    cache.bill_prompt(layout, sum(sizes))
    cache.invalidate_from(sum(sizes[:kept]))
    billed = cache.bill_prompt(layout, sum(sizes[:kept]) + added)

    assert billed.read == modelled.read


@given(scripts(), profiles, st.sampled_from([OWN_MARK, TRUE, CacheRules(OPENAI), IDEAL]))
@few
def test_what_the_pacer_is_told_of_an_edit_is_what_the_request_is_billed(script, prices, cache):
    """A cut is weighed by the bill that it gets: the place of the first edited slot says what is read."""
    foretold = []

    class Watched(ShippedPolicy):
        def victims(self, run):
            found = super().victims(run)
            state, before = run.window_cache, run.prompt_tokens - run.heap.resident_tokens
            if found and not (state.is_cold or run._left or run.script.steps[run.step].cleared):
                slots = list(run.heap.window())
                first = min(slots.index(victim.slot) for victim in found)
                start = sum(map(run.heap.cost_of, slots[:first]))
                skeleton = run.heap.skeleton[slots[first]]
                least, most = (before + state.read_tokens(place) for place in (start, start + skeleton))
                foretold.append((run.step, least, most))
            return found

    billed = []
    send = simulate.Simulation.bill_request

    def noting(run, edited_at):
        cached = run.tally.cached_tokens
        send(run, edited_at)
        billed.append(run.tally.cached_tokens - cached)

    eager = PacerRules(prices=prices, fault_price_tokens=0.0, horizon_turns=200.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate.Simulation, "bill_request", noting)
        simulate_policy(script, Watched(pacer=eager), prices, cache=cache)

    step_tokens = STEP_TOKENS if cache.provider is OPENAI else 0
    for step, least, most in foretold:
        if cache.provider is OPENAI and most < OPENAI.least_tokens + step_tokens:
            continue  # A beginning below the least length is no entry at all; no agent's system prompt is so short.
        assert least - step_tokens <= billed[step] <= most + step_tokens
