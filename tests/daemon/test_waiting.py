"""What `session.show` says of collections: the last one, and what the next one waits for."""

import asyncio
import threading

import pytest

from ctxgc.config import Config
from ctxgc.core.display_texts import tokens_text
from ctxgc.daemon.sessions.collecting import plan_collection
from ctxgc.daemon.verbs import heap, mutation
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import bench_on
from tests.daemon.test_wire import SMALL_WINDOW, Host, conversation

S = "claude_code:s"
VALUE = Config()
CACHE_S = 300.0


class Clock:
    def __init__(self):
        self.now_s = 1_000_000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def bench(clock):
    async with bench_on(SqliteStash(MEMORY), config=VALUE, clock=clock) as made:
        yield made


async def shown(bench):
    return await bench.call("session.show", session=S)


async def test_a_session_that_is_only_watched_is_said_to_wait_for_nothing(bench):
    await bench.call("session.open", source="claude_code", session="s", rendered_by="agent")

    said = await shown(bench)

    assert (said["gateway"], said["next_collection"]["state"]) == ("", "watched")
    assert said["last_collection"] is said["cache_hit_rate"] is None


async def test_a_client_that_did_not_switch_the_pacer_on_is_collected_when_it_asks(bench):
    await bench.call("session.open", source="claude_code", session="s", rendered_by="client")

    assert (await shown(bench))["next_collection"]["state"] == "asked"


async def test_what_is_missing_for_the_next_look_is_counted_down_to_it(bench):
    host, missing = Host(bench.call), []
    for turns in (1, 2, 3):
        await host.send(conversation(turns, lines=20))
        growing = (await shown(bench))["next_collection"]
        missing.append(growing["due_tokens"] - growing["grown_tokens"])

    await host.send(conversation(9, lines=40))

    looking = (await shown(bench))["next_collection"]
    assert (growing["state"], looking["state"]) == ("growing", "looking")
    assert missing[0] > missing[1] > missing[2] > 0
    assert f"looks again after {tokens_text(missing[2])} more evictable tokens; cold in 5 min" in growing["words"]
    assert looking["grown_tokens"] >= looking["due_tokens"]


async def test_the_cache_is_said_to_be_cold_when_the_gateway_would_take_it_for_cold(bench, clock):
    await Host(bench.call).send(conversation(2))
    clock.now_s += CACHE_S - 60
    soon = (await shown(bench))["next_collection"]
    clock.now_s += 60

    cold = (await shown(bench))["next_collection"]

    assert (soon["cold_in_s"], cold["cold_in_s"], cold["state"]) == (60.0, 0.0, "cold")
    assert "cold in 60 s" in soon["words"]


async def test_a_session_billed_for_an_hour_of_cache_stays_warm_for_an_hour(bench, clock):
    await Host(bench.call, profile="cache_1h").send(conversation(2))
    clock.now_s += 3000

    assert (await shown(bench))["next_collection"]["cold_in_s"] == 600.0


@pytest.mark.parametrize("mode", ["shadow", "on"])
async def test_the_gateways_sessions_say_what_is_out_and_what_the_last_collection_promised(mode):
    async with bench_on(SqliteStash(MEMORY), config=SMALL_WINDOW) as bench:
        host = Host(bench.call, mode=mode)
        for turns in range(1, 25):
            await host.send(conversation(turns), usage={"input_tokens": 100, "cache_read_tokens": 300})

        said = await shown(bench)
        before = [(await shown(bench))["resident_tokens"] for _ in range(2)]

    assert said["gateway"] == mode
    assert said["freed_tokens"] == host.reply["window"]["freed_tokens"] > 0
    assert said["last_collection"]["trigger"] == {"shadow": "shadow", "on": "hard_limit"}[mode]
    assert said["last_collection"]["evicted"] > 0
    assert said["cache_hit_rate"] == 0.75
    assert before == [said["resident_tokens"]] * 2, "looking changes nothing"


async def test_a_session_that_the_gateway_only_passes_on_is_said_to_be_off(bench):
    host = Host(bench.call, mode="on")
    await host.send(conversation(2))
    await bench.call("window.sync", session=S, format="anthropic_messages", mode="off")
    off = await shown(bench)

    await host.send(conversation(3))

    assert (off["gateway"], off["next_collection"]["state"], off["rendered_by"]) == ("off", "off", "agent")
    assert (await shown(bench))["gateway"] == "on"


async def test_a_window_that_roots_hold_over_its_limit_says_so(bench):
    await Host(bench.call).send(conversation(3))
    await bench.call("session.set", session=S, window_max_tokens=100)

    said = (await shown(bench))["next_collection"]

    assert (said["state"], said["limit_tokens"]) == ("limit", 100)
    assert "over its hard limit" in said["words"]


async def test_a_limit_below_what_may_never_leave_is_said_to_be_out_of_reach(bench):
    await Host(bench.call).send([{"role": "user", "content": "what a person typed stays\n" * 400}])
    await bench.call("session.set", session=S, window_max_tokens=1000)

    words = (await shown(bench))["next_collection"]["words"]

    assert words.startswith("its limit of 1.0 k tokens cannot be held: ")
    assert words.endswith("are protected; `ctxgc limit` sets another")


async def test_a_session_in_shadow_is_not_shown_while_a_plan_beside_the_loop_reads_its_heap(bench, monkeypatch):
    host = Host(bench.call, mode="shadow")
    await host.send(conversation(5))
    begun, go_on = threading.Event(), threading.Event()

    def slow(*arguments):
        begun.set()
        assert go_on.wait(20)
        return plan_collection(*arguments)

    monkeypatch.setattr(mutation, "BESIDE_SLOTS_MIN", 1)
    monkeypatch.setattr(heap, "plan_collection", slow)
    plan = asyncio.create_task(bench.call("heap.plan", session=S, budget_tokens=1))
    assert await asyncio.to_thread(begun.wait, 20)
    show = asyncio.create_task(shown(bench))
    await bench.call("session.list")
    assert not show.done()
    go_on.set()

    assert (await plan)["session"] == S
    assert (await show)["gateway"] == "shadow"
