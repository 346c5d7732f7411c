"""The laws of a session behind its verbs: what is acknowledged stays, what is shown is true, whatever fails."""

import asyncio
import base64
import itertools
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctxgc.config import Config
from ctxgc.config_sections import RedactConfig
from ctxgc.core.errors import BadParams, Busy, Conflict, CtxgcError, NotFound, StorageFailed
from ctxgc.daemon.server.dispatch import BACKGROUND_MAX
from ctxgc.daemon.server.refusals import error_for_client
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import FaultyStash, bench_on, bench_over, open_stash
from tests.effort import effort

SECRET = "gh" + "p_" + "aB3" * 12
names = itertools.count()


def reading(n, text=None):
    return {"kind": "tool_call", "id": f"call{n}", "tool": "Read", "text": text or f"line {n} of the log\n" * 60}


async def a_session(bench, exchanges=6, name="s"):
    """A session of old exchanges, a user's word and newer turns: `call0` … may be evicted."""
    await bench.call("session.open", session=name)
    for n in range(exchanges):
        await bench.call("segment.add", session=name, segment=reading(n))
    for _ in range(4):
        await bench.call("segment.add", session=name, segment={"kind": "assistant", "text": "let me see"})
    return {"session": f"client:{name}"}


async def seen(bench, **session):
    """What a client can see of a session, but for clocks."""
    listed = (await bench.call("segment.list", **session))["segments"]
    render = await bench.call("session.render", **session)
    log = await bench.call("heap.log", **session)
    return {"segments": listed, "messages": render["messages"], "log": log["collections"]}


async def states(bench, **session):
    return {s["id"]: s["state"] for s in (await bench.call("segment.list", **session))["segments"]}


@pytest.fixture
async def faulty():
    """The verbs over a stash whose commits can be made to wait or fail."""
    stash = FaultyStash(SqliteStash(MEMORY))
    async with bench_on(stash) as made:
        yield made


TEXTS = ["", "a\0b", "naïve 🦀 \u202e", "\r\n\t ", "x" * 100_000, '{"json": "\\ud800"}']


@pytest.mark.parametrize("text", TEXTS)
async def test_i9_a_text_that_was_added_is_read_back_exactly(bench, text):
    await bench.call("session.open", session="s")

    await bench.call("segment.add", segment={"kind": "user", "text": text, "id": "it"})

    pieces = (await bench.call("segment.get", id="it"))["pieces"]
    assert "".join(piece["text"] for piece in pieces) == text


