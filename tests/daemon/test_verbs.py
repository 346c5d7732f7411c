"""Every verb: it exists, it answers in its shape, and it refuses what it cannot take with the next step."""

import asyncio
import typing

import msgspec
import pytest

from ctxgc.core.errors import BadParams, CtxgcError, NotFound, UnknownVerb
from ctxgc.core.segment import TOOL_CALL_BEFORE, Kind, State
from ctxgc.protocol.messages import VERBS
from ctxgc.protocol.params import KindName, StateName

SESSION = {"session": "client:s"}
LONG = "the tide tables of the harbour say when the ferry may leave " * 40


def call_of_each_verb(folder):
    """One successful call of every verb, in an order in which they all make sense."""
    transcript = folder / "t.json"
    yield "session.open", {"source": "client", "session": "s", "budget_tokens": 100}
    many = [{"kind": "tool_call", "id": f"c{n}", "tool": "Read", "text": f"{n} {LONG}"} for n in range(6)]
    yield "segment.add_many", SESSION | {"segments": many}
    yield "segment.add", SESSION | {"segment": {"kind": "user", "text": "go on", "id": "u", "refs": ["c0"]}}
    (folder / "f").write_text(LONG)
    yield "segment.add_file", SESSION | {"path": str(folder / "f")}
    for verb in ("segment.pin", "segment.unpin", "segment.touch"):
        yield verb, SESSION | {"ids": ["c5"]}
    yield "segment.tag", SESSION | {"id": "c5", "tags": ["t"], "importance": 1.0}
    yield "segment.ref", SESSION | {"id": "c5", "refs": ["c4"]}
    yield "tx", SESSION | {"calls": [{"method": "segment.pin", "params": {"ids": ["c4"]}}]}
    for _ in range(5):
        yield "segment.add", SESSION | {"segment": {"kind": "assistant", "text": "on it"}}
    yield "heap.plan", SESSION
    yield "segment.evict", SESSION | {"ids": ["c0"]}
    yield "heap.collect", SESSION | {"budget_tokens": 0}
    yield "heap.why", SESSION | {"id": "c0"}
    yield "heap.refs", SESSION | {"id": "u"}
    yield "heap.path", SESSION | {"id": "c4"}
    yield "heap.log", SESSION | {"collection": 2}
    yield "stash.search", {"query": "ferry harbour"}
    yield "stash.recall", SESSION | {"id": "c0"}
    yield "stash.recall", {"query": "ferry harbour", "budget_tokens": 500}
    yield "stash.recall", SESSION | {"id": "c0", "lines": "1-2"}
    yield "stash.recall", SESSION | {"around": "c0"}
    yield "session.rehydrate", SESSION
    yield "heap.undo", SESSION
    yield "stash.forget", SESSION | {"ids": ["c1"]}
    yield "segment.get", SESSION | {"id": "c0"}
    yield "segment.list", SESSION
    for verb in ("session.show", "session.set", "session.render"):
        yield verb, SESSION
    yield "session.list", {}
    yield "export", SESSION | {"path": str(transcript)}
    messages = [{"role": "user", "content": "hello"}]
    yield "messages.collect", {"format": "openai_chat", "messages": messages, "budget_tokens": 0}
    yield "window.sync", {"session": "client:wired", "format": "openai_chat", "ids": []}
    yield "window.enter", {"session": "client:wired", "new": []}
    yield "import", {"paths": [str(transcript), str(folder / "f")]}
    for verb in ("watch.add", "watch.remove"):
        yield verb, {"path": str(folder)}
    yield "subscribe", {"topics": ["import"]}
    nothing = ("hello", "ping", "rpc.discover", "watch.list", "stash.tiers", "unsubscribe", "stats", "metrics")
    for verb in (*nothing, "slowlog", "config.get", "config.reload", "doctor"):
        yield verb, {}
    yield "session.close", SESSION
    yield "shutdown", {}


def test_every_verb_of_the_protocol_has_a_handler_and_the_other_way_round(bench):
    assert set(bench.verbs._handlers) == set(VERBS)


