"""Elisions: whatever the lines, the text that is shown and the targets give the host's own bytes back."""

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ctxgc.core.entry.elisions import (
    Elision,
    ShownLines,
    elided_text,
    elided_texts,
    pack_elisions,
    parse_client_elisions,
    restore_elided_text,
    shown_lines_of_elisions,
    unpack_elisions,
)
from ctxgc.core.entry.line_index import (
    CANDIDATES_MAX,
    CHARS_MAX,
    COMPARED_PER_LINE_MAX,
    RESULT_CHARS_MIN,
    RUN_LINES_MIN,
    LineIndex,
)
from ctxgc.core.errors import BadParams
from ctxgc.core.heap import DEPARTED, EVICTED, FORGOTTEN, RESIDENT, Heap, HeapEntry, Now, PointerEdge
from ctxgc.core.numbered_lines import line_content, line_number, shift_number
from ctxgc.core.paths import PathIndex
from ctxgc.core.roots import POINTED, find_roots
from ctxgc.core.rules import Rules
from ctxgc.core.segment import Kind

WORDS = st.sampled_from(["tide", "ferry rope anchor", "", "    return harbour[0]", "}", "quay " * 30, "12:30 left"])
FORMS = st.sampled_from(["{}", "{n:>6}\t{}", "{n:>6}→{}", "{n:05d}| {}"])


@st.composite
def texts(draw):
    """A result: lines of a small vocabulary in one of the forms that readers give them, so that runs repeat."""
    form, first = draw(FORMS), draw(st.integers(1, 120))
    lines = draw(st.lists(WORDS, max_size=40))
    return "\n".join(form.format(line, n=first + at) for at, line in enumerate(lines))


RESULTS = st.lists(texts(), min_size=2, max_size=6)


def enter(results):
    """Each result's runs, as the window would hold them: an elision each."""
    index, found = LineIndex(), []
    for number, text in enumerate(results):
        runs = index.find_runs(text, lambda target: True)
        elisions = [Elision(*run, 1, f"[note {number} {at}]") for at, run in enumerate(runs)]
        index.add_target(str(number), text, [(one.first, one.lines) for one in elisions])
        found.append(elisions)
    return found


@given(RESULTS)
def test_following_pointers_gives_the_bytes_of_the_host(results):
    bodies = {str(number): text for number, text in enumerate(results)}
    for text, elisions in zip(results, enter(results), strict=True):
        shown = elided_text(text, [ShownLines(one.first, one.lines, one.note) for one in elisions])

        assert restore_elided_text(shown, elisions, bodies) == text


@given(RESULTS)
def test_a_pointer_leads_to_lines_that_stand_there_as_lines(results):
    entered = enter(results)
    for elisions in entered:
        for one in elisions:
            hidden = {n for other in entered[int(one.target)] for n in range(other.first, other.first + other.lines)}
            assert not hidden & set(range(one.target_first, one.target_first + one.lines))
            assert one.lines >= RUN_LINES_MIN


@given(RESULTS)
def test_runs_come_in_order_and_a_short_result_has_none(results):
    for text, elisions in zip(results, enter(results), strict=True):
        ends = [0, *(one.first + one.lines for one in elisions)]
        assert all(one.first >= end for one, end in zip(elisions, ends, strict=False))
        assert not elisions or len(text) >= RESULT_CHARS_MIN


@given(st.lists(st.text("ab\n", max_size=8), min_size=1, max_size=4), st.data())
def test_the_texts_of_a_result_are_elided_as_the_whole_is(parts, data):
    whole = "".join(parts).split("\n")
    first = data.draw(st.integers(0, len(whole) - 1))
    run = ShownLines(first, data.draw(st.integers(1, len(whole) - first)), "[note]")
    try:
        shown = elided_texts(parts, [run])
    except ValueError:
        assume(False)

    assert "".join(shown) == elided_text("".join(parts), [run])
    assert len(shown) == len(parts)


@pytest.mark.parametrize("runs", [[(0, 9)], [(0, 0)], [(1, 1), (0, 1)], [(0, 2), (1, 1)], [(-1, 1)]])
def test_runs_that_overlap_or_leave_the_result_are_refused(runs):
    with pytest.raises(ValueError, match="elided runs"):
        elided_text("a\nb\nc", [ShownLines(first, lines, "[note]") for first, lines in runs])


@given(texts(), st.integers(0, 500))
def test_a_shift_moves_the_number_of_a_line_and_nothing_else(text, shift):
    for line in text.split("\n"):
        moved = shift_number(line, shift)
        assert line_content(moved) == line_content(line)
        if line_number(line) is None:
            assert moved == line
        else:
            assert line_number(moved).value == line_number(line).value + shift
            assert shift_number(line, 0) == line


ELISIONS = st.lists(
    st.builds(
        Elision,
        st.just(0),
        st.integers(1, 50),
        st.text(max_size=9),
        st.integers(0, 99),
        st.integers(-9, 9),
        st.integers(0, 999),
        st.text("abc ", max_size=9),
    ),
    max_size=1,
)


@given(ELISIONS)
def test_elisions_survive_the_stash_and_the_wire(elisions):
    assert list(unpack_elisions(pack_elisions(elisions))) == elisions
    assert list(parse_client_elisions([list(one) for one in elisions])) == elisions


