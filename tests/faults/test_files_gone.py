"""Files that somebody removes, replaces or cuts under a daemon: noticed, told, and nothing acknowledged into them.

writers ─▶ acknowledged … ─▶ damage ─▶ at most what was in flight is acknowledged, then `stash_gone`
                                    ─▶ kill -9 ─▶ the file that is there has every change that was acknowledged
"""

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
import threading
import time

import pytest

from ctxgc.core.errors import Conflict, CtxgcError, StashGone
from ctxgc.core.segment import SessionKey
from ctxgc.protocol.blocking_client import CallFailed, Unreachable
from ctxgc.stash import sqlite
from ctxgc.stash.backup import write_backup
from ctxgc.stash.contract import PutSession, SessionRow
from ctxgc.stash.sqlite import SqliteStash

WRITERS = 2
NOTICED_S = 30.0


def beside(path, suffix):
    return path.with_name(path.name + suffix)


def replace_file(path, backup):
    shutil.copy(backup, beside(path, ".new"))
    beside(path, ".new").replace(path)


DAMAGES = {
    "removed": lambda path, backup: path.unlink(),
    "replaced": replace_file,
    "cut to nothing": lambda path, backup: os.truncate(path, 0),
    "cut in half": lambda path, backup: os.truncate(path, path.stat().st_size // 2),
    "log removed": lambda path, backup: beside(path, "-wal").unlink(),
    "log cut": lambda path, backup: os.truncate(beside(path, "-wal"), 0),
    "index of the log removed": lambda path, backup: beside(path, "-shm").unlink(),
    "folder removed": lambda path, backup: shutil.rmtree(path.parent),
    "folder moved": lambda path, backup: path.parent.rename(path.parent.with_name("elsewhere")),
}
each_damage = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)


@pytest.fixture
async def stash(tmp_path):
    made = SqliteStash(tmp_path / "state" / "stash.sqlite3", reserve_bytes=0)
    await made.open()
    yield made
    await made.close()


def row(name):
    return PutSession(SessionRow(key=SessionKey("client", name)))


async def damaged(stash, damage, tmp_path):
    await stash.apply([row("before")])
    backup = tmp_path / "backup"
    await stash.backup(str(backup))
    damage(stash.path, backup)


@each_damage
async def test_no_change_is_acknowledged_once_a_file_of_the_stash_is_not_the_one_that_was_opened(
    stash, damage, tmp_path, monkeypatch
):
    monkeypatch.setattr(sqlite, "LOOK_S", 3600)
    await damaged(stash, damage, tmp_path)

    with pytest.raises(StashGone) as refused:
        await stash.apply([row("after")])

    assert "`ctxgc down`" in refused.value.hint
    with pytest.raises(StashGone):
        await stash.apply([row("after")])
    assert (await stash.status()).is_read_only


async def refusal_of(call):
    try:
        await call
    except CtxgcError as error:
        return error


@each_damage
async def test_a_backup_after_the_damage_is_whole_or_fails_by_name_without_a_file(stash, damage, tmp_path):
    await damaged(stash, damage, tmp_path)
    path = tmp_path / "after"

    for _ in range(2):
        refused = await refusal_of(stash.backup(str(path)))
        if refused is not None:
            assert not isinstance(refused, Conflict), "the file of the attempt before is there"
            assert "No such file" not in str(refused)
            assert not path.exists()
            continue
        with contextlib.closing(sqlite3.connect(path)) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert copy.execute("SELECT count(*) FROM session").fetchone() == (1,)
        path.unlink()


async def test_a_folder_that_goes_as_a_backup_begins_leaves_no_file(stash, tmp_path):
    def copy(db):
        return write_backup(db, tmp_path / "after", tmp_path / "gone")

    with pytest.raises(CtxgcError):
        await stash._run_on_reader(copy)

    assert not (tmp_path / "after").exists()


@each_damage
async def test_a_file_that_goes_while_a_commit_runs_leaves_the_commit_unacknowledged(tmp_path, damage, monkeypatch):
    monkeypatch.setattr(sqlite, "LOOK_S", 3600)
    strikes = []

    def strike(step):
        if step == "commit" and strikes:
            strikes.pop()()

    stash = SqliteStash(tmp_path / "state" / "stash.sqlite3", reserve_bytes=0, failpoint=strike)
    await stash.open()
    await stash.apply([row("before")])
    await stash.backup(str(tmp_path / "backup"))
    strikes.append(lambda: damage(stash.path, tmp_path / "backup"))

    with pytest.raises(StashGone):
        await stash.apply([row("after")])

    assert not strikes
    await stash.close()


@each_damage
async def test_a_stash_that_nobody_writes_to_notices_by_itself(damage, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "LOOK_S", 0.01)
    monkeypatch.setattr(sqlite, "QUIET_S", 3600)  # Without maintenance, which looks too.
    stash = SqliteStash(tmp_path / "state" / "stash.sqlite3", reserve_bytes=0)
    await stash.open()
    await damaged(stash, damage, tmp_path)

    async with asyncio.timeout(NOTICED_S):
        while not (await stash.status()).is_read_only:  # noqa: ASYNC110 - a client sees the status and no more
            await asyncio.sleep(0.01)
    await stash.close()


