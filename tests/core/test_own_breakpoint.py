"""Where a breakpoint of our own stands: never one too many, never where none may stand, and never for nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctxgc.core.pacing.own_breakpoint import can_carry_breakpoint, choose_own_breakpoint
from ctxgc.core.pacing.provider_cache import (
    ANTHROPIC,
    LONG_LIFE_S,
    LOOKBACK_BLOCKS,
    OPENAI,
    OPENAI_BREAKPOINTS,
    CacheBreakpoint,
    Layer,
    Part,
    Prompt,
    entries_after_request,
    findable_prefixes,
    units_of,
)
from tests.gateway.cached_prompt import refusal_of_breakpoints

MANY = settings(max_examples=400, deadline=None)
REACH = LOOKBACK_BLOCKS - 1
"""Blocks before a breakpoint at most, where an entry is found by it."""


def test_a_block_of_a_type_that_is_no_name_carries_no_breakpoint():
    assert not any(can_carry_breakpoint({"type": kind, "text": "tide"}) for kind in (["text"], {}, 7, None))


def prompt_of(count, breakpoints, out=None):
    """A prompt of so many blocks, with the one that is counted as `out` evicted."""
    parts = [Part(("out", n) if n == out else n, 500) for n in range(1, count + 1)]
    return Prompt(units_of([Layer(parts)]), breakpoints)


def placed(count, entries_at, breakpoints, tombstone=None, can_carry=None):
    """The breakpoint of a request with entries at these places, as they are in its present form."""
    entries = entries_after_request(ANTHROPIC, {}, prompt_of(count, [], tombstone), 0.0)
    for at in entries_at:
        entries = entries_after_request(ANTHROPIC, entries, prompt_of(count, [CacheBreakpoint(at)], tombstone), 0.0)
    carriers = [True] * count if can_carry is None else can_carry
    return choose_own_breakpoint(ANTHROPIC, entries, prompt_of(count, breakpoints, tombstone), carriers, tombstone, 1.0)


def test_the_breakpoint_stands_on_the_last_tombstone_where_the_host_finds_its_own_entry():
    assert placed(60, [2, 58], [CacheBreakpoint(2), CacheBreakpoint(60)], tombstone=31) == CacheBreakpoint(31)


def test_a_host_that_misses_its_entry_gets_a_bridge_on_the_tombstone_within_reach():
    assert placed(60, [2, 30], [CacheBreakpoint(2), CacheBreakpoint(60)], tombstone=40) == CacheBreakpoint(40)


def test_a_tombstone_out_of_reach_gets_a_bridge_as_far_on_as_the_entry_is_found():
    assert placed(90, [2, 30], [CacheBreakpoint(2), CacheBreakpoint(90)], tombstone=70) == CacheBreakpoint(30 + REACH)


def test_an_entry_behind_the_tombstone_is_bridged_where_it_ends_and_so_is_one_without_an_edit():
    assert placed(90, [2, 30], [CacheBreakpoint(2), CacheBreakpoint(90)], tombstone=20) == CacheBreakpoint(30)
    assert placed(90, [2, 30], [CacheBreakpoint(2), CacheBreakpoint(90)]) == CacheBreakpoint(30)


def test_an_unedited_request_whose_host_finds_its_entry_has_no_breakpoint_of_ours():
    assert placed(60, [2, 58], [CacheBreakpoint(2), CacheBreakpoint(60)]) is None


def test_a_host_without_breakpoints_or_with_four_gets_none_of_ours():
    assert placed(60, [2, 58], [], tombstone=31) is None
    assert (
        placed(
            60,
            [2, 58],
            [CacheBreakpoint(2), CacheBreakpoint(3), CacheBreakpoint(58), CacheBreakpoint(60)],
            tombstone=31,
        )
        is None
    )


def test_a_block_with_a_breakpoint_of_the_host_gets_none_of_ours():
    assert placed(60, [2, 58], [CacheBreakpoint(2), CacheBreakpoint(31), CacheBreakpoint(60)], tombstone=31) is None


def test_the_nearest_earlier_block_carries_the_breakpoint_where_the_tombstones_may_not():
    carriers = [n not in (29, 30) for n in range(60)]

    assert placed(
        60, [2, 58], [CacheBreakpoint(2), CacheBreakpoint(60)], tombstone=31, can_carry=carriers
    ) == CacheBreakpoint(29)


def test_a_bridge_before_its_entry_is_no_bridge():
    carriers = [n < 29 for n in range(90)]

    assert placed(90, [2, 30], [CacheBreakpoint(2), CacheBreakpoint(90)], can_carry=carriers) is None


def test_the_breakpoint_lives_as_long_as_the_hosts_next_breakpoint_behind_it():
    breakpoints = [CacheBreakpoint(2, LONG_LIFE_S), CacheBreakpoint(40, LONG_LIFE_S), CacheBreakpoint(60)]

    assert placed(60, [2, 58], breakpoints, tombstone=31) == CacheBreakpoint(31, LONG_LIFE_S)
    assert placed(60, [2, 58], breakpoints, tombstone=50) == CacheBreakpoint(50)


def test_a_provider_without_a_look_back_gets_no_breakpoint():
    for provider in (OPENAI, OPENAI_BREAKPOINTS):
        assert choose_own_breakpoint(provider, {}, prompt_of(60, [CacheBreakpoint(60)]), [True] * 60, 31, 1.0) is None


def test_blocks_that_the_api_refuses_a_breakpoint_on_may_not_carry_one():
    refused = [
        {"type": "thinking", "thinking": "x"},
        {"type": "redacted_thinking"},
        {"type": "text", "text": " \n"},
        {"type": "tool_reference"},
        "a bare string",
        {},
    ]
    taken = [{"type": "text", "text": "x"}, {"type": "tool_result", "content": ""}, {"type": "tool_use"}]

    assert not any(map(can_carry_breakpoint, refused))
    assert all(map(can_carry_breakpoint, taken))


@st.composite
def requests(draw):
    """A request whose entries, breakpoints, tombstone and carriers stand anywhere."""
    count = draw(st.integers(1, 120))
    place = st.integers(1, count)
    hosts = sorted(draw(st.sets(place, max_size=5)))
    hours = draw(st.integers(0, 5))
    breakpoints = [CacheBreakpoint(at, LONG_LIFE_S if n < hours else 300.0) for n, at in enumerate(hosts)]
    dull = draw(st.sets(place, max_size=40))
    carriers = [n not in dull for n in range(1, count + 1)]
    return count, sorted(draw(st.sets(place, max_size=6))), breakpoints, draw(st.none() | place), carriers


@pytest.mark.slow
@MANY
@given(requests())
def test_a_request_with_our_breakpoint_is_taken_and_reads_no_less_than_without(request_):
    count, entries_at, breakpoints, tombstone, carriers = request_
    prompt, entries = prompt_of(count, breakpoints, tombstone), {}
    for at in entries_at:
        entries = entries_after_request(ANTHROPIC, entries, prompt_of(count, [CacheBreakpoint(at)], tombstone), 0.0)

    ours = choose_own_breakpoint(ANTHROPIC, entries, prompt, carriers, tombstone, 1.0)

    if ours is None:
        return
    both = sorted([*breakpoints, ours])
    assert carriers[ours.blocks - 1]
    assert ours.blocks not in [point.blocks for point in breakpoints]
    assert len(both) <= 4
    assert not refusal_of_breakpoints(ANTHROPIC, both)
    without = findable_prefixes(ANTHROPIC, entries, prompt, 1.0).predict_bill().read
    found = findable_prefixes(ANTHROPIC, entries, prompt_of(count, both, tombstone), 1.0).predict_bill().read
    anywhere = findable_prefixes(ANTHROPIC, entries, prompt, 1.0, has_free_breakpoint=True).predict_bill().read
    assert without <= found == anywhere
    assert tombstone is not None or found > without
