"""Repair reads round damage in as many steps as there are damaged pages and rows, and steps over nothing else."""

import contextlib
import os
import random
import sqlite3

import pytest

from ctxgc.core.segment import State
from ctxgc.stash import carving
from ctxgc.stash import repair as mending
from ctxgc.stash.carving import carve_bodies, table_leaves
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
        [leaf] = table_leaves(path, number) if raw[(number - 1) * PAGE] == 0x0D else [None]
        if leaf is not None and leaf.rowids:
            by_rowids[leaf.rowids] = number
    return [(by_rowids[leaf.rowids], leaf.rowids) for leaf in table_leaves(path, root_of(path, table)) if leaf.rowids]


@pytest.mark.parametrize("table", ["segment", "body", "op"])
async def test_the_leaves_of_a_table_have_its_rowids_and_cover_all_that_there_can_be(path, table):
    found = list(table_leaves(path, root_of(path, table)))

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
        mending.repair_stash(path)

    assert path.read_bytes() == before
    assert not path.with_name(path.name + ".repairing").exists()


async def test_a_text_that_is_none_costs_its_row_which_its_body_brings_back(tmp_path, path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE segment SET task = CAST(x'ff41' AS TEXT) WHERE seq = 7")
        db.commit()

    report = mending.repair_stash(path)

    assert (report.rebuilt, report.bodies_lost) == (1, 0)
    stash = sqlite_in(tmp_path)
    await stash.open()
    rows = await stash.rows(KEY)
    assert [row.seq for row in rows] == list(range(SEGMENTS + 2))
    assert rows[7].segment.task == "t" * 60
    assert {row.state for row in rows} == {State.RESIDENT}
    await stash.close()


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 12))])
async def test_whatever_is_overwritten_a_repair_ends_in_a_sound_stash(path, seed):
    chance = random.Random(seed)
    raw = bytearray(path.read_bytes())
    for _ in range(chance.randrange(1, 40)):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(raw) // PAGE) * PAGE
        raw[at : at + PAGE] = chance.randbytes(PAGE)
    path.write_bytes(raw)

    mending.repair_stash(path)

    assert mending.check_stash(path).is_sound


def pages_read(monkeypatch):
    """The numbers of the pages that carving reads, as it reads them."""
    numbers = []
    read = carving._Pages.__call__

    def counted(pages, number):
        numbers.append(number)
        return read(pages, number)

    monkeypatch.setattr(carving._Pages, "__call__", counted)
    return numbers


async def test_a_file_with_a_hole_of_a_terabyte_is_repaired_by_its_data_alone(path, monkeypatch):
    pages = path.stat().st_size // PAGE
    before = len(list(carve_bodies(path)))
    os.truncate(path, 2**40)
    numbers = pages_read(monkeypatch)

    outcome = mending.repair_stash(path)

    assert (outcome.bodies, before) == (SEGMENTS + 2, SEGMENTS + 2)
    assert len(numbers) < 10 * pages
    assert outcome.backup.stat().st_size == 2**40
    assert outcome.backup.stat().st_blocks * 512 < 4 * pages * PAGE


async def test_chains_of_overflow_pages_that_run_in_circles_cost_a_few_reads_of_each_page(path, monkeypatch):
    raw = bytearray(path.read_bytes())
    pages = len(raw) // PAGE
    leaf = next(number for number, _ in leaf_pages(path, "body"))
    # Every cell of the leaf says that it has a gigabyte, on a chain of two pages that lead to each other.
    at = (leaf - 1) * PAGE
    cell = b"\x84\x80\x80\x80\x00\x01"
    least = (PAGE - 12) * 32 // 255 - 23
    local = least + (2**30 - least) % (PAGE - 4)
    local = least if local > PAGE - 35 else local
    raw[at + 3 : at + 5] = (500).to_bytes(2, "big")
    for n in range(500):
        raw[at + 8 + 2 * n : at + 10 + 2 * n] = (1500).to_bytes(2, "big")
    raw[at + 1500 : at + 1506] = cell
    raw[at + 1506 + local : at + 1510 + local] = (pages - 1).to_bytes(4, "big")
    raw[(pages - 2) * PAGE : (pages - 2) * PAGE + 4] = pages.to_bytes(4, "big")
    raw[(pages - 1) * PAGE : (pages - 1) * PAGE + 4] = (pages - 1).to_bytes(4, "big")
    path.write_bytes(raw)
    numbers = pages_read(monkeypatch)

    list(carve_bodies(path))

    assert numbers.count(pages) > 1
    assert len(numbers) < 10 * pages
