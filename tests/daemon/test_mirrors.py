"""An observed session is a mirror: only its own feed writes into it."""

import json

import pytest

from ctxgc.core.errors import Conflict, NotFound
from tests.daemon.transcripts import worked

TEXT = {"kind": "other", "text": "mine"}
LIST = {"messages": [{"role": "user", "content": "mine"}], "format": "anthropic_messages", "budget_tokens": 1000}
FILE = "FILE"
"""Stands for the path of a client's file."""
ADDS = {
    "segment.add": {"segment": TEXT},
    "segment.add_many": {"segments": [TEXT]},
    "segment.add_file": {"path": FILE, "kind": "attachment"},
    "tx": {"calls": [{"method": "segment.add", "params": {"segment": TEXT}}]},
}
WRITES = {**ADDS, "messages.collect": LIST}


def params_of(verb, tmp_path):
    if WRITES[verb].get("path") != FILE:
        return WRITES[verb]
    path = tmp_path / "mine.txt"
    path.write_text("mine")
    return WRITES[verb] | {"path": str(path)}


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
        await bench.call(verb, session=session, **params_of(verb, tmp_path))

    assert session in str(refused.value)
    assert (await bench.call("segment.list", session=session)) == before


@pytest.mark.parametrize("verb", ADDS)
async def test_a_text_without_a_session_goes_into_the_newest_session_of_a_client(bench, tmp_path, verb):
    await bench.call("session.open", session="own")
    await observed(bench, tmp_path)

    reply = await bench.call(verb, **params_of(verb, tmp_path))

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


def segments_file(path, source, name, *texts, is_document):
    header = {"format": "ctxgc-segments", "version": 1, "source": source, "session": name}
    records = [{"kind": "user", "id": text, "text": text} for text in texts]
    lines = [header | {"segments": records}] if is_document else [header, *records]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.mark.parametrize("is_document", [False, True])
async def test_a_file_written_by_hand_adds_no_segment_to_an_agents_session(bench, tmp_path, is_document):
    session = await observed(bench, tmp_path)
    before = await bench.call("segment.list", session=session)
    forged = segments_file(tmp_path / "f.json", *session.split(":"), "mine", "too", is_document=is_document)

    [read] = (await bench.call("import", paths=[forged]))["sessions"]

    assert (read["added"], read["skipped"]) == (0, {"not_of_the_agent": 2})
    assert (await bench.call("segment.list", session=session)) == before


@pytest.mark.parametrize("is_document", [False, True])
@pytest.mark.parametrize("source", ["client", "myagent"])
async def test_a_file_of_a_program_that_no_adapter_reads_grows(bench, tmp_path, source, is_document):
    path = tmp_path / "f.json"
    for texts in (["a"], ["a", "b"]):
        file = segments_file(path, source, "s", *texts, is_document=is_document)
        [read] = (await bench.call("import", paths=[file]))["sessions"]

    assert (read["added"], read["segments"]) == (1, 2)
