"""What a recall does to the window depends on who renders it, and the reply says which it was."""

import gc
import re
from contextlib import suppress
from dataclasses import replace

import pytest

from ctxgc.config import Config
from ctxgc.config_sections import CollectConfig
from ctxgc.core.errors import NotFound, StorageFailed
from ctxgc.core.segment import Address, Renderer, SessionKey, legacy_session_number
from ctxgc.daemon.sessions.window_update import depart_segments
from ctxgc.daemon.settings import apply_config
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import FaultyStash, bench_on, bench_over, open_stash
from tests.daemon.test_laws import a_session, reading, states


@pytest.mark.parametrize(
    ("renderer", "state", "says"),
    [
        ("client", "resident", "1 back in the window"),
        ("agent", "resident", "1 brought back here; your agent's own window is unchanged"),
        ("gateway", "evicted", "1 read back; in the window its tombstone stays, or the prompt cache would break"),
    ],
)
async def test_a_recall_says_what_became_of_the_window(bench, renderer, state, says):
    session = await a_session(bench)
    await bench.call("segment.evict", **session, ids=["call0"])
    await bench.call("session.set", **session, rendered_by=renderer)

    recalled = await bench.call("stash.recall", **session, id="call0")

    assert recalled["changed"] == says
    assert (await states(bench, **session))["call0"] == state
    assert recalled["faults"] == 1


async def test_a_piece_that_a_segment_does_not_have_is_no_fault_and_brings_nothing_back(bench):
    session = await a_session(bench)
    await bench.call("segment.evict", **session, ids=["call0"])

    refused = await bench.call("stash.recall", **session, id="call0", piece="nowhere")
    there = (await bench.call("stash.recall", **session, id="call0", piece="result"))["faults"]

    assert refused["faults"] == 0
    assert there == 1


async def test_recalling_what_is_in_the_window_is_no_fault_and_says_so(bench):
    session = await a_session(bench)

    recalled = await bench.call("stash.recall", **session, id="call0")

    assert recalled["changed"] == "it had not been evicted"
    assert recalled["faults"] == 0


async def way_back(bench, session):
    """What the tombstone in a session's window says to type after `ctxgc recall`."""
    messages = str((await bench.call("session.render", session=session))["messages"])
    return re.search(r"ctxgc recall ([^\]]+)\]", messages)[1]


async def out(bench, key, text, project=""):
    """A session of one evicted exchange."""
    source, _, name = key.partition(":")
    await bench.call("session.open", source=source, session=name, project=project)
    await bench.call("segment.add", session=key, segment=reading(0, text))
    for _ in range(4):
        await bench.call("segment.add", session=key, segment={"kind": "assistant", "text": "let me see"})
    await bench.call("segment.evict", session=key, ids=["call0"])


@pytest.mark.parametrize("where", [{}, {"cwd": "/work"}, {"cwd": "/elsewhere"}, {"session": "codex:other"}])
async def test_what_a_tombstone_says_to_type_works_from_anywhere_and_never_means_another_session(bench, where):
    await out(bench, "client:by header", "the one meant\n" * 60)
    await out(bench, "codex:other", "another\n" * 60, project="/work")
    await out(bench, "client:newest", "a third\n" * 60, project="/elsewhere")

    recalled = await bench.call("stash.recall", id=await way_back(bench, "client:by header"), **where)

    assert recalled["session"] == "client:by header"
    assert recalled["recalled"][0]["pieces"][-1]["text"] == "the one meant\n" * 60


async def test_a_way_back_whose_session_is_gone_leads_nowhere(bench):
    await out(bench, "client:s", "the tide\n" * 60)

    with pytest.raises(NotFound, match="no segment"):
        await bench.call("stash.recall", id=str(Address(legacy_session_number(SessionKey("client", "gone")), 0)))


@pytest.mark.parametrize("verb", ["stash.recall", "segment.get"])
async def test_in_the_scope_of_a_session_no_address_of_another_session_is_known(bench, verb):
    ways = {}
    for key in ("client:mine", "client:mine/child", "client:mines", "codex:mine"):
        await out(bench, key, f"of {key}\n" * 60)
        ways[key] = await way_back(bench, key)

    for key in ("client:mines", "codex:mine"):
        for asking in ("client:mine", "client:unheard-of"):
            with pytest.raises(NotFound):
                await bench.call(verb, session=asking, id=ways[key], scope="session")
        assert key in str(await bench.call(verb, session="client:mine", id=ways[key]))
    for key in ("client:mine", "client:mine/child"):
        for asking in ("client:mine", "client:mine/child"):
            assert f"of {key}" in str(await bench.call(verb, session=asking, id=ways[key], scope="session"))


