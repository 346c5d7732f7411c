"""Facts of a call are set once, where the host's format is read; the daemon keeps them, and checks a client's."""

import json
import sqlite3

import pytest

from ctxgc.adapters.facts.segment_facts import add_facts
from ctxgc.adapters.transcripts.segments_json import segment_fields
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import SessionKey
from ctxgc.stash.sqlite import SqliteStash
from tests.daemon.harness import bench_on

SESSION = "claude_code:s"
KEY = SessionKey("claude_code", "s")


def request(*inputs, tool="Read"):
    """A request in which the assistant calls a tool with each of these inputs, one after another."""
    messages = [{"role": "user", "content": "look at it"}]
    for number, value in enumerate(inputs):
        use = {"type": "tool_use", "id": f"call{number}", "name": tool, "input": value}
        result = {"type": "tool_result", "tool_use_id": f"call{number}", "content": f"shown {number}"}
        messages += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    return messages


def records(messages, project="/w", wire="anthropic_messages"):
    window = WIRE_FORMATS[wire].parse(json.dumps(messages).encode())
    return [segment_fields(segment) for segment in add_facts(window.segments, project)]


async def told(bench, new, wire="anthropic_messages"):
    ids = [record["id"] for record in new]
    return await bench.call("window.sync", session=SESSION, format=wire, project="/w", new=new, ids=ids)


async def garbage(bench):
    return {row.seq: row.garbage for row in await bench.stash.rows(KEY) if row.garbage}


READS = request({"file_path": "a.py"}, {"file_path": "/w/a.py"})


async def test_what_an_older_gateway_leaves_out_is_derived_from_what_it_sends(bench):
    new = records(READS, project="")
    for record in new:
        record.pop("facts", None)
        record.pop("edit_sources", None)

    await told(bench, new)

    rows = await bench.stash.rows(KEY)
    assert [[use.path for use in row.segment.paths] for row in rows] == [[], ["/w/a.py"], ["/w/a.py"]]
    assert await garbage(bench) == {1: "superseded_read"}


async def test_the_daemon_believes_the_facts_that_a_segment_comes_with(bench):
    new = records(request({"command": "show a.py"}, {"command": "show a.py"}, tool="Bash"))
    for record in new[1:]:
        record["paths"] = [{"path": "/w/a.py", "access": "read"}]
        record["facts"] = {"attempt": "show a.py", "is_pure_read": True}

    await told(bench, new)

    assert await garbage(bench) == {1: "superseded_read"}


@pytest.mark.parametrize(
    "facts",
    [
        None,
        [],
        {},
        {"attempt": ""},
        {"attempt": 7},
        {"attempt": "x", "recalls": None},
        {"attempt": "x", "is_cut": 1},
        {"attempt": "x", "is_pure_read": "yes"},
    ],
)
async def test_facts_that_are_none_are_refused(bench, facts):
    new = records(READS)
    new[1]["facts"] = facts

    with pytest.raises(BadTranscript):
        await told(bench, new)


async def test_facts_of_a_later_version_are_passed_over(bench):
    new = records(READS)
    new[1]["facts"] |= {"is_of_tomorrow": True}

    await told(bench, new)

    assert await garbage(bench) == {1: "superseded_read"}


@pytest.mark.parametrize("is_older", [False, True], ids=["a_stash_of_this_version", "a_stash_of_version_2"])
@pytest.mark.parametrize(
    ("tool", "first", "again"),
    [
        ("Read", {"file_path": "/w/a.py"}, {"file_path": "/w/a.py"}),
        ("NotebookRead", {"notebook_path": "/w/a.ipynb"}, {"notebook_path": "/w/a.ipynb"}),
        ("str_replace_based_edit_tool", {"command": "view", "path": "/w/a.py"}, {"command": "view", "path": "/w/a.py"}),
        ("Bash", {"command": "cd /w && cat a.py"}, {"command": "nl -ba /w/a.py"}),
    ],
)
async def test_a_session_that_wakes_proves_what_it_would_have_proven_awake(tmp_path, is_older, tool, first, again):
    path = tmp_path / "state" / "stash.sqlite3"
    async with bench_on(SqliteStash(path, reserve_bytes=0)) as bench:
        await told(bench, records(request(first, tool=tool)))
    if is_older:
        with sqlite3.connect(path) as db:
            db.execute("ALTER TABLE segment DROP COLUMN facts")
            db.execute("ALTER TABLE session DROP COLUMN number")
            db.execute("ALTER TABLE session DROP COLUMN pacing")
            db.execute("DROP INDEX segment_session")
            db.execute("DROP INDEX segment_elided")
            db.execute("ALTER TABLE segment DROP COLUMN elisions")
            db.execute("DROP TABLE text_key")
            db.execute("PRAGMA user_version = 2")
        db.close()

    async with bench_on(SqliteStash(path, reserve_bytes=0)) as bench:
        await told(bench, records(request(first, again, tool=tool)))

        assert await garbage(bench) == {1: "superseded_read"}


async def test_what_came_a_second_ago_is_found_by_its_time_and_not_by_an_older_one(bench):
    await told(bench, records(request({"file_path": "/w/a.py"})))
    listed = {"session": "claude_code:l", "format": "anthropic_messages", "budget_tokens": 10**6}
    await bench.call("messages.collect", messages=READS, **listed)
    hour_ago_s = bench.services.clock() - 3600

    since = await bench.call("stash.search", query="shown", after_s=hour_ago_s)
    until = await bench.call("stash.search", query="shown", before_s=hour_ago_s)

    assert {hit["session"] for hit in since["hits"]} == {SESSION, "claude_code:l"}
    assert until["hits"] == []