async def test_every_verb_answers_in_the_type_that_its_row_names_and_in_no_more(bench, tmp_path):
    answered = {"backup"}  # A stash in memory has no file to copy; tests/e2e copies a real one.

    for verb, params in call_of_each_verb(tmp_path):
        reply = await bench.call(verb, **params)
        answered.add(verb)
        assert msgspec.to_builtins(msgspec.convert(reply, VERBS[verb].reply)) == reply, verb
        assert "changed" in reply or not VERBS[verb].mutates, verb

    assert answered == set(VERBS)
    assert bench.is_stopped


async def test_an_unknown_verb_names_the_way_to_those_there_are(bench):
    with pytest.raises(UnknownVerb) as refused:
        await bench.call("heap.explode")

    assert refused.value.number == -32601
    assert "rpc.discover" in refused.value.hint


BAD = [
    ("segment.pin", {"ids": []}, "ids"),
    ("segment.pin", {"ids": ["a"], "sesion": "s"}, "sesion"),
    ("segment.add", {"segment": {"kind": "poem", "text": ""}}, "segment"),
    ("segment.add", {"segment": {"kind": "user", "text": "", "refs": ["nothing"]}}, "refs"),
    ("segment.list", {"kinds": ["poem"]}, "kinds"),
    ("stash.search", {"query": "x", "kinds": ["poem"]}, "kinds"),
    ("stash.search", {"query": "x", "states": ["lost"]}, "states"),
    ("segment.add_file", {"path": "relative"}, "path"),
    ("segment.add_file", {"path": "/a\0b"}, "path"),
    ("backup", {"path": "/a\0b"}, "path"),
    ("export", {"path": "/a\0b"}, "path"),
    ("import", {"paths": ["/a\0b"]}, "paths"),
    ("heap.collect", {"budget_tokens": -1}, "budget_tokens"),
    ("heap.collect", {"budget_tokens": 2**80}, "budget_tokens"),
    ("heap.plan", {"unit": "words"}, "unit"),
    ("subscribe", {"topics": ["weather"]}, "topics"),
    ("session.open", {}, "session"),
    ("session.open", {"session": "s", "source": "A b"}, "source"),
    ("session.open", {"session": ""}, "session"),
    ("tx", {"calls": [{"method": "stash.forget", "params": {"ids": ["a"]}}]}, "calls"),
    ("tx", {"calls": [{"method": "segment.pin", "params": {"ids": ["c"], "session": "client:other"}}]}, "calls"),
    ("stash.recall", {"id": "a", "query": "b"}, ""),
    ("stash.recall", {"id": "a", "around": "b"}, ""),
    ("stash.recall", {}, ""),
    ("stash.recall", {"query": "a", "lines": "1-2"}, "lines"),
    ("stash.recall", {"id": "a", "lines": "two"}, "lines"),
    ("stash.recall", {"query": "a", "budget_tokens": 0}, "budget_tokens"),
    ("stash.forget", {}, ""),
    ("stash.forget", {"whole_session": True}, "session"),
    ("messages.collect", {"format": "morse", "messages": [], "budget_tokens": 1}, "format"),
]


@pytest.mark.parametrize(("verb", "params", "field"), BAD)
async def test_bad_params_name_the_field_and_the_next_step(bench, verb, params, field):
    await bench.call("session.open", session="s")

    with pytest.raises(BadParams) as refused:
        await bench.call(verb, **params)

    assert refused.value.number == -32602
    assert refused.value.field == field
    assert refused.value.hint


def test_the_filters_of_the_protocol_take_every_kind_and_state_there_is():
    assert set(typing.get_args(KindName)) == {kind.value for kind in Kind} | {TOOL_CALL_BEFORE}
    assert set(typing.get_args(StateName)) == {state.value for state in State}


async def test_the_words_of_the_version_before_are_still_taken_and_sent(bench):
    await bench.call("session.open", session="s", mode="wire")
    added = {"kind": "exchange", "id": "c", "tool": "Read", "text": LONG}
    await bench.call("segment.add", **SESSION, segment=added)

    shown = await bench.call("session.set", **SESSION, mode="observe")
    listed = await bench.call("segment.list", **SESSION, kinds=["exchange"])
    hits = await bench.call("stash.search", kinds=["exchange"])
    plan = await bench.call("heap.plan", **SESSION, budget_tokens=1)

    assert (shown["rendered_by"], shown["mode"]) == ("agent", "observe")
    assert [one["kind"] for one in (*listed["segments"], *hits["hits"])] == ["tool_call", "tool_call"]
    assert plan["protected_by"] == plan["held_by"] != {}


