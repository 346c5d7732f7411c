"""What a client may say of a budget, and of what is open in front of its user."""

import pytest

from ctxgc.core.errors import OverBudget
from tests.daemon.test_imports import SESSION, imported, states
from tests.daemon.transcripts import worked


@pytest.fixture
async def session(bench, tmp_path):
    path = tmp_path / "a1.jsonl"
    path.write_bytes(worked(40).data)
    await imported(bench, path)
    return bench


async def test_a_collection_that_must_fit_changes_nothing_where_it_cannot(session):
    before = await states(session)

    with pytest.raises(OverBudget, match="must stay"):
        await session.call("heap.collect", **SESSION, budget_tokens=1, unit="raw", must_fit=True)

    assert await states(session) == before
    assert (await session.call("heap.log", **SESSION))["collections"] == []


async def test_a_collection_that_must_fit_collects_where_it_can(session):
    reply = await session.call("heap.collect", **SESSION, budget_tokens=4000, unit="raw", must_fit=True)

    assert reply["collection"] == 1
    assert reply["protected_by"] == {}


async def test_the_newest_read_of_an_open_file_is_a_root_as_long_as_it_is_open(session):
    listed = (await session.call("segment.list", **SESSION))["segments"]
    read = next(s for s in listed if any(use["access"] == "read" for use in s["paths"]))
    path = next(use["path"] for use in read["paths"] if use["access"] == "read")
    newest = [s for s in listed if any(u["path"] == path and u["access"] == "read" for u in s["paths"])][-1]

    await session.call("session.set", **SESSION, open_paths=[path])
    opened = await session.call("heap.why", **SESSION, id=newest["id"])
    await session.call("session.set", **SESSION, open_paths=[])
    closed = await session.call("heap.why", **SESSION, id=newest["id"])

    assert (opened["verdict"], opened["root"]) == ("root", "open")
    assert closed["root"] != "open"