@pytest.mark.parametrize(
    "value",
    [
        [[0, 3, "a", 0, 0, 9]],
        [[0, 0, "a", 0, 0, 9, "n"]],
        [[-1, 3, "a", 0, 0, 9, "n"]],
        [["0", 3, "a", 0, 0, 9, "n"]],
        [[0, 3, 7, 0, 0, 9, "n"]],
        [[5, 3, "a", 0, 0, 9, "n"], [0, 3, "a", 0, 0, 9, "n"]],
        ["nothing"],
    ],
)
def test_elisions_that_are_no_runs_in_order_are_refused_with_the_way_out(value):
    with pytest.raises(BadParams) as refused:
        parse_client_elisions(value)

    assert "window.enter" in refused.value.hint


@pytest.mark.parametrize(
    ("state", "note"), [(RESIDENT, "[pointer]"), (EVICTED, "[out]"), (DEPARTED, None), (FORGOTTEN, None)]
)
def test_the_targets_state_alone_says_what_stands_in_the_place_of_a_run(state, note):
    elision = Elision(2, 4, "target", 0, 0, 10, "[pointer]")

    shown = shown_lines_of_elisions([elision], lambda target: state, lambda one: "[out]")

    assert shown == ([] if note is None else [ShownLines(2, 4, note, "target")])


def entry_of(number, **more):
    fields = {"skeleton_tokens": 5, "body_tokens": 100, "tombstone_tokens": 20} | more
    return HeapEntry(id=f"s{number}", kind=Kind.TOOL_CALL, place=number, born_turn=number, **fields)


STATES_OF_TARGETS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([RESIDENT, EVICTED, DEPARTED])), max_size=20)


@given(st.lists(st.sets(st.integers(0, 4)), min_size=6, max_size=6), STATES_OF_TARGETS)
def test_a_holder_counts_its_lines_itself_as_soon_as_its_target_is_out_of_the_window(targets, moves):
    heap = Heap()
    for number, wanted in enumerate(targets):
        edges = tuple(PointerEdge(target, 7) for target in wanted if target < number)
        heap.admit(entry_of(number, pointers=edges))
    for slot, state in moves:
        heap.set_state(slot, state)
        heap.check_invariants()

    for slot in range(6):
        inside = [edge for edge in heap.pointers.get(slot, ()) if heap.state[edge.target] <= EVICTED]
        assert heap.body[slot] == 100 - 7 * len(inside)
        assert heap.whole_body_tokens(slot) == 100


def test_the_target_of_a_pinned_result_stays_and_is_free_when_the_pin_goes():
    heap = Heap()
    heap.admit(entry_of(0))
    heap.admit(entry_of(1, pointers=(PointerEdge(0, 7),)))
    heap.set_pinned(1, True)
    rules = Rules(recent_turns=0, file_turns=0)

    assert find_roots(heap, PathIndex(), Now(50), rules)[0] == POINTED
    heap.set_pinned(1, False)
    assert find_roots(heap, PathIndex(), Now(50), rules)[0] == 0


def test_copies_behind_pointers_do_not_hide_the_lines_that_stand_there():
    text = "\n".join(f"{n:>6}\tthe ferry waits at quay {n * 13} for the tide" for n in range(40))
    index = LineIndex()
    index.add_target("first", text)
    for number in range(3 * CANDIDATES_MAX):
        index.add_target(f"copy{number}", text + f"\n{number}", [(0, 40)])

    [run] = index.find_runs(text + "\nnew", lambda target: True)

    assert (run.target, run.lines) == ("first", 40)


LOG_LINE = "the same line of output, eighty characters wide, over and over again, as logs are...."


@given(st.integers(5, 400), st.integers(5, 400))
def test_a_text_that_repeats_itself_enters_as_one_pointer(lines, more):
    index = LineIndex()
    index.add_target("old", "\n".join([LOG_LINE] * (lines + more)))

    [run] = index.find_runs("\n".join([LOG_LINE] * lines), lambda target: True)

    assert (run.first, run.lines, run.target_first + run.lines <= lines + more) == (0, lines, True)


@given(st.integers(1, 40), st.integers(5, 300))
def test_targets_that_are_out_of_the_window_cost_no_more_than_targets_that_are_in(targets, lines):
    index, asked = LineIndex(), []
    for number in range(targets):
        index.add_target(str(number), "\n".join([LOG_LINE] * lines))

    index.find_runs("\n".join([LOG_LINE] * lines), asked.append)

    assert len(asked) <= (COMPARED_PER_LINE_MAX + 1) * lines + CANDIDATES_MAX * targets


@given(RESULTS)
def test_an_index_keeps_nothing_of_targets_that_left(results):
    index = LineIndex()
    for number, text in enumerate(results):
        index.add_target(str(number), text, [(1, 2)])
    for number in range(len(results)):
        index.remove_target(str(number))

    assert (index.lines, index.chars, index._places, index._keys, index._targets) == (0, 0, {}, {}, {})


def test_an_index_holds_results_of_few_long_lines_within_its_bound():
    index = LineIndex()
    for number in range(40):
        index.add_target(str(number), f"{number}\n" + "x" * 2**20 + "\nend\n")

    assert index.chars <= CHARS_MAX


def test_the_cost_of_showing_a_result_grows_with_its_lines_and_its_runs_alone():
    text = "\n".join([LOG_LINE] * 40_000)
    runs = [ShownLines(first, 3, "[note]") for first in range(0, 40_000, 4)]
    begun = time.process_time()

    shown = elided_text(text, runs)

    assert shown.count("[note]") == len(runs)
    assert time.process_time() - begun < 2.0
