"""The model of a provider's cache, held against a provider written from its documentation alone."""

from itertools import accumulate
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctxgc.core.pacing.provider_cache import (
    ANTHROPIC,
    ENTRIES_MAX,
    LONG_LIFE_S,
    LOOKBACK_BLOCKS,
    OPENAI,
    OPENAI_BREAKPOINTS,
    SHARED_PREFIX,
    SHORT_LIFE_S,
    START,
    UNCACHED,
    CacheBreakpoint,
    Edit,
    Layer,
    Part,
    Prompt,
    PromptBill,
    PromptPlace,
    anthropic_provider,
    entries_after_request,
    findable_prefixes,
    learn_from_bill,
    units_of,
)
from tests.gateway.cached_prompt import refusal_of_breakpoints, text_blocks

MANY = settings(max_examples=400, deadline=None)


class Block(NamedTuple):
    """A block as bytes: what it says, and how many tokens that is."""

    text: str
    tokens: int


class Documented:
    """A provider written from the documentation: it keeps whole prefixes, and looks each of them up."""

    def __init__(self, rules):
        self.rules = rules
        self.kept = []
        """Of each entry: the blocks of its prefix, its life, the time of its last use."""

    def bill(self, blocks, breakpoints, now_s):
        """Tokens read, written, plain and written for an hour; what was read."""
        sums = [0, *accumulate(block.tokens for block in blocks)]
        if self.rules.name == "uncached":
            return PromptBill(0, 0, sums[-1]), None
        if self.rules.name == "openai":
            return self._bill_prefix(blocks, sums, now_s)
        hits = []
        for point in breakpoints:
            positions = range(point.blocks, 0, -1)
            for at in positions[:20] if self.rules.name == "anthropic" else positions:
                hits += [entry for entry in self.kept if entry[0] == blocks[:at] and now_s - entry[2] <= entry[1]]
        if self.rules.name == "openai_marked":
            alive = (entry for entry in self.kept if now_s - entry[2] <= entry[1])
            hits = [entry for entry in alive if entry[0] == blocks[: len(entry[0])]]
        hit = max(hits, key=lambda entry: len(entry[0]), default=None)
        read = sums[len(hit[0])] if hit else 0
        # "A" is the token count at the hit, "B" at the last breakpoint of an hour behind it, "C" at the last
        # breakpoint.
        ends = [
            (sums[point.blocks], point.life_s) for point in breakpoints if sums[point.blocks] >= self.rules.least_tokens
        ]
        hour = max([read, *(end for end, life in ends if life == 3600)])
        last = max([read, *(end for end, _ in ends)])
        return PromptBill(read, last - read, sums[-1] - last, hour - read), hit

    def _bill_prefix(self, blocks, sums, now_s):
        common = 0
        for kept, life_s, used_s in self.kept:
            if now_s - used_s <= life_s:
                same = next((at for at, pair in enumerate(zip(kept, blocks, strict=False)) if pair[0] != pair[1]), None)
                common = max(common, sums[min(len(kept), len(blocks)) if same is None else same])
        read = common // 128 * 128 if common >= 1024 else 0
        return (PromptBill(read, sums[-1] - read, 0) if sums[-1] >= 1024 else PromptBill(0, 0, sums[-1])), None

    def answer(self, blocks, breakpoints, now_s):
        """The request was answered: its breakpoints leave entries, and what it read lives on."""
        _, hit = self.bill(blocks, breakpoints, now_s)
        if hit:
            hit[2] = now_s
        if self.rules.name == "openai":
            self.kept.append([blocks, 300.0, now_s])
            return
        for point in breakpoints[-4:]:
            prefix = blocks[: point.blocks]
            life_s = max(point.life_s, 1800.0) if self.rules.name == "openai_marked" else point.life_s
            same = [entry for entry in self.kept if entry[0] == prefix and now_s - entry[2] <= entry[1]]
            if sum(block.tokens for block in prefix) >= self.rules.least_tokens:
                for entry in same:
                    entry[1:] = [max(entry[1], life_s), now_s]
                self.kept += [] if same else [[prefix, life_s, now_s]]


