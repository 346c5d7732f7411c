"""The Nth storage call fails, for every N, under the whole daemon; and the disk runs full and empties again.

Whatever fails: the caller hears `storage` or `read_only`, what was acknowledged is there, and other sessions never
notice.
"""

import itertools
import sqlite3

import pytest

from ctxgc.core.errors import Conflict, NotFound, ReadOnly, StorageFailed
from ctxgc.daemon.feeds.watch import WatchedPath
from ctxgc.stash.sqlite import SqliteStash
from tests.daemon.harness import bench_on
from tests.daemon.test_laws import reading, seen
from tests.daemon.transcripts import worked

OURS, OTHERS = {"session": "client:ours"}, {"session": "client:others"}
ERRORS = {"io": "disk I/O error", "full": "database or disk is full"}


class Failing:
    """A failpoint that raises at the nth storage call after it was armed, once."""

    def __init__(self):
        self.nth = 0
        self.calls = 0
        self.text = ""

    def arm(self, nth, text):
        self.nth, self.calls, self.text = nth, 0, text

    def __call__(self, name):
        self.calls += 1
        if self.calls == self.nth:
            raise sqlite3.OperationalError(self.text)


def stash_in(folder, failing=None, **more):
    return SqliteStash(folder / "state" / "stash.sqlite3", reserve_bytes=0, failpoint=failing, **more)


async def live(bench):
    """A session's life; what was acknowledged of it, as [(verb, params, collection)]."""
    calls = [("session.open", {"session": "ours"})]
    calls += [("segment.add", {**OURS, "segment": reading(n), "op_id": f"add{n}"}) for n in range(4)]
    calls += [("segment.add", {**OURS, "segment": {"kind": "assistant", "text": "so"}})] * 4
    calls += [("segment.pin", {**OURS, "ids": ["call3"]}), ("heap.collect", {**OURS, "budget_tokens": 0})]
    calls += [("stash.recall", {**OURS, "id": "call0"}), ("stash.search", {"query": "line log"})]
    calls += [("stash.recall", {"query": "line log"}), ("session.rehydrate", OURS)]
    calls += [
        ("heap.undo", OURS),
        ("stash.forget", {**OURS, "ids": ["call1"]}),
        ("segment.get", {**OURS, "id": "call2"}),
    ]
    done = []
    for verb, params in calls:
        try:
            reply = await bench.call(verb, **params)
            done.append((verb, params, reply.get("collection", 0)))
        except (StorageFailed, ReadOnly, NotFound, Conflict):
            continue  # The last two: it built on what was refused.
    return done


def is_open(done):
    return any(verb == "session.open" for verb, _, _ in done)


async def assert_kept(bench, done):
    """What was acknowledged is there."""
    if not is_open(done):
        return
    listed = {s["id"]: s for s in (await bench.call("segment.list", **OURS))["segments"]}
    verbs = [verb for verb, _, _ in done]
    for n in [n for n in range(4) if any(params.get("op_id") == f"add{n}" for _, params, _ in done)]:
        if n == 1 and "stash.forget" in verbs:
            assert listed["call1"]["state"] == "forgotten"
            continue
        [piece] = (await bench.call("segment.get", **OURS, id=f"call{n}"))["pieces"]
        assert piece["text"] == reading(n)["text"]
    assert "segment.pin" not in verbs or listed["call3"]["is_pinned"]
    log = (await bench.call("heap.log", **OURS))["collections"]
    assert {collection for _, _, collection in done} <= {0, *(record["collection"] for record in log)}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("stride", [19, pytest.param(1, marks=pytest.mark.slow)])
async def test_i1_whichever_storage_call_fails_the_daemon_keeps_its_word(tmp_path, error, stride):
    for nth in itertools.count(1, stride):
        failing, folder = Failing(), tmp_path / f"{nth}"
        async with bench_on(stash_in(folder, failing)) as bench:
            await bench.call("session.open", session="others")
            await bench.call("segment.add", **OTHERS, segment=reading(7))
            others = await seen(bench, **OTHERS)

            failing.arm(nth, ERRORS[error])
            done = await live(bench)
            calls, failing.nth = failing.calls, 0
            bench.stash._next_space_check_s = 0.0  # As a second later.

            await assert_kept(bench, done)
            assert await seen(bench, **OTHERS) == others
            ours = await seen(bench, **OURS) if is_open(done) else None
        async with bench_on(stash_in(folder)) as restarted:
            await assert_kept(restarted, done)
            assert ours is None or await seen(restarted, **OURS) == ours
            assert await seen(restarted, **OTHERS) == others
        if nth > calls:
            return


