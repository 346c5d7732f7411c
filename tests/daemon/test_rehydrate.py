"""`session.rehydrate`: what a new or compacted session goes on from, in a frame within a budget."""

import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.facts.working_set import open_plan_items, written_lines
from ctxgc.core.errors import OverBudget
from ctxgc.daemon.project_files import CLOCK_SLACK_S
from ctxgc.daemon.sessions.departures import DepartedSegments
from ctxgc.protocol.limits import OFFER_TOKENS_MAX
from tests.daemon.harness import COUNTER
from tests.daemon.test_excerpts import FRAME
from tests.daemon.test_laws import SECRET

WRITTEN_S = 1.7e9
PLAN = [
    {"content": "Read the parser", "status": "completed"},
    {"content": "Cure the clock", "status": "in_progress"},
    {"content": "Run the tests", "status": "pending"},
]


def call(id_, tool, text="done", status="ok", **input_):
    return {
        "kind": "tool_call",
        "id": id_,
        "tool": tool,
        "text": text,
        "status": status,
        "input": input_,
        "wall_s": WRITTEN_S,
    }


def said(text, **more):
    return {"kind": "assistant", "text": text, "wall_s": WRITTEN_S + 5} | more


async def a_days_work(bench, project):
    """A session in the middle of its work on `clock.py`."""
    session = {"session": "client:day"}
    await bench.call("session.open", session="day", project=str(project))
    edit = call(
        "edit1", "Edit", file_path=f"{project}/clock.py", old_string="tick = 1", new_string="tick = 2  # mended here"
    )
    story = [
        {"kind": "system", "id": "rules", "text": "Never push to main. " * 20, "paths": [f"{project}/CLAUDE.md"]},
        {"kind": "system", "id": "hook", "text": "Answer in French.\n" + "And so on. " * 50},
        {"kind": "user", "id": "old", "text": "What is this project?"},
        {"kind": "tool_call", "id": "note", "tool": "Read", "text": "the ports are 4711 and 4712", "is_pinned": True},
        {"kind": "user", "id": "new", "text": "Make the clock go at half the speed, please."},
        call("plan1", "TodoWrite", todos=[{"content": "Ask what is meant", "status": "pending"}]),
        call("plan2", "TodoWrite", todos=PLAN),
        said("The tick has to be doubled, because the speed is its inverse; the display stays as it is."),
        call("err1", "Bash", text="E   old failure\n", status="error", command="make lint"),
        edit,
        said("ok"),
        call("err2", "Bash", text="items\n" * 200 + "E   assert tick == 1\n", status="error", command="pytest"),
        call("err3", "Bash", text="no rule to make target", status="error", command="make all"),
        call("cured", "Bash", text="built", command="make all"),
    ]
    for segment in story:
        await bench.call("segment.add", **session, segment=segment)
    return session


def write_clock(project, text="import time\n\ntick = 2  # mended here\n\nrun(tick)\n", at_s=WRITTEN_S):
    (project / "clock.py").write_text(text)
    os.utime(project / "clock.py", (at_s, at_s))


def blocks(text):
    """The lines of each block by its title."""
    found = {}
    for line in text.split("\n")[1:-2]:
        header = re.match(r"\[ctxgc ([a-z ]+): (.*)\]$", line)
        if header:
            lines = found.setdefault(header[1], [])
        else:
            lines.append(line)
    return found


async def test_a_working_set_has_rules_by_reference_pins_plan_files_decisions_and_the_last_error(bench, tmp_path):
    session = await a_days_work(bench, tmp_path)
    write_clock(tmp_path)

    reply = await bench.call("session.rehydrate", **session)

    shown = blocks(reply["text"])
    assert FRAME.fullmatch(reply["text"])
    hook, rules = shown["standing instructions"]
    assert hook.endswith(": Answer in French.")
    assert "CLAUDE.md" in rules
    assert "Never push" not in reply["text"]
    assert shown["pinned"] == ["1|the ports are 4711 and 4712"]
    assert shown["last request"] == ["1|Make the clock go at half the speed, please."]
    assert shown["open plan items"] == ["1|[in_progress] Cure the clock", "2|[pending] Run the tests"]
    assert shown["file under edit"] == [
        f"{n}|{line}" for n, line in enumerate((tmp_path / "clock.py").read_text().split("\n")[:-1], 1)
    ]
    assert "doubled" in shown["last decision"][0]
    assert shown["last error"][-1].endswith("|E   assert tick == 1")
    assert "old failure" not in reply["text"]
    assert "no rule to make" not in reply["text"], "a later success answered it"