async def test_a_number_cannot_be_made_of_a_sessions_name_and_stays_with_the_session(tmp_path):
    stash = SqliteStash(tmp_path / "stash.sqlite3")
    async with open_stash(stash):
        async with bench_over(stash) as bench:
            await out(bench, "client:known", "the tide\n" * 60)
            address = await way_back(bench, "client:known")
        async with bench_over(stash) as restarted:
            assert await way_back(restarted, "client:known") == address
            assert (await restarted.call("stash.recall", id=address))["session"] == "client:known"

    assert address != str(Address(legacy_session_number(SessionKey("client", "known")), 0))


async def test_where_two_sessions_have_one_number_both_are_named_and_neither_is_taken(bench, monkeypatch):
    monkeypatch.setattr("ctxgc.daemon.sessions.registry.draw_session_number", lambda: 743_863_814)
    twin, name = "a", "b"
    for session in (twin, name):
        await out(bench, f"client:{session}", f"of {session}\n" * 60)
    address = await way_back(bench, f"client:{name}")

    with pytest.raises(NotFound) as refused:
        await bench.call("stash.recall", id=address)
    recalled = await bench.call("stash.recall", id=address, session=f"client:{name}")

    assert f"client:{twin}" in refused.value.hint
    assert f"client:{name}" in refused.value.hint
    assert recalled["recalled"][0]["pieces"][-1]["text"] == f"of {name}\n" * 60


async def nothing_at_all(bench, session):
    pass


async def forgetting_another(bench, session):
    await bench.call("stash.forget", **session, ids=["call5"])


async def a_commit_that_fails(bench, session):
    bench.stash.fail_applies = {bench.stash.applied + 1}
    with suppress(StorageFailed):
        await bench.call("segment.tag", **session, id="call2", tags=["x"])


async def a_reload_of_the_configuration(bench, session):
    fresh = Config(collect=CollectConfig(kinds=["tool_call"]))
    apply_config(bench.services, fresh)


async def a_sleep(bench, session):
    bench.services.registry._segments_max = 0
    await a_session(bench, name="other")
    gc.collect()
    assert [str(key) for key in bench.services.registry._living] == ["client:other"]


@pytest.mark.parametrize(
    "disturbed", [nothing_at_all, forgetting_another, a_commit_that_fails, a_reload_of_the_configuration, a_sleep]
)
async def test_what_was_recalled_stays_through_whatever_happens_to_the_session(disturbed):
    async with bench_on(FaultyStash(SqliteStash(MEMORY))) as bench:
        session = await a_session(bench)
        await bench.call("heap.collect", **session, budget_tokens=0)
        await bench.call("stash.recall", **session, id="call1")

        await disturbed(bench, session)
        await bench.call("heap.collect", **session, budget_tokens=0)

        assert (await states(bench, **session))["call1"] == "resident"


async def test_what_was_recalled_stays_through_a_restart_and_goes_when_its_turns_are_over(bench):
    session = await a_session(bench)
    await bench.call("heap.collect", **session, budget_tokens=0)
    await bench.call("stash.recall", **session, id="call1")

    async with bench_on(bench.stash) as restarted:
        await restarted.call("heap.collect", **session, budget_tokens=0)
        kept = (await states(restarted, **session))["call1"]
        for _ in range(4):
            await restarted.call("segment.add", **session, segment={"kind": "assistant", "text": "on we go"})
        await restarted.call("heap.collect", **session, budget_tokens=0)

        assert (kept, (await states(restarted, **session))["call1"]) == ("resident", "evicted")


async def lessons_of(bench, session):
    known = await bench.services.registry.get(SessionKey(*session["session"].split(":")))
    return known.account.lessons


def read_of(path, number):
    paths = [path]
    return reading(number, f"text {number} of a file\n" * 60) | {"paths": paths}


async def test_a_recall_and_a_read_of_an_evicted_view_are_lessons_for_the_pacer(bench):
    session = await a_session(bench)
    await bench.call("segment.add", **session, segment=read_of("/a.py", 20))
    await bench.call("segment.add", **session, segment=read_of("/b.py", 21))
    await bench.call("segment.evict", **session, ids=["call0", "call20", "call21"])

    await bench.call("segment.add", **session, segment=read_of("/c.py", 22))
    assert (await lessons_of(bench, session)).session.observed == 0
    await bench.call("segment.add", **session, segment=read_of("/a.py", 23))
    assert (await lessons_of(bench, session)).session.observed == 0.5
    await bench.call("segment.add", **session, segment=read_of("/a.py", 24))
    assert (await lessons_of(bench, session)).session.observed == 0.5, "the view of before is in the window"
    await bench.call("stash.recall", **session, id="call0")
    assert (await lessons_of(bench, session)).session.odds_factor == 2.5