async def test_an_import_that_met_a_failing_disk_is_listed_and_the_next_one_finishes_it(tmp_path):
    path = tmp_path / "a1.jsonl"
    path.write_bytes(worked(12).data)
    for nth in itertools.count(1, 7):
        failing = Failing()
        async with bench_on(stash_in(tmp_path / f"{nth}", failing)) as bench:
            failing.arm(nth, ERRORS["io"])
            try:
                reply = await bench.call("import", paths=[str(path)])
            except StorageFailed:
                reply = {"failed": [{"kind": "storage"}]}
            calls, failing.nth = failing.calls, 0

            assert [failure["kind"] for failure in reply["failed"]] in ([], ["storage"])
            await bench.call("import", paths=[str(path)])
            assert (await bench.call("session.show", session="a1"))["resident"] == 13
        if nth > calls:
            return


async def test_a_watch_that_met_a_failing_disk_goes_on_where_it_was(tmp_path):
    path, data = tmp_path / "a1.jsonl", worked(12).data
    failing = Failing()
    async with bench_on(stash_in(tmp_path, failing)) as bench:
        watched = WatchedPath(str(path))
        path.write_bytes(data[: len(data) // 2])
        failing.arm(5, ERRORS["full"])
        await bench.watcher._read_transcript(watched, str(path), is_start=True)
        assert "full" in watched.error

        failing.nth, bench.stash._next_space_check_s = 0, 0.0
        path.write_bytes(data)
        await bench.watcher._read_transcript(watched, str(path), is_start=False)

        assert watched.error == ""
        assert (await bench.call("session.show", session="a1"))["segments"] == 13


class Disk:
    """How much room there is; and a clock, since the room is looked at once a second."""

    def __init__(self):
        self.free_bytes = 10**12
        self.now_s = 0.0

    def room(self, folder):
        return self.free_bytes

    def clock(self):
        self.now_s += 2.0
        return self.now_s


async def test_on_a_full_disk_the_daemon_reads_and_recalls_and_writes_again_when_there_is_room(tmp_path):
    disk = Disk()
    stash = SqliteStash(tmp_path / "s" / "stash", reserve_bytes=10**6, free_bytes=disk.room, clock=disk.clock)
    async with bench_on(stash) as bench:
        await live(bench)
        before = await seen(bench, **OURS)
        disk.free_bytes = 999_999

        with pytest.raises(ReadOnly) as refused:
            await bench.call("segment.add", **OURS, segment=reading(9))

        assert "MB free" in str(refused.value)
        assert refused.value.hint
        assert await seen(bench, **OURS) == before
        assert (await bench.call("segment.get", **OURS, id="call2"))["pieces"][0]["text"] == reading(2)["text"]
        assert (await bench.call("stash.search", query="line log"))["hits"]
        assert (await bench.call("stats"))["read_only"]
        assert not (await bench.call("doctor"))["ok"]
        recalled = await bench.call("stash.recall", **OURS, id="call2")
        assert recalled["recalled"][0]["pieces"][0]["text"] == reading(2)["text"]

        disk.free_bytes = 10**12
        assert (await bench.call("segment.add", **OURS, segment=reading(9)))["added"] == 1
        assert (await bench.call("stats"))["read_only"] == ""


async def test_recalling_what_is_out_works_on_a_full_disk(tmp_path):
    disk = Disk()
    stash = SqliteStash(tmp_path / "s" / "stash", reserve_bytes=10**6, free_bytes=disk.room, clock=disk.clock)
    async with bench_on(stash) as bench:
        await live(bench)
        await bench.call("segment.evict", **OURS, ids=["call2"])
        disk.free_bytes = 0

        recalled = await bench.call("stash.recall", **OURS, id="call2")

        assert recalled["recalled"][0]["pieces"][0]["text"] == reading(2)["text"]
        assert any("read-only" in note for note in recalled["notes"])
