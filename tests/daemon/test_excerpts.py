"""`stash.recall` in a frame: excerpts for a query, lines, or a neighbourhood, within the budget and the scope."""

import asyncio
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctxgc.core.errors import BadParams, NotFound, OverBudget, StorageFailed
from ctxgc.core.frame import END, HEAD
from ctxgc.protocol.limits import FRAME_BYTES_DEFAULT
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.core.test_excerpts import HOSTILE
from tests.daemon.harness import COUNTER, bench_on
from tests.daemon.test_laws import SECRET, a_session, reading, states
from tests.effort import effort

FRAME = re.compile(rf"{re.escape(HEAD)}\n(\[ctxgc [a-z ]+: [^\[\]\n]*\]\n([0-9]+~?\|[^\n]*\n)+)+{re.escape(END)}\n")


def log_of(n, needle="", at=50, lines=100):
    return "\n".join(f"{needle} found here" if line == at else f"log {n} line {line}" for line in range(1, lines + 1))


async def a_stash(bench):
    """Three sessions of two projects; `call0` of the first is evicted and has the needle in line 50 of 100."""
    for name, project in (("one", "/work/a"), ("two", "/work/a"), ("other", "/work/b")):
        await bench.call("session.open", session=name, project=project)
        text = log_of(name, "crankshaft")
        await bench.call("segment.add", session=name, segment=reading(0, text) | {"wall_s": 1.7e9})
        for _ in range(4):
            await bench.call("segment.add", session=name, segment={"kind": "assistant", "text": f"let me see {name}"})
    await bench.call("segment.evict", session="client:one", ids=["call0"])
    return {"session": "client:one"}


async def test_a_query_brings_back_the_lines_around_each_match_in_a_frame_within_the_budget(bench):
    await a_stash(bench)

    recalled = await bench.call("stash.recall", query="crankshaft", budget_tokens=300)

    assert FRAME.fullmatch(recalled["text"])
    assert COUNTER.count(recalled["text"]) == recalled["tokens"] <= recalled["budget_tokens"] == 300
    assert recalled["text"].count("\n50|crankshaft found here\n") == 3
    assert {(one["first_line"], one["last_line"], one["total_lines"]) for one in recalled["excerpts"]} == {
        (48, 52, 100)
    }
    assert recalled["recalled"] == []


@pytest.mark.parametrize(("budget", "lines"), [(120, 5), (400, 15), (1700, 110), (4000, 300)])
async def test_a_larger_budget_shows_more_and_at_last_each_segment_whole(bench, budget, lines):
    await a_stash(bench)

    recalled = await bench.call("stash.recall", query="crankshaft", budget_tokens=budget)

    assert COUNTER.count(recalled["text"]) <= budget
    assert sum(one["lines"] for one in recalled["excerpts"]) == lines


async def test_an_excerpt_of_an_evicted_segment_is_a_page_fault_and_changes_no_window(bench):
    session = await a_stash(bench)

    recalled = await bench.call("stash.recall", query="crankshaft")

    shown = await bench.call("session.show", **session)
    assert shown["faults"] == 1
    assert (await states(bench, **session))["call0"] == "evicted"
    assert "1 had been evicted" in recalled["changed"]
    assert bench.services.counts["faults"] == 1


async def test_an_excerpt_names_the_address_that_brings_back_the_whole(bench):
    await a_stash(bench)

    recalled = await bench.call("stash.recall", query="crankshaft", budget_tokens=300)

    for excerpt in recalled["excerpts"]:
        assert f" {excerpt['address']} · client · " in recalled["text"]
        whole = await bench.call("stash.recall", id=excerpt["address"])
        assert whole["session"] == excerpt["session"]
        assert whole["recalled"][0]["id"] == excerpt["id"]
    assert f"ctxgc recall {recalled['excerpts'][0]['address']}" in recalled["next"]