@settings(effort(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
async def test_i9_any_bytes_of_a_file_are_recalled_as_they_are(bench, tmp_path, data):
    name = f"s{next(names)}"
    await bench.call("session.open", session=name)
    (tmp_path / name).write_bytes(data)

    [added] = (await bench.call("segment.add_file", session=name, path=str(tmp_path / name)))["ids"]

    [back] = (await bench.call("stash.recall", session=name, id=added))["recalled"]
    parts = [base64.b64decode(p["data_b64"]) if "data_b64" in p else p["text"].encode() for p in back["pieces"]]
    assert b"".join(parts) == data


async def test_i9_pages_of_a_text_join_to_the_whole_wherever_they_are_cut(bench):
    session = await a_session(bench)
    text = "ab🦀ç\0" * 400
    await bench.call("segment.add", **session, segment={"kind": "user", "text": text, "id": "it"})

    parts, offset = [], 0
    while offset >= 0:
        [piece] = (await bench.call("segment.get", **session, id="it", offset=offset, limit_bytes=7))["pieces"]
        parts.append(piece["text"])
        offset = piece["next_offset"]

    assert "".join(parts) == text


async def test_i9_what_was_evicted_is_recalled_exactly_and_is_a_page_fault(bench):
    session = await a_session(bench)
    collected = await bench.call("heap.collect", **session, budget_tokens=0)

    for number, victim in enumerate(collected["victims"], 1):
        recalled = await bench.call("stash.recall", **session, id=victim["id"])

        assert recalled["faults"] == number
        assert recalled["recalled"][0]["pieces"][-1]["text"] == reading(victim["id"][-1])["text"]
    assert set((await states(bench, **session)).values()) == {"resident"}


async def test_i2_a_pin_that_arrives_during_a_commit_waits_for_it(faulty):
    session = await a_session(faulty)
    faulty.stash.may_apply.clear()
    faulty.stash.is_applying.clear()
    collecting = asyncio.ensure_future(faulty.call("heap.collect", **session, budget_tokens=0))
    await faulty.stash.is_applying.wait()

    pinning = asyncio.ensure_future(faulty.call("segment.pin", **session, ids=["call5"]))
    done, _ = await asyncio.wait([pinning], timeout=0.05)

    assert not done
    assert set((await states(faulty, **session)).values()) == {"resident"}, "nothing leaves before the commit"
    faulty.stash.may_apply.set()
    assert "call5" in {victim["id"] for victim in (await collecting)["victims"]}
    assert (await pinning)["ids"] == ["call5"]


async def test_i2_what_is_pinned_is_in_no_collection(bench):
    session = await a_session(bench)
    await bench.call("segment.pin", **session, ids=["call1", "call3"])

    await bench.call("heap.collect", **session, budget_tokens=0)

    now = await states(bench, **session)
    assert (now["call1"], now["call3"], now["call0"]) == ("resident", "resident", "evicted")


READS = [
    ("segment.get", {"id": "new"}),
    ("segment.get", {"id": "new", "with_content": False}),
    ("segment.list", {}),
    ("session.render", {}),
    ("heap.plan", {}),
    ("heap.why", {"id": "new"}),
    ("stash.recall", {"id": "new"}),
    ("export", {"path": "/dev/null/x"}),
    ("segment.evict", {"ids": ["new"]}),
]


@pytest.mark.parametrize(("verb", "params"), READS)
@pytest.mark.parametrize("is_committed", [True, False])
async def test_a_call_that_meets_an_uncommitted_segment_waits_or_knows_nothing_of_it(
    faulty, verb, params, is_committed
):
    session = await a_session(faulty)
    faulty.stash.may_apply.clear()
    faulty.stash.is_applying.clear()
    adding = asyncio.ensure_future(faulty.call("segment.add", **session, segment=reading(9) | {"id": "new"}))
    await faulty.stash.is_applying.wait()

    asking = asyncio.ensure_future(faulty.call(verb, **session, **params))
    await asyncio.wait([asking], timeout=0.02)
    if not is_committed:
        adding.cancel()
    faulty.stash.may_apply.set()
    await asyncio.wait([adding, asking])

    assert not isinstance(asking.exception(), (KeyError, IndexError, TypeError, AssertionError))


MUTATIONS = [
    ("segment.add", {"segment": reading(9)}),
    ("segment.add_many", {"segments": [reading(9), reading(10)]}),
    ("segment.pin", {"ids": ["call0"]}),
    ("segment.touch", {"ids": ["call0"]}),
    ("segment.tag", {"id": "call0", "importance": 0.9, "task": "t", "tags": ["a"]}),
    ("segment.ref", {"id": "call5", "refs": ["call0"]}),
    ("segment.evict", {"ids": ["call1"]}),
    ("heap.collect", {"budget_tokens": 0}),
    ("heap.undo", {}),
    ("stash.recall", {"id": "call2"}),
    ("stash.forget", {"ids": ["call0"]}),
    ("session.set", {"budget_tokens": 7, "task": "t", "mode": "wire"}),
    ("session.close", {}),
    ("tx", {"calls": [{"method": "segment.pin", "params": {"ids": ["call4"]}}]}),
]


@pytest.mark.parametrize(("verb", "params"), MUTATIONS)
async def test_i1_a_mutation_whose_commit_fails_has_not_happened(faulty, verb, params):
    session = await a_session(faulty)
    await faulty.call("segment.evict", **session, ids=["call2"])
    before = await seen(faulty, **session), await faulty.call("session.show", **session)
    faulty.stash.fail_applies = {faulty.stash.applied + 1}

    with pytest.raises(StorageFailed):
        await faulty.call(verb, **session, **params)

    assert (await seen(faulty, **session), await faulty.call("session.show", **session)) == before
    await faulty.call(verb, **session, **params)


async def test_i1_whichever_commit_fails_memory_agrees_with_the_rows():
    for fail_at in itertools.count(1):
        stash = FaultyStash(SqliteStash(MEMORY))
        stash.fail_applies = {fail_at}
        async with open_stash(stash):
            async with bench_over(stash) as first:
                refused = await play(first)
                shown = await seen(first, session="client:s")
            async with bench_over(stash) as second:
                assert await seen(second, session="client:s") == shown
        if not refused:
            return


async def play(bench):
    """A little of everything; how many calls were refused."""
    refused = 0
    calls = [("session.open", {"session": "s"})]
    calls += [("segment.add", {"session": "s", "segment": reading(n)}) for n in range(4)]
    calls += [("segment.add", {"session": "s", "segment": {"kind": "assistant", "text": "so"}})] * 4
    calls += [(verb, {"session": "s"} | params) for verb, params in MUTATIONS]
    for verb, params in calls:
        try:
            await bench.call(verb, **params)
        except StorageFailed:
            refused += 1
            if verb == "session.open":
                await bench.call(verb, **params)
        except (Conflict, NotFound):
            pass  # It built on what was refused.
    return refused


async def test_a_repeated_op_id_answers_the_same_and_does_nothing(bench):
    session = await a_session(bench)

    for verb, params in MUTATIONS:
        op = {"op_id": f"op-{verb}"}
        first = await bench.call(verb, **session, **params, **op)
        before = await seen(bench, **session)

        assert await bench.call(verb, **session, **params, **op) == first
        assert await seen(bench, **session) == before, verb


async def test_a_known_id_with_other_content_is_refused_and_with_the_same_it_is_passed_over(bench):
    session = await a_session(bench)
    before = await seen(bench, **session)
    others = [reading(0, "other words"), reading(0) | {"input": {"path": "/x"}}, reading(0) | {"kind": "user"}]

    again = await bench.call("segment.add", **session, segment=reading(0))
    for other in others:
        with pytest.raises(Conflict, match="'call0' is known with other content"):
            await bench.call("segment.add", **session, segment=other)
        with pytest.raises(Conflict):
            await bench.call("tx", **session, calls=[{"method": "segment.add", "params": {"segment": other}}])

    assert again["added"] == 0
    assert await seen(bench, **session) == before


async def test_one_call_that_gives_an_id_two_contents_admits_neither(bench):
    session = await a_session(bench)
    before = await seen(bench, **session)

    with pytest.raises(Conflict, match="'call9'"):
        await bench.call("segment.add_many", **session, segments=[reading(9), reading(9, "other words")])

    assert await seen(bench, **session) == before


async def test_a_pending_call_is_completed_and_given_again_it_changes_nothing(bench):
    session = await a_session(bench)
    pending = {"kind": "tool_call", "id": "it", "tool": "Bash", "input": {"command": "ls"}, "status": "pending"}
    done = pending | {"status": "error", "text": "no such folder"}

    for call in (pending, pending, done, done, pending):
        await bench.call("segment.add", **session, segment=call)

    assert (await bench.call("segment.get", **session, id="it"))["status"] == "error"


async def test_settings_in_a_tx_hold_only_if_all_of_it_does(bench):
    session = await a_session(bench)
    task = {"method": "session.set", "params": {"task": "ferry", "open_paths": ["/tide"]}}
    wrong = {"method": "segment.pin", "params": {"ids": ["nothing"]}}

    with pytest.raises(NotFound):
        await bench.call("tx", **session, calls=[task, wrong])
    refused = (await bench.call("session.show", **session))["task"]
    await bench.call("tx", **session, calls=[task])

    assert (refused, (await bench.call("session.show", **session))["task"]) == ("", "ferry")


async def test_an_op_id_of_another_verb_or_other_params_is_refused_and_nothing_is_done(bench):
    session = await a_session(bench)
    op = {**session, "op_id": "one"}
    await bench.call("segment.pin", **op, ids=["call0"])
    before = await seen(bench, **session)

    for verb, params in [("segment.pin", {"ids": ["call1"]}), ("segment.evict", {"ids": ["call0"]})]:
        with pytest.raises(Conflict, match="op_id 'one'"):
            await bench.call(verb, **op, **params)

    assert await seen(bench, **session) == before


async def test_a_call_is_the_same_however_its_session_is_named_and_its_members_are_ordered(bench):
    session = await a_session(bench)
    call = {"kind": "tool_call", "id": "it", "tool": "Bash", "input": {"command": "ls", "timeout": 3}, "text": "a b"}
    first = await bench.call("segment.add", **session, segment=call, op_id="one")
    turned = dict(reversed(call.items())) | {"input": {"timeout": 3, "command": "ls"}}

    assert await bench.call("segment.add", session="s", segment=turned, op_id="one", durability="commit") == first


async def test_two_calls_with_one_op_id_at_once_are_one_mutation(bench):
    session = await a_session(bench)
    add = {"segment": {"kind": "user", "text": "again"}, "op_id": "one"}

    first, second = await asyncio.gather(*(bench.call("segment.add", **session, **add) for _ in range(2)))

    assert first == second
    assert first["added"] == 1


async def test_an_op_id_repeated_in_the_background_does_nothing_and_is_no_failure(bench, caplog):
    session = await a_session(bench)
    add = {**session, "segment": {"kind": "user", "text": "again"}, "op_id": "one"}
    await bench.call("segment.add", **add)
    before = await seen(bench, **session)

    await bench.call("segment.add", **add, durability="async")
    await asyncio.wait(bench.tasks)

    assert await seen(bench, **session) == before
    assert caplog.messages == []


def deep_call(depth, **more):
    """Params as JSON of an added segment whose input is nested so deep."""
    params = {"session": "client:s", **more, "segment": {"kind": "tool_call", "tool": "x", "input": {"a": "DEEP"}}}
    return json.dumps(params).replace('"DEEP"', "[" * depth + "]" * depth).encode()


@pytest.mark.parametrize("op_id", ["", "one"])
@pytest.mark.parametrize("depth", [200, 300, 500, 900])
async def test_an_input_nested_too_deeply_is_refused_and_no_bug_of_the_daemon(bench, caplog, depth, op_id):
    await bench.call("session.open", session="s")
    kinds = set()

    for durability in ("commit", "async"):
        try:
            await bench.call_raw("segment.add", deep_call(depth, op_id=op_id, durability=durability))
        except (CtxgcError, RecursionError) as error:
            kinds.add(error_for_client("segment.add", error).kind)
    if bench.tasks:
        await asyncio.wait(bench.tasks)

    assert kinds <= {"bad_params"}
    assert caplog.messages == []


@pytest.mark.parametrize("error", [RecursionError(), OSError(13, "denied"), BadParams("no", hint="mend it")])
async def test_the_log_names_no_refusal_in_the_background_a_bug(bench, caplog, monkeypatch, error):
    async def refuse(params, context):
        raise error

    monkeypatch.setitem(bench.verbs._handlers, "segment.touch", refuse)
    await bench.call("segment.touch", ids=["a"], durability="async")
    await asyncio.wait(bench.tasks)

    assert caplog.messages == []


async def test_undo_restores_exactly_what_was(bench):
    session = await a_session(bench)
    before = await seen(bench, **session)
    await bench.call("heap.collect", **session, budget_tokens=0)

    await bench.call("heap.undo", **session)

    after = await seen(bench, **session)
    assert after["messages"] == before["messages"]
    assert [s | {"collection": 0} for s in after["segments"]] == before["segments"]


async def test_an_undo_is_refused_once_a_later_collection_built_on_it(bench):
    session = await a_session(bench)
    await bench.call("segment.evict", **session, ids=["call0"])
    await bench.call("segment.evict", **session, ids=["call1"])

    with pytest.raises(Conflict, match="ran after"):
        await bench.call("heap.undo", **session, collection=1)

    await bench.call("heap.undo", **session, collection=1, force=True)
    assert (await states(bench, **session))["call0"] == "resident"


async def test_a_session_whose_first_commit_failed_does_not_exist(faulty):
    faulty.stash.fail_applies = {1}

    with pytest.raises(StorageFailed):
        await faulty.call("session.open", session="s")

    with pytest.raises(NotFound):
        await faulty.call("session.show", session="client:s")
    assert (await faulty.call("session.list"))["sessions"] == []
    await a_session(faulty)


async def test_i12_mutations_in_the_background_are_bounded(faulty):
    session = await a_session(faulty)
    faulty.stash.may_apply.clear()
    touch = {"ids": ["call0"], "durability": "async"}

    for _ in range(BACKGROUND_MAX):
        await faulty.call("segment.touch", **session, **touch)
    with pytest.raises(Busy):
        await faulty.call("segment.touch", **session, **touch)

    faulty.stash.may_apply.set()
    await asyncio.wait(faulty.tasks)
    assert (await faulty.call("segment.touch", **session, **touch))["durability"] == "async"


async def test_i8_collecting_twice_changes_nothing_the_second_time(bench):
    session = await a_session(bench)
    await bench.call("heap.collect", **session, budget_tokens=500, unit="raw")
    before = await seen(bench, **session)

    again = await bench.call("heap.collect", **session, budget_tokens=500, unit="raw")

    assert (again["evicted"], again["collection"]) == (0, 0)
    assert await seen(bench, **session) == before


async def test_i14_between_collections_a_rendering_only_grows_at_its_end(bench):
    session = await a_session(bench)
    await bench.call("heap.collect", **session, budget_tokens=800, unit="raw")

    renderings = []
    for n in range(7, 12):
        await bench.call("segment.add", **session, segment=reading(n))
        await bench.call("segment.touch", **session, ids=["call0"])
        renderings.append((await bench.call("session.render", **session, format="openai_chat"))["messages"]["messages"])

    for earlier, later in itertools.pairwise(renderings):
        assert later[: len(earlier)] == earlier
        assert len(later) > len(earlier)


async def test_i15_sessions_with_the_same_ids_share_nothing(bench):
    one, other = await a_session(bench, name="one"), await a_session(bench, name="other")
    before = await seen(bench, **other)

    await bench.call("segment.pin", **one, ids=["call0"])
    await bench.call("heap.collect", **one, budget_tokens=0)
    await bench.call("stash.forget", **one, ids=["call1"])

    assert await seen(bench, **other) == before


async def test_what_is_forgotten_is_found_nowhere_and_only_its_id_stays(bench):
    session = await a_session(bench)
    await bench.call("segment.add", **session, segment={"kind": "user", "text": "the zanzibar plan", "id": "gone"})
    await bench.call("segment.get", **session, id="gone")

    await bench.call("stash.forget", **session, ids=["gone"])

    assert (await bench.call("stash.search", query="zanzibar"))["hits"] == []
    for verb in ("segment.get", "stash.recall"):
        with pytest.raises(NotFound):
            await bench.call(verb, **session, id="gone")
    for verb in ("segment.pin", "segment.touch"):
        with pytest.raises(NotFound):
            await bench.call(verb, **session, ids=["gone"])
    assert (await states(bench, **session))["gone"] == "forgotten"
    assert "zanzibar" not in str(await seen(bench, **session))
    with pytest.raises(Conflict):
        await bench.call("segment.add", **session, segment={"kind": "user", "text": "the zanzibar plan", "id": "gone"})


async def test_a_session_that_is_only_watched_says_that_nothing_changes_for_its_agent(bench):
    session = await a_session(bench)
    await bench.call("session.set", **session, mode="observe")

    effects = [(await bench.call(verb, **session, budget_tokens=0))["effect"] for verb in ("heap.plan", "heap.collect")]

    assert all(effect.startswith("planned: your agent's window is unchanged") for effect in effects)


async def test_a_secret_never_reaches_the_stash(bench):
    session = await a_session(bench)
    arguments = {"command": f"curl -H 'Authorization: token {SECRET}' https://example.org"}
    call = {"kind": "tool_call", "id": "it", "tool": "Bash", "text": f"token {SECRET}", "input": arguments}

    added = await bench.call("segment.add", **session, segment=call, op_id="with-secret")

    assert added["added"] == 1
    assert (await bench.call("segment.get", **session, id="it"))["redactions"] >= 2
    assert SECRET not in repr(vars(bench.stash))
    assert SECRET not in str(await bench.call("segment.get", **session, id="it"))


async def test_redaction_that_is_switched_off_keeps_every_byte():
    config = Config(redact=RedactConfig(enabled=False))
    async with bench_on(SqliteStash(MEMORY), config=config) as bench:
        await bench.call("session.open", session="s")
        await bench.call("segment.add", segment={"kind": "user", "text": SECRET, "id": "it"})

        assert (await bench.call("segment.get", id="it"))["pieces"][0]["text"] == SECRET


async def test_a_waking_session_is_the_one_that_fell_asleep():
    config = Config()
    config = config.model_copy(update={"daemon": config.daemon.model_copy(update={"heap_segments_max": 1})})
    async with bench_on(SqliteStash(MEMORY), config=config) as bench:
        session = await a_session(bench, name="sleeper")
        await bench.call("segment.pin", **session, ids=["call4"])
        await bench.call("heap.collect", **session, budget_tokens=800, unit="raw")
        before = await seen(bench, **session)

        await a_session(bench, name="other")

        assert bench.services.registry.peek(("client", "sleeper")) is None
        assert await seen(bench, **session) == before


@pytest.mark.parametrize("verb", ["segment.add", "segment.add_many", "tx"])
async def test_i1_another_text_under_a_known_id_is_refused_and_never_dropped_in_silence(bench, verb):
    session = await a_session(bench)
    other = reading(0, "another text")
    params = {
        "segment.add": {"segment": other},
        "segment.add_many": {"segments": [reading(90), other]},
        "tx": {"calls": [{"method": "segment.add", "params": {"segment": one}} for one in (reading(90), other)]},
    }[verb]

    with pytest.raises(Conflict, match="known with other content"):
        await bench.call(verb, **session, **params)

    assert "call90" not in await states(bench, **session)
    assert (await bench.call("segment.add", **session, segment=reading(0)))["added"] == 0


async def test_i1_a_call_is_completed_by_its_result_and_may_be_told_of_again_as_pending(bench):
    await bench.call("session.open", session="s")
    pending = {"kind": "tool_call", "id": "c", "tool": "Read", "status": "pending"}

    added = [
        (await bench.call("segment.add", session="s", segment=one))["added"]
        for one in (pending, pending, reading(0) | {"id": "c"}, pending, reading(0) | {"id": "c"})
    ]

    assert added == [1, 0, 1, 0, 0]
