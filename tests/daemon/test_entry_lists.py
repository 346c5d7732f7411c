"""Lists that come back with pointers, after the session has changed."""

import pytest

from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import bench_on
from tests.daemon.test_entry import ROOMY, WIRE, conversation, file_text, results_of


@pytest.fixture
async def bench():
    async with bench_on(SqliteStash(MEMORY), config=ROOMY) as made:
        yield made


def collect(bench, messages, **more):
    return bench.call(
        "messages.collect",
        **{"format": WIRE.name, "session": "mine", "budget_tokens": 10**6, "references": True, "messages": messages}
        | more,
    )


async def test_a_list_that_came_back_and_lost_the_target_gets_the_lines_themselves(bench):
    own = conversation(file_text("b"), file_text("a"), file_text("a"))
    for turns in (5, 7):
        listed = (await collect(bench, own[:turns]))["messages"]
    assert "[ctxgc: lines" in results_of(listed)["call_2"]

    shorter = [listed[0], *listed[1:3], *listed[5:]]

    assert results_of((await collect(bench, shorter))["messages"])["call_2"] == file_text("a")


async def test_a_list_that_came_back_before_its_target_was_evicted_is_known_again(bench):
    own = conversation(file_text("b"), file_text("a"), file_text("a"))
    for turns in (5, 7):
        listed = (await collect(bench, own[:turns]))["messages"]
    await bench.call("segment.evict", session="client:mine", ids=["call_1"])

    after = (await collect(bench, listed))["messages"]
    [session] = bench.services.registry.awake_sessions

    assert results_of(after)["call_2"].startswith("[evicted by ctxgc: lines 1-60")
    assert session.heap.ids[-1] == "call_2"


async def test_a_window_that_is_rendered_whole_is_counted_whole(bench):
    own = conversation(*[file_text("a", 0, 100)] * 6)
    for turns in range(3, len(own) + 1, 2):
        collected = await collect(bench, own[:turns])
    whole = await collect(bench, own, references=False, session="whole")

    rendered = await bench.call("session.render", session="client:mine", format=WIRE.name)

    assert set(results_of(rendered["messages"]["messages"]).values()) == {file_text("a", 0, 100)}
    assert collected["tokens"] < whole["tokens"] / 3
    assert rendered["tokens"] == whole["tokens"]
