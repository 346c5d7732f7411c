"""Targets that change under their pointers: no pointer leads to what the model cannot see."""

import json

import pytest

from ctxgc.adapters.transcripts.segments_json import segment_fields
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import bench_on
from tests.daemon.test_entry import (
    ROOMY,
    SESSION,
    WIRE,
    EnteringHost,
    conversation,
    file_text,
    results_of,
)

CLEARED = "[Old tool result content cleared]"


@pytest.fixture
async def bench():
    async with bench_on(SqliteStash(MEMORY), config=ROOMY) as made:
        yield made


async def test_lines_whose_target_the_host_cleared_stand_themselves(bench):
    host = EnteringHost(bench.call)
    for texts in ([file_text("a")], [file_text("a"), file_text("a")]):
        await host.send(conversation(*texts))
    assert host.elided

    cleared = conversation(CLEARED, file_text("a"))
    host.known.discard("call_0")
    await host.send(cleared)

    assert results_of(await host.send(cleared))["call_1"] == file_text("a")


async def test_a_result_enters_whole_where_the_host_has_cleared_the_target(bench):
    host = EnteringHost(bench.call)
    await host.send(conversation(file_text("a")))
    host.known.discard("call_0")
    await host.send(conversation(CLEARED, file_text("b")))

    sent = await host.send(conversation(CLEARED, file_text("b"), file_text("a")))

    assert results_of(sent)["call_2"] == file_text("a")


async def test_another_content_under_a_known_id_gets_none_of_the_pointers_of_the_first(bench):
    host = EnteringHost(bench.call)
    texts = [file_text("a"), file_text("a")]
    for turns in (1, 2):
        await host.send(conversation(*texts[:turns]))
    await host.send(conversation(texts[0]))  # The host rewinds, and numbers its calls anew.
    host.known.discard("call_1")
    host.elided, host.elisions = {}, {}
    sent = await host.send(conversation(texts[0], file_text("c")))

    assert results_of(sent)["call_1"] == file_text("c")


async def test_a_result_that_was_asked_about_and_came_otherwise_is_no_target_of_lines_it_does_not_show(bench):
    host = EnteringHost(bench.call)
    await host.send(conversation(file_text("b")))
    asked = conversation(file_text("b"), file_text("a"))
    window = WIRE.parse(json.dumps(asked).encode(), "claude_code")
    await bench.call("window.enter", session=SESSION, new=[segment_fields(window.segments[-1])])
    interrupted = "The user has stopped this read before its end.\n" * 20
    await host.send(conversation(file_text("b"), interrupted))
    sent = await host.send(conversation(file_text("b"), interrupted, file_text("a")))

    assert results_of(sent)["call_2"] == file_text("a")


async def test_a_result_that_was_asked_about_twice_is_no_target_of_lines_behind_its_pointers(bench):
    host = EnteringHost(bench.call)
    await host.send(conversation(file_text("b")))
    asked = conversation(file_text("b"), file_text("a"), file_text("a"))
    window = WIRE.parse(json.dumps(asked).encode(), "claude_code")
    # The request before is not synced yet, and this one is called off.
    await bench.call("window.enter", session=SESSION, new=[segment_fields(window.segments[-2])])
    await bench.call("window.enter", session=SESSION, new=[segment_fields(window.segments[-1])])
    await host.send(conversation(file_text("b"), file_text("a")))
    await host.send(asked)
    assert host.elided["call_2"]
    await host.send([*asked, *conversation("", "", "", file_text("a"))[-2:]])
    assert {run[2] for run in host.elisions["call_3"]} == {"call_1"}


async def test_elisions_that_do_not_give_the_result_back_are_not_taken(bench):
    host = EnteringHost(bench.call)
    await host.send(conversation(file_text("a"), file_text("b")))
    host.elisions = {"call_2": [[0, 60, "call_0", 0, 0, 900, "[ctxgc: lines 1-60 unchanged]"]]}
    await host.send(conversation(file_text("a"), file_text("b"), file_text("c")))

    assert not host.elided


@pytest.mark.parametrize("run", [[500, 3, "call_0", 0, 0, 5, "n"], [0, 60, "call_0", 0, 0, 10**9, "n"]])
async def test_elisions_that_are_out_of_bounds_break_no_session(bench, run):
    host = EnteringHost(bench.call)
    await host.send(conversation(file_text("a")))
    host.elisions = {"call_1": [run]}
    await host.send(conversation(file_text("a"), file_text("a")))
    await host.send(conversation(file_text("a"), file_text("a")))
    [session] = bench.services.registry.awake_sessions
    assert min(session.heap.body) >= 0
