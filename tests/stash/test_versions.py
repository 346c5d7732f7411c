"""Files of released versions open, and say what they said."""

import asyncio
from pathlib import Path

import pytest
import zstandard

from ctxgc.core.segment import Access, EdgeKind, PathUse, State
from ctxgc.stash.contract import Collection, Edge, Eviction, Op, Query
from ctxgc.stash.repair import check_stash, repair_stash
from tests.stash.samples import KEY, file_in, put, sqlite_in, text_of

FIXTURES = Path(__file__).parents[1] / "fixtures"


def unpack(version, folder):
    """A file that the code of that version wrote, as a stash's file."""
    packed = (FIXTURES / f"stash_version_{version}.sqlite3.zst").read_bytes()
    path = file_in(folder)
    path.parent.mkdir(mode=0o700)
    path.write_bytes(zstandard.decompress(packed))
    path.chmod(0o600)
    return path


async def assert_says_what_it_said(stash):
    session = await stash.session(KEY)
    assert (session.project, session.title, session.turn, session.ratio) == ("/p", "an old session", 3, 1.25)
    first, read, again, gone = await stash.rows(KEY)
    assert (first.is_pinned, first.state) == (True, State.RESIDENT)
    assert (read.state, read.collection, read.garbage, read.garbage_by) == (State.EVICTED, 1, "superseded_read", 2)
    assert (read.touched_turn, read.recalled_turn, read.segment.tags, read.segment.task) == (2, 2, ("x", "y"), "light")
    assert read.segment.paths == (PathUse("/p/a.py", Access.READ, 3, 9),)
    assert again.edges == (Edge(1, EdgeKind.REPLACES),)
    assert (gone.segment.id, gone.state) == ("seg-3", State.FORGOTTEN)
    bodies = await stash.contents(KEY, range(4))
    assert {seq: text_of(body) for seq, body in bodies.items()} == {
        0: b"please repair the lamp",
        1: b"lamp = 1\n",
        2: b"lamp = 2\n",
    }
    assert await stash.collections(KEY) == [
        Collection(
            id=1, wall_s=5.0, turn=3, trigger="asked", target_tokens=10, before_tokens=90, after_tokens=9,
            evictions=(Eviction(seq=1, reason="superseded_read", by=2, freed_tokens=5, score=0.5),),
            protected_by=(("pinned", 30),), predicted_cost=-4.0, actual_cost=3.5,
        )
    ]  # fmt: skip
    assert await stash.remembered_op(KEY, "op-1") == Op(b"reply", b"call")
    assert await stash.file_position("/log") == (b"head", 99)
    # A newer tokenizer fills the index anew, in the background.
    for _ in range(500):
        found = await stash.search(Query(text="lamp"))
        if not found.is_partial:
            break
        await asyncio.sleep(0.02)
    assert {hit.row.seq for hit in found.hits} == {0, 1, 2}


@pytest.mark.parametrize("version", [2])
async def test_a_file_of_a_released_version_opens_says_what_it_said_and_takes_more(tmp_path, version):
    unpack(version, tmp_path)
    stash = sqlite_in(tmp_path)
    await stash.open()

    await assert_says_what_it_said(stash)

    await stash.apply([put(4, "a new lamp")])
    assert len((await stash.search(Query(text="lamp"))).hits) == 4
    await stash.close()


@pytest.mark.parametrize("version", [2])
async def test_a_file_of_a_released_version_is_sound_and_a_repair_keeps_all_it_says(tmp_path, version):
    path = unpack(version, tmp_path)
    assert check_stash(path).is_sound

    report = repair_stash(path)

    assert (report.rebuilt, report.bodies_lost) == (0, 0)
    stash = sqlite_in(tmp_path)
    await stash.open()
    await stash._run_maintenance_steps()  # The index is filled anew.
    await assert_says_what_it_said(stash)
    await stash.close()
