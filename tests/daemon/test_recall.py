"""What a recall does to the window depends on who renders it, and the reply says which it was."""

import gc
from contextlib import suppress

import pytest

from ctxgc.config import CollectConfig, Config
from ctxgc.core.errors import StorageFailed
from ctxgc.daemon.settings import in_force
from ctxgc.stash.transient import TransientStash
from tests.daemon.harness import FaultyStash, bench_on
from tests.daemon.test_laws import a_session, states


@pytest.mark.parametrize(
    ("mode", "state", "says"),
    [
        ("client", "resident", "1 back in the window"),
        ("observe", "resident", "1 brought back here; your agent's own window is unchanged"),
        ("wire", "evicted", "1 read back; in the window its tombstone stays, or the prompt cache would break"),
    ],
)
async def test_a_recall_says_what_became_of_the_window(bench, mode, state, says):
    session = await a_session(bench)
    await bench.call("segment.evict", **session, ids=["call0"])
    await bench.call("session.set", **session, mode=mode)

    recalled = await bench.call("stash.recall", **session, id="call0")

    assert recalled["changed"] == says
    assert (await states(bench, **session))["call0"] == state
    assert recalled["faults"] == 1


async def test_recalling_what_is_in_the_window_is_no_fault_and_says_so(bench):
    session = await a_session(bench)

    recalled = await bench.call("stash.recall", **session, id="call0")

    assert recalled["changed"] == "it had not been evicted"
    assert recalled["faults"] == 0


async def nothing_at_all(bench, session):
    pass


async def forgetting_another(bench, session):
    await bench.call("stash.forget", **session, ids=["call5"])


async def a_commit_that_fails(bench, session):
    bench.stash.fail_applies = {bench.stash.applied + 1}
    with suppress(StorageFailed):
        await bench.call("segment.tag", **session, id="call2", tags=["x"])


async def a_reload_of_the_configuration(bench, session):
    fresh = Config(collect=CollectConfig(kinds=["exchange"]))
    in_force(bench.services, fresh)


async def a_sleep(bench, session):
    bench.services.registry._segments_max = 0
    await a_session(bench, name="other")
    gc.collect()
    assert [str(key) for key in bench.services.registry._living] == ["client:other"]


@pytest.mark.parametrize(
    "disturbed", [nothing_at_all, forgetting_another, a_commit_that_fails, a_reload_of_the_configuration, a_sleep]
)
async def test_what_was_recalled_stays_through_whatever_happens_to_the_session(disturbed):
    async with bench_on(FaultyStash(TransientStash())) as bench:
        session = await a_session(bench)
        await bench.call("heap.collect", **session, budget_tokens=0)
        await bench.call("stash.recall", **session, id="call1")

        await disturbed(bench, session)
        await bench.call("heap.collect", **session, budget_tokens=0)

        assert (await states(bench, **session))["call1"] == "resident"


async def test_what_was_recalled_stays_through_a_restart_and_goes_when_its_turns_are_over(bench):
    session = await a_session(bench)
    await bench.call("heap.collect", **session, budget_tokens=0)
    await bench.call("stash.recall", **session, id="call1")

    async with bench_on(bench.stash) as restarted:
        await restarted.call("heap.collect", **session, budget_tokens=0)
        kept = (await states(restarted, **session))["call1"]
        for _ in range(4):
            await restarted.call("segment.add", **session, segment={"kind": "assistant", "text": "on we go"})
        await restarted.call("heap.collect", **session, budget_tokens=0)

        assert (kept, (await states(restarted, **session))["call1"]) == ("resident", "evicted")
