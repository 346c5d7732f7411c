"""What SQLite adds to the contract: durability, erasing, a file that protects itself."""

import asyncio
import contextlib
import os
import sqlite3
from dataclasses import replace

import pytest

from ctxgc.core.errors import Conflict, CtxgcError, Incompatible, NotFound, ReadOnly, StashDamaged, StorageFailed
from ctxgc.core.segment import Access, Kind, PathUse, Renderer, State
from ctxgc.stash import schema, sqlite
from ctxgc.stash.contract import Forget, ForgetSession, Op, PutOp, PutPosition, PutSession, Query, SessionRow
from ctxgc.stash.sqlite import SqliteStash
from tests.stash.samples import KEY, OTHER, erase_now, file_in, pending, put, puts, sqlite_in, text_of


@pytest.fixture
async def stash(tmp_path):
    stash = sqlite_in(tmp_path)
    await stash.open()
    yield stash
    await stash.close()


async def seqs(stash, text="", **said):
    return sorted(hit.row.seq for hit in (await stash.search(Query(text=text, **said))).hits)


# Durability


async def test_i1_what_was_acknowledged_is_there_after_reopening(tmp_path):
    stash = sqlite_in(tmp_path)
    await stash.open()
    await stash.apply([PutSession(SessionRow(key=KEY, project="/p")), *puts("one", "two")])
    before = await stash.rows(KEY)
    await stash.close()
    await stash.close()

    await stash.open()

    assert await stash.rows(KEY) == before
    assert text_of((await stash.contents(KEY, [1]))[1]) == b"two"
    assert await seqs(stash, "two") == [1]
    await stash.close()


async def test_closing_commits_what_was_accepted(tmp_path):
    stash = sqlite_in(tmp_path)
    await stash.open()
    writes = [asyncio.ensure_future(stash.apply([put(n, f"text {n}")])) for n in range(20)]
    await asyncio.sleep(0)

    await stash.close()

    await asyncio.gather(*writes)
    await stash.open()
    assert len(await stash.rows(KEY)) == 20
    await stash.close()


async def test_callers_share_transactions_and_each_hears_its_own_outcome(tmp_path):
    commits = []
    stash = sqlite_in(tmp_path, failpoint=lambda name: commits.append(name) if name == "commit" else None)
    await stash.open()

    batches = [[put(n, f"text {n}")] for n in range(60)] + [[put(7, "taken", id="other")]]
    outcomes = await asyncio.gather(*map(stash.apply, batches), return_exceptions=True)

    assert [type(o) for o in outcomes] == [type(None)] * 60 + [Conflict]
    assert len(await stash.rows(KEY)) == 60
    await stash.close()
    clean = sqlite_in(tmp_path / "clean", failpoint=lambda name: commits.append(name) if name == "commit" else None)
    await clean.open()
    commits.clear()
    await asyncio.gather(*map(clean.apply, batches[:60]))
    assert len(commits) <= 5
    await clean.close()


async def test_batches_are_committed_in_the_order_they_were_given(stash):
    sizes = [100_000 if n % 3 == 0 else 10 for n in range(30)]

    await asyncio.gather(*(stash.apply([put(n, "x" * sizes[n]), PutPosition("/log", b"", n)]) for n in range(30)))

    assert await stash.file_position("/log") == (b"", 29)


async def test_a_caller_that_goes_away_disturbs_nobody(stash):
    gone = asyncio.ensure_future(stash.apply([put(0, "y" * 300_000)]))
    stays = asyncio.ensure_future(stash.apply([put(1, "stays")]))
    await asyncio.sleep(0)
    gone.cancel()

    await stays

    assert 1 in [r.seq for r in await stash.rows(KEY)]


