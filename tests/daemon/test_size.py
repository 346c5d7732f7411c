"""How much a stash holds, in which tiers, and what it says when that is more than its user wants."""

import sqlite3

from ctxgc.config import Config
from ctxgc.config_sections import DaemonConfig, StashConfig
from ctxgc.stash.sqlite import SqliteStash
from tests.daemon.harness import bench_on
from tests.daemon.test_laws import a_session, reading


def stash_in(folder):
    return SqliteStash(folder / "state" / "stash.sqlite3", reserve_bytes=0)


async def check_of(bench, name):
    checks = (await bench.call("doctor"))["checks"]
    return next(check for check in checks if check["name"] == name)


async def test_a_stash_over_its_size_says_what_to_forget_and_drops_nothing(tmp_path):
    config = Config(stash=StashConfig(bytes_max=1000))
    async with bench_on(stash_in(tmp_path), config=config) as bench:
        await a_session(bench, name="old")
        await a_session(bench, name="new")

        check = await check_of(bench, "size")

        assert not check["ok"]
        assert "--session client:old" in check["hint"]
        assert (await bench.call("stats"))["segments"] == 20


async def test_a_stash_without_a_limit_may_be_of_any_size(kept_bench):
    await a_session(kept_bench)

    assert (await check_of(kept_bench, "size"))["ok"]


async def test_what_has_no_postings_yet_is_cold_and_what_was_read_is_hot(tmp_path):
    async with bench_on(stash_in(tmp_path)) as bench:
        session = await a_session(bench)
    with sqlite3.connect(tmp_path / "state" / "stash.sqlite3") as db:
        db.execute("UPDATE meta SET value = 4 WHERE name = 'unindexed_below'")

    async with bench_on(stash_in(tmp_path)) as bench:
        await bench.call("segment.get", **session, id="call1")

        tiers = await bench.call("stash.tiers")

    assert (tiers["hot_segments"], tiers["warm_segments"], tiers["cold_segments"]) == (1, 7, 3)
    assert 0 < tiers["hot_bytes"] < tiers["bytes_on_disk"]


async def test_upkeep_that_fails_is_told_by_the_doctor(kept_bench):
    kept_bench.stash._maintenance_error = "upkeep failed: no room for a second copy"

    check = await check_of(kept_bench, "upkeep")

    assert (check["ok"], check["detail"]) == (False, "upkeep failed: no room for a second copy")


async def test_i12_texts_in_memory_keep_to_their_bound_and_a_larger_one_is_read_all_the_same(tmp_path):
    config = Config(daemon=DaemonConfig(text_cache_bytes_max=4000))
    async with bench_on(stash_in(tmp_path), config=config) as bench:
        session = await a_session(bench)
        await bench.call("segment.add", **session, segment=reading(9, "x" * 5000))

        read = [await bench.call("segment.get", **session, id=f"call{n}") for n in (0, 1, 2, 3, 4, 5, 9)]

        assert read[-1]["pieces"][-1]["text"] == "x" * 5000
        assert 0 < (await bench.call("stash.tiers"))["hot_bytes"] <= 4000
