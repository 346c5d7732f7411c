"""What `ctxgc recall` printed in the shell is a copy of an older segment, and known as one."""

import pytest

from ctxgc.core.recall_commands import original_slot, recalled_name
from ctxgc.core.segment import EdgeKind, Status
from tests.core.story import Story, a_read, a_segment, a_shell

COPIES = [
    "ctxgc recall '#1'",
    'ctxgc recall "#1"',
    "ctxgc recall --raw '#1'",
    "ctxgc recall '#1' --piece result",
    "cd /src && ctxgc recall '#1'",
    "/home/dev/.local/bin/ctxgc recall '#1' 2>&1 | head -50",
    "ctxgc recall '#1' | grep -n 'def ' | sed -n 1,20p",
    "ctxgc recall {id}",
    "ctxgc recall {id} --json",
    "ctxgc recall '#1' --lines 40-80",
    "ctxgc recall --budget 2k '#1'",
]
NEWS = [
    "ctxgc recall '#1' && make",
    "ctxgc recall '#1' > a.txt",
    "ctxgc recall '#1' | tee $(date)",
    "ctxgc recall '#1'; ls",
    "ctxgc recall '#99'",
    "ctxgc recall '#2'",
    "ctxgc recall --session codex:x '#1'",
    "ctxgc recall --query words",
    "ctxgc recall --around '#1'",
    "ctxgc recall --lines 40-80 --around '#1'",
    "ctxgc rehydrate '#1'",
    "ctxgc show '#1'",
    "echo ctxgc recall '#1'",
    "ctxgc recall '#1' " + "x" * 200,
]


def told(command, **fields):
    story = Story(a_segment("find it"), a_read())
    name = story.heap.ids[1]
    return story, story.admit(a_shell(command.format(id=name), **fields))


@pytest.mark.parametrize("command", COPIES)
def test_a_recall_in_the_shell_refers_to_what_it_brought_back(command):
    story, slot = told(command)

    assert (1, EdgeKind.RECALLS) in story.edges(slot)
    assert original_slot(story.heap, slot) == 1


@pytest.mark.parametrize("command", NEWS)
def test_a_command_that_may_print_more_than_that_is_its_own_original(command):
    story, slot = told(command)

    assert original_slot(story.heap, slot) == slot


@pytest.mark.parametrize("status", [Status.ERROR, Status.PENDING])
def test_a_recall_that_brought_nothing_back_is_none(status):
    story, slot = told("ctxgc recall '#1'", status=status)

    assert original_slot(story.heap, slot) == slot


def test_a_recall_of_a_recall_leads_to_the_first():
    story = Story(a_segment("find it"), a_read())

    for number in range(1, 6):
        slot = story.admit(a_shell(f"ctxgc recall '#{number}'"))

    assert original_slot(story.heap, slot) == 1


@pytest.mark.parametrize("name", ["#12", "toolu_01AbC", "call_7~2", "exec-0.1", "user-5e884898da28", "482915736-17"])
def test_a_recall_may_use_any_name_that_a_segment_has(name):
    assert recalled_name(a_shell(f"ctxgc recall '{name}'")) == name
