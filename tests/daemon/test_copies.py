"""Copies of a session: an export, or an older file of it, never bring back what has left the window."""

import pytest

from tests.daemon.test_imports import SESSION, imported, states
from tests.daemon.transcripts import worked


@pytest.fixture
def told(tmp_path):
    """A session that its host compacted in the middle, and the bytes of its first half."""
    path = tmp_path / "a1.jsonl"
    whole = worked(20).compacts().works(20).data
    path.write_bytes(whole)
    return path, whole[: len(whole) // 3].rpartition(b"\n")[0] + b"\n"


async def test_an_export_read_back_into_the_same_stash_changes_nothing(bench, told, tmp_path):
    await imported(bench, told[0])
    await bench.call("heap.collect", **SESSION)
    before = await states(bench)
    await bench.call("export", **SESSION, path=str(tmp_path / "out.jsonl"))

    await imported(bench, tmp_path / "out.jsonl")

    assert await states(bench) == before
    assert "departed" in before.values()


async def test_an_export_read_into_an_empty_stash_has_the_same_window_and_the_same_texts(
    kept_bench, bench, told, tmp_path
):
    await imported(kept_bench, told[0])
    before = await kept_bench.call("segment.list", **SESSION)
    await kept_bench.call("export", **SESSION, path=str(tmp_path / "out.jsonl"))

    await imported(bench, tmp_path / "out.jsonl")
    after = await bench.call("segment.list", **SESSION)

    def told_of(listed):
        return [(s["id"], s["state"], s["departure"], s["digest"], s["tokens"]) for s in listed["segments"]]

    assert told_of(after) == told_of(before)


async def test_an_older_copy_of_a_log_brings_back_nothing_that_the_host_dropped_since(bench, told, tmp_path):
    await imported(bench, told[0])
    before = await states(bench)
    older = tmp_path / "older.jsonl"
    older.write_bytes(told[1])

    await imported(bench, older)

    assert await states(bench) == before