NOWHERE = [
    ("segment.get", {"id": "nothing"}),
    ("segment.pin", {"ids": ["nothing"]}),
    ("segment.evict", {"ids": ["nothing"]}),
    ("segment.tag", {"id": "nothing"}),
    ("segment.ref", {"id": "nothing", "refs": ["nothing"]}),
    ("heap.why", {"id": "nothing"}),
    ("heap.path", {"id": "nothing"}),
    ("heap.refs", {"id": "#7"}),
    ("heap.undo", {}),
    ("heap.undo", {"collection": 9}),
    ("heap.log", {"collection": 9}),
    ("stash.recall", {"id": "nothing"}),
    ("stash.recall", {"query": "nothing"}),
    ("stash.forget", {"ids": ["nothing"]}),
    ("segment.add_file", {"path": "/nowhere"}),
    ("session.show", {"session": "nowhere"}),
    ("watch.add", {"path": "/nowhere"}),
]


@pytest.mark.parametrize(("verb", "params"), NOWHERE)
async def test_what_does_not_exist_is_not_found_and_the_hint_says_where_to_look(bench, verb, params):
    await bench.call("session.open", session="s")

    with pytest.raises(NotFound) as refused:
        await bench.call(verb, **params)

    assert refused.value.hint


async def test_a_path_of_any_length_the_system_takes_can_be_added(bench, tmp_path):
    await bench.call("session.open", session="s")
    deep = tmp_path / "/".join(["d" * 200] * 4)
    deep.mkdir(parents=True)
    (deep / "f").write_text("at the bottom")

    added = await bench.call("segment.add_file", path=str(deep / "f"))

    assert added["added"] == 1


async def test_a_mutation_in_the_background_that_is_refused_harms_nobody(bench):
    await bench.call("session.open", session="s")

    taken = await bench.call("segment.pin", ids=["nothing"], durability="async")

    assert taken["durability"] == "async"
    await asyncio.wait(bench.tasks)
    await bench.close()  # Fails if the refusal had ended the daemon.


@pytest.mark.slow
def test_a_daemon_that_stops_ends_the_mutations_in_the_background_before(running_daemon):
    running_daemon.call("session.open", session="s")
    add = {"session": "client:s", "durability": "async"}
    segments = [{"kind": "user", "text": f"note {n} of the tide tables\n" * 4000} for n in range(20)]
    with running_daemon.client() as client:
        taken = [*client.call_many(("segment.add", {**add, "segment": segment}) for segment in segments)]

    running_daemon.call("shutdown")
    assert running_daemon.child.wait(30) == 0

    assert {reply["durability"] for reply in taken} == {"async"}
    assert running_daemon.log == ""
    assert len(running_daemon.start().call("segment.list", session="client:s")["segments"]) == 20


async def test_a_tx_is_all_or_nothing(bench):
    await bench.call("session.open", session="s")
    add = {"method": "segment.add", "params": {"segment": {"kind": "user", "text": "a", "id": "a"}}}
    refused = {"method": "segment.pin", "params": {"ids": ["nothing"]}}

    with pytest.raises(CtxgcError):
        await bench.call("tx", calls=[add, refused])

    assert (await bench.call("segment.list"))["total"] == 0
    pin = {"method": "segment.pin", "params": {"ids": ["a"]}}
    assert len((await bench.call("tx", calls=[add, pin]))["results"]) == 2
    assert (await bench.call("segment.get", id="a"))["is_pinned"]


