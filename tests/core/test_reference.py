"""References: what a segment is said to rest on, it rests on; and the index stays small."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core import reference
from ctxgc.core.reference import ReferenceIndex, code_words, source_lines
from ctxgc.core.segment import Access, EdgeKind, PathUse, Piece, Status
from tests.core.story import Story, a_call, a_read, a_segment, a_shell, a_write, an_edit

WORDS = st.sampled_from(["load_table", "HttpServer", "retry2", "plain", "connection", "a_b_c_d", "MAX_SIZE"])
STEPS = st.lists(st.tuples(st.sampled_from(["user", "read", "edit", "write", "shell"]), WORDS, WORDS), max_size=12)


def told(step):
    what, word, other = step
    return {
        "user": lambda: a_segment(f"please look at {word}"),
        "read": lambda: a_read(f"/{word}.py", result=f"def {word}(): return {other}"),
        "edit": lambda: an_edit(f"/{word}.py", f"def {word}(): return {other}"),
        "write": lambda: a_write(f"/{other}.py", text=f"value = {word}"),
        "shell": lambda: a_shell(f"grep {word} .", PathUse(f"/{other}.py", Access.MENTION), result=f"{other} {word}"),
    }[what]()


@given(STEPS)
def test_every_reference_points_to_an_older_segment_I11(steps):
    story = Story(*map(told, steps))

    story.heap.check_invariants()
    assert all(target < slot for slot in range(len(steps)) for target, _ in story.edges(slot))


@given(STEPS)
def test_recording_a_text_twice_is_as_good_as_once(steps):
    once, twice = Story(), Story()
    for step in steps:
        segment = told(step)
        once.admit(segment)
        twice.index.add_text(twice.admit(segment), segment)

    assert [once.edges(slot) for slot in range(len(steps))] == [twice.edges(slot) for slot in range(len(steps))]


def test_a_call_refers_to_the_user_text_it_serves_even_when_it_completes_after_the_next_one():
    late = a_read()
    story = Story(a_segment("first wish"), replace(late, status=Status.PENDING, body=()), a_segment("second wish"))

    story.admit(late)

    assert story.edges(1) == [(0, EdgeKind.PARENT)]


def test_a_read_refers_to_the_newest_read_or_change_of_its_lines():
    story = Story(a_read(first=1, last=50), a_read(first=60, last=90), a_read(first=40, last=55))

    assert story.edges(2) == [(0, EdgeKind.SAME_FILE)]


def test_neither_a_mention_nor_a_failed_read_holds_lines():
    story = Story(
        a_read(),
        a_shell("rg word /a.py", PathUse("/a.py", Access.MENTION)),
        a_read(status=Status.ERROR),
        a_read(),
    )

    assert (0, EdgeKind.SAME_FILE) in story.edges(3)
    assert not [target for target, kind in story.edges(3) if kind == EdgeKind.SAME_FILE and target != 0]


def test_an_edit_refers_to_the_newest_read_that_holds_most_of_its_old_lines():
    old = "total = compute(items)\nreturn total + carry"
    more = "start = next(order)\n" + old
    numbered = "\n".join(f"  1{n}→{line}" for n, line in enumerate(old.splitlines()))
    story = Story(a_read("/b.py", result=numbered), a_read("/b.py", result="start = next(order)"))

    slot = story.admit(an_edit("/c.py", more))

    assert [target for target, kind in story.edges(slot) if kind == EdgeKind.EDIT_SOURCE] == [0]


def test_what_an_edit_replaced_is_not_text_that_it_holds():
    line = "a line that will be edited twice"
    long_old = Piece("input.old_string", line.encode())
    story = Story(a_read(result=line), a_call("Edit", "done", PathUse("/a.py", Access.EDIT), more=(long_old,)))

    slot = story.admit(an_edit("/a.py", line))

    assert (0, EdgeKind.EDIT_SOURCE) in story.edges(slot)


def test_a_rare_code_word_points_to_its_newest_holder_and_a_common_one_nowhere():
    rare = [a_read(f"/{n}.py", result="uses load_table here") for n in range(3)]
    story = Story(*rare)
    assert (2, EdgeKind.IDENTIFIER) in story.edges(story.admit(a_segment("where is load_table?")))

    slot = story.admit(a_segment("where is load_table again?"))

    assert story.edges(slot) == []


def test_keys_and_escapes_of_a_call_are_no_words_of_the_speaker():
    story = Story(a_read(result="first load_table"))
    said = {"some_option": "x\nload_table"}

    slot = story.admit(a_call("Bash", "one", said=said))
    after = story.admit(a_call("Bash", "two", said={"some_option": "other"}))

    assert (0, EdgeKind.IDENTIFIER) in story.edges(slot)
    assert story.edges(after) == []


def test_members_of_a_task_form_a_chain_and_not_a_clique():
    story = Story(*(a_segment(f"step {n}", task="port") for n in range(4)))

    assert [story.edges(slot) for slot in range(4)] == [[], *([(n, EdgeKind.CHAIN)] for n in range(3))]


def test_what_a_client_names_comes_first_and_only_what_is_older_counts():
    index = ReferenceIndex()

    assert index.derive_references(2, a_segment("x"), given=[1, 5, 2]) == [(1, EdgeKind.GIVEN)]


@pytest.mark.parametrize("word", ["connection", "CONNECTION", "Connection", "short", "1234567"])
def test_plain_words_are_no_code_words(word):
    assert code_words(word) == []


@pytest.mark.parametrize("word", ["load_table", "HttpServer", "retry22", "_hidden", "MAX_SIZE"])
def test_underscores_digits_and_humps_make_a_code_word(word):
    assert code_words(f"({word})") == [word]


def test_lines_are_compared_without_numbers_and_outer_space():
    assert source_lines("   12→\tvalue = 1\n  value = 1  \n13: value = 1\nshort") == ["value = 1"]


def test_the_index_stays_within_its_bounds_however_much_it_is_told_I12(monkeypatch):
    monkeypatch.setattr(reference, "WORDS_MAX", 200)
    monkeypatch.setattr(reference, "LINES_MAX", 100)
    monkeypatch.setattr(reference, "TASKS_MAX", 10)
    story = Story()

    for number in range(60):
        text = "\n".join(f"value_{number}_{line} = {line}" for line in range(20))
        story.admit(a_read(f"/{number}.py", result=text, task=f"task {number}"))

        sizes = story.index.table_sizes()
        assert (sizes["words"] <= 200, sizes["lines"] <= 100, sizes["tasks"] <= 10) == (True, True, True)


def test_one_segment_adds_few_references_however_many_words_it_shares_I12():
    story = Story(*(a_read(f"/{n}.py", result=f"only_{n}_here") for n in range(40)))

    slot = story.admit(a_segment(" ".join(f"only_{n}_here" for n in range(40))))

    assert len(story.edges(slot)) == reference.IDENTIFIER_EDGES_MAX


def test_every_hash_seed_derives_the_same_references_I10():
    program = (
        "from random import Random\n"
        "from tests.core.story import Story, a_read, a_segment, an_edit\n"
        "r = Random(3)\n"
        "word = lambda: f'name_{r.randrange(60)}'\n"
        "line = lambda: f'{word()} = {word()} + {word()}'\n"
        "make = [lambda: a_segment(line()), lambda: a_read(f'/{r.randrange(9)}', result=line()),\n"
        "        lambda: an_edit(f'/{r.randrange(9)}', line())]\n"
        "story = Story(*(r.choice(make)() for _ in range(200)))\n"
        "print([story.edges(slot) for slot in range(200)])\n"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4711")
    ]

    assert printed[0] == printed[1] == printed[2]
    assert printed[0].count(b"IDENTIFIER") + printed[0].count(b", 4)") > 20
