"""References: what a segment is said to rest on, it rests on; and the index stays small."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core import reference, spoken_words
from ctxgc.core.reference import ReferenceIndex
from ctxgc.core.segment import Access, EdgeKind, PathUse, Piece, Status
from ctxgc.core.spoken_words import code_words, defined_words, named_files, named_lines, quotable_lines
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
        twice.index.add_words(twice.admit(segment), segment)

    assert [once.edges(slot) for slot in range(len(steps))] == [twice.edges(slot) for slot in range(len(steps))]


def test_a_read_replaces_the_newest_read_or_change_of_its_lines():
    story = Story(a_read(first=1, last=50), a_read(first=60, last=90), a_read(first=40, last=55))

    assert story.edges(2) == [(0, EdgeKind.REPLACES)]


def test_neither_a_mention_nor_a_failed_read_holds_lines():
    story = Story(
        a_read(),
        a_shell("rg word /a.py", PathUse("/a.py", Access.MENTION)),
        a_read(status=Status.ERROR),
        a_read(),
    )

    assert (0, EdgeKind.REPLACES) in story.edges(3)
    assert not [target for target, kind in story.edges(3) if kind == EdgeKind.REPLACES and target != 0]


def test_a_code_word_points_to_its_newest_definition_and_a_common_one_nowhere():
    defined = [a_read(f"/{n}.py", result="  4\tdef load_table(x):") for n in range(3)]
    story = Story(*defined, a_read("/9.py", result="uses load_table here"))
    assert story.edges(story.admit(a_segment("where is load_table?"))) == [(2, EdgeKind.DEFINITION)]

    story.admit(a_read("/3.py", result="def load_table(): pass"))

    assert story.edges(story.admit(a_segment("where is load_table again?"))) == []


@pytest.mark.parametrize(
    "line",
    [
        "def load_table(x):",
        "   12→class load_table:",
        "func (s *Store) load_table(n int) error {",
        "pub async fn load_table() {",
        "export const load_table = 4",
        "LOAD_TABLE: Final = 4",
        "  7\tLOAD_TABLE = 4",
    ],
)
def test_definitions_are_known_by_their_keyword_or_as_constants(line):
    assert [word.lower() for word in defined_words(line)] == ["load_table"]


@pytest.mark.parametrize("line", ["load_table(x)", "return load_table", "x == LOAD_TABLE", "a.LOAD_TABLE = 4"])
def test_a_use_is_no_definition(line):
    assert defined_words(line) == []


def test_what_an_edit_replaced_is_not_text_that_it_defines():
    long_old = Piece("input.old_string", b"def load_table(x):")
    story = Story(a_call("Edit", "done", PathUse("/a.py", Access.EDIT), more=(long_old,)))

    assert story.edges(story.admit(a_segment("where is load_table?"))) == []


def test_keys_and_escapes_of_a_call_are_no_words_of_the_speaker():
    story = Story(a_read(result="def load_table(): pass"))
    said = {"some_option": "x\nload_table"}

    slot = story.admit(a_call("Bash", "one", said=said))
    after = story.admit(a_call("Bash", "two", said={"some_option": "other"}))

    assert (0, EdgeKind.DEFINITION) in story.edges(slot)
    assert story.edges(after) == []


@pytest.mark.parametrize(
    "said", ["see src/store.py", "in /w/src/store.py:4", "store.py is wrong", "./src/store.py", "look at store.py."]
)
def test_a_text_that_names_a_file_refers_to_the_newest_segment_of_the_file(said):
    story = Story(a_read("/w/src/store.py"), an_edit("/w/src/store.py", "old"), a_read("/w/src/other.py"))

    assert story.edges(story.admit(a_segment(said))) == [(1, EdgeKind.PATH_SPOKEN)]


@pytest.mark.parametrize("said", ["see lib/store.py", "see re.py", "restore.py", "store.pyc"])
def test_a_file_that_no_known_path_ends_in_is_no_reference(said):
    story = Story(a_read("/w/src/store.py"))

    assert story.edges(story.admit(a_segment(said))) == []


def test_a_name_that_several_files_have_is_no_reference():
    story = Story(a_read("/w/a/store.py"), a_read("/w/b/store.py"))

    assert story.edges(story.admit(a_segment("see store.py"))) == []
    assert story.edges(story.admit(a_segment("see b/store.py"))) == [(1, EdgeKind.PATH_SPOKEN)]


def test_the_file_of_a_call_is_not_spoken_of_by_the_call():
    story = Story(a_read("/w/store.py", first=1, last=9))
    read = a_read("/w/store.py", first=50, last=60)

    slot = story.admit(replace(read, skeleton=b'{"call_id":"9","input":{"file_path":"/w/store.py"},"name":"Read"}'))

    assert story.edges(slot) == []


@pytest.mark.parametrize(
    "result", ["/w/store.py:44: error: no", "store.py:44:9 undefined", 'File "/w/store.py", line 44, in get']
)
def test_a_result_that_names_a_line_refers_to_the_newest_view_of_the_line(result):
    story = Story(
        a_read("/w/store.py", first=1, last=90), a_read("/w/store.py", first=100, last=120), an_edit("/w/store.py", "x")
    )

    slot = story.admit(a_shell("make", result=result))

    assert story.edges(slot) == [(0, EdgeKind.PATH_LINE)]


@pytest.mark.parametrize("said", ["see README.md", "see ./README.md", "in mod.rs", "src/../README.md"])
def test_a_name_that_most_projects_have_says_nothing_without_a_folder(said):
    story = Story(a_read("/w/README.md"), a_read("/w/src/mod.rs"))

    assert story.edges(story.admit(a_segment(said))) == []


def test_a_line_behind_many_names_is_found():
    story = Story(a_read("/w/store.py"))
    words = " ".join(f"self.attribute{n}" for n in range(2000))

    slot = story.admit(a_shell("make", result=f"{words}\nstore.py:44: error"))

    assert story.edges(slot) == [(0, EdgeKind.PATH_LINE)]


def test_no_more_names_of_a_text_are_looked_at_than_the_bound_I12():
    assert len(list(named_files(" ".join(f"a{n}.py" for n in range(3000))))) == spoken_words.TOKENS_MAX
    assert len(list(named_lines(" ".join(f"a{n}.py:1" for n in range(3000))))) == spoken_words.TOKENS_MAX


@pytest.mark.parametrize("said", ["C:\\Proj\\src\\Store.py", "src\\Store.py", "store.py", "Store.py"])
def test_a_path_of_windows_is_found_in_any_case_and_with_its_slashes(said):
    story = Story(a_read("c:/proj/src/store.py"))

    assert story.edges(story.admit(a_segment(f"see {said} now"))) == [(0, EdgeKind.PATH_SPOKEN)]


def test_the_same_path_goes_before_a_path_that_ends_so():
    story = Story(a_read("src/a.py"), a_read("lib/src/a.py"))

    assert story.edges(story.admit(a_segment("see src/a.py"))) == [(0, EdgeKind.PATH_SPOKEN)]


SHAPES = ["a/", "a.", ".", "-", "\n", " ", "AbC+/9", "def ", "const\t", "ABCDEFGH:", 'File "', "1\n", "a\\"]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_long_text_of_any_shape_is_read_in_time_that_grows_with_its_length(shape):
    """A pattern that looks at each place of such a text for as long as the text is would take half an hour."""
    text = (shape * spoken_words.TEXT_CHARS_MAX)[: spoken_words.TEXT_CHARS_MAX]

    for names in (named_files, named_lines, defined_words, code_words):
        assert len(list(names(text))) <= spoken_words.WORDS_PER_SEGMENT_MAX


def test_a_plan_refers_to_the_files_that_it_names_and_to_who_defines_two_of_its_words():
    story = Story(
        a_read("/w/store.py"),
        a_read("/w/b.py", result="def load_table(): pass\ndef drop_index(): pass"),
        a_read("/w/c.py", result="def other_word(): pass\nload_table(drop_index)"),
    )
    plan = a_call("TodoWrite", "ok", said={"todos": "store.py: load_table before drop_index, other_word"})

    slot = story.admit(replace(plan, facts=plan.facts._replace(is_plan=True)))

    assert story.edges(slot) == [(0, EdgeKind.PLAN_ITEM), (1, EdgeKind.PLAN_ITEM)]


@given(STEPS)
def test_an_index_without_words_derives_the_same_references_and_holds_no_word(steps):
    segments = list(map(told, steps))
    without, with_words = Story(*segments), Story(*segments, has_words=True)

    assert [without.edges(slot) for slot in range(len(steps))] == [with_words.edges(slot) for slot in range(len(steps))]
    assert without.index.table_sizes()["words"] == 0
    assert not without.index.slots_with_word("load_table")


def test_holders_of_a_word_are_all_that_hold_it_while_it_is_rare():
    story = Story(*(a_read(f"/{n}.py", result="uses load_table here") for n in range(3)), has_words=True)
    assert story.index.slots_with_word("load_table") == [0, 1, 2]

    story.admit(a_segment("load_table again"))

    assert story.index.slots_with_word("load_table") == []


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
    assert quotable_lines("   12→\tvalue = 1\n  value = 1  \n13: value = 1\nshort") == ["value = 1"]


def test_the_index_stays_within_its_bounds_however_much_it_is_told_I12(monkeypatch):
    monkeypatch.setattr(reference, "WORDS_MAX", 200)
    monkeypatch.setattr(reference, "DEFINITIONS_MAX", 100)
    story = Story(has_words=True)

    for number in range(60):
        text = "\n".join(f"def value_{number}_{line}()" for line in range(20))
        story.admit(a_read(f"/{number}.py", result=text))

        sizes = story.index.table_sizes()
        assert (sizes["words"] <= 200, sizes["definitions"] <= 100) == (True, True)
    assert sizes["definitions"] > 50


def test_one_segment_adds_few_references_however_many_words_it_shares_I12():
    story = Story(*(a_read(f"/{n}.py", result=f"def only_{n}_here") for n in range(40)))

    slot = story.admit(a_segment(" ".join(f"only_{n}_here" for n in range(40))))

    assert len(story.edges(slot)) == reference.EDGES_PER_KIND_MAX


def test_every_hash_seed_derives_the_same_references_I10():
    program = (
        "from random import Random\n"
        "from tests.core.story import Story, a_read, a_segment, an_edit\n"
        "r = Random(3)\n"
        "word = lambda: f'name_{r.randrange(60)}'\n"
        "line = lambda: f'def {word()}({word()}): return {word()}'\n"
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
    assert printed[0].count(b"DEFINITION") + printed[0].count(b", 13)") > 20
