"""`window.sync`, where a host gives an id that is known to another content: what becomes of both (I1, I9)."""

import pytest

from ctxgc.core.errors import CtxgcError
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import bench_on
from tests.daemon.test_wire import SMALL_WINDOW, TASK, Host, conversation, states, turn

KEY = {"session": "claude_code:s"}
FIRST = "log 0: wait for the tide\n" * 80
OTHER = "another log altogether\n" * 90
CUT = FIRST[:300] + "[cut by its host]"
CLEARED = "[old result cleared]"


@pytest.fixture
async def bench():
    async with bench_on(SqliteStash(MEMORY), config=SMALL_WINDOW) as made:
        yield made


def changed(turns, text):
    """A conversation whose host has put this text under the id of its first call."""
    return [TASK, *turn(0, text), *conversation(turns)[3:]]


async def texts(bench):
    """Every result that the session has, in whatever state, as it comes back."""
    rows = (await bench.call("segment.list", **KEY, limit=1000))["segments"]
    found = {}
    for row in rows:
        if row["kind"] == "tool_call" and row["state"] != "forgotten":
            (back,) = (await bench.call("stash.recall", **KEY, id=row["id"]))["recalled"]
            found[row["id"]] = back["pieces"][-1]["text"]
    return found


@pytest.mark.parametrize("mode", ["on", "shadow"])
@pytest.mark.parametrize("text", [OTHER, CUT, CLEARED])
async def test_i1_what_came_under_a_known_id_is_stored_beside_what_the_id_stands_for(bench, text, mode):
    host = Host(bench.call, mode=mode)
    await host.send(conversation(3))
    host.known.discard("call_0")

    await host.send(changed(3, text))
    await host.send(changed(4, text))

    found = await texts(bench)
    assert found["call_0"] == FIRST
    assert list(found.values()).count(text) == 1
    assert len(found) == 5


async def test_i1_what_came_under_a_known_id_is_found_when_its_host_has_dropped_it(bench):
    host = Host(bench.call, mode="on")
    await host.send(conversation(3))
    host.known.discard("call_0")
    await host.send(changed(3, OTHER))
    await host.send([TASK, *turn(2)])

    found = (await bench.call("stash.search", **KEY, query="another altogether"))["hits"]

    (name,) = [hit["id"] for hit in found]
    (back,) = (await bench.call("stash.recall", **KEY, id=name))["recalled"]
    assert back["pieces"][-1]["text"] == OTHER


async def test_what_is_stored_beside_an_id_is_no_part_of_the_window_and_of_no_later_plan(bench):
    host = Host(bench.call, mode="on")
    await host.send(conversation(3))
    before = (await host.send(conversation(3)))["window"]
    host.known.discard("call_0")

    after = (await host.send(changed(3, OTHER)))["window"]
    for turns in range(4, 25):
        await host.send(changed(turns, OTHER))

    assert {name: after[name] for name in ("segments", "resident_tokens")} == {
        name: before[name] for name in ("segments", "resident_tokens")
    }
    assert host.evicted
    assert host.evicted.keys() <= {f"call_{n}" for n in range(1, 25)}
    assert [state for id_, state in (await states(bench)).items() if id_.startswith("call_0~")] == ["departed"]


async def test_what_waits_for_more_content_takes_nothing_into_the_window(bench):
    host = Host(bench.call, mode="on")
    await host.send(conversation(2))
    before = host.reply["window"]
    host.known.discard("call_0")

    reply = await host.send(changed(4, OTHER), new=[])

    assert set(reply["unknown"]) >= {"call_2", "call_3"}
    assert reply["window"] == before


@pytest.mark.parametrize("is_restarted", [True, False])
async def test_the_same_content_under_the_same_id_is_stored_once_however_often_it_is_told(tmp_path, is_restarted):
    for _ in range(3):
        async with bench_on(SqliteStash(tmp_path / "state"), config=SMALL_WINDOW) as bench:
            host = Host(bench.call, mode="on")
            await host.send(conversation(3))
            for _ in range(1 if is_restarted else 3):
                host.known.discard("call_0")
                await host.send(changed(3, OTHER))
            found = await texts(bench)

    assert list(found.values()).count(OTHER) == 1
    assert len(found) == 4


