"""One connection and its thread: operations run whole, in order, and to their end."""

import asyncio
import sqlite3
import threading

import pytest

from ctxgc.stash.db_thread import DbThread


@pytest.fixture
async def db_thread():
    made = await DbThread.open("file::memory:", lambda db: None)
    yield made
    await made.close()


async def test_an_operation_is_one_hop_however_many_statements_it_has_and_its_result_comes_back(db_thread):
    def operation(db):
        db.execute("CREATE TABLE t (x)")
        db.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(3)])
        return threading.get_ident(), [row[0] for row in db.execute("SELECT x FROM t")]

    thread, rows = await db_thread.run(operation)

    assert rows == [0, 1, 2]
    assert thread != threading.get_ident()
    assert await db_thread.run(lambda _: threading.get_ident()) == thread


async def test_operations_run_one_at_a_time_in_the_order_they_were_asked_for(db_thread):
    order = []

    await asyncio.gather(*(db_thread.run(lambda _, n=n: order.append(n)) for n in range(50)))

    assert order == list(range(50))


async def test_what_an_operation_raises_its_caller_raises_and_the_next_one_runs(db_thread):
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await db_thread.run(lambda db: db.execute("SELECT * FROM nowhere"))

    assert await db_thread.run(lambda db: db.execute("SELECT 1").fetchone()) == (1,)


async def test_an_operation_whose_caller_goes_away_runs_to_its_end(db_thread):
    may_end, ended = threading.Event(), []

    def operation(_):
        may_end.wait(60)
        ended.append(True)

    caller = asyncio.ensure_future(db_thread.run(operation))
    await asyncio.sleep(0)
    caller.cancel()
    may_end.set()
    await db_thread.run(lambda _: None)

    assert caller.cancelled()
    assert ended == [True]


async def test_nothing_stays_open_where_a_connection_could_not_be_configured():
    def configure(db):
        connections.append(db)
        raise sqlite3.OperationalError("not this one")

    connections = []
    with pytest.raises(sqlite3.OperationalError, match="not this one"):
        await DbThread.open("file::memory:", configure)

    with pytest.raises(sqlite3.ProgrammingError):
        connections[0].total_changes  # noqa: B018 - a closed connection refuses to be asked
