"""Repair reads round damage in as many steps as there are damaged pages and rows, and steps over nothing else."""

import contextlib
import random
import sqlite3

import pytest

from ctxgc.core.segment import State
from ctxgc.stash import repair as mending
from ctxgc.stash.carving import leaves
from tests.stash.samples import KEY, file_in, put, sqlite_in

PAGE = 4096
SEGMENTS = 200


@pytest.fixture
async def path(tmp_path):
    """A closed stash whose tables have leaves below their roots, and bodies that need overflow pages."""
    chance = random.Random(3)
    stash = sqlite_in(tmp_path)
    await stash.open()
    await stash.apply([put(n, f"text {n} {chance.randbytes(300).hex()}", task="t" * 60) for n in range(SEGMENTS)])
    await stash.apply([put(SEGMENTS, chance.randbytes(30_000)), put(SEGMENTS + 1, "last")])
    await stash.close()
    return file_in(tmp_path)


def root_of(path, table):
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]


def overwrite(path, number, data=b"\xff" * PAGE, at=0):
    with path.open("r+b") as file:
        file.seek((number - 1) * PAGE + at)
        file.write(data)


def read_round(path, table, names="rowid"):
    """The rowids that can be read, and how many statements that took."""
    statements = []
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.text_factory = bytes.decode
        db.set_trace_callback(statements.append)
        rows = [row[0] for row in mending._readable_rows(db, path, table, names)]
    return rows, len(statements)


def leaf_pages(path, table):
    """(page number, its rowids) of each leaf, by way of the file's own pages."""
    raw = path.read_bytes()
    by_rowids = {}
    for number in range(2, len(raw) // PAGE + 1):
        [leaf] = leaves(path, number) if raw[(number - 1) * PAGE] == 0x0D else [None]
        if leaf is not None and leaf.rowids:
            by_rowids[leaf.rowids] = number
    return [(by_rowids[leaf.rowids], leaf.rowids) for leaf in leaves(path, root_of(path, table)) if leaf.rowids]


@pytest.mark.parametrize("table", ["segment", "body", "op"])
async def test_the_leaves_of_a_table_have_its_rowids_and_cover_all_that_there_can_be(path, table):
    found = list(leaves(path, root_of(path, table)))

    rowids = [rowid for leaf in found for rowid in leaf.rowids]
    assert rowids == read_round(path, table)[0]
    assert len(rowids) == (0 if table == "op" else SEGMENTS + 2)
    assert [leaf.first for leaf in found] == [-(2**63), *(leaf.last + 1 for leaf in found[:-1])]
    assert found[-1].last == 2**63 - 1


@pytest.mark.parametrize("table", mending.TABLES)
async def test_a_table_whose_root_is_broken_is_given_up_after_a_few_steps(path, table):
    overwrite(path, root_of(path, table))

    rows, statements = read_round(path, table, "*")

    assert rows == []
    assert statements <= 3


async def test_a_broken_leaf_costs_its_own_rows_and_a_few_steps(path):
    whole = path.read_bytes()
    pages = leaf_pages(path, "segment")
    assert len(pages) > 5
    for number, rowids in pages:
        path.write_bytes(whole)
        overwrite(path, number)

        rows, statements = read_round(path, "segment", "rowid, task")

        assert set(range(1, SEGMENTS + 3)) - set(rows) == set(rowids)
        assert statements <= 5


async def test_a_row_that_cannot_be_read_costs_its_neighbours_nothing(path):
    large = SEGMENTS + 1
    with contextlib.closing(sqlite3.connect(path)) as db:
        middle = db.execute("SELECT substr(frame, 15000, 32) FROM body WHERE rid = ?", (large,)).fetchone()[0]
    overflow_page = path.read_bytes().index(middle) // PAGE + 1
    overwrite(path, overflow_page, b"\xff" * 4)  # The chain of overflow pages ends here; the cell itself is sound.

    rows, statements = read_round(path, "body", "rid, frame")

    assert set(range(1, SEGMENTS + 3)) - set(rows) == {large}
    assert statements <= 4 + max(len(rowids) for _, rowids in leaf_pages(path, "body"))


async def test_a_mistake_of_ours_fails_at_once_instead_of_passing_for_damage(path):
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        read_round(path, "segment", "no_such_column")


async def test_a_repair_that_names_a_column_wrong_fails_and_leaves_the_file_as_it_is(path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr(mending, "COLUMNS", (*mending.COLUMNS, "no_such_column"))

    with pytest.raises((sqlite3.OperationalError, KeyError)):
        mending.repair(path)

    assert path.read_bytes() == before
    assert not path.with_name(path.name + ".repairing").exists()


async def test_a_text_that_is_none_costs_its_row_which_its_body_brings_back(tmp_path, path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE segment SET task = CAST(x'ff41' AS TEXT) WHERE seq = 7")
        db.commit()

    report = mending.repair(path)

    assert (report.rebuilt, report.bodies_lost) == (1, 0)
    stash = sqlite_in(tmp_path)
    await stash.open()
    rows = await stash.rows(KEY)
    assert [row.seq for row in rows] == list(range(SEGMENTS + 2))
    assert rows[7].segment.task == "t" * 60
    assert {row.state for row in rows} == {State.RESIDENT}
    await stash.close()


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_is_overwritten_a_repair_ends_in_a_sound_stash(path, seed):
    chance = random.Random(seed)
    raw = bytearray(path.read_bytes())
    for _ in range(chance.randrange(1, 40)):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(raw) // PAGE) * PAGE
        raw[at : at + PAGE] = chance.randbytes(PAGE)
    path.write_bytes(raw)

    mending.repair(path)

    assert mending.check(path).is_sound
