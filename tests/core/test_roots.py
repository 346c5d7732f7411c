"""Roots: everything the session stands on now, and nothing that is outside the window (I2)."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.heap import DEPARTED, EVICTED, FORGOTTEN, PENDING, PINNED, Heap, Now
from ctxgc.core.paths import PathIndex
from ctxgc.core.roots import find_roots
from ctxgc.core.rules import Rules
from ctxgc.core.segment import Access, Kind, PathUse, Status
from tests.core.story import Story, a_call, a_read, a_segment, a_shell
from tests.core.strategies import NOW, RULES, heaps
from tests.core.test_heap import an_entry

LATER = 100


@given(st.lists(st.integers(0, 90), max_size=40), st.integers(0, 100), st.integers(0, 5))
def test_recent_is_exactly_what_the_last_turns_bore_whatever_order_it_came_in_I2(born, turn, recent_turns):
    heap = Heap()
    for number, at in enumerate(born):
        heap.admit(an_entry(f"s{number}", born=at))

    roots = find_roots(heap, PathIndex(), Now(turn), Rules(recent_turns=recent_turns))

    assert [bool(code) for code in roots] == [at >= turn - max(recent_turns, 1) for at in born]


@given(heaps(), NOW, RULES)
def test_nothing_outside_the_window_is_a_root(made, now, rules):
    heap, paths = made

    roots = find_roots(heap, paths, now, rules)

    assert not [slot for slot in range(len(heap)) if roots[slot] and heap.state[slot] > EVICTED]


@given(heaps(), NOW, RULES)
def test_every_user_text_system_text_pin_and_open_call_in_the_window_is_a_root_I2(made, now, rules):
    heap, paths = made

    roots = find_roots(heap, paths, now, rules)

    for slot in heap.window():
        is_said = heap.kind_of(slot) in (Kind.SYSTEM, Kind.USER)
        assert bool(roots[slot]) or not (is_said or heap.has_flag(slot, PINNED) or heap.has_flag(slot, PENDING))


def test_what_the_model_has_not_seen_yet_is_a_root_even_without_recent_turns():
    story = Story(a_read(turn=6), a_read("/b.py", turn=7))

    assert story.roots(8, recent_turns=0, file_turns=0) == {1: "recent"}


def test_the_last_three_turns_are_the_last_three_replies():
    story = Story(*(a_call("Bash", f"output {turn}", turn=turn) for turn in range(6)))

    assert set(story.roots(6)) == {3, 4, 5}


def test_a_late_import_of_old_segments_does_not_hide_the_recent_ones_I2():
    story = Story(a_call("Bash", "new", turn=500), *(a_call("Bash", f"old {n}", turn=n) for n in range(100)))

    assert story.roots(501)[0] == "recent"


def test_the_answer_to_a_question_is_a_root_of_the_user_I16():
    story = Story(a_call("AskUserQuestion", "the second"), a_call("mcp__forms__ask_user", "ten"), a_call("Bash", "ten"))

    assert story.roots(LATER) == {0: "user", 1: "user"}


def test_the_newest_summary_is_a_root_and_an_older_one_is_not():
    story = Story(a_segment("one", kind=Kind.SUMMARY), a_segment("two", kind=Kind.SUMMARY))

    assert story.roots(LATER) == {1: "summary"}


def test_the_newest_todo_list_that_went_well_is_a_root_beside_the_plan():
    story = Story(
        a_call("ExitPlanMode", "approved"),
        a_call("TodoWrite", "1"),
        a_call("TodoWrite", "2"),
        a_call("TodoWrite", "no such thing", status=Status.ERROR),
    )

    assert story.roots(LATER) == {0: "plan", 2: "plan"}


def test_the_newest_read_of_a_file_is_a_root_while_the_file_is_in_use():
    story = Story(a_read(turn=1), a_read(turn=8), a_shell("rg x /a.py", PathUse("/a.py", Access.MENTION), turn=20))

    assert story.roots(32)[1] == "file"
    assert story.roots(33) == {}


def test_a_failed_read_does_not_take_the_place_of_the_one_that_holds_the_file():
    story = Story(a_read(turn=1), a_read(turn=2, status=Status.ERROR))

    assert story.roots(10) == {0: "file"}


def test_when_the_newest_read_of_a_file_was_rewound_the_one_before_is_the_root():
    story = Story(a_read(turn=1), a_read(turn=2))
    story.heap.set_state(1, DEPARTED)

    assert story.roots(10) == {0: "file"}


ODD_PATHS = [
    "/app/[slug]/page.tsx",
    "/app/[...rest]/route.ts",
    "/routes/[id=integer]/+page.svelte",
    "/app/[[...all]]/[x]/page.tsx",
    "/app/(marketing)/page.tsx",
    "/what?.md",
    "/star*.md",
    "/[",
]


@pytest.mark.parametrize(
    ("rules", "name"),
    [
        ({"protect_paths": ("/src/*.py",)}, "protected"),
        ({"protect_tools": ("Read",)}, "protected"),
        ({"open_paths": ("/src/a.py",)}, "open"),
        ({"task": "port"}, "task"),
    ],
)
def test_what_a_user_or_client_declares_is_a_root_however_old(rules, name):
    story = Story(a_read("/src/a.py", task="port"), a_call("Bash", "output"))

    assert story.roots(LATER) == {}
    assert story.roots(LATER, **rules) == {0: name}


@pytest.mark.parametrize("glob", ODD_PATHS)
def test_a_protected_path_protects_the_file_of_that_very_name_whatever_its_letters_mean_in_a_glob(glob):
    assert Story(a_read(glob)).roots(LATER, protect_paths=(glob,)) == {0: "protected"}


def test_brackets_of_a_protected_path_are_letters_beside_a_star_and_a_choice_of_letters():
    story = Story(a_read("/app/[slug]/page.tsx"), a_read("/app/s/page.tsx"), a_read("/app/x/page.tsx"))

    assert story.roots(LATER, protect_paths=("*/[slug]/*.tsx",)) == {0: "protected", 1: "protected"}
    assert story.roots(LATER, protect_paths=("*/[!s]/*.tsx",)) == {2: "protected"}


@pytest.mark.parametrize(("path", "glob"), [
    ("/app/(group)/[id]/q.ts", "*/(group)/[id]/[a-z].ts"),
    ("/app/[id]/[[...opt]]/7.ts", "*/[id]/[[...opt]]/[0-9].ts"),
    ("/app/[[...opt]]/q.ts", "*/[[][[]...opt]]/*.ts"),
    ("/app/[маршрут]/[x].py", "*/[маршрут]/[[]x].py"),
    ("/a*/[b]/c.py", "/a[*]/[b]/?.py"),
])  # fmt: skip
def test_of_several_brackets_in_a_glob_each_is_read_for_itself(path, glob):
    story = Story(a_read(path), a_read("/other/z.md"))

    assert story.roots(LATER, protect_paths=(glob,)) == {0: "protected"}


@given(st.text("ab/*?[]!-\n.", max_size=8), st.text("ab/*?[]!-\n.", max_size=8))
def test_a_glob_protects_whatever_fnmatch_says_and_whatever_its_brackets_spell(path, glob):
    spelled = fnmatchcase(path, glob) or fnmatchcase(path, glob.replace("[", "[[]"))
    protected = "protected" in Story(a_read(f"/{path}")).roots(LATER, protect_paths=(f"/{glob}",)).values()

    assert protected or not (spelled and f"/{path}".isprintable())


def test_a_recalled_segment_is_a_root_until_its_grace_ends():
    story = Story(a_call("Bash", "output"))
    story.heap.grace.grant(0, LATER)

    assert story.roots(LATER) == {0: "recalled"}
    assert story.roots(LATER + 1) == {}


def test_forgetting_a_pinned_segment_makes_it_no_root():
    story = Story(a_call("Bash", "output"))
    story.heap.set_pinned(0, True)

    story.heap.set_state(0, FORGOTTEN)

    assert story.roots(LATER) == {}
