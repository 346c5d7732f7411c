"""Laws of shortening: what a long result leaves out at birth can be put back, and what may not go stays."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ctxgc.core.entry.elisions import (
    ShownLines,
    pack_elisions,
    parse_client_elisions,
    shown_lines_of_elisions,
    unpack_elisions,
)
from ctxgc.core.entry.shortening import (
    HEAD_LINES,
    LINES_MIN,
    TAIL_LINES,
    BirthFacts,
    BirthPrice,
    HiddenRun,
    PageWeights,
    hidden_elision,
    hidden_note,
    hidden_runs,
    is_shortenable,
)
from ctxgc.core.frame import Block, DataLine, render_frame
from ctxgc.core.heap import DEPARTED, EVICTED, FORGOTTEN, RESIDENT, Heap, HeapEntry
from ctxgc.core.pacing.price_profiles import PROFILES
from ctxgc.core.segment import LINE_MAX, Access, CallFacts, Kind, PathUse, Role, Segment, Status

line_texts = st.sampled_from(
    ["", "x = 1", "def some_function(arg):", "ERROR: it broke", "    return load_config_v2(a)"]
)
texts = st.lists(line_texts, max_size=20).flatmap(
    lambda lines: st.integers(1, 60).map(lambda times: "\n".join(lines * times))
)
facts = st.builds(
    BirthFacts,
    is_read=st.booleans(),
    is_delegation=st.booleans(),
    is_prose=st.booleans(),
    namings=st.integers(0, 50),
    said=st.frozensets(st.sampled_from(["some_function", "load_config_v2"])),
)
weights = st.builds(PageWeights, *[st.floats(-3, 3)] * 8)
prices = st.builds(BirthPrice, st.sampled_from(list(PROFILES.values())), st.floats(0, 50_000), st.floats(0, 40))


def tokens_of(text: str) -> int:
    return len(text) // 3


@given(texts, facts, prices, weights)
def test_shown_lines_with_the_hidden_runs_put_back_are_the_hosts_bytes(text, born, price, learned):
    lines = text.split("\n")

    runs = hidden_runs(text, born, price, tokens_of, weights=learned)

    back, at = [], 0
    for run in runs:
        assert run.first >= at
        assert run.lines > 0
        back += lines[at : run.first] + lines[run.first : run.first + run.lines]
        at = run.first + run.lines
    assert "\n".join(back + lines[at:]) == text
    assert runs == hidden_runs(text, born, price, tokens_of, weights=learned)


@given(texts, facts, prices, weights, st.lists(st.tuples(st.integers(0, 300), st.integers(1, 50)), max_size=3))
def test_head_tail_taken_lines_and_a_short_result_stay(text, born, price, learned, taken):
    lines = text.split("\n")
    taken = [(first, count) for first, count in taken if first + count <= len(lines)]

    runs = hidden_runs(text, born, price, tokens_of, taken=taken, weights=learned)

    hidden = {at for run in runs for at in range(run.first, run.first + run.lines)}
    assert not runs or len(lines) > LINES_MIN
    assert all(HEAD_LINES <= at < len(lines) - TAIL_LINES for at in hidden)
    assert hidden.isdisjoint(at for first, count in taken for at in range(first, first + count))
    if not born.is_read:
        assert not any("ERROR" in lines[at] for at in hidden)


@given(texts, facts, prices, weights)
def test_every_hidden_definition_of_a_file_is_in_the_outline_or_the_outline_is_full(text, born, price, learned):
    assume(born.is_read)

    for run in hidden_runs(text, born, price, tokens_of, weights=learned):
        lines = text.split("\n")[run.first : run.first + run.lines]
        defined = [run.first + at + 1 for at, line in enumerate(lines) if line.startswith("def ")]
        named = [int(entry.split()[0]) for entry in run.outline.split("; ") if entry]
        assert named == sorted(named)
        assert set(named) <= set(defined)
        assert len(named) == len(defined) or len(named) >= 20


@given(texts, facts, weights)
def test_no_page_goes_where_no_token_saves(text, born, learned):
    free = BirthPrice(PROFILES["cache_5m"]._replace(read=0.0, write=0.0), 1.0, 20.0)

    assert hidden_runs(text, born, free, tokens_of, weights=learned) == []


def test_a_note_is_one_line_that_names_the_lines_and_the_way_back():
    text = "\n".join(f"def function_{at}(): pass" for at in range(500))
    sure = PageWeights(-50.0, *[0.0] * 7)
    price = BirthPrice(PROFILES["cache_5m"], 0.0, 20.0)

    (run,) = hidden_runs(text, BirthFacts(is_read=True), price, tokens_of, weights=sure)
    note = hidden_note(run, "toolu_1")

    assert "\n" not in note
    assert f"ctxgc recall toolu_1 --lines {run.first + 1}-{run.first + run.lines}" in note
    assert "make the call again with a range" in note
    assert f"--lines {run.first + 6}-" in hidden_note(run, "toolu_1", lines_before=5)


@given(
    st.sampled_from(Status),
    st.integers(1, 3),
    st.sampled_from([5, LINE_MAX]),
    st.builds(CallFacts, holds_words=st.booleans(), is_plan=st.booleans(), recalls=st.sampled_from(["", "#3"])),
    st.booleans(),
)
def test_a_ranged_read_a_failure_and_what_stays_whole_are_never_shortened(status, first, last, call, has_opaque):
    segment = Segment(
        id="c1",
        kind=Kind.TOOL_CALL,
        role=Role.ASSISTANT,
        place=0,
        born_turn=0,
        status=status,
        paths=(PathUse("/src/a.py", Access.READ, first, last),),
        facts=call,
        has_opaque=has_opaque,
    )

    is_whole_read = first == 1 and last == LINE_MAX
    is_plain = not (call.holds_words or call.is_plan or call.recalls or has_opaque)
    assert is_shortenable(segment) == (status is Status.OK and is_whole_read and is_plain)


def test_what_was_recalled_stays_whole_however_it_was_recalled():
    lines = (DataLine(number, f"the tide of day {number} comes in") for number in range(1, 500))
    frame = render_frame([Block(title="lines", facts=(), lines=tuple(lines))])
    printed = Segment(
        id="c1",
        kind=Kind.TOOL_CALL,
        role=Role.ASSISTANT,
        place=0,
        born_turn=0,
        command="cd /w && ctxgc recall 743863814-6; date",
    )
    cheap = BirthPrice(PROFILES["cache_5m"], 0.0, 20.0)
    sure = PageWeights(-50.0, *[0.0] * 7)

    assert hidden_runs(frame, BirthFacts(), cheap, tokens_of, weights=sure) == []
    assert not is_shortenable(printed)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=5), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3))))
def test_what_is_left_out_at_birth_counts_as_saved_in_every_state_and_nothing_brings_it_back(hidden, moves):
    heap = Heap()
    for number, saved in enumerate(hidden):
        entry = HeapEntry(
            id=f"s{number}",
            kind=Kind.TOOL_CALL,
            place=number,
            born_turn=number,
            skeleton_tokens=5,
            body_tokens=100,
            tombstone_tokens=20,
            hidden_tokens=saved,
        )
        heap.admit(entry)
    for slot, state in moves:
        heap.set_state(slot % len(hidden), state)
        heap.check_invariants()

    assert list(heap.body) == [100 - saved for saved in hidden]
    assert [heap.whole_body_tokens(slot) for slot in range(len(hidden))] == [100] * len(hidden)


@pytest.mark.parametrize("state", [RESIDENT, EVICTED, DEPARTED, FORGOTTEN])
def test_the_note_of_lines_without_a_target_stands_whatever_becomes_of_other_results(state):
    run = hidden_elision(HiddenRun(40, 80, 900, "41 def tide"), "call_1", 0, tokens_of)

    shown = shown_lines_of_elisions([run], lambda target: state, lambda one: "[out]")

    assert shown == [ShownLines(40, 80, run.note)]
    assert unpack_elisions(pack_elisions([run])) == (run,)
    assert parse_client_elisions([list(run)]) == (run,)
