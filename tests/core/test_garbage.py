"""Proven garbage is garbage: what a later segment really makes useless, and nothing that only looks like it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.facts.tool_facts import facts_of_call
from ctxgc.core.collector import plan
from ctxgc.core.heap import DEPARTED, EVICTED, FORGOTTEN, Now
from ctxgc.core.rules import Rules
from ctxgc.core.segment import LINE_MAX, Access, PathUse, Piece, Status
from tests.core.story import Story, a_call, a_read, a_shell, a_write, an_edit


def shell(command: str, **fields):
    """A shell call with the facts that adapters find in it."""
    facts = facts_of_call("Bash", {"command": command}, "")
    return a_shell(facts.command, *facts.paths, **fields)


def test_a_read_is_superseded_by_a_later_read_that_covers_its_lines():
    assert Story(a_read(first=10, last=40), a_read(first=1, last=40)).proofs() == {0: "superseded_read"}


def test_a_read_that_is_only_partly_shown_again_stays():
    story = Story(a_read(first=1, last=100), a_read(first=1, last=99), a_read(first=50, last=100))

    assert story.proofs() == {}


def test_a_read_to_the_end_of_the_file_is_covered_only_by_one_to_the_end():
    assert Story(a_read(first=10), a_read(first=1, last=2000)).proofs() == {}
    assert Story(a_read(first=10), a_read(first=1)).proofs() == {0: "superseded_read"}


def test_a_read_of_which_most_is_shown_again_after_a_change_is_stale():
    story = Story(a_read(first=1, last=100), an_edit(), a_read(first=20, last=120))

    assert story.proofs() == {0: "stale_read"}


def test_a_few_changed_lines_do_not_make_the_rest_of_a_read_useless():
    a_bit_again = [an_edit(), a_read(first=20, last=30)]

    assert Story(a_read(first=1, last=100), *a_bit_again).proofs() == {}
    assert Story(a_read(), *a_bit_again).proofs() == {}


def test_without_a_change_in_between_nothing_is_stale():
    story = Story(an_edit(), a_read(first=1, last=100), a_read(first=20, last=120))

    assert story.proofs() == {}


def test_a_failed_read_supersedes_nothing():
    story = Story(a_read(), a_read(status=Status.ERROR, result="no such file"))

    assert story.proofs() == {}


def test_a_failed_edit_changes_nothing_so_nothing_is_stale():
    story = Story(a_read(first=1, last=100), an_edit(status=Status.ERROR), a_read(first=20, last=120))

    assert story.proofs() == {}


def test_a_read_that_was_rewound_or_forgotten_proves_nothing_and_an_evicted_one_still_does():
    for state, held in ((DEPARTED, False), (FORGOTTEN, False), (EVICTED, True)):
        story = Story(a_read(), a_read())
        story.heap.set_state(1, state)

        assert bool(story.proofs()) == held


@pytest.mark.parametrize(
    "command",
    [
        "cat /a.py | grep word",
        "cat /a.py | wc -l",
        "cp /a.py /b.py",
        "sed -n '/word/p' /a.py",
        "sed -n '1,5p;90,99p' /a.py",
        "sed 's/x/y/' /a.py",
        "head -c 50 /a.py",
        "awk '{print $1}' /a.py",
        "jq .name /a.py",
        "cat /a.py > /b.py",
        "diff /a.py /b.py",
    ],
)
def test_a_command_that_shows_less_than_the_file_supersedes_no_read_of_it(command):
    assert Story(a_read(), shell(command)).proofs() == {}


@pytest.mark.parametrize(
    "command",
    [
        "cat /a.py\ncargo check -q",
        "cat /a.py; make",
        "cat /a.py && git status",
        "cat /a.py $(ls)",
        "cat /a.py *.md",
        "cat /a.py 2024",
        "cat /a.py || cat /b.py",
        "cat /a.py & top",
        "cat /a.py " + "x" * 200,
    ],
)
def test_a_command_that_may_print_more_than_the_file_is_not_replaced_by_a_read_of_it(command):
    assert Story(shell(command), a_read()).proofs() == {}


@pytest.mark.parametrize(
    ("command", "again"),
    [
        ("cat /a.py", "cat -n /a.py"),
        ("cd /src && cat a.py", "cd /src && nl -ba a.py"),
        ("sed -n '10,20p' /a.py", "sed -n '1,40p' /a.py"),
        ("nl -ba /a.py | sed -n '10,20p'", "nl -ba /a.py | sed -n '5,25p'"),
        ("head -20 /a.py", "head -n 30 /a.py"),
        ("cat /a.py && sed -n '1,5p' /b.py", "cat /b.py\ncat /a.py"),
    ],
)
def test_readers_of_whole_lines_supersede_each_other(command, again):
    assert Story(shell(command), shell(again)).proofs() == {0: "superseded_read"}


def test_a_result_of_two_files_is_garbage_only_when_both_are_shown_again():
    story = Story(shell("cat /a.py /b.py"), a_read("/a.py"))
    assert story.proofs() == {}

    story.admit(a_read("/b.py"))

    assert story.proofs() == {0: "superseded_read"}


@pytest.mark.parametrize("cut", ["1\n…606 tokens truncated…\n2", "File unchanged since last read."])
def test_a_result_that_the_host_cut_supersedes_nothing(cut):
    assert Story(shell("cat /a.py"), shell("cat /a.py", result=cut)).proofs() == {}
    assert Story(a_read(), a_read(result=cut)).proofs() == {}


def test_an_answer_that_points_to_an_earlier_read_is_a_mention_of_the_file_and_not_its_newest_read():
    facts = facts_of_call("Read", {"file_path": "/a.py"}, "")

    answered = facts.with_result(b"File unchanged since last read. The content from the earlier Read is still current")

    assert [use.access for use in answered.paths] == [Access.MENTION]


def test_a_call_that_completes_late_never_proves_a_younger_one_useless():
    late = a_read(result="shown late")
    story = Story(replace(late, status=Status.PENDING, body=()), a_read())

    story.admit(late)
    assert story.proofs() == {}

    story.admit(a_read())
    assert {old: proof.by for old, proof in story.heap.proofs.items()} == {0: 2, 1: 2}


def test_a_write_is_superseded_by_a_read_of_the_whole_file_or_by_another_write():
    assert Story(a_write(), a_read()).proofs() == {0: "superseded_write"}
    assert Story(a_write(), a_write(text="other")).proofs() == {0: "superseded_write"}
    assert Story(a_write(), a_read(first=5)).proofs() == {}
    assert Story(a_write(), shell("cat /a.py | grep word")).proofs() == {}
    assert Story(a_write(), a_write(text="other", status=Status.ERROR)).proofs() == {}


def test_the_same_call_with_the_same_result_is_a_duplicate_and_the_older_goes():
    def look():
        return a_call("Grep", "No files found", said={"pattern": "word"})

    assert Story(look(), look()).proofs() == {0: "duplicate"}


def test_the_same_result_of_another_call_is_no_duplicate():
    story = Story(*(a_call("Grep", "No files found", said={"pattern": word}) for word in ("one", "two")))

    assert story.proofs() == {}


def test_an_error_is_garbage_only_when_older_than_four_turns_and_a_later_try_went_well():
    failed, again = shell("make all", status=Status.ERROR, turn=10), shell("make all", turn=11)

    assert Story(failed, again).proofs(turn=14) == {}
    assert Story(failed, again).proofs(turn=15) == {0: "failed_then_succeeded"}
    assert Story(failed).proofs() == {}


def test_moving_to_a_directory_does_not_make_two_commands_alike():
    failed = shell("cd /src && npm test", status=Status.ERROR)

    assert Story(failed, shell("cd /src && ls")).proofs() == {}
    assert Story(failed, shell("npm test")).proofs() == {0: "failed_then_succeeded"}


def test_a_newer_todo_list_buries_the_older_one_but_not_the_plan_it_follows():
    plan_text = Piece("input.plan", b"first this, then that")
    story = Story(a_call("ExitPlanMode", "ok", more=(plan_text,)), a_call("TodoWrite", "1"), a_call("TodoWrite", "2"))

    assert story.proofs() == {1: "superseded_plan"}


def test_a_failed_todo_list_buries_nothing():
    assert Story(a_call("TodoWrite", "1"), a_call("TodoWrite", "no", status=Status.ERROR)).proofs() == {}


def test_a_result_without_a_character_that_prints_is_empty():
    assert Story(a_call("Bash", " \n\t\n" * 50)).proofs() == {0: "empty"}
    assert Story(a_write(text="kept"), a_call("Bash", "ok")).proofs() == {}


def test_a_root_that_looks_like_garbage_is_a_root_I2():
    story = Story(a_read(turn=1, result="x" * 900), a_read(turn=1, result="x" * 900), a_read(turn=1))
    story.heap.set_pinned(0, True)

    todo = plan(story.heap, story.index.paths, 0, Now(50), Rules())

    assert [victim.slot for victim in todo.victims] == [1]
    assert {0, 1} <= set(story.proofs())


LINES = st.tuples(st.integers(1, 9), st.one_of(st.integers(0, 9), st.just(LINE_MAX)))


@given(st.lists(st.tuples(st.sampled_from(["read", "edit", "write", "failed"]), LINES), max_size=12))
def test_a_superseded_read_has_a_later_read_that_went_well_and_shows_all_its_lines(steps):
    uses = [PathUse("/a.py", Access.READ, first, min(first + more, LINE_MAX)) for _, (first, more) in steps]
    story = Story()
    for (what, _), use in zip(steps, uses, strict=True):
        made = {"edit": an_edit(), "write": a_write()}.get(what)
        status = Status.ERROR if what == "failed" else Status.OK
        story.admit(made or a_read("/a.py", use.first_line, use.last_line, status=status))

    for old, proof in story.heap.proofs.items():
        assert proof.by > old
        if proof.reason == "superseded_read":
            assert steps[proof.by][0] == "read"
            assert uses[proof.by].first_line <= uses[old].first_line
            assert uses[old].last_line <= uses[proof.by].last_line
