"""Repair of a sound file: nothing that the file says is lost by repairing it. And how damage is said."""

import sqlite3
from pathlib import Path

from ctxgc.core.segment import CallFacts, Kind, State
from ctxgc.stash import body_codec
from ctxgc.stash.contract import Collection, Eviction, Forget, PutCollection, PutSession, SessionRow, SetPinned
from ctxgc.stash.repair import repair_stash
from ctxgc.stash.sqlite_errors import damage_error
from tests.stash.samples import KEY, file_in, puts, sqlite_in, stored


async def test_repairing_a_sound_stash_keeps_every_row_as_it_was(tmp_path):
    stash = sqlite_in(tmp_path)
    await stash.open()
    journal = Collection(
        id=1, wall_s=1.0, turn=1, trigger="asked", target_tokens=1, before_tokens=9, after_tokens=5,
        evictions=(Eviction(seq=0, reason="cold", freed_tokens=4),),
    )  # fmt: skip
    await stash.apply([PutSession(SessionRow(key=KEY)), *puts("one", "two", "three"), SetPinned(KEY, [1], True)])
    await stash.apply([PutCollection(KEY, journal), Forget(KEY, [2])])
    before = await stash.rows(KEY), await stash.collections(KEY)
    await stash.close()

    report = repair_stash(file_in(tmp_path))

    await stash.open()
    assert report.rebuilt == report.bodies_lost == 0
    assert (await stash.rows(KEY), await stash.collections(KEY)) == before
    assert [row.state for row in before[0]] == [State.EVICTED, State.RESIDENT, State.FORGOTTEN]
    await stash.close()


async def test_repairing_a_file_of_the_first_version_keeps_its_rows(tmp_path):
    stash = sqlite_in(tmp_path)
    await stash.open()
    await stash.apply([PutSession(SessionRow(key=KEY, title="old")), *puts("one", "two")])
    before = await stash.rows(KEY), await stash.session(KEY)
    await stash.close()
    with sqlite3.connect(file_in(tmp_path)) as db:
        _as_of_the_first_version(db)

    report = repair_stash(file_in(tmp_path))

    await stash.open()
    assert report.rebuilt == report.bodies_lost == 0
    assert (await stash.rows(KEY), await stash.session(KEY)) == before
    await stash.close()


def test_what_is_rebuilt_from_a_body_alone_has_its_facts():
    facts = CallFacts(attempt="cat a.py", recalls="#1", is_pure_read=True)
    row = stored(0, "text", kind=Kind.TOOL_CALL, command="cat a.py", facts=facts)

    rebuilt = body_codec.decode_row(
        body_codec.encode_content(row, body_codec.make_compressor()), body_codec.make_decompressor()
    )

    assert rebuilt.segment == row.segment


def _as_of_the_first_version(db):
    """Take back what later steps brought, as far as a repair looks at it."""
    db.execute("DROP INDEX collection_undoes")
    db.execute("ALTER TABLE op DROP COLUMN call")
    db.execute("ALTER TABLE session DROP COLUMN forgotten")
    db.execute("ALTER TABLE segment DROP COLUMN recalled_turn")
    db.execute("ALTER TABLE segment DROP COLUMN facts")
    db.execute("PRAGMA user_version = 1")


def test_what_is_wrong_with_a_stash_is_said_in_one_line():
    # The command shows the last line of the daemon's log; SQLite's findings come in several.
    assert "\n" not in str(damage_error(Path("stash.sqlite3"), "*** in database main ***\nPage 43: bad"))