async def test_a_failed_read_is_no_lesson(bench):
    session = await a_session(bench)
    await bench.call("segment.add", **session, segment=read_of("/a.py", 20))
    await bench.call("segment.evict", **session, ids=["call20"])

    await bench.call("segment.add", **session, segment=read_of("/a.py", 23) | {"status": "error"})

    assert (await lessons_of(bench, session)).session.observed == 0


async def test_an_observed_session_teaches_nothing(bench):
    session = await a_session(bench)
    await bench.call("segment.add", **session, segment=read_of("/a.py", 20))
    await bench.call("segment.evict", **session, ids=["call20"])
    known = await bench.services.registry.get(SessionKey(*session["session"].split(":")))
    known.row = replace(known.row, rendered_by=Renderer.AGENT)

    await bench.call("segment.add", **session, segment=read_of("/a.py", 23))

    assert (await lessons_of(bench, session)).session.observed == 0


async def test_the_view_before_is_current_again_once_a_newer_view_departs_and_after_waking(bench):
    session = await a_session(bench)
    for number in (20, 21):
        await bench.call("segment.add", **session, segment=read_of("/a.py", number))
    known = await bench.services.registry.get(SessionKey(*session["session"].split(":")))
    older, newer = known.slot("call20"), known.slot("call21")
    assert set(known.reference_index.paths.current) == {newer}

    async with known.transaction() as tx:
        depart_segments(known, tx, [newer])
    departed = dict(known.reference_index.paths.current)
    known.invalidate()
    await known.ensure_current()

    assert departed == known.reference_index.paths.current == {older: 1}


async def test_the_journal_says_which_victims_were_asked_back_and_how_many_turns_later(bench):
    session = await a_session(bench)
    await bench.call("segment.add", **session, segment=read_of("/a.py", 20))
    await bench.call("segment.add", **session, segment=read_of("/b.py", 21))
    await bench.call("segment.evict", **session, ids=["call0", "call20", "call21"])
    assert (await newest_entry(bench, session))["asked_back"] == 0

    await bench.call("segment.add", **session, segment=read_of("/a.py", 25))
    await bench.call("stash.recall", **session, id="call0")

    entry = await newest_entry(bench, session)
    after = {victim["id"]: victim.get("asked_back_after_turns") for victim in entry["victims"]}
    assert entry["asked_back"] == 2
    assert after.pop("call21") is None
    assert sorted(after) == ["call0", "call20"]
    assert all(turns >= 0 for turns in after.values())
    known = await bench.services.registry.get(SessionKey(*session["session"].split(":")))
    known.invalidate()
    assert await newest_entry(bench, session) == entry, "a session that woke again tells the same"


async def test_what_an_undo_brought_back_nobody_asked_back(bench):
    session = await a_session(bench)
    await bench.call("segment.evict", **session, ids=["call0"])

    await bench.call("heap.undo", **session)

    assert [entry["asked_back"] for entry in (await bench.call("heap.log", **session))["collections"]] == [0, 0]


async def newest_entry(bench, session):
    newest = (await bench.call("heap.log", **session))["collections"][0]["collection"]
    return (await bench.call("heap.log", **session, collection=newest))["collections"][0]


async def test_a_recall_and_a_read_in_one_turn_are_told_alike_by_a_session_that_woke(bench):
    session = await a_session(bench)
    await bench.call("segment.add", **session, segment=read_of("/a.py", 20))
    await bench.call("segment.evict", **session, ids=["call20"])
    await bench.call("session.set", **session, rendered_by="gateway")
    command = {
        "kind": "tool_call",
        "id": "r",
        "tool": "Bash",
        "input": {"command": "ctxgc recall call20"},
        "text": "a\n" * 9,
    }
    both = [{"kind": "assistant", "text": "both"}, command, read_of("/a.py", 31)]
    await bench.call("segment.add_many", **session, segments=both)
    known = await bench.services.registry.get(SessionKey(*session["session"].split(":")))
    slot = known.slot("call20")
    awake = known.indexes.recalled_turn(slot)

    known.invalidate()
    await known.ensure_current()

    assert awake == known.indexes.recalled_turn(slot) >= 0


@pytest.mark.parametrize("grace", [0, 3])
async def test_a_recall_before_a_collection_of_the_same_turn_is_not_of_that_collection(grace):
    config = Config(collect=CollectConfig(recall_grace_turns=grace))
    async with bench_on(SqliteStash(MEMORY), config=config) as bench:
        session = await a_session(bench)
        await bench.call("segment.evict", **session, ids=["call0"])
        await bench.call("stash.recall", **session, id="call0")

        await bench.call("segment.evict", **session, ids=["call0"])

        assert (await newest_entry(bench, session))["asked_back"] == 0
