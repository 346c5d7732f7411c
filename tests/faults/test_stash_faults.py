"""Under trouble: whatever fails, nothing acknowledged is lost and nothing is half applied (I1)."""

import asyncio
import itertools
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctxgc.core.errors import CtxgcError, NotFound, ReadOnly, StashDamaged, StorageFailed
from ctxgc.core.segment import Access, PathUse, SessionKey, State
from ctxgc.stash import repair as mending
from ctxgc.stash.contract import Forget, PutPosition, PutSession, Query, SessionRow, SetPinned
from tests.stash.samples import KEY, erase_now, file_in, put, sqlite_in, text_of


class FailNth:
    """A failpoint that raises at the nth storage call, once."""

    def __init__(self, nth, text="disk I/O error"):
        self.nth, self.text, self.calls = nth, text, 0

    def __call__(self, name):
        self.calls += 1
        if self.calls == self.nth:
            raise sqlite3.OperationalError(self.text)

    @property
    def was_hit(self):
        return self.calls >= self.nth


def texts(batch):
    return [f"batch {batch} row {row}" for row in range(3)]


async def work(stash, acknowledged):
    """A life of a stash: batches, reads, a forgetting, an erasing. Failures are met as a caller would meet them."""
    for batch in range(4):
        mutations = [
            put(batch * 3 + n, text, paths=(PathUse(f"/{batch}", Access.READ),)) for n, text in enumerate(texts(batch))
        ]
        try:
            await stash.apply([*mutations, PutPosition("/log", b"", batch)])
            acknowledged.append(batch)
        except CtxgcError:
            pass
    try:
        await stash.search(Query(text="batch"))
        await stash.rows(KEY)
        await stash.apply([SetPinned(KEY, [0], True)])
        await stash.apply([put(99, "to forget"), Forget(KEY, [99])])
        await erase_now(stash)
    except CtxgcError:
        pass


async def assert_whole(stash, acknowledged):
    rows = await stash.rows(KEY)
    bodies = await stash.contents(KEY, [row.seq for row in rows])
    assert [row.seq for row in rows if row.seq not in bodies] == [
        row.seq for row in rows if row.state is State.FORGOTTEN
    ], "a row lost its body"
    held = {seq: text_of(body).decode() for seq, body in bodies.items()}
    for batch in range(4):
        found = [held.get(batch * 3 + n) for n in range(3)]
        assert found in (texts(batch), [None] * 3), f"batch {batch} is half there"
        assert batch not in acknowledged or found == texts(batch), f"batch {batch} was acknowledged and is lost"
        hits = (await stash.search(Query(text=f'"batch {batch}"'))).hits
        assert len(hits) == (3 if found == texts(batch) else 0)


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
async def test_i1_whichever_storage_call_fails_nothing_acknowledged_is_lost(tmp_path, stride):
    for nth in itertools.count(1, stride):
        folder, fail, acknowledged = tmp_path / str(nth), FailNth(nth), []
        stash = sqlite_in(folder, failpoint=fail)
        try:
            await stash.open()
        except StorageFailed:
            await stash.open()  # The failure is over: the same stash must open.
        await work(stash, acknowledged)
        was_hit, fail.nth = fail.was_hit, 0

        await assert_whole(stash, acknowledged)  # Usable at once …
        await stash.close()
        reopened = sqlite_in(folder)
        await reopened.open()
        await assert_whole(reopened, acknowledged)  # … and after a restart.
        await reopened.close()
        shutil.rmtree(folder)
        if not was_hit:
            assert nth > 30
            return


async def test_a_disk_that_fills_up_mid_write_makes_the_stash_read_only_until_there_is_space(tmp_path):
    now = 0.0
    fail = FailNth(0, "database or disk is full")
    stash = sqlite_in(tmp_path, failpoint=fail, clock=lambda: now)
    await stash.open()
    await stash.apply([put(0, "before")])

    fail.nth = fail.calls + 3
    with pytest.raises(ReadOnly, match="full"):
        await stash.apply([put(1, "during")])
    with pytest.raises(ReadOnly):
        await stash.apply([put(1, "during")])
    assert (await stash.status()).read_only_reason
    assert text_of((await stash.contents(KEY, [0]))[0]) == b"before"

    now = 1.5
    await stash.apply([put(1, "after")])
    assert len(await stash.rows(KEY)) == 2
    await stash.close()


