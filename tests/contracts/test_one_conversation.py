"""One conversation, however it arrives, is the same rows: from its log, from its requests, from a list to collect."""

import json
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
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


async def by_log(bench, host, steps, folder):
    path = Path(folder) / "s.log"
    path.write_bytes(host.log(steps))
    reply = await bench.call("import", paths=[str(path)])
    assert reply["failed"] == []
    return f"{host.source}:s"


async def by_gateway(bench, host, steps, folder):
    """As the gateway tells of a request: what is new with its facts, and the window."""
    field = "input" if host.wire == "openai_responses" else "messages"
    body = json.dumps({"model": "m", field: host.request(steps)}).encode()
    asked = read_body(body, host.wire, set(), host.source)._replace(project=CWD)
    ids = [segment.id for segment in asked.window.segments]
    [batch] = record_batches(asked.window, set(ids), asked.project)
    new = [msgspec.json.decode(record) for record in batch]
    digests = [asked.digests[id_].hex() for id_ in ids]
    told = {"session": f"{host.source}:s", "format": host.wire, "project": CWD, "ids": ids, "digests": digests}
    reply = await bench.call("window.sync", new=new, **told)
    assert reply["unknown"] == reply["conflicts"] == []
    return f"{host.source}:s"


async def by_list(bench, host, steps, folder):
    await bench.call(
        "messages.collect",
        session=f"{host.source}:s",
        format=host.wire,
        messages=host.request(steps),
        cwd=CWD,
        budget_tokens=10**9,
    )
    return f"{host.source}:s"


WAYS = {"log": by_log, "gateway": by_gateway, "list": by_list}


async def rows(bench, session):
    """Every row of the session with what it says of its segment, but for what is the channel's own."""
    key = SessionKey(*session.split(":"))
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


async def stored(way, host, steps, cut=0):
    """The rows of a conversation; where it is cut, the daemon is restarted between its two parts."""
    with tempfile.TemporaryDirectory() as folder:
        for part in [steps[:cut], steps] if cut else [steps]:
            async with daemon(folder) as bench:
                session = await WAYS[way](bench, host, part, folder)
                found = await rows(bench, session)
        return found


@pytest.mark.parametrize("source", HOSTS)
@effort(40)
@given(st.data())
async def test_a_conversation_is_the_same_rows_from_its_log_from_its_requests_and_from_a_list_I17(source, data):
    host = HOSTS[source]
    steps = data.draw(host.steps)

    from_log = await stored("log", host, steps)

    assert len(from_log) >= len(steps)
    assert await stored("gateway", host, steps) == from_log
    assert await stored("list", host, steps) == from_log


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", HOSTS)
@effort(8)
@given(st.data())
async def test_a_restart_in_the_middle_of_a_conversation_leaves_the_same_rows(source, way, data):
    host = HOSTS[source]
    steps = data.draw(host.steps)

    assert await stored(way, host, steps, cut=1) == await stored(way, host, steps)
