"""One key, one session awake; one path, one reader: in whatever order tasks come, wait and leave."""

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ctxgc.core.errors import NotFound
from ctxgc.core.segment import SessionKey
from ctxgc.daemon.feeds.watch import WatchedPath, Watcher
from ctxgc.daemon.sessions.registry import Registry
from ctxgc.daemon.sessions.session_index import SessionSettings
from ctxgc.stash.contract import SessionRow

KEY = SessionKey("client", "s")

few_rounds = st.integers(0, 8)
arrivals = st.lists(
    st.tuples(st.sampled_from(["get", "open", "asleep"]), few_rounds, few_rounds), min_size=3, max_size=8
)


async def rounds(count):
    """Let every other task of the loop run so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


class SlowStash:
    """A stash without sessions, that takes its time to say so."""

    def __init__(self, delay):
        self.delay = delay

    async def session(self, key):
        await rounds(self.delay)


@example([("asleep", 0, 8), ("open", 1, 0), ("open", 12, 0)], 16)
@given(arrivals, st.integers(1, 16))
def test_i12_a_key_has_one_session_awake_and_none_while_it_is_kept_asleep(arrivals, delay):
    async def run():
        registry = Registry(SlowStash(delay), SessionSettings(), lambda: 0.0, segments_max=1000)
        opened = []

        async def arrive(what, start, stay):
            await rounds(start)
            if what == "asleep":
                async with registry.keep_asleep(KEY) as is_asleep:
                    before = list(opened)
                    await rounds(stay)
                    assert not is_asleep or opened == before == []
                return
            try:
                opened.append(await (registry.get(KEY) if what == "get" else registry.open(SessionRow(key=KEY))))
            except NotFound:
                assert what == "get"

        await asyncio.gather(*(arrive(*arrival) for arrival in arrivals))
        assert len({id(session) for session in opened}) <= 1
        assert len(registry._waking) == 0, "a lock that nobody needs is kept"

    asyncio.run(run())


@pytest.mark.slow
@given(st.lists(st.tuples(st.booleans(), few_rounds, few_rounds), max_size=8))
def test_a_path_has_one_reader_whoever_comes_from_the_backlog_and_from_changes(arrivals):
    async def run():
        watched = WatchedPath("/transcripts")
        watcher = Watcher(None, None)
        reading = 0

        async def read(watched, path, *, is_start):
            nonlocal reading
            reading += 1
            assert reading == 1, "two readers of one file"
            await rounds(stays.pop())
            reading -= 1

        async def arrive(is_start, start):
            await rounds(start)
            await watcher._read_transcript(watched, "/transcripts/a.jsonl", is_start=is_start)

        stays = [stay for _, _, stay in arrivals]
        watcher._read_new_bytes = read
        await asyncio.gather(*(arrive(is_start, start) for is_start, start, _ in arrivals))
        assert not watched.error
        assert len(watched.reading) == 0, "a lock that nobody needs is kept"

    asyncio.run(run())