class Step(NamedTuple):
    """What happens before one request of a history, and how the request is answered."""

    grown: list[int]
    edited: list[int]
    """Places, in thousandths of the prompt, whose bodies leave or come back."""
    breakpoints: list[int]
    hours: int
    """How many of the breakpoints, from the first on, have the long life."""
    gap_s: float
    is_answered: bool
    is_other_model: bool


steps = st.builds(
    Step,
    grown=st.lists(st.sampled_from([3, 40, 130, 700, 1500]), max_size=9),
    edited=st.lists(st.integers(0, 999), max_size=2),
    breakpoints=st.lists(st.sampled_from([0, 100, 300, 500, 700, 900, 999, 999, 1000]), max_size=6),
    hours=st.integers(0, 4),
    gap_s=st.sampled_from([0.0, 4.0, 290.0, 310.0, 1700.0, 3700.0]),
    is_answered=st.sampled_from([True, True, True, False]),
    is_other_model=st.sampled_from([False] * 9 + [True]),
)
providers = st.sampled_from([ANTHROPIC, anthropic_provider("claude-opus-4-5"), OPENAI, OPENAI_BREAKPOINTS, UNCACHED])


def requests_of(history, may_return=True):
    """Each request of a history, with the blocks before it and those after its edit; evicted bodies may come back."""
    blocks, model, now_s, number = [Block("system", 900)], 0, 0.0, 0
    whole = {}
    for step in history:
        before = tuple(blocks)
        for at in {len(blocks) * each // 1000 for each in step.edited}:
            out = blocks[at]._replace(text=f"out {blocks[at].text}", tokens=30)
            whole[out] = blocks[at]
            if may_return or blocks[at] not in whole:
                blocks[at] = whole.pop(blocks[at], out)
        edited = tuple(blocks)
        for tokens in step.grown:
            number += 1
            blocks.append(Block(f"block {number}", tokens))
        model, now_s = model + step.is_other_model, now_s + step.gap_s
        counts = sorted({max(1, len(blocks) * each // 1000) for each in step.breakpoints})
        breakpoints = [
            CacheBreakpoint(at, LONG_LIFE_S if n < step.hours else SHORT_LIFE_S) for n, at in enumerate(counts)
        ]
        yield before, edited, tuple(blocks), breakpoints, model, now_s, step.is_answered


def prompt_of(blocks, breakpoints=(), model=0):
    return Prompt(units_of([Layer([Part(block.text, block.tokens) for block in blocks], model)]), breakpoints)


def named(blocks, model):
    """The blocks under a model whose name is the first byte of the prompt."""
    return tuple(Block(f"{model} {block.text}", block.tokens) for block in blocks)


@pytest.mark.slow
@MANY
@given(providers, st.lists(steps, max_size=14))
def test_the_model_reads_and_writes_what_the_documentation_says_to_the_token(provider, history):
    simulated, entries = Documented(provider), {}
    for _, _, blocks, breakpoints, model, now_s, is_answered in requests_of(history):
        prompt, real = prompt_of(blocks, breakpoints, model), named(blocks, model)

        assert (
            findable_prefixes(provider, entries, prompt, now_s).predict_bill()
            == simulated.bill(real, breakpoints, now_s)[0]
        )

        if is_answered:
            entries = entries_after_request(provider, entries, prompt, now_s)
            simulated.answer(real, breakpoints, now_s)


@pytest.mark.slow
@MANY
@given(st.sampled_from([ANTHROPIC, OPENAI, OPENAI_BREAKPOINTS]), st.lists(steps, min_size=1, max_size=14))
def test_an_edit_is_foretold_to_the_token_before_it_is_made(provider, history):
    simulated, entries = Documented(provider), {}
    for before, edited, blocks, _, model, now_s, is_answered in requests_of(history, may_return=False):
        breakpoints = [CacheBreakpoint(1), CacheBreakpoint(len(blocks))]
        first = next((at for at, pair in enumerate(zip(before, edited, strict=True)) if pair[0] != pair[1]), None)
        as_it_was = (*before, *blocks[len(before) :])
        sums = [0, *accumulate(block.tokens for block in as_it_was)]
        freed = sums[-1] - sum(block.tokens for block in blocks)
        edit = None if first is None else Edit(PromptPlace(first, sums[first]), freed)

        foretold = findable_prefixes(provider, entries, prompt_of(as_it_was, breakpoints, model), now_s).predict_bill(
            edit
        )

        assert foretold == simulated.bill(named(blocks, model), breakpoints, now_s)[0]
        if is_answered:
            entries = entries_after_request(provider, entries, prompt_of(blocks, breakpoints, model), now_s)
            simulated.answer(named(blocks, model), breakpoints, now_s)


def grown(turns, blocks_a_turn, breakpoints_of=lambda end: [CacheBreakpoint(1), CacheBreakpoint(end)]):
    """Entries and the last request of a session whose every turn adds as many blocks of 500 tokens."""
    entries, prompt = {}, None
    for turn in range(1, turns + 1):
        blocks = [Block("system", 2000), *(Block(f"b{n}", 500) for n in range(turn * blocks_a_turn))]
        prompt = prompt_of(blocks, breakpoints_of(len(blocks)))
        entries = entries_after_request(ANTHROPIC, entries, prompt, float(turn))
    return entries, prompt


def test_an_edit_behind_the_reach_of_the_last_breakpoint_leaves_only_the_system_prompt_cached():
    entries, prompt = grown(20, 3)
    place = PromptPlace(31, 2000 + 30 * 500)

    assert findable_prefixes(ANTHROPIC, entries, prompt, 21.0).predict_bill(Edit(place, 400)) == PromptBill(
        2000, 29_600, 0
    )


def test_a_breakpoint_of_our_own_finds_the_entry_in_front_of_the_edit():
    entries, prompt = grown(20, 3)
    place = PromptPlace(31, 2000 + 30 * 500)

    found = findable_prefixes(ANTHROPIC, entries, prompt, 21.0, has_free_breakpoint=True)

    assert found.predict_bill(Edit(place, 400)) == PromptBill(17_000, 14_600, 0)


def test_a_turn_of_more_blocks_than_the_look_back_misses_its_own_cache():
    entries, prompt = grown(4, LOOKBACK_BLOCKS)
    wider = prompt_of(
        [Block("system", 2000), *(Block(f"b{n}", 500) for n in range(100))], [CacheBreakpoint(1), CacheBreakpoint(101)]
    )

    assert findable_prefixes(ANTHROPIC, entries, wider, 5.0).predict_bill().read == 2000
    assert (
        findable_prefixes(ANTHROPIC, entries, wider, 5.0, has_free_breakpoint=True).predict_bill().read
        == prompt.end.tokens
    )


def test_an_entry_that_nothing_uses_leaves_however_warm_the_session_is():
    parts = [Block("system", 2000), *(Block(f"b{n}", 500) for n in range(60))]
    entries = entries_after_request(
        ANTHROPIC, {}, prompt_of(parts[:11], [CacheBreakpoint(1), CacheBreakpoint(11)]), 0.0
    )
    for now_s in (200.0, 400.0):
        entries = entries_after_request(
            ANTHROPIC, entries, prompt_of(parts, [CacheBreakpoint(1), CacheBreakpoint(61)]), now_s
        )

    found = findable_prefixes(
        ANTHROPIC, entries, prompt_of(parts, [CacheBreakpoint(1)]), 401.0, has_free_breakpoint=True
    )

    assert [place.blocks for place in found.places] == [1, 61]


def test_a_breakpoint_that_stands_keeps_its_entry_alive():
    parts = [Block("system", 2000), *(Block(f"b{n}", 500) for n in range(60))]
    entries = {}
    for now_s in (0.0, 200.0, 400.0):
        entries = entries_after_request(
            ANTHROPIC, entries, prompt_of(parts, [CacheBreakpoint(11), CacheBreakpoint(61)]), now_s
        )

    assert (
        findable_prefixes(ANTHROPIC, entries, prompt_of(parts, [CacheBreakpoint(11)]), 600.0).predict_bill().read
        == 7000
    )


def test_what_is_read_lives_on_from_that_time_where_no_breakpoint_stands_on_it():
    shared = [Block("system", 2000), *(Block(f"b{n}", 500) for n in range(10))]
    entries = entries_after_request(ANTHROPIC, {}, prompt_of(shared, [CacheBreakpoint(11)]), 0.0)
    entries = entries_after_request(
        ANTHROPIC, entries, prompt_of([*shared, Block("one", 500)], [CacheBreakpoint(12)]), 200.0
    )

    other = prompt_of([*shared, Block("another", 500)], [CacheBreakpoint(12)])

    assert findable_prefixes(ANTHROPIC, entries, other, 400.0).predict_bill().read == 7000


def test_a_short_breakpoint_does_not_shorten_the_life_of_an_entry_that_was_written_for_an_hour():
    prompt = prompt_of([Block("system", 2000)], [CacheBreakpoint(1)])
    entries = entries_after_request(ANTHROPIC, {}, prompt._replace(breakpoints=[CacheBreakpoint(1, LONG_LIFE_S)]), 0.0)
    entries = entries_after_request(ANTHROPIC, entries, prompt, 100.0)

    assert findable_prefixes(ANTHROPIC, entries, prompt, 3000.0).predict_bill().read == 2000


def test_an_edit_behind_a_breakpoint_frees_nothing_of_what_the_breakpoint_covers():
    prompt = prompt_of([Block("system", 2000), Block("a", 3000), Block("b", 3000)], [CacheBreakpoint(1)])

    assert findable_prefixes(ANTHROPIC, {}, prompt, 0.0).predict_bill(Edit(PromptPlace(2, 5000), 2900)) == PromptBill(
        0, 2000, 3100
    )


def test_openais_breakpoints_are_looked_up_among_the_latest_eighty_however_far_back():
    parts, entries = [Block(f"b{n}", 1200) for n in range(100)], {}
    for at in range(1, 101):
        entries = entries_after_request(OPENAI_BREAKPOINTS, entries, prompt_of(parts, [CacheBreakpoint(at)]), 0.0)

    found = findable_prefixes(OPENAI_BREAKPOINTS, entries, prompt_of(parts, []), 1.0)

    assert [place.blocks for place in found.places] == list(range(21, 101))


def test_of_more_than_four_breakpoints_openai_writes_the_last_four():
    parts = [Block(f"b{n}", 1200) for n in range(6)]

    entries = entries_after_request(
        OPENAI_BREAKPOINTS, {}, prompt_of(parts, [CacheBreakpoint(at) for at in range(1, 7)]), 0.0
    )

    assert [place.blocks for place in findable_prefixes(OPENAI_BREAKPOINTS, entries, prompt_of(parts), 1.0).places] == [
        3,
        4,
        5,
        6,
    ]


def test_thinking_and_tool_choice_end_the_messages_entries_and_not_the_system_prompts():
    def asked(model="m", tool_choice="auto"):
        layers = [Layer([Part("tool", 900)], model), Layer([Part("system", 900)])]
        return Prompt(
            units_of([*layers, Layer([Part("hello", 900)], tool_choice)]), [CacheBreakpoint(2), CacheBreakpoint(3)]
        )

    entries = entries_after_request(ANTHROPIC, {}, asked(), 0.0)
    read = [
        findable_prefixes(ANTHROPIC, entries, one, 1.0).predict_bill().read
        for one in (asked(), asked("m", "any"), asked("n"))
    ]

    assert read == [2700, 1800, 0]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 20))
def test_a_prompt_that_goes_on_from_shared_units_is_the_prompt_made_anew(texts, shared):
    parts = [Part(text, 100 + text, 1 + text % 2) for text in texts]
    whole = units_of([Layer(parts, "m")])

    assert units_of([Layer(parts[shared:])], whole[:shared]) == whole


def test_a_bare_string_and_one_text_block_are_the_same_prompt():
    assert text_blocks("hello") == text_blocks([{"type": "text", "text": "hello"}])


def test_a_fifth_breakpoint_and_a_long_life_behind_a_short_one_are_refused():
    four = [CacheBreakpoint(at) for at in range(1, 5)]

    assert refusal_of_breakpoints(ANTHROPIC, [*four, CacheBreakpoint(9)])
    assert refusal_of_breakpoints(ANTHROPIC, [CacheBreakpoint(1), CacheBreakpoint(2, LONG_LIFE_S)])
    assert not refusal_of_breakpoints(ANTHROPIC, four)
    assert not refusal_of_breakpoints(
        ANTHROPIC, [CacheBreakpoint(1, LONG_LIFE_S), CacheBreakpoint(2, LONG_LIFE_S), CacheBreakpoint(3)]
    )


def test_what_is_read_never_grows_with_an_earlier_edit():
    entries, prompt = grown(30, 2)
    found = findable_prefixes(ANTHROPIC, entries, prompt, 31.0, has_free_breakpoint=True)

    reads = [found.read_tokens(unit.end) for unit in prompt.units]

    assert found.read_tokens(START) == 0
    assert reads == sorted(reads)
    assert all(read <= unit.end.tokens for read, unit in zip(reads, prompt.units, strict=True))


def test_the_model_forgets_the_least_recently_used_entries_beyond_its_bound():
    parts = [Block(f"b{n}", 1200) for n in range(ENTRIES_MAX + 10)]

    entries = entries_after_request(OPENAI, {}, prompt_of(parts), 0.0)

    assert len(entries) == ENTRIES_MAX
    assert findable_prefixes(OPENAI, entries, prompt_of(parts), 1.0).predict_bill().written < 128


# What a bill teaches


def test_a_bill_that_read_a_lost_entry_widens_the_look_back_to_it():
    entries, prompt = grown(4, LOOKBACK_BLOCKS + 5)
    wider = prompt_of(
        [Block("system", 2000), *(Block(f"b{n}", 500) for n in range(125))], [CacheBreakpoint(1), CacheBreakpoint(126)]
    )

    lesson = learn_from_bill(ANTHROPIC, entries, wider, 5.0, prompt.end.tokens)

    assert lesson.is_explained
    assert lesson.provider.lookback_blocks == 26
    assert findable_prefixes(lesson.provider, entries, wider, 5.0).predict_bill().read == prompt.end.tokens


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20), st.integers(1, 30), st.integers(0, 80_000))
def test_no_bill_narrows_the_look_back_nor_moves_the_least_length_out_of_its_bounds(turns, blocks, read):
    entries, prompt = grown(turns, blocks)

    lesson = learn_from_bill(ANTHROPIC, entries, prompt, turns + 1.0, read)

    assert lesson.provider.lookback_blocks >= ANTHROPIC.lookback_blocks
    assert 1024 <= lesson.provider.least_tokens <= 4096