FILL_A_TINY_DISK = """
import asyncio, os, sys
from pathlib import Path
from ctxgc.core.errors import ReadOnly
from ctxgc.stash.sqlite import SqliteStash
from tests.stash.samples import KEY, put
async def main(folder):
    now = 0.0
    stash = SqliteStash(folder / "state" / "stash.db", reserve_bytes=0, clock=lambda: now)
    await stash.open()
    written = 0
    try:
        while True:
            await stash.apply([put(written, os.urandom(20_000))])
            written += 1
    except ReadOnly as error:
        print(type(error).__name__, written)
    assert len(await stash.contents(KEY, range(written))) == written
    (folder / "ballast").unlink()
    now = 5.0
    await stash.apply([put(written, b"after")])
    print("recovered", len(await stash.rows(KEY)) - written)
    await stash.close()
asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare for a tiny disk")
def test_a_disk_that_is_really_full_loses_nothing_and_recovers(tmp_path):
    script = (
        f"mount -t tmpfs -o size=6m,mode=700 tmpfs {tmp_path} && head -c 1000000 /dev/zero > {tmp_path}/ballast"
        f" && exec {sys.executable} -c '{FILL_A_TINY_DISK}' {tmp_path}"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")

    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split("\n")[:2]
    assert first.startswith("ReadOnly ")
    assert int(first.split()[1]) > 10
    assert second == "recovered 1"


# Damage


async def filled(folder, segments=400):
    stash = sqlite_in(folder)
    await stash.open()
    rng = random.Random(5)
    for start in range(0, segments, 100):
        rows = [put(n, f"marker{n} " + rng.randbytes(900).hex(), tags=("t",)) for n in range(start, start + 100)]
        await stash.apply([PutSession(SessionRow(key=KEY, project="/p", title="kept")), *rows])
    await stash.apply(
        [put(0, "forget me", key=SessionKey("client", "gone")), Forget(SessionKey("client", "gone"), [0])]
    )
    await stash.close()
    return file_in(folder)


def damage(path, pages, seed):
    raw = bytearray(path.read_bytes())
    rng = random.Random(seed)
    for page in rng.sample(range(2, len(raw) // 4096), pages):
        raw[page * 4096 : (page + 1) * 4096] = b"\xff" * 4096
    path.write_bytes(raw)


@pytest.mark.parametrize("seed", range(4))
async def test_a_damaged_file_is_refused_and_repair_brings_back_what_can_be_read(tmp_path, seed):
    path = await filled(tmp_path)
    damage(path, pages=3, seed=seed)
    before = path.read_bytes()
    stash = sqlite_in(tmp_path)
    with pytest.raises(StashDamaged) as refused:
        await stash.open()
    assert "--repair" in refused.value.hint
    assert path.read_bytes() == before
    assert not mending.check_stash(path).is_sound

    report = mending.repair_stash(path)

    assert report.backup.read_bytes() == before
    assert mending.check_stash(path).is_sound
    await stash.open()
    rows = [row for row in await stash.rows(KEY) if row.state is not State.FORGOTTEN]
    bodies = await stash.contents(KEY, [row.seq for row in rows])
    assert len(bodies) == len(rows) == report.segments - len(await stash.rows(SessionKey("client", "gone")))
    # Three pages hold some dozen of these bodies at most; everything else must be back.
    assert len(bodies) >= 400 - 3 * 8
    await stash.apply([put(1000, "life goes on")])
    await stash.close()


async def test_bodies_alone_rebuild_every_row(tmp_path):
    path = await filled(tmp_path)
    stash = sqlite_in(tmp_path)
    await stash.open()
    before = {row.seq: row.segment for row in await stash.rows(KEY)}
    await stash.close()
    with sqlite3.connect(path) as db:
        for table in ("segment", "session", "path", "path_use", "search"):
            db.execute(f"DROP TABLE {table}")

    report = mending.repair_stash(path)

    assert (report.rebuilt, report.bodies_lost) == (400, 0)
    await stash.open()
    assert {row.seq: row.segment for row in await stash.rows(KEY)} == before
    await stash.close()


@pytest.mark.slow
async def test_a_large_stash_with_a_few_broken_pages_gets_all_but_a_hundredth_back(tmp_path):
    path = await filled(tmp_path, segments=3000)
    damage(path, pages=6, seed=3)

    report = mending.repair_stash(path)

    assert report.bodies >= 2970


def test_there_is_nothing_to_check_or_repair_where_there_is_no_stash(tmp_path):
    for look in (mending.check_stash, mending.repair_stash):
        with pytest.raises(NotFound):
            look(tmp_path / "none.db")


# kill -9

WRITER = """
import asyncio, sys
from pathlib import Path
from ctxgc.stash.contract import Forget, PutPosition
from tests.stash.samples import KEY, put, sqlite_in
async def main(folder, start):
    stash = sqlite_in(folder)
    await stash.open()
    async def one(batch):
        while True:
            rows = [put(batch * 5 + n, f"batch {batch} row {n} " * 20) for n in range(5)]
            await stash.apply(rows)
            print("ack", batch, flush=True)
            batch += 4
    await asyncio.gather(*(one(start + lane) for lane in range(4)))
asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


async def batches_in(folder):
    """The batches that are there, each checked to be whole; opening checks every page, as it was not closed."""
    stash = sqlite_in(folder)
    await stash.open()
    rows = await stash.rows(KEY)
    bodies = await stash.contents(KEY, [row.seq for row in rows])
    await stash.close()
    held = {row.seq // 5 for row in rows}
    assert len(rows) == len(bodies) == 5 * len(held), "a batch is half there"
    return held


@pytest.mark.slow
def test_i1_kill_9_at_any_moment_loses_nothing_acknowledged(tmp_path):
    rng, acknowledged, start = random.Random(11), set(), 0
    for _ in range(14):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(start)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert writer.stdout.readline()  # It writes.
        time.sleep(rng.uniform(0.0, 0.4))
        writer.send_signal(signal.SIGKILL)
        out, _ = writer.communicate()
        acknowledged |= {int(line.split()[1]) for line in out.splitlines() if line.startswith("ack") and line[4:]}

        held = asyncio.run(batches_in(tmp_path))
        assert acknowledged <= held
        start = max(held) // 4 * 4 + 4
    assert len(acknowledged) > 50


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_erasing_reaches_the_slack_of_pages_too(tmp_path, seed):
    rng, gone = random.Random(seed), set()
    stash = sqlite_in(tmp_path)
    await stash.open()
    for base in range(0, 600, 20):
        rows = []
        for n in range(base, base + 20):
            needle = f"needle{n:04d}xq"
            key = SessionKey("c", f"s{rng.randint(0, 5)}")
            said = {"command": needle * rng.randint(0, 12), "tags": (needle,) * rng.randint(0, 3), "tool": needle}
            paths = tuple(PathUse(f"/p/{needle}{k}", Access.READ) for k in range(rng.randint(0, 3)))
            rows.append(put(n, needle * rng.randint(1, 3), key=key, paths=paths, **said))
        await stash.apply(rows)
        victims = [row.row for row in rows if rng.random() < 0.3]
        await stash.apply([Forget(row.key, [row.seq]) for row in victims])
        gone |= {row.seq for row in victims}

    assert await erase_now(stash) == 0

    raw = b"".join(path.read_bytes().lower() for path in tmp_path.rglob("*") if path.is_file())
    left = {int(found) for found in re.findall(rb"needle(\d{4})xq", raw)}
    assert not left & gone
    assert left
    await stash.close()
