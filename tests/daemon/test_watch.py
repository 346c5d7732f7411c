"""Watching: a file that grows in any cuts ends as one import would, and no file or folder ends the daemon."""

import asyncio
import gzip
import os
import random
import shutil

import pytest
import zstandard

from ctxgc.daemon.feeds import watch as watch_module
from ctxgc.daemon.feeds.watch import FollowedFile, WatchedPath, Watcher
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import bench_over, open_stash
from tests.daemon.test_imports import everything, once
from tests.daemon.transcripts import worked

SOON_S = 10.0


async def until(claim):
    """Wait for what a watcher does in the background."""
    async with asyncio.timeout(SOON_S):
        while not await claim():  # noqa: ASYNC110 - the claim is about files and rows, which set no event
            await asyncio.sleep(0.01)


async def segments(bench):
    return (await bench.stash.status()).segments


def look(bench, watched, path, *, is_start=False):
    """One look of the watcher at a file, as when the system said that it changed."""
    return bench.watcher._read_transcript(watched, str(path), is_start=is_start)


@pytest.mark.parametrize("seed", range(12))
async def test_a_file_that_grows_in_any_cuts_ends_as_one_import_of_it(tmp_path, seed):
    chance = random.Random(seed)
    data = worked(8).compacts().works(6).data + worked(3, session="b2").data
    path, whole = tmp_path / "grown.jsonl", tmp_path / "whole.jsonl"
    whole.write_bytes(data)
    at = 0
    async with open_stash(SqliteStash(MEMORY)) as stash:
        while at < len(data):
            async with bench_over(stash) as bench:  # Between the runs of this loop the daemon was restarted.
                watched = WatchedPath(str(path))
                await look(bench, watched, path, is_start=True)
                for _ in range(chance.randrange(1, 6)):
                    size = chance.choice((1, 100, 3000, len(data) // 3))
                    with path.open("ab") as file:
                        file.write(data[at : at + size])
                    at += size
                    await look(bench, watched, path)
                assert watched.error == "" or at < 2000

        grown, imported = await everything(stash), await once(whole)
        assert grown.keys() == imported.keys()
        for key in imported:
            (row, *rest), (whole_row, *whole_rest) = grown[key], imported[key]
            assert rest == whole_rest
            assert (row.turn, row.model, row.title) == (whole_row.turn, whole_row.model, whole_row.title)


async def test_what_a_daemon_has_read_is_not_read_again_after_a_restart(tmp_path):
    path = tmp_path / "a1.jsonl"
    path.write_bytes(worked(20).data)
    async with open_stash(SqliteStash(MEMORY)) as stash:
        async with bench_over(stash) as first:
            await look(first, WatchedPath(str(path)), path, is_start=True)

        async with bench_over(stash) as second:
            watched = WatchedPath(str(path))
            await look(second, watched, path, is_start=True)

            assert watched.bytes_read == 0
            assert await second.stash.file_position(str(path))


@pytest.mark.slow
async def test_a_followed_folder_takes_in_what_grows_and_what_is_new(bench, tmp_path):
    (tmp_path / "a1.jsonl").write_bytes(worked(2).data)
    await bench.call("watch.add", path=str(tmp_path))
    await until(lambda: _is(bench, 3))

    log = worked(2).works(2)
    with (tmp_path / "a1.jsonl").open("ab") as file:
        file.write(log.data[len(worked(2).data) :])
    (tmp_path / "b2.jsonl").write_bytes(worked(1, session="b2").data)

    await until(lambda: _is(bench, 7))
    [watched] = (await bench.call("watch.list"))["watched"]
    assert watched["sessions"] == ["claude_code:a1", "claude_code:b2"]
    assert watched["error"] == ""


@pytest.mark.slow
async def test_a_followed_log_that_its_host_packs_is_followed_on_in_its_packed_form(bench, tmp_path):
    path = tmp_path / "a1.jsonl"
    path.write_bytes(worked(2).data)
    await bench.call("watch.add", path=str(path))
    await until(lambda: _is(bench, 3))

    (tmp_path / "a1.jsonl.zst").write_bytes(zstandard.compress(worked(2).works(2).data))
    path.unlink()

    await until(lambda: _is(bench, 5))
    assert (await bench.call("watch.list"))["watched"][0]["error"] == ""


async def _is(bench, count):
    return await segments(bench) == count


@pytest.mark.parametrize("is_folder", [True, False])
async def test_a_path_that_is_removed_while_it_is_followed_ends_nothing(bench, tmp_path, is_folder):
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a1.jsonl").write_bytes(worked(2).data)
    path = folder if is_folder else folder / "a1.jsonl"
    await bench.call("watch.add", path=str(path))
    shutil.rmtree(folder)
    await asyncio.sleep(0.3)
    await bench.call("watch.add", path=str(tmp_path))
    (tmp_path / "b2.jsonl").write_bytes(worked(1, session="b2").data)

    async def is_read():
        return "claude_code:b2" in str((await bench.call("session.list"))["sessions"])

    await until(is_read)
    await bench.close()


async def test_a_bug_in_reading_one_file_is_shown_and_ends_nothing(bench, tmp_path, monkeypatch):
    (tmp_path / "a1.jsonl").write_bytes(worked(2).data)

    async def broken(*arguments, **more):
        raise RecursionError("secret text")

    monkeypatch.setattr("ctxgc.daemon.feeds.feed.Feed.feed", broken)
    await bench.call("watch.add", path=str(tmp_path))

    async def is_shown():
        return (await bench.call("watch.list"))["watched"][0]["error"]

    await until(is_shown)
    assert "secret text" not in await is_shown()
    await bench.close()


async def test_a_file_without_a_last_newline_is_read_whole_if_it_is_no_log(bench, tmp_path):
    await bench.call("session.open", session="s")
    await bench.call("segment.add", segment={"kind": "user", "text": "hello"})
    await bench.call("export", path=str(tmp_path / "s.jsonl"))
    packed = tmp_path / "a1.jsonl.gz"
    packed.write_bytes(gzip.compress(worked(30).data))
    watched = WatchedPath(str(tmp_path))

    await look(bench, watched, packed, is_start=True)

    assert watched.error == ""
    assert await segments(bench) == 1 + 31


async def test_a_file_that_another_took_the_place_of_is_read_from_its_start(bench, tmp_path):
    path, other = tmp_path / "a1.jsonl", tmp_path / "other"
    path.write_bytes(worked(2).data)
    watched = WatchedPath(str(tmp_path))
    await look(bench, watched, path)

    other.write_bytes(worked(5, session="b2").data)
    other.replace(path)
    await look(bench, watched, path)

    assert (await bench.call("session.show", session="b2"))["segments"] == 6


async def test_a_file_that_was_cut_off_is_read_again(bench, tmp_path):
    path = tmp_path / "a1.jsonl"
    path.write_bytes(worked(5).data)
    watched = WatchedPath(str(tmp_path))
    await look(bench, watched, path)

    path.write_bytes(worked(1, session="b2").data)
    await look(bench, watched, path)

    assert (await bench.call("session.show", session="b2"))["segments"] == 2


async def test_following_twice_is_following_once_and_removing_stops_it(bench, tmp_path):
    (tmp_path / "a1.jsonl").write_bytes(worked(2).data)

    for _ in range(2):
        assert len((await bench.call("watch.add", path=str(tmp_path)))["watched"]) == 1
    assert (await bench.call("watch.remove", path=str(tmp_path)))["watched"] == []
    assert (await bench.call("watch.remove", path=str(tmp_path)))["changed"].endswith(
        "was not followed; what was read stays"
    )


def aged(folder, name, age_s, turns=2):
    path = folder / f"{name}.jsonl"
    path.write_bytes(worked(turns, session=name).data)
    os.utime(path, (1_700_000_000 - age_s,) * 2)
    return path


async def test_a_log_that_is_to_be_followed_again_is_read_at_once(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(watch_module, "STEP_MS", 60_000)
    path, data = tmp_path / "a1.jsonl", worked(6).data
    begin = data.index(b"\n", len(data) // 2) + 1
    path.write_bytes(data[:begin])
    bench.watcher.add(str(path))
    await until(lambda: has_read(bench, begin))

    path.write_bytes(data)
    assert not bench.watcher.add(str(path))
    await until(lambda: has_read(bench, len(data)))
    bench.watcher.add(str(path))

    assert await has_read(bench, len(data)), "and not once more"


async def has_read(bench, size):
    return bench.watcher.watched_replies()[0].bytes_read == size


async def test_the_backlog_begins_with_what_was_written_last_and_says_how_far_it_is(bench, tmp_path, monkeypatch):
    for number in (3, 0, 2, 1):
        aged(tmp_path, f"s{number}", age_s=number)
    progress, real = [], Watcher._read_new_bytes

    async def read_file(self, watched, path, *, is_start):
        progress.append((os.path.basename(path), watched.looked_at, watched.found))
        await real(self, watched, path, is_start=is_start)

    monkeypatch.setattr(Watcher, "_read_new_bytes", read_file)
    await bench.call("watch.add", path=str(tmp_path))

    async def is_done():
        [watched] = (await bench.call("watch.list"))["watched"]
        return watched["files_looked_at"] == watched["files_found"] == 4

    await until(is_done)
    assert progress[:4] == [(f"s{number}.jsonl", number, 4) for number in range(4)]


@pytest.mark.slow
async def test_a_file_that_changes_is_read_whatever_is_left_of_the_backlog(bench, tmp_path, monkeypatch):
    for number in range(5):
        aged(tmp_path, f"s{number}", age_s=number)
    real, gate = Watcher._read_new_bytes, asyncio.Event()

    async def read_file(self, watched, path, *, is_start):
        if is_start:
            await gate.wait()
        await real(self, watched, path, is_start=is_start)

    monkeypatch.setattr(Watcher, "_read_new_bytes", read_file)
    await bench.call("watch.add", path=str(tmp_path))

    async def is_found():
        return (await bench.call("watch.list"))["watched"][0]["files_found"] == 5

    await until(is_found)
    (tmp_path / "live.jsonl").write_bytes(worked(2, session="live").data)

    async def is_read():
        return "claude_code:live" in str((await bench.call("session.list"))["sessions"])

    await until(is_read)
    assert await segments(bench) == 3
    gate.set()
    await until(lambda: _is(bench, 6 * 3))


async def test_a_change_that_comes_while_the_backlog_reads_the_file_is_not_read_twice(bench, tmp_path):
    path = aged(tmp_path, "s0", age_s=0, turns=40)
    watched = WatchedPath(str(tmp_path))

    await asyncio.gather(*(look(bench, watched, path, is_start=is_start) for is_start in (True, False, False)))

    assert watched.bytes_read == path.stat().st_size
    assert len(watched.reading) == 0


async def test_the_files_that_stay_open_are_those_that_changed_last(bench, tmp_path, monkeypatch):
    monkeypatch.setattr("ctxgc.daemon.feeds.watch.FEEDS_MAX", 3)
    paths = [aged(tmp_path, f"s{number}", age_s=number) for number in range(6)]
    watched = WatchedPath(str(tmp_path))
    await look(bench, watched, paths[0])
    for path in paths[1:]:
        await look(bench, watched, path, is_start=True)

    assert str(paths[0]) in watched.files
    assert len(watched.files) == 3


async def test_a_sidecar_of_no_format_is_no_error_of_the_watch(bench, tmp_path):
    (tmp_path / "sessions-index.json").write_text('{"version": 1}')
    watched = WatchedPath(str(tmp_path))

    await look(bench, watched, tmp_path / "sessions-index.json", is_start=True)

    assert watched.error == ""


async def test_a_backlog_waits_between_its_slices_while_a_change_is_read(bench, tmp_path, monkeypatch):
    monkeypatch.setattr("ctxgc.daemon.feeds.watch.BACKLOG_SLICE_BYTES", 500)
    monkeypatch.setattr("ctxgc.daemon.feeds.watch.SLICE_BYTES", 500)
    old, live = aged(tmp_path, "old", age_s=9, turns=20), aged(tmp_path, "live", age_s=0, turns=20)
    order, begun, go_on, real = [], asyncio.Event(), asyncio.Event(), FollowedFile.feed_bytes

    async def take(self, data, *, is_log):
        order.append(self.identity[1])
        if len(order) == 1:
            begun.set()
            await go_on.wait()
        await real(self, data, is_log=is_log)

    monkeypatch.setattr(FollowedFile, "feed_bytes", take)
    watched = WatchedPath(str(tmp_path))
    backlog = asyncio.create_task(look(bench, watched, old, is_start=True))
    await begun.wait()
    change = asyncio.create_task(look(bench, watched, live))

    async def is_reading():
        return live.stat().st_ino in order

    await until(is_reading)
    go_on.set()
    await asyncio.gather(backlog, change)

    mine = [number == live.stat().st_ino for number in order]
    assert mine == sorted(mine[:1]) + [True] * sum(mine) + [False] * (len(mine) - sum(mine) - 1)


@pytest.mark.parametrize("beside", [1, 4])
async def test_changed_files_are_read_beside_each_other_and_the_fewest_new_bytes_come_first(
    bench, tmp_path, monkeypatch, beside
):
    monkeypatch.setattr("ctxgc.daemon.feeds.watch.READ_BESIDE_MAX", beside)
    paths = {turns: aged(tmp_path, f"s{turns}", age_s=0, turns=turns) for turns in (40, 1, 20, 5)}
    watched, order, gate, real = WatchedPath(str(tmp_path)), [], asyncio.Event(), FollowedFile.feed_bytes
    await look(bench, watched, paths[40])
    with paths[40].open("ab") as file:
        file.write(worked(1, session="s40").data[-300:])

    async def take(self, data, *, is_log):
        order.append(self.identity[1])
        if len(order) == beside:
            gate.set()  # Only where all of them are read at the same time does the first one end.
        await gate.wait()
        await real(self, data, is_log=is_log)

    monkeypatch.setattr(FollowedFile, "feed_bytes", take)
    async with asyncio.timeout(SOON_S):
        await bench.watcher._read_changed_files(watched, [str(path) for path in paths.values()])

    by_new_bytes = [paths[turns].stat().st_ino for turns in (40, 1, 5, 20)]
    assert (order if beside == 1 else sorted(order)) == (by_new_bytes if beside == 1 else sorted(by_new_bytes))


async def test_a_file_that_was_closed_while_it_was_read_is_no_error(bench, tmp_path, monkeypatch):
    path, watched, real = aged(tmp_path, "s0", age_s=0), WatchedPath(str(tmp_path)), FollowedFile.feed_bytes

    async def take(self, data, *, is_log):
        watched.files.clear()
        await real(self, data, is_log=is_log)

    monkeypatch.setattr(FollowedFile, "feed_bytes", take)
    await look(bench, watched, path)

    assert watched.error == ""