def test_a_bill_as_the_model_has_it_teaches_nothing():
    entries, prompt = grown(9, 3)
    expected = findable_prefixes(ANTHROPIC, entries, prompt, 10.0).predict_bill().read

    assert learn_from_bill(ANTHROPIC, entries, prompt, 10.0, expected + 30) == (ANTHROPIC, True)


def test_a_least_length_above_the_models_is_learned_and_one_below_it_too():
    prompt = prompt_of([Block("system", 2500)], [CacheBreakpoint(1)])
    entries = entries_after_request(ANTHROPIC, {}, prompt, 0.0)

    longer = learn_from_bill(ANTHROPIC, entries, prompt, 1.0, 0)
    shorter = learn_from_bill(anthropic_provider("claude-opus-4-5"), {}, prompt, 1.0, 2500)

    assert longer.provider.least_tokens == 4096
    assert shorter.provider.least_tokens == 2500


def test_a_bill_that_read_for_a_request_without_breakpoints_is_of_a_provider_that_reads_what_two_requests_share():
    _, prompt = grown(9, 3)
    bare = prompt._replace(breakpoints=())

    lesson = learn_from_bill(ANTHROPIC, {}, bare, 10.0, 9_000)
    entries = entries_after_request(lesson.provider, {}, bare, 10.0)

    assert lesson == (SHARED_PREFIX, True)
    assert findable_prefixes(SHARED_PREFIX, entries, bare, 11.0).predict_bill().read == prompt.end.tokens
    assert learn_from_bill(ANTHROPIC, {}, bare, 10.0, 0) == (ANTHROPIC, True)


def test_a_bill_that_nothing_explains_says_so_and_teaches_nothing():
    entries, prompt = grown(9, 3)

    assert learn_from_bill(ANTHROPIC, entries, prompt, 10.0, 9_000) == (ANTHROPIC, False)
    assert learn_from_bill(ANTHROPIC, entries, prompt, 10.0, 0) == (ANTHROPIC, False)
