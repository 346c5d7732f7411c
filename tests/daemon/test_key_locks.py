"""One key, one session awake; one path, one reader: in whatever order tasks come, wait and leave."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.errors import NotFound
from ctxgc.core.segment import SessionKey
from ctxgc.daemon.sessions.registry import Registry
from ctxgc.daemon.sessions.session_index import SessionSettings
from ctxgc.stash.contract import SessionRow

KEY = SessionKey("client", "s")

few_rounds = st.integers(0, 8)
arrivals = st.lists(st.tuples(st.sampled_from(["get", "open", "asleep"]), few_rounds, few_rounds), max_size=8)


async def rounds(count):
    """Let every other task of the loop run so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


class SlowStash:
    """A stash without sessions, that takes its time to say so."""

    def __init__(self, delays):
        self.delays = list(delays)

    async def session(self, key):
        await rounds(self.delays.pop() if self.delays else 1)


@given(arrivals, st.lists(few_rounds, max_size=8))
def test_i12_a_key_has_one_session_awake_and_none_while_it_is_kept_asleep(arrivals, delays):
    async def run():
        registry = Registry(SlowStash(delays), SessionSettings(), lambda: 0.0, segments_max=1000)
        opened = []

        async def arrive(what, start, stay):
            await rounds(start)
            if what == "asleep":
                async with registry.asleep(KEY) as is_asleep:
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