async def test_each_content_that_an_id_stood_for_is_there(bench):
    host = Host(bench.call, mode="on")
    said = [f"state of the ferry: {n}\n" * 40 for n in range(5)]
    for n, text in enumerate(said):
        host.known.discard("call_0")
        await host.send(changed(n + 2, text))

    assert set(said) <= set((await texts(bench)).values())


async def test_i9_what_was_out_when_its_id_was_used_again_comes_back_exactly(bench):
    host = Host(bench.call, mode="on")
    for turns in range(2, 25):
        await host.send(conversation(turns))
    out = sorted(host.evicted)
    assert "call_0" in out
    host.known -= set(out)
    again = [TASK, *(message for n in range(25) for message in turn(n, f"{OTHER}{n}" if f"call_{n}" in out else None))]

    for _ in range(2):
        await host.send(again)

    found = await texts(bench)
    assert [found[id_] for id_ in out] == [f"log {id_[5:]}: wait for the tide\n" * 80 for id_ in out]
    assert {f"{OTHER}{id_[5:]}" for id_ in out} <= set(found.values())
    assert not host.evicted.keys() & set(out)


async def test_what_was_forgotten_stays_so_whatever_comes_under_its_id(bench):
    host = Host(bench.call, mode="on")
    await host.send(conversation(3))
    await bench.call("stash.forget", **KEY, ids=["call_0"])

    for text in (FIRST, OTHER):
        host.known.discard("call_0")
        await host.send(changed(3, text))

    assert (await states(bench))["call_0"] == "forgotten"
    assert set(await texts(bench)) == {"call_1", "call_2"}
    with pytest.raises(CtxgcError):
        await bench.call("stash.recall", **KEY, id="call_0")


async def test_what_was_stored_aside_under_an_id_is_forgotten_with_it(bench):
    host = Host(bench.call, mode="on")
    await host.send(conversation(3))
    for text in (CUT, OTHER):
        host.known.discard("call_0")
        await host.send(changed(3, text))

    reply = await bench.call("stash.forget", **KEY, ids=["call_0"])

    assert reply["forgotten"] == 3
    assert set(await texts(bench)) == {"call_1", "call_2"}
    assert not (await bench.call("stash.search", **KEY, query="cut host another"))["hits"]


async def test_what_is_forgotten_aside_stays_so_and_what_its_id_stands_for_stays_too(bench):
    host = Host(bench.call, mode="on")
    await host.send(conversation(3))
    host.known.discard("call_0")
    await host.send(changed(3, OTHER))
    (aside,) = [id_ for id_ in await texts(bench) if id_.startswith("call_0~")]

    await bench.call("stash.forget", **KEY, ids=[aside])
    host.known.discard("call_0")
    await host.send(changed(3, OTHER))

    assert set(await texts(bench)) == {"call_0", "call_1", "call_2"}


async def test_a_secret_in_what_came_under_a_known_id_never_reaches_the_stash(bench):
    host, secret = Host(bench.call, mode="on"), "AKIA" + "IOSFODNN7EXAMPLF"
    await host.send(conversation(3))
    host.known.discard("call_0")

    await host.send(changed(3, f"aws_access_key_id = {secret}\n" * 3))

    assert not [text for text in (await texts(bench)).values() if secret in text]


class OwnDigests:
    """A client whose digests are not the daemon's, as an agent's plugin's."""

    def __init__(self, call):
        self.call, self.known, self.asked = call, {}, []

    async def send(self, outputs, is_ahead=False):
        """Tell a window of these outputs, by id, in `new` what is another than it was; the last reply."""
        records = [
            {
                "id": id_,
                "kind": "tool_call",
                "tool": "look_up",
                "input": {"log": id_},
                "text": text,
                "digest": f"d{len(text)}{text[:9]}",
            }
            for id_, text in outputs.items()
        ]
        said = {record["id"]: record["digest"] for record in records}
        news = [record for record in records if self.known.get(record["id"]) != record["digest"]]
        about = KEY | {"format": "openai_chat", "mode": "on"}
        for _ in range(3):
            if is_ahead:
                await self.call("window.sync", **about, new=news)
                news = []
            params = {"ids": list(said), "digests": list(said.values()), "new": news}
            reply = await self.call("window.sync", **about, **params)
            self.known = said
            news = [record for record in records if record["id"] in reply["unknown"]]
            self.asked += reply["unknown"]
            if not news:
                return reply
        raise AssertionError("asked for the same again and again")