async def test_only_the_project_asked_for_is_found_by_words_by_address_and_around(bench):
    await a_stash(bench)
    all_of_them = await bench.call("stash.recall", query="crankshaft")
    away = next(one for one in all_of_them["excerpts"] if one["session"] == "client:other")

    here = await bench.call("stash.recall", query="crankshaft", project="/work/a")

    assert {one["session"] for one in here["excerpts"]} == {"client:one", "client:two"}
    for name in ("id", "around"):
        with pytest.raises(NotFound, match="no segment"):
            await bench.call("stash.recall", **{name: away["address"]}, project="/work/a")
        assert await bench.call("stash.recall", **{name: away["address"]}, project="/work/b")


async def test_a_query_in_a_session_finds_that_sessions_segments_alone(bench):
    await a_stash(bench)

    recalled = await bench.call("stash.recall", query="crankshaft", session="client:two")

    assert {one["session"] for one in recalled["excerpts"]} == {"client:two"}


async def test_lines_by_number_are_the_lines_that_the_whole_has(bench):
    session = await a_session(bench)

    recalled = await bench.call("stash.recall", **session, id="call2", lines="40-43")

    assert [line for line in recalled["text"].split("\n") if "|" in line] == [
        f"{n}|line 2 of the log" for n in range(40, 44)
    ]
    assert (recalled["next_line"], recalled["excerpts"][0]["total_lines"]) == (0, 60)


async def test_a_calls_short_inputs_stand_behind_its_text_unless_the_label_says_them(bench):
    session = await a_session(bench)
    values = {"file_path": "/p/a.py", "old_string": "tick = 1", "edits": [{"new": "tick = 2\nrun()"}], "n": 3}
    edit = {"kind": "tool_call", "id": "edit", "tool": "Edit", "text": "updated\n", "input": values}
    await bench.call("segment.add", **session, segment=edit)

    recalled = await bench.call("stash.recall", query="tick")

    lines = [line for line in recalled["text"].split("\n") if "|" in line]
    assert lines == ["1|updated", "2|input.edits.0.new: tick = 2", "3|run()", "4|input.old_string: tick = 1"]
    assert "Edit /p/a.py" in recalled["text"]


async def test_what_the_budget_left_out_of_the_lines_goes_on_where_the_reply_says(bench):
    session = await a_session(bench)
    await bench.call("segment.add", **session, segment=reading(9, log_of(9)))

    lines, first = [], 1
    while first:
        page = await bench.call("stash.recall", **session, id="call9", lines=f"{first}-", budget_tokens=250)
        assert page["tokens"] <= 250
        lines += re.findall(r"^[0-9]+\|(.*)$", page["text"], re.MULTILINE)
        assert not page["next_line"] or f"--lines {page['next_line']}-" in page["next"]
        first = page["next_line"]

    assert "\n".join(lines) == log_of(9)


@pytest.mark.parametrize("lines", ["0", "0-0", "101-", "200", "9-3"])
async def test_lines_that_a_segment_does_not_have_are_refused_with_the_number_it_has(bench, lines):
    session = await a_session(bench)
    await bench.call("segment.add", **session, segment=reading(9, log_of(9)))

    with pytest.raises(BadParams, match="100 lines") as refused:
        await bench.call("stash.recall", **session, id="call9", lines=lines)

    assert refused.value.hint


async def test_around_a_segment_are_its_neighbours_in_time_the_nearest_first(bench):
    session = await a_session(bench)
    await bench.call("stash.forget", **session, ids=["call1"])

    recalled = await bench.call("stash.recall", **session, around="call2", budget_tokens=600)

    ids = [one["id"] for one in recalled["excerpts"]]
    assert ids.index("call0") < ids.index("call2") < ids.index("call3")
    assert "call1" not in ids
    assert [one["title"] for one in recalled["excerpts"]].count("segment") == 1


async def test_a_budget_that_holds_no_excerpt_is_refused_with_a_budget_that_does(bench):
    await a_stash(bench)

    for params in ({"query": "crankshaft"}, {"id": "call0", "session": "client:one"}):
        with pytest.raises(OverBudget) as refused:
            await bench.call("stash.recall", **params, budget_tokens=20)
        enough = int(re.search(r"[0-9]+", refused.value.hint)[0])
        assert (await bench.call("stash.recall", **params, budget_tokens=enough))["excerpts"]


