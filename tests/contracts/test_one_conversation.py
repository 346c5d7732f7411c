"""One conversation, however it arrives, is the same rows: from its log, from its requests, from a list to collect."""

import itertools
import json
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctxgc.core.segment import SessionKey
from ctxgc.core.tombstone import segment_label
from ctxgc.gateway.body.request_body import read_body
from ctxgc.gateway.editing.sync_records import record_batches
from ctxgc.stash.sqlite import SqliteStash
from tests.contracts.hosts import CWD, HOSTS, START_S
from tests.daemon.harness import bench_on
from tests.effort import effort


@asynccontextmanager
async def daemon(folder):
    """A daemon on a stash of its own, whose clock stands at the time of the conversation."""
    stash = SqliteStash(Path(folder) / "state" / "stash.sqlite3", reserve_bytes=0)
    async with bench_on(stash, clock=lambda: START_S + 0.5) as bench:
        yield bench


async def by_log(bench, host, steps, session, folder):
    path = Path(folder) / f"{session}.log"
    path.write_bytes(host.log(steps, session))
    reply = await bench.call("import", paths=[str(path)])
    assert reply["failed"] == []


async def by_gateway(bench, host, steps, session, folder):
    """As the gateway tells of a request: what is new with its facts, and the window."""
    field = "input" if host.wire == "openai_responses" else "messages"
    body = json.dumps({"model": "m", field: host.request(steps)}).encode()
    asked = read_body(body, host.wire, set(), host.source)._replace(project=CWD)
    ids = [segment.id for segment in asked.window.segments]
    [batch] = record_batches(asked.window, set(ids), asked.project)
    new = [msgspec.json.decode(record) for record in batch]
    digests = [asked.digests[id_].hex() for id_ in ids]
    told = {"session": f"{host.source}:{session}", "format": host.wire, "project": CWD, "ids": ids, "digests": digests}
    reply = await bench.call("window.sync", new=new, **told)
    assert reply["unknown"] == reply["conflicts"] == []


async def by_list(bench, host, steps, session, folder):
    await bench.call(
        "messages.collect",
        session=f"{host.source}:{session}",
        format=host.wire,
        messages=host.request(steps),
        cwd=CWD,
        budget_tokens=10**9,
    )


WAYS = {"log": by_log, "gateway": by_gateway, "list": by_list}


async def rows(bench, key):
    """Every row of the session with what it says of its segment, but for what is the channel's own."""
    found = []
    for row in await bench.stash.rows(key):
        segment = row.segment
        assert abs(segment.wall_s - START_S) <= 1, "a segment is as old as its arrival"
        found.append(
            {
                "id": segment.id,
                "kind": segment.kind,
                "role": segment.role,
                "born_turn": segment.born_turn,
                "tool": segment.tool,
                "status": segment.status,
                "command": segment.command,
                "label": segment_label(segment),
                "paths": segment.paths,
                "facts": segment.facts,
                "references": row.edges,
                "proof": (row.garbage, row.garbage_by),
                "digest": row.digest.hex(),
                "pieces": [(name, size) for name, size, _ in row.pieces],
                # A piece that no request can be edited in counts as skeleton on the wire.
                "tokens": row.skeleton_tokens + sum(tokens for _, _, tokens in row.pieces),
            }
        )
    return found


async def rows_by(way, bench, host, steps, session, folder):
    """The rows of a conversation that came in this way."""
    await WAYS[way](bench, host, steps, session, folder)
    return await rows(bench, SessionKey(host.source, session))


@pytest.fixture
async def shared_bench(tmp_path):
    """One daemon for every example of a law: each example has sessions of its own there."""
    async with daemon(tmp_path) as bench:
        yield bench


SESSION_NUMBERS = itertools.count()


@pytest.mark.parametrize("source", HOSTS)
@settings(max_examples=max(40, settings().max_examples), suppress_health_check=[*HealthCheck])
@given(st.data())
async def test_a_conversation_is_the_same_rows_from_its_log_from_its_requests_and_from_a_list_I17(
    source, shared_bench, tmp_path, data
):
    host = HOSTS[source]
    steps = data.draw(host.steps)

    by_way = {
        way: await rows_by(way, shared_bench, host, steps, f"{way}-{next(SESSION_NUMBERS)}", tmp_path) for way in WAYS
    }

    assert len(by_way["log"]) >= len(steps)
    assert by_way["gateway"] == by_way["log"]
    assert by_way["list"] == by_way["log"]


async def rows_over_daemons(way, host, parts):
    """The rows of a conversation that comes in parts, each part to a daemon that has just started."""
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            async with daemon(folder) as bench:
                found = await rows_by(way, bench, host, part, "s", folder)
        return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", HOSTS)
@effort(8)
@given(st.data())
async def test_a_restart_in_the_middle_of_a_conversation_leaves_the_same_rows(source, way, data):
    host = HOSTS[source]
    steps = data.draw(host.steps)

    assert await rows_over_daemons(way, host, [steps[:1], steps]) == await rows_over_daemons(way, host, [steps])