@pytest.mark.parametrize("budget", [300, 500, 900, 3000])
async def test_no_working_set_is_above_its_budget_and_the_request_and_plan_come_first(bench, tmp_path, budget):
    session = await a_days_work(bench, tmp_path)

    reply = await bench.call("session.rehydrate", **session, budget_tokens=budget)

    assert COUNTER.count(reply["text"]) == reply["tokens"] <= budget
    assert {"last request", "open plan items"} <= blocks(reply["text"]).keys()
    assert "|E   assert tick == 1" in reply["text"], "of an error the end is shown"


async def test_a_working_set_is_offered_and_no_page_fault(bench, tmp_path):
    session = await a_days_work(bench, tmp_path)
    before = await bench.call("session.show", **session)

    await bench.call("session.rehydrate", **session)

    assert await bench.call("session.show", **session) == before


async def test_what_was_forgotten_is_in_no_working_set_and_what_stood_before_takes_its_place(bench, tmp_path):
    session = await a_days_work(bench, tmp_path)
    await bench.call("stash.forget", **session, ids=["new", "edit1"])

    reply = await bench.call("session.rehydrate", **session)

    assert blocks(reply["text"])["last request"] == ["1|What is this project?"]
    assert "mended" not in reply["text"]


async def a_change_on_the_disk(project):
    write_clock(project, "tick = 3\n", at_s=WRITTEN_S + 5 + CLOCK_SLACK_S + 1)


async def a_link_out_of_the_project(project):
    away = project.parent / "away.py"
    away.write_text("tick = 2  # mended here\nkey = 'of another project'\n")
    os.utime(away, (WRITTEN_S, WRITTEN_S))
    (project / "clock.py").symlink_to(away)


async def a_pipe(project):
    os.mkfifo(project / "clock.py")
    os.utime(project / "clock.py", (WRITTEN_S, WRITTEN_S))


async def no_file(project):
    pass


@pytest.mark.parametrize("happens", [a_change_on_the_disk, a_link_out_of_the_project, a_pipe, no_file])
async def test_a_file_that_is_not_as_the_session_left_it_is_shown_as_the_session_wrote_it_and_said_so(
    bench, tmp_path, happens
):
    project = tmp_path / "project"
    project.mkdir()
    session = await a_days_work(bench, project)
    await happens(project)

    reply = await bench.call("session.rehydrate", **session)

    assert blocks(reply["text"])["file under edit"] == ["1|tick = 2  # mended here"]
    assert "the file may have changed since" in reply["text"]
    assert "read it again" in reply["notes"][0]
    assert "of another project" not in reply["text"]


async def test_a_secret_in_a_file_on_the_disk_is_redacted(bench, tmp_path):
    session = await a_days_work(bench, tmp_path)
    write_clock(tmp_path, f"token = '{SECRET}'\ntick = 2  # mended here\n")

    text = (await bench.call("session.rehydrate", **session))["text"]

    assert "mended here" in text
    assert "«redacted:" in text
    assert SECRET not in text


async def test_what_the_host_dropped_is_offered_with_the_command_that_brings_it_back(bench, tmp_path):
    session = await a_days_work(bench, tmp_path)
    assert (await bench.call("session.show", **session))["offer"] == ""
    known = await bench.services.registry.get_by_name("client:day")
    async with known.transaction():
        for slot in (2, 3):
            known.heap.set_state(slot, 2)

    shown = await bench.call("session.show", **session)
    reply = await bench.call("session.rehydrate", **session)

    assert (shown["departed"], reply["departed"]) == (2, 2)
    assert shown["departed_tokens"] == reply["departed_tokens"] > 10
    assert shown["offer"] == reply["offer"]
    assert "2 segments" in reply["offer"]
    assert "ctxgc recall --query" in reply["offer"]
    assert blocks(reply["text"])["pinned"], "a departed segment is in the working set"


