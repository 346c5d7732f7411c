"""Which session is the newest: the one in which something was said last, whenever it was read or touched."""

import itertools
import json
from datetime import UTC, datetime

import pytest

from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import bench_on
from tests.daemon.transcripts import Log

OLD_S, NEW_S, NOW_S = 1_700_000_000, 1_700_900_000, 1_800_000_000
HERE = {"cwd": "/work"}


class TimedLog(Log):
    """A log whose records say when they were written, a second apart."""

    def __init__(self, session, first_s):
        super().__init__(session)
        self.first_s = first_s

    def record(self, kind, **fields):
        moment = datetime.fromtimestamp(self.first_s + self._count, UTC).isoformat()
        return super().record(kind, timestamp=moment, **fields)


def timed(session, first_s, turns=8):
    log = TimedLog(session, first_s)
    log.user("why is the ferry late?")
    return log.works(turns)


async def imported(bench, folder, *logs):
    for log in logs:
        path = folder / f"{log.session}.jsonl"
        path.write_bytes(log.data)
        await bench.call("import", paths=[str(path)])


async def newest(bench):
    return (await bench.call("session.show", **HERE))["session"]


@pytest.fixture
async def bench():
    """The verbs at a time long after every record, and running."""
    clock = itertools.count(NOW_S)
    async with bench_on(SqliteStash(MEMORY), clock=lambda: next(clock)) as made:
        yield made


@pytest.fixture
async def two(bench, tmp_path):
    """An old session, read after a newer one of the same directory."""
    await imported(bench, tmp_path, timed("new1", NEW_S), timed("old1", OLD_S))
    return bench


async def test_the_newest_session_is_the_one_last_spoken_in_not_the_one_last_read(two):
    listed = (await two.call("session.list"))["sessions"]

    assert [one["session"] for one in listed] == ["claude_code:new1", "claude_code:old1"]
    assert OLD_S < listed[1]["updated_s"] < NEW_S
    assert await newest(two) == "claude_code:new1"


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("stash.recall", {"id": "toolu_001"}),
        ("stash.recall", {"query": "ferry"}),
        ("segment.pin", {"ids": ["toolu_001"]}),
        ("segment.unpin", {"ids": ["toolu_001"]}),
        ("segment.tag", {"id": "toolu_001", "tags": ["x"]}),
        ("segment.evict", {"ids": ["toolu_001"]}),
        ("heap.collect", {"budget_tokens": 100}),
        ("session.set", {"budget_tokens": 5000}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_looking_into_an_old_session_or_tidying_it_does_not_make_it_the_newest(two, method, params):
    before = (await two.call("session.list"))["sessions"][1]["updated_s"]

    await two.call(method, session="claude_code:old1", **params)

    assert await newest(two) == "claude_code:new1"
    assert (await two.call("session.list"))["sessions"][1]["updated_s"] == before


async def test_reading_an_old_transcript_again_does_not_make_it_the_newest(two, tmp_path):
    await imported(two, tmp_path, timed("old1", OLD_S))

    assert await newest(two) == "claude_code:new1"


async def test_a_record_that_an_old_transcript_gained_makes_it_the_newest(two, tmp_path):
    log = timed("old1", OLD_S)
    log.first_s = NEW_S + 1000
    await imported(two, tmp_path, log.works(2))

    assert await newest(two) == "claude_code:old1"


async def test_a_segment_that_a_program_adds_makes_its_session_the_newest(two):
    await two.call("session.open", session="own", project=HERE["cwd"])
    await two.call("session.open", session="other", project=HERE["cwd"])
    await two.call("segment.add", session="client:own", segment={"kind": "other", "text": "the tide is in"})

    assert await newest(two) == "client:own"


@pytest.mark.parametrize("mode", ["off", "shadow", "on"])
async def test_a_request_through_the_gateway_makes_its_session_the_newest(two, mode):
    told = {"session": "claude_code:old1", "format": "anthropic_messages", "ids": [], "new": [], "mode": mode}
    await two.call("window.sync", **told)

    assert await newest(two) == "claude_code:old1"


async def test_a_transcript_without_times_is_as_old_as_its_first_reading(bench, tmp_path):
    path = tmp_path / "chat.json"
    path.write_text(json.dumps([{"role": "user", "content": "why is the ferry late?"}]))
    await bench.call("import", paths=[str(path)])
    (first,) = (await bench.call("session.list"))["sessions"]

    await bench.call("import", paths=[str(path)])

    (again,) = (await bench.call("session.list"))["sessions"]
    assert first["updated_s"] >= NOW_S
    assert again["updated_s"] == first["updated_s"]