async def test_a_segment_that_was_forgotten_after_the_search_found_it_is_in_no_excerpt(bench, monkeypatch):
    session = await a_stash(bench)
    search = bench.stash.search

    async def search_then_forget(query):
        result = await search(query)
        await bench.call("stash.forget", **session, ids=["call0"])
        return result

    monkeypatch.setattr(bench.stash, "search", search_then_forget)

    recalled = await bench.call("stash.recall", query="crankshaft")

    assert {one["session"] for one in recalled["excerpts"]} == {"client:two", "client:other"}


async def test_a_secret_is_redacted_in_every_excerpt(bench):
    session = await a_session(bench)
    await bench.call("segment.add", **session, segment=reading(8, f"the deploy token is {SECRET} for now\n"))

    for params in ({"query": "deploy token"}, {"id": "call8", "lines": "1", **session}, {"around": "call8", **session}):
        text = (await bench.call("stash.recall", **params))["text"]
        assert "«redacted:" in text
        assert SECRET not in text


async def test_equal_contents_of_two_sessions_are_shown_once(bench):
    for name in ("one", "two"):
        await a_session(bench, name=name)

    recalled = await bench.call("stash.recall", query='"line 3 of the log"')

    assert [one["id"] for one in recalled["excerpts"]].count("call3") == 1


async def test_two_hundred_recalls_at_once_each_answer_within_their_budget(bench):
    await a_stash(bench)

    replies = await asyncio.gather(
        *(bench.call("stash.recall", query="crankshaft", budget_tokens=300) for _ in range(200))
    )

    assert all(reply["tokens"] <= 300 and reply["excerpts"] for reply in replies)


async def test_in_the_scope_of_a_session_a_query_finds_that_session_alone_by_name_and_by_folder(bench):
    await a_stash(bench)

    for asking in ({"session": "client:other"}, {"cwd": "/work/b"}):
        recalled = await bench.call("stash.recall", query="crankshaft", scope="session", **asking)
        assert {one["session"] for one in recalled["excerpts"]} == {"client:other"}


@pytest.mark.parametrize(("cwd", "first"), [("/work/b/src", "client:other"), ("/work/a", "client:one")])
async def test_excerpts_of_the_project_around_the_folder_come_before_better_ones_of_others(bench, cwd, first):
    for name, project in (("one", "/work/a"), ("other", "/work/b")):
        await bench.call("session.open", session=name, project=project)
        better = "crankshaft " * (5 if first != f"client:{name}" else 1)
        await bench.call("segment.add", session=name, segment=reading(0, f"{better} of {name} " * 3))

    recalled = await bench.call("stash.recall", query="crankshaft", cwd=cwd, budget_tokens=120)

    assert recalled["excerpts"][0]["session"] == first


@pytest.mark.parametrize("filters", ["project:b", "session:client:other", "project:/work/b"])
async def test_a_project_among_the_words_does_not_widen_the_project_that_the_caller_gave(bench, filters):
    await a_stash(bench)

    with pytest.raises(NotFound, match="nothing found"):
        await bench.call("stash.recall", query=f"{filters} crankshaft", project="/work/a")
    with pytest.raises(NotFound, match="nothing found"):
        await bench.call("stash.recall", query=f"{filters} crankshaft", session="client:two")


async def test_a_damaged_segment_takes_no_other_with_it_and_says_so_itself(bench, monkeypatch):
    await a_stash(bench)
    bodies = bench.stash.contents

    async def read(key, seqs):
        if key.session == "one" and 0 in seqs:
            raise StorageFailed("segment 'call0' is damaged in the stash")
        return await bodies(key, seqs)

    monkeypatch.setattr(bench.stash, "contents", read)
    bench.services.contents._cache.clear()

    found = await bench.call("stash.recall", query="crankshaft")
    around = await bench.call("stash.recall", around="#1", session="client:one")

    assert {one["session"] for one in found["excerpts"]} == {"client:two", "client:other"}
    assert "let me see one" in around["text"]
    with pytest.raises(StorageFailed, match="damaged"):
        await bench.call("stash.recall", around="#0", session="client:one")


async def test_around_a_segment_without_text_are_its_neighbours(bench):
    session = await a_session(bench)
    await bench.call("segment.add", **session, segment={"kind": "user", "id": "mute", "text": ""})

    recalled = await bench.call("stash.recall", **session, around="mute")

    assert "let me see" in recalled["text"]
    with pytest.raises(BadParams, match="no text"):
        await bench.call("stash.recall", **session, id="mute", budget_tokens=500)


