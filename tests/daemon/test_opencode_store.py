"""OpenCode's own store: read live and only read, each session as its export would be."""

import hashlib
import json
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.transcripts.opencode_store import open_store, session_document
from ctxgc.core.segment import SessionKey
from ctxgc.daemon.feeds import importing
from ctxgc.daemon.feeds.watch import WatchedPath
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.contracts.hosts import HOSTS
from tests.contracts.test_transcripts import sample
from tests.daemon.harness import bench_on, bench_over, open_stash
from tests.daemon.opencode_stores import OpenCodeStore
from tests.daemon.test_watch import look, segments, until
from tests.effort import effort


def session(name, count=2):
    """A session of version 2 with this many messages."""
    stamp = {"created": 1777629600000}
    messages = [
        {"type": "user", "id": f"{name}-1", "text": "look at the dunlin", "time": stamp},
        {"type": "assistant", "id": f"{name}-2", "time": stamp, "content": [{"type": "text", "text": "ok"}]},
    ]
    return {"info": {"id": name}, "messages": messages[:count]}


async def rows_of(folder, path, key):
    async with bench_on(SqliteStash(MEMORY)) as bench:
        reply = await bench.call("import", paths=[str(path)])
        assert reply["failed"] == []
        return await bench.stash.rows(key)


@effort(10)
@given(st.data())
async def test_a_store_gives_the_rows_that_its_export_gives(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("store")
    export = HOSTS["opencode"].log(data.draw(HOSTS["opencode"].steps))
    (folder / "export.json").write_bytes(export)
    store = OpenCodeStore(folder / "opencode.db")
    store.put(json.loads(export))
    key = SessionKey("opencode", "s")

    assert await rows_of(folder, folder / "opencode.db", key) == await rows_of(folder, folder / "export.json", key)


async def test_a_store_of_every_shape_is_read_with_its_revert_and_its_parents(bench, tmp_path):
    store = OpenCodeStore(tmp_path / "opencode.db")
    store.put(json.loads(sample("opencode")))
    child = session("child")
    store.put(child | {"info": child["info"] | {"parentID": "ses_kiln"}})
    store.put(session("empty", 0))

    reply = await bench.call("import", paths=[str(tmp_path)])

    assert {session["session"] for session in reply["sessions"]} == {"opencode:ses_kiln", "opencode:child"}
    assert (await bench.call("session.show", session="opencode:child"))["segments"] == 2
    assert (reply["failed"], reply.get("passed_over")) == ([], None)


async def test_reading_changes_no_byte_of_a_store_and_no_lock_stands_in_opencodes_way(bench, tmp_path):
    store = OpenCodeStore(tmp_path / "opencode.db")
    store.put(json.loads(sample("opencode")))
    store.db.execute("BEGIN IMMEDIATE")
    before = digests(tmp_path)

    await bench.call("import", paths=[str(tmp_path / "opencode.db")])
    store.db.execute("COMMIT")

    assert digests(tmp_path) == before


def digests(folder):
    """By file; what SQLite's readers share beside a store is no part of it."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.iterdir() if "shm" not in path.name
    }


async def test_another_database_is_refused_by_name_and_passed_over_in_a_folder(bench, tmp_path):
    db = sqlite3.connect(tmp_path / "opencode.db")
    db.execute("CREATE TABLE t (x)")
    db.commit()

    named = await bench.call("import", paths=[str(tmp_path / "opencode.db")])
    folder = await bench.call("import", paths=[str(tmp_path)])

    assert "not OpenCode's" in named["failed"][0]["error"]
    assert (folder["failed"], folder["passed_over"]) == ([], 1)


async def test_a_damaged_store_is_a_failure_with_a_sentence(bench, tmp_path):
    store = OpenCodeStore(tmp_path / "opencode.db")
    store.put(json.loads(sample("opencode")))
    store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray((tmp_path / "opencode.db").read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    copy = tmp_path / "opencode-copy.db"
    copy.write_bytes(data)

    [failed] = (await bench.call("import", paths=[str(copy)]))["failed"]

    assert failed["kind"] == "bad_transcript"
    assert failed["hint"]


@pytest.mark.slow
async def test_a_followed_store_is_read_on_as_opencode_writes(bench, tmp_path):
    store = OpenCodeStore(tmp_path / "opencode.db")
    store.put(session("one", 1))
    await bench.call("watch.add", path=str(tmp_path / "opencode.db"))

    async def is_read(count):
        return await segments(bench) == count

    await until(lambda: is_read(1))
    store.put(session("one"))
    await until(lambda: is_read(2))
    store.put(session("two", 1))
    await until(lambda: is_read(3))
    assert (await bench.call("watch.list"))["watched"][0]["error"] == ""


async def test_a_session_of_a_store_that_has_not_changed_is_not_read_again(tmp_path, monkeypatch):
    store, documents = OpenCodeStore(tmp_path / "opencode.db"), []
    for name in ("one", "two"):
        store.put(session(name))
    real = importing.session_document
    monkeypatch.setattr(importing, "session_document", lambda path, name: (documents.append(name), real(path, name))[1])
    async with open_stash(SqliteStash(MEMORY)) as stash:
        for _ in range(2):
            async with bench_over(stash) as bench:
                await look(bench, WatchedPath(str(tmp_path)), tmp_path / "opencode.db", is_start=True)
        store.put(session("one"))
        async with bench_over(stash) as bench:
            await look(bench, WatchedPath(str(tmp_path)), tmp_path / "opencode.db", is_start=True)

    assert documents == ["two", "one", "one"]


def test_the_store_is_opened_for_reading_alone(tmp_path):
    store = OpenCodeStore(tmp_path / "opencode.db")
    store.put(session("one"))

    with closing(open_store(str(tmp_path / "opencode.db"))) as db, pytest.raises(sqlite3.OperationalError):
        db.execute("DELETE FROM session")


def test_messages_come_in_the_order_of_their_times(tmp_path):
    store, both = OpenCodeStore(tmp_path / "opencode.db"), session("one")
    both["messages"].reverse()
    store.put(both)

    document = json.loads(session_document(str(tmp_path / "opencode.db"), "one"))

    assert [message["id"] for message in document["messages"]] == ["one-2", "one-1"]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("is_watched", [False, True])
async def test_a_session_that_cannot_be_read_bars_no_other_of_its_store(bench, tmp_path, place, is_watched):
    store, names = OpenCodeStore(tmp_path / "opencode.db"), ["old", "new"]
    for name in [*names[:place], "x" * 600, *names[place:]]:
        store.put(session(name))
    if is_watched:
        watched = WatchedPath(str(store.path))
        await look(bench, watched, store.path)
        reported = watched.error
    else:
        [failed] = (await bench.call("import", paths=[str(store.path)]))["failed"]
        reported = failed["error"]
        assert failed["path"] == f"{store.path}#{'x' * 600}"

    assert "the name of its session" in reported
    assert {row.key.session for row in await bench.stash.sessions()} == set(names)