@pytest.mark.parametrize("size", [10, 100_000])
async def test_what_no_frame_can_hold_is_its_own_callers_trouble_however_short(stash, size):
    bad = put(1, "x" * size, tags=(object(),))

    outcomes = await asyncio.gather(*(stash.apply([row]) for row in (put(0), bad, put(2))), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [type(None), StorageFailed, type(None)]
    assert [r.seq for r in await stash.rows(KEY)] == [0, 2]


async def test_what_was_taken_is_committed_though_its_caller_goes_away(stash):
    gone = asyncio.ensure_future(stash.apply([put(0, "taken")]))
    stays = asyncio.ensure_future(stash.apply([put(1, "stays")]))
    await asyncio.sleep(0)  # Both are short: they are taken, and wait for the disk.
    gone.cancel()

    await stays

    assert gone.cancelled()
    assert [r.seq for r in await stash.rows(KEY)] == [0, 1]


async def test_a_body_that_changed_on_disk_is_never_handed_out(tmp_path, stash):
    await stash.apply(puts("true", "other"))
    with sqlite3.connect(file_in(tmp_path)) as db:
        db.execute("UPDATE body SET frame = (SELECT frame FROM body WHERE rid = 2) WHERE rid = 1")

    with pytest.raises(StorageFailed, match="seg-0"):
        await stash.contents(KEY, [0])


# Erasing

NEEDLES = [f"needle{n}xq" for n in range(60)]


def needles_on_disk(folder):
    raw = b"".join(path.read_bytes().lower() for path in sorted(folder.rglob("*")) if path.is_file())
    return [needle for needle in NEEDLES if needle.encode() in raw]


def needled(seq):
    """A segment whose needle stands in every field that holds text, and whose body is too short to compress away."""
    needle = NEEDLES[seq]
    return put(
        seq,
        f"{needle} é",
        tool=needle,
        command=needle * (seq % 7),
        tags=(needle,),
        task=needle,
        reply=needle,
        refs=(needle,),
        paths=(PathUse(f"/p/{needle}.py", Access.READ),),
        garbage=needle,
    )


async def test_after_erasing_no_byte_of_a_forgotten_text_is_left_in_any_file(tmp_path, stash):
    await stash.apply([needled(n) for n in range(30)])
    await stash.apply([*(needled(n) for n in range(30, 60)), Forget(KEY, [45])])
    await stash.apply([Forget(KEY, range(0, 60, 2))])
    assert needles_on_disk(tmp_path)

    assert await erase_now(stash) == 0

    left = [NEEDLES[n] for n in range(1, 60, 2) if n != 45]
    assert needles_on_disk(tmp_path) == left
    assert (await stash.status()).erasures_pending == 0
    assert await seqs(stash, left[3]) == [NEEDLES.index(left[3])]


async def test_after_forgetting_a_whole_session_no_byte_of_what_it_was_called_is_left(tmp_path, stash):
    called = SessionRow(key=KEY, title=NEEDLES[0] * 9, task=NEEDLES[1], project=f"/home/{NEEDLES[2]}")
    await stash.apply([PutSession(called), needled(3), PutOp(KEY, "op", Op(NEEDLES[4].encode(), b"call"))])
    await stash.apply([PutSession(SessionRow(key=OTHER, title=NEEDLES[5])), ForgetSession(KEY)])

    assert await erase_now(stash) == 0

    assert needles_on_disk(tmp_path) == [NEEDLES[5]]


async def test_a_session_without_segments_awaits_erasing_like_any_other(tmp_path, stash):
    await stash.apply([PutSession(SessionRow(key=KEY, title=NEEDLES[0]))])
    await stash.apply([ForgetSession(KEY)])
    assert (await stash.status()).erasures_pending == 1

    assert await erase_now(stash) == 0

    assert needles_on_disk(tmp_path) == []


async def test_words_that_came_and_went_in_one_transaction_are_erased_too(tmp_path, stash):
    await stash.apply([needled(0), Forget(KEY, [0])])

    assert await erase_now(stash) == 0
    assert needles_on_disk(tmp_path) == []


async def test_a_completed_segment_takes_its_pending_words_along_when_forgotten(tmp_path, stash):
    skeleton = f'{{"input":"{NEEDLES[0]}"}}'.encode()
    await stash.apply([pending(0, skeleton=skeleton), put(0, NEEDLES[1], kind=Kind.TOOL_CALL), Forget(KEY, [0])])

    assert await erase_now(stash) == 0
    assert needles_on_disk(tmp_path) == []


async def test_erasures_wait_through_a_restart_and_then_run_by_themselves(tmp_path, monkeypatch):
    def only_when_allowed(name):
        if name == "erase" and not allowed:
            raise sqlite3.OperationalError("not now")

    monkeypatch.setattr(sqlite, "ERASE_QUIET_S", 0.05)
    allowed = False
    stash = sqlite_in(tmp_path, failpoint=only_when_allowed)
    await stash.open()
    await stash.apply([needled(0), needled(1)])
    await stash.apply([Forget(KEY, [0])])
    assert await erase_now(stash) == 1
    await stash.close()

    allowed = True
    await stash.open()
    assert (await stash.status()).erasures_pending == 1
    for _ in range(60):
        await asyncio.sleep(0.05)
        if not (await stash.status()).erasures_pending:
            break
    assert needles_on_disk(tmp_path) == [NEEDLES[1]]
    await stash.close()


# The file


async def test_a_new_stash_is_for_its_owner_alone(tmp_path, stash):
    await stash.apply(puts("x"))

    assert file_in(tmp_path).parent.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in file_in(tmp_path).parent.iterdir()} == {0o600}