async def test_a_session_is_meant_by_key_id_prefix_or_folder_and_never_guessed(bench):
    for name, project in (("alpha-1", "/a"), ("alpha-2", "/b"), ("beta", "/b")):
        await bench.call("session.open", session=name, project=project)

    async def meant(**params):
        return (await bench.call("session.show", **params))["session"].removeprefix("client:")

    assert await meant(session="client:beta") == await meant(session="bet") == await meant(session="beta") == "beta"
    assert await meant(cwd="/a") == "alpha-1"
    assert await meant() == await meant(cwd="/b") == "beta"
    with pytest.raises(NotFound, match="no session belongs to /elsewhere"):
        await meant(cwd="/elsewhere")
    with pytest.raises(BadParams, match="may mean client:alpha-"):
        await meant(session="alpha")


@pytest.mark.parametrize("verb", ["segment.get", "heap.why", "stash.recall"])
async def test_what_a_search_found_is_found_again_from_any_folder_unless_two_sessions_hold_it(bench, verb):
    for name, ids in (("one", ["alone", "shared"]), ("two", ["shared"]), ("here", ["other"])):
        await bench.call("session.open", session=name, project=f"/{name}")
        segments = [{"kind": "user", "text": "a", "id": id_} for id_ in ids]
        await bench.call("segment.add_many", session=name, segments=segments)

    assert (await bench.call(verb, id="alone", cwd="/here"))["session"] == "client:one"
    assert (await bench.call(verb, id="alone", cwd="/nowhere"))["session"] == "client:one"
    with pytest.raises(NotFound) as refused:
        await bench.call(verb, id="shared", cwd="/here")
    assert all(name in refused.value.hint for name in ("client:one", "client:two"))
    with pytest.raises(NotFound):
        await bench.call(verb, id="alone", session="here")
    with pytest.raises(NotFound):
        await bench.call("segment.pin", ids=["alone"], cwd="/here")


async def test_a_search_by_tool_takes_the_name_in_any_case(bench):
    await bench.call("session.open", session="s")
    await bench.call("segment.add", segment={"kind": "tool_call", "id": "c", "tool": "Edit", "text": "ferry"})

    for name in ("Edit", "edit", "EDIT"):
        assert len((await bench.call("stash.search", query="ferry", tools=[name]))["hits"]) == 1
    assert (await bench.call("stash.search", query="ferry", tools=["Edi"]))["hits"] == []


async def test_a_hit_says_where_and_when_it_is_from_and_this_project_comes_first(bench):
    for session, project in (("s", "/p"), ("t", "/q")):
        await bench.call("session.open", session=session, project=project)
        segment = {"kind": "user", "id": f"u-{session}", "text": "x\nthe ferry"}
        await bench.call("segment.add", session=session, segment=segment)

    found = await bench.call("stash.search", query="ferry", here="/q/deep/down")

    assert [hit["project"] for hit in found["hits"]] == ["/q", "/p"]
    assert (found["hits"][0]["turn"], found["hits"][0]["first_line"], found["hits"][0]["state"]) == (0, 2, "resident")


OUT_OF_RANGE = [
    ("segment.add", '{"session":"s","segment":{"kind":"user","text":"x","wall_s":%s}}'),
    ("segment.add", '{"session":"s","segment":{"kind":"tool_call","id":"i","input":{"a":[{"b":%s}]}}}'),
    ("tx", '{"session":"s","calls":[{"method":"segment.add","params":{"segment":{"kind":"user","wall_s":%s}}}]}'),
    ("stash.search", '{"query":"x","after_s":%s}'),
    ("segment.get", '{"session":"s","id":"i","offset":%s}'),
    ("window.sync", '{"session":"a:s","format":"openai_chat","new":[{"kind":"user","wall_s":%s}]}'),
    ("messages.collect", '{"format":"openai_chat","budget_tokens":9,"messages":[{"role":"user","x":{"y":%s}}]}'),
    ("ping", '{"unknown":%s}'),
]


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400 + ".5", "1" * 5000])
@pytest.mark.parametrize(("method", "params"), OUT_OF_RANGE)
async def test_a_number_out_of_range_is_refused_wherever_it_stands_before_any_verb_sees_it(
    bench, method, params, number
):
    await bench.call("session.open", session="s")

    with pytest.raises(BadParams, match="out of range"):
        await bench.call_raw(method, (params % number).encode())

    assert (await bench.call("segment.list", session="s"))["segments"] == []