@pytest.mark.parametrize("is_ahead", [True, False])
async def test_a_client_that_makes_its_own_digests_is_asked_for_nothing_twice(bench, is_ahead):
    client, outputs = OwnDigests(bench.call), {}
    for n in range(12):
        outputs[f"call_{n}"] = f"log {n}: wait for the tide\n" * 80
        reply = await client.send(outputs, is_ahead)

    assert client.asked == []
    assert reply["evicted"]


async def test_a_restarted_daemon_asks_a_client_with_its_own_digests_once_and_evicts_nothing_it_does_not_have(tmp_path):
    client, outputs = OwnDigests(None), {}
    for turns in (range(3), range(3, 24)):
        async with bench_on(SqliteStash(tmp_path / "state"), config=SMALL_WINDOW) as bench:
            client.call, client.asked = bench.call, []
            for n in turns:
                outputs[f"call_{n}"] = f"log {n}: wait for the tide\n" * 80
                reply = await client.send(outputs)
                if n == 1:
                    outputs["call_0"] = OTHER

    assert sorted(client.asked) == ["call_0", "call_1", "call_2"]
    assert reply["conflicts"] == ["call_0"]
    assert reply["evicted"].keys() >= {"call_1", "call_2"}


def look_up(text, digest):
    """A window of one call, whose client says this digest of it."""
    record = {"id": "call_0", "kind": "tool_call", "tool": "look_up", "input": {}, "text": text, "digest": digest}
    return KEY | {"format": "openai_chat", "mode": "on", "ids": ["call_0"], "digests": [digest], "new": [record]}


async def test_i1_contents_whose_digests_begin_alike_are_stored_both(bench):
    said = {f"version-0001-{n}": f"{OTHER}{n}" for n in range(3)}
    for digest, text in said.items():
        await bench.call("window.sync", **look_up(text, digest))

    assert set(said.values()) == set((await texts(bench)).values())


async def test_what_a_client_says_for_a_digest_is_in_no_id(bench):
    for digest, text in {"d1": FIRST, "a b\n\x1b[31m": OTHER}.items():
        await bench.call("window.sync", **look_up(text, digest))

    assert all(id_.isprintable() and " " not in id_ for id_ in await states(bench))


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_what_is_stored_aside_takes_the_place_of_no_proof(tmp_path, is_restarted):
    said = {}

    async def read(bench, number, text):
        about = look_up(text, f"d{len(text)}{number}")
        (record,) = about["new"]
        record |= {"id": f"call_{number}", "tool": "Read", "input": {"file_path": "/a.py"}}
        said[record["id"]] = record["digest"]
        await bench.call("window.sync", **(about | {"ids": list(said), "digests": list(said.values())}))

    async with bench_on(SqliteStash(tmp_path / "state"), config=SMALL_WINDOW) as bench:
        for number, text in ((0, FIRST), (1, OTHER), (0, CLEARED)):
            await read(bench, number, text)
        if not is_restarted:
            await read(bench, 2, FIRST * 2)
            why = await bench.call("heap.why", **KEY, id="call_1")
    if is_restarted:
        async with bench_on(SqliteStash(tmp_path / "state"), config=SMALL_WINDOW) as bench:
            for number, text in ((0, CLEARED), (1, OTHER), (2, FIRST * 2)):
                await read(bench, number, text)
            why = await bench.call("heap.why", **KEY, id="call_1")

    assert (why["reason"], why["by"]) == ("superseded_read", "call_2")