@pytest.mark.parametrize("what", ["folder", "file"])
async def test_what_others_may_read_is_refused_and_not_repaired(tmp_path, what):
    stash = sqlite_in(tmp_path)
    await stash.open()
    await stash.close()
    path = file_in(tmp_path) if what == "file" else file_in(tmp_path).parent
    path.chmod(0o755)

    with pytest.raises(Incompatible) as refused:
        await stash.open()

    assert "chmod" in refused.value.hint
    assert path.stat().st_mode & 0o777 == 0o755


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_another_users_file_is_refused(tmp_path):
    stash = sqlite_in(tmp_path)
    await stash.open()
    await stash.close()
    os.chown(file_in(tmp_path), 12345, -1)

    with pytest.raises(Incompatible, match="another user"):
        await stash.open()


async def test_a_stash_from_the_future_is_refused_and_left_alone(tmp_path):
    stash = sqlite_in(tmp_path)
    await stash.open()
    await stash.close()
    with sqlite3.connect(file_in(tmp_path)) as db:
        db.execute("PRAGMA user_version = 99")
    before = file_in(tmp_path).read_bytes()

    with pytest.raises(Incompatible, match="99") as refused:
        await stash.open()

    assert "newer ctxgc" in refused.value.hint
    assert file_in(tmp_path).read_bytes()[100:] == before[100:]


async def test_another_programs_database_is_refused(tmp_path):
    path = file_in(tmp_path)
    path.parent.mkdir(mode=0o700)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    path.chmod(0o600)

    with pytest.raises(Incompatible, match="another program"):
        await SqliteStash(path).open()


@pytest.mark.parametrize("content", [b"not a database at all", b"SQLite format 3\0" + b"\xff" * 5000])
async def test_what_is_no_database_is_refused_and_kept(tmp_path, content):
    path = file_in(tmp_path)
    path.parent.mkdir(mode=0o700)
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(StashDamaged) as refused:
        await SqliteStash(path).open()

    assert "--repair" in refused.value.hint
    assert path.read_bytes() == content


async def test_an_older_file_is_brought_up_step_by_step_and_keeps_its_rows(tmp_path):
    stash = sqlite_in(tmp_path)
    await stash.open()
    await stash.apply(puts("old"))
    await stash.close()
    steps = (*schema.MIGRATIONS, "ALTER TABLE session ADD COLUMN note TEXT NOT NULL DEFAULT ''", "CREATE TABLE b (x)")

    with sqlite3.connect(file_in(tmp_path), isolation_level=None) as db:
        assert schema.migrate(db, steps) == len(steps)

        assert db.execute("SELECT note, user_version FROM session, pragma_user_version").fetchall() == [
            ("", len(steps))
        ]


def test_a_step_that_fails_leaves_the_version_before_it():
    db = sqlite3.connect(":memory:", isolation_level=None)
    steps = (*schema.MIGRATIONS, "CREATE TABLE half (x); CREATE TABLE meta (x)")

    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(db, steps)

    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    assert "half" not in tables
    assert db.execute("PRAGMA user_version").fetchone()[0] == len(schema.MIGRATIONS)


@pytest.mark.slow
async def test_a_new_tokenizer_rebuilds_the_index_from_bodies(tmp_path):
    stash = sqlite_in(tmp_path)
    await stash.open()
    await stash.apply(puts(*(f"word number{n}" for n in range(120))))
    await stash.close()
    with sqlite3.connect(file_in(tmp_path)) as db:
        db.execute("UPDATE meta SET value = 0 WHERE name = 'tokenizer_version'")

    await stash.open()
    first = await stash.search(Query(text="number3"))
    await stash.apply([Forget(KEY, [5])])
    await wait_for_index(stash)

    assert first.is_partial
    assert await seqs(stash, "number3") == [3]
    assert await seqs(stash, "number5") == []
    assert len((await stash.search(Query(text="word", limit=100))).hits) == 100
    await stash.close()


async def wait_for_index(stash):
    for _ in range(100):
        await asyncio.sleep(0.02)
        if not (await stash.search(Query(text="word"))).is_partial:
            return
    raise AssertionError("the index was not rebuilt")


