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