async def test_what_a_daemon_itself_does_to_its_files_is_no_damage(stash):
    async def write(*statements):
        await stash._run_on_writer(stash._writer_thread, lambda db: [db.execute(statement) for statement in statements])

    await stash.apply([row("before")])
    await write("CREATE TABLE ballast (b)", *["INSERT INTO ballast VALUES (zeroblob(100000))"] * 20)
    await stash._run_on_writer(stash._writer_thread, stash._seal_file, shrinks=True)
    large = stash.path.stat().st_size
    await write("DROP TABLE ballast", "INSERT INTO erasure VALUES (1)")

    await stash._erase_forgotten_bytes()
    await stash.apply([row("after")])

    assert stash.path.stat().st_size < large / 2
    assert not (await stash.status()).is_read_only


class Writers:
    """Clients that add segments without end, and the log of what was acknowledged to them."""

    def __init__(self, home):
        self._home = home
        self._is_over = threading.Event()
        self.acknowledged = []
        self.refusals = set()
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def _write(self, writer):
        with contextlib.suppress(Unreachable), self._home.client() as client:
            for number in range(100_000):
                id_ = f"w{writer}-{number}-{len(self.acknowledged)}"
                segment = {"kind": "tool_call", "tool": "Bash", "id": id_, "text": id_ * 50}
                if self._is_over.is_set():
                    return
                try:
                    client.call("segment.add", {"session": "client:s", "segment": segment})
                    self.acknowledged.append(id_)
                except CallFailed as refused:
                    if refused.kind == "unreachable":
                        return
                    self.refusals.add(refused.kind)
                    time.sleep(0.01)

    def end(self):
        self._is_over.set()
        for thread in self._threads:
            thread.join()


def wait_until(condition):
    gives_up_at = time.monotonic() + NOTICED_S
    while not condition():
        assert time.monotonic() < gives_up_at
        time.sleep(0.02)


def read_back(home, ids):
    """Those of the ids whose text the daemon gives exactly."""
    kept = set()
    with home.client() as client:
        calls = [("segment.get", {"session": "client:s", "id": id_}) for id_ in ids]
        for id_, reply in zip(ids, client.call_many(calls), strict=True):
            if not isinstance(reply, CallFailed) and reply["pieces"][-1]["text"] == id_ * 50:
                kept.add(id_)
    return kept


def strike(home, name, chance):
    """A daemon under write, damaged at some instant: (what was acknowledged before the backup, in all)."""
    home.start()
    home.call("session.open", session="s")
    writers = Writers(home)
    wait_until(lambda: len(writers.acknowledged) > 20 + chance.randrange(40))
    in_backup = list(writers.acknowledged)
    backup = home.folder / "backup"
    home.call("backup", path=str(backup))
    wait_until(lambda: len(writers.acknowledged) > len(in_backup) + chance.randrange(40))

    DAMAGES[name](home.stash_path, backup)
    at_damage = len(writers.acknowledged)

    wait_until(lambda: writers.refusals or home.child.poll() is not None)
    writers.end()
    # What was committed before the damage may have been on its way to its client; what came after must not be.
    assert len(writers.acknowledged) <= at_damage + WRITERS
    assert writers.refusals <= {"stash_gone", "storage"}
    return in_backup, writers.acknowledged


@pytest.mark.slow
@pytest.mark.parametrize("name", ["removed", "replaced", "log removed", "index of the log removed"])
@pytest.mark.parametrize("seed", range(2))
def test_i1_whatever_is_removed_or_replaced_every_acknowledged_change_is_in_the_file_that_is_there(home, name, seed):
    in_backup, acknowledged = strike(home, name, random.Random(seed))
    stats, report = home.call("stats"), home.call("doctor")
    assert "stash.sqlite3" in stats["read_only"]
    assert not report["ok"]
    assert read_back(home, acknowledged) == set(acknowledged), "reading goes on"
    saved = home.folder / "saved"
    home.call("backup", path=str(saved))

    home.kill()
    if name == "removed":
        shutil.copy(saved, home.stash_path)
    expected = set(in_backup if name == "replaced" else acknowledged)

    home.start()
    kept = read_back(home, acknowledged)
    assert kept >= expected
    content = next(check for check in home.call("doctor")["checks"] if check["name"] == "content")
    lost = len(set(acknowledged) - kept)
    assert content["ok"] is not bool(lost)
    assert not lost or content["detail"].startswith(f"{lost} segment")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cut to nothing", "cut in half", "log cut", "folder removed"])
def test_i1_whatever_is_cut_nothing_more_is_acknowledged_and_a_sentence_says_so(home, name):
    strike(home, name, random.Random(name))

    if home.child.poll() is None:
        with contextlib.suppress(CallFailed):  # A page that is gone may not be read again.
            assert home.call("stats")["read_only"]
            assert not home.call("doctor")["ok"]
        home.kill()