async def test_a_backup_is_a_whole_stash_and_overwrites_nothing(tmp_path, stash):
    await stash.apply(puts("kept"))
    copy = tmp_path / "copies" / "copy.db"
    copy.parent.mkdir(mode=0o700)

    written = await stash.backup(str(copy))

    assert written == copy.stat().st_size
    twin = SqliteStash(copy, reserve_bytes=0)
    await twin.open()
    assert await seqs(twin, "kept") == [0]
    await twin.close()
    with pytest.raises(Conflict):
        await stash.backup(str(copy))
    with pytest.raises(NotFound, match="nowhere"):
        await stash.backup(str(tmp_path / "nowhere" / "copy.db"))


@pytest.mark.parametrize("linked", ["copy.db", "copy.db-journal", "copy.db-wal"])
@pytest.mark.parametrize("leads", ["to a file", "nowhere"])
async def test_a_backup_writes_through_no_link(tmp_path, stash, linked, leads):
    await stash.apply(puts("kept"))
    elsewhere = tmp_path / "elsewhere"
    if leads == "to a file":
        elsewhere.write_text("of somebody")
    (tmp_path / linked).symlink_to(elsewhere)

    with contextlib.suppress(Conflict):
        await stash.backup(str(tmp_path / "copy.db"))

    assert elsewhere.exists() == (leads == "to a file")
    assert leads == "nowhere" or elsewhere.read_text() == "of somebody"
    assert (tmp_path / linked).is_symlink()


async def test_a_backup_into_a_folder_that_is_a_link_is_refused_by_name(tmp_path, stash):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    with pytest.raises(NotFound, match="link"):
        await stash.backup(str(tmp_path / "link" / "copy.db"))

    assert list((tmp_path / "real").iterdir()) == []


async def test_a_backup_whose_name_is_too_long_is_refused_by_name(tmp_path, stash):
    with pytest.raises(NotFound, match="too long"):
        await stash.backup(str(tmp_path / ("a" * 300)))


# Space


async def test_a_nearly_full_disk_takes_no_writes_reads_on_and_recovers(tmp_path):
    free, now = 10**9, 0.0
    stash = sqlite_in(tmp_path, reserve_bytes=10**6, free_bytes=lambda _: free, clock=lambda: now)
    await stash.open()
    await stash.apply(puts("before"))

    free, now = 10**5, 2.0
    with pytest.raises(ReadOnly, match="MB free"):
        await stash.apply([put(1, "during")])
    assert await seqs(stash, "before") == [0]
    assert (await stash.status()).is_read_only

    free, now = 10**9, 2.5
    with pytest.raises(ReadOnly):  # The disk is looked at once a second at most.
        await stash.apply([put(1, "during")])
    now = 3.5
    await stash.apply([put(1, "after")])
    assert not (await stash.status()).is_read_only
    await stash.close()


async def test_a_closed_stash_says_so(tmp_path):
    stash = sqlite_in(tmp_path)

    with pytest.raises(CtxgcError):
        await stash.apply(puts("x"))
    with pytest.raises(CtxgcError):
        await stash.rows(KEY)
    with pytest.raises(CtxgcError):
        await stash.search(Query(text="x"))


async def test_metadata_that_no_engine_can_hold_is_mended_and_the_body_is_not(stash):
    body = "lone \ud800 surrogate\0".encode("utf-8", "surrogatepass")
    row = put(0, body, command="a\ud800b", tool="t\0").row
    await stash.apply([put(0, body)._replace(row=replace(row, key=OTHER))])

    assert text_of((await stash.contents(OTHER, [0]))[0]) == body
    assert (await stash.rows(OTHER))[0].segment.command == "a?b"
    assert (await stash.rows(OTHER))[0].state is State.RESIDENT


async def test_a_row_keeps_the_names_that_an_older_ctxgc_wrote_so_that_no_file_is_migrated(stash, tmp_path):
    session = PutSession(SessionRow(key=KEY, rendered_by=Renderer.GATEWAY))
    await stash.apply([session, put(0, kind=Kind.TOOL_CALL)])

    with sqlite3.connect(file_in(tmp_path)) as db:
        stored = db.execute("SELECT kind, mode FROM segment JOIN session USING (sid)").fetchall()

    assert stored == [("exchange", "wire")]
    assert [row.segment.kind for row in await stash.rows(KEY)] == [Kind.TOOL_CALL]
    assert (await stash.session(KEY)).rendered_by is Renderer.GATEWAY