async def test_around_is_a_page_fault_of_the_segment_asked_for_and_of_no_neighbour(bench):
    session = await a_session(bench)
    await bench.call("segment.evict", **session, ids=["call1", "call2", "call3"])

    recalled = await bench.call("stash.recall", **session, around="call2")

    assert recalled["faults"] == 1
    assert recalled["changed"].endswith("1 had been evicted")
    assert set((await states(bench, **session)).values()) == {"resident", "evicted"}


@pytest.mark.slow
async def test_a_text_of_blanks_makes_no_frame_that_the_protocol_could_not_carry(bench):
    session = await a_session(bench)
    await bench.call("segment.add", **session, segment=reading(7, "\n".join([" " * 200_000] * 50)))

    reply = await bench.call_raw("stash.recall", b'{"session":"client:s","id":"call7","budget_tokens":200000}')

    assert len(reply) < FRAME_BYTES_DEFAULT


HOSTILE_NAMES = st.text(st.sampled_from("[]ctxgc: end\u202e\n\r\x1b·|1］\u2028/a"), max_size=30)


@settings(effort(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(HOSTILE_NAMES, min_size=4, max_size=4), text=st.sampled_from(HOSTILE), more=HOSTILE_NAMES)
async def test_no_name_path_command_or_text_of_a_session_breaks_a_frame(names, text, more):
    name, tool, path, command = names
    async with bench_on(SqliteStash(MEMORY)) as bench:
        session = {"session": f"client:{name}x"}
        await bench.call("session.open", session=f"{name}x", project=f"/{path}")
        values = {"command": command, "file_path": path, "content": text}
        call = {"kind": "tool_call", "id": f"{more}id", "tool": tool, "status": "error", "input": values}
        call |= {"text": f"{text}\ncrankshaft\n{text}", "paths": [f"/{path}/{more}"]}
        await bench.call("segment.add", **session, segment=call)
        pinned = {"kind": "user", "text": f"{text}\n{more}", "is_pinned": True}
        await bench.call("segment.add", **session, segment=pinned)

        frames = [
            await bench.call("stash.recall", query="crankshaft"),
            await bench.call("stash.recall", **session, id="#0", lines="1-"),
            await bench.call("stash.recall", **session, around="#0"),
            await bench.call("session.rehydrate", **session),
        ]

    for reply in frames:
        assert FRAME.fullmatch(reply["text"]), reply["text"]
        assert COUNTER.count(reply["text"]) == reply["tokens"]
        for sentence in (*reply["notes"], reply.get("next", ""), reply.get("changed", "")):
            assert "[" not in sentence
            assert sentence.isprintable()


SERVERS = [
    {"type": "bash_code_execution_tool_result", "tool_use_id": "s", "content": {"stdout": "the gudgeon pin"}},
    {"type": "web_search_tool_result", "content": [{"type": "web_search_result", "title": "the gudgeon pin"}]},
    {"type": "mcp_tool_result", "content": [{"type": "resource", "resource": {"text": "the gudgeon pin"}}]},
    {"type": "search_result", "title": "t", "content": [{"type": "text", "text": "the gudgeon pin"}]},
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "the gudgeon pin"}},
]


@pytest.mark.parametrize("block", SERVERS)
async def test_texts_inside_a_servers_blocks_are_found_and_recalled(bench, tmp_path, block):
    path = tmp_path / "request.json"
    asked = {"role": "user", "content": "Look it up."}
    path.write_text(json.dumps({"system": "s", "messages": [asked, {"role": "assistant", "content": [block]}]}))
    [session] = (await bench.call("import", paths=[str(path)]))["sessions"]
    [hit] = (await bench.call("stash.search", query="gudgeon"))["hits"]

    by_lines = await bench.call("stash.recall", session=session["session"], id=hit["id"], lines="1-")
    by_words = await bench.call("stash.recall", query="gudgeon", budget_tokens=300)

    assert all("|the gudgeon pin\n" in recalled["text"] for recalled in (by_lines, by_words))