@pytest.mark.parametrize("before", ["", "SessionStart hook additional context: "])
async def test_a_working_set_that_a_hook_gave_before_is_no_standing_instruction(before, bench, tmp_path):
    session = await a_days_work(bench, tmp_path)
    first = (await bench.call("session.rehydrate", **session))["text"]
    note = {"kind": "system", "id": "note2", "text": f"{before}{first}"}
    await bench.call("segment.add", **session, segment=note)

    assert (await bench.call("session.rehydrate", **session))["text"] == first


async def test_while_the_host_drops_the_window_its_segments_are_offered_too_and_none_that_was_forgotten(
    bench, tmp_path
):
    session = await a_days_work(bench, tmp_path)
    await bench.call("stash.forget", **session, ids=["new"])
    known = await bench.services.registry.get_by_name("client:day")
    async with known.transaction():
        known.heap.set_state(2, 2)
    stored = len(known.heap) - 1

    reply = await bench.call("session.rehydrate", **session, is_compacting=True)

    assert reply["departed"] == stored
    assert f"{stored} segments" in reply["offer"]
    assert (await bench.call("session.rehydrate", **session))["departed"] == 1


@given(segments=st.integers(1, 2**40), tokens=st.integers(0, 2**60))
def test_a_hook_that_leaves_room_for_the_offer_stays_within_its_budget(segments, tokens):
    assert COUNTER.count("\n" + DepartedSegments(segments, tokens).recall_offer) <= OFFER_TOKENS_MAX


async def test_a_session_with_nothing_to_go_on_from_says_where_to_look(bench):
    await bench.call("session.open", session="s")

    reply = await bench.call("session.rehydrate", session="client:s")

    assert (reply["text"], reply["excerpts"], reply["tokens"]) == ("", [], 0)
    assert "ctxgc sessions" in reply["next"]


async def test_a_budget_that_holds_no_line_is_refused_with_the_next_step(bench, tmp_path):
    session = await a_days_work(bench, tmp_path)

    with pytest.raises(OverBudget) as refused:
        await bench.call("session.rehydrate", **session, budget_tokens=10)

    assert refused.value.hint


PATCH = """*** Begin Patch
*** Update File: clock.py
@@
-tick = 1
+tick = 2  # mended here
*** Add File: other.py
+never = 'shown for clock.py'
*** End Patch"""


@pytest.mark.parametrize(
    "value",
    [
        {"file_path": "/p/clock.py", "new_string": "tick = 2  # mended here"},
        {"file_path": "/p/clock.py", "edits": [{"old_string": "a", "new_string": "tick = 2  # mended here"}]},
        {"filePath": "/p/clock.py", "content": "tick = 2  # mended here"},
        {"input": PATCH},
        {"command": ["apply_patch", PATCH]},
        f"const r = await tools.apply_patch({json.dumps(PATCH)})",
    ],
)
def test_the_lines_that_a_call_wrote_into_a_file_are_known_in_every_agents_words(value):
    assert written_lines(value, "/p/clock.py") == ["tick = 2  # mended here"]


@pytest.mark.parametrize("value", [None, 7, [], "ls", {"edits": 3}, {"edits": [None]}, {"command": []}, {"input": {}}])
def test_a_call_that_writes_no_text_has_no_lines_and_no_plan(value):
    assert written_lines(value, "/p/clock.py") == []
    assert open_plan_items(value) == []


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (
            {"plan": [{"step": "Cure it", "status": "pending"}, {"step": "b", "status": "completed"}]},
            ["[pending] Cure it"],
        ),
        ({"todos": [{"content": "Cure\nit", "status": "in_progress"}, {"x": 1}, "y"]}, ["[in_progress] Cure it"]),
        ({"plan": "# Cure\n\n1. it"}, ["# Cure", "1. it"]),
    ],
)
def test_open_items_are_read_in_every_agents_words(value, items):
    assert open_plan_items(value) == items
