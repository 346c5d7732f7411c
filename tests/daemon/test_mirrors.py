"""An observed session is a mirror: only its own feed writes into it."""

import pytest

from ctxgc.core.errors import Conflict, NotFound
from tests.daemon.transcripts import worked

TEXT = {"kind": "other", "text": "mine"}
WRITES = {
    "segment.add": {"segment": TEXT},
    "segment.add_many": {"segments": [TEXT]},
    "tx": {"calls": [{"method": "segment.add", "params": {"segment": TEXT}}]},
}


async def observed(bench, tmp_path):
    path = tmp_path / "a1.jsonl"
    path.write_bytes(worked(2).data)
    [session] = (await bench.call("import", paths=[str(path)]))["sessions"]
    return session["session"]


@pytest.mark.parametrize("verb", WRITES)
async def test_no_client_writes_into_an_agents_session(bench, tmp_path, verb):
    session = await observed(bench, tmp_path)
    before = await bench.call("segment.list", session=session)

    with pytest.raises(Conflict) as refused:
        await bench.call(verb, session=session, **WRITES[verb])

    assert session in str(refused.value)
    assert (await bench.call("segment.list", session=session)) == before


@pytest.mark.parametrize("verb", WRITES)
async def test_a_text_without_a_session_goes_into_the_newest_session_of_a_client(bench, tmp_path, verb):
    await bench.call("session.open", session="own")
    await observed(bench, tmp_path)

    reply = await bench.call(verb, **WRITES[verb])

    assert reply["session"] == "client:own"


async def test_a_text_without_a_session_is_refused_where_only_agents_have_sessions(bench, tmp_path):
    await observed(bench, tmp_path)

    with pytest.raises(NotFound):
        await bench.call("segment.add", segment=TEXT)


async def test_an_agents_session_is_pinned_and_tagged_and_collected_all_the_same(bench, tmp_path):
    session = await observed(bench, tmp_path)
    [first, *_] = (await bench.call("segment.list", session=session))["segments"]

    await bench.call("segment.pin", session=session, ids=[first["id"]])
    tagging = {"method": "segment.tag", "params": {"id": first["id"], "tags": ["x"]}}
    await bench.call("tx", session=session, calls=[tagging])
    await bench.call("heap.collect", session=session, budget_tokens=1)


async def test_a_program_that_renders_its_own_session_writes_into_it(bench):
    await bench.call("session.open", source="myagent", session="s")

    reply = await bench.call("segment.add", session="myagent:s", segment=TEXT)

    assert reply["added"] == 1
