"""What a program may rely on: its own messages where nothing left, valid lists, exact recall, and no error of ours."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ctxgc
from ctxgc.client.daemon import ClientDaemon
from ctxgc.client.recall_tool import RECALL_TOOL
from tests.client.stories import (
    ANTHROPIC,
    CHAT,
    FORMATS,
    MODELS,
    RESPONSES,
    call_of,
    pairs_problem,
    prompt,
    result_text,
    results_of,
    story,
    turn_of,
    usage_of,
    with_breakpoint,
)
from tests.daemon.harness import DaemonProcess

TURNS = 14
DEADLINE_S = 20.0
"""Long: only what is late by design may be late on a busy machine."""
ENOUGH = 10**6
ONE_FAST = [ANTHROPIC, *(pytest.param(api, marks=pytest.mark.slow) for api in (CHAT, RESPONSES))]
"""The long stories: one API in the fast ring."""


@pytest.fixture(scope="module")
def daemon():
    daemon = DaemonProcess().start()
    yield daemon
    daemon.close()


@pytest.fixture
def client(daemon):
    with ctxgc.Client(daemon.socket, start_daemon=False, deadline_s=DEADLINE_S) as client:
        yield client


_numbers = iter(range(10**6))


def open_session(client, api, **more):
    return client.session(f"agent-{next(_numbers)}", model=MODELS[api], **more)


def check_against(api, messages, collected):
    """The laws of a collected list: valid, and every message but those with tombstones the caller's own object."""
    assert pairs_problem(api, collected.messages) == ""
    assert len(collected.messages) == len(messages)
    out = {body.id for body in collected.evicted}
    for own, sent in zip(messages, collected.messages, strict=True):
        ids = results_of([own]).keys()
        if not ids & out and "cache_control" not in str(sent):
            assert sent is own
    whole, sent = results_of(messages), results_of(collected.messages)
    assert sent.keys() == whole.keys()
    for id_, text in sent.items():
        assert text == whole[id_] or text.startswith("[evicted by ctxgc: ")
        assert (text != whole[id_]) is (id_ in out)


@pytest.mark.parametrize("api", FORMATS)
def test_a_budget_holds_and_every_body_that_left_comes_back_exactly(client, api):
    session, messages = open_session(client, api), list(story(api, 8))[-1]
    assert session.collect(messages, budget=ENOUGH).messages is messages

    collected = session.collect(messages, budget=12_000)

    check_against(api, messages, collected)
    assert collected.is_edited
    assert collected.tokens <= 12_000
    assert collected.failure == ""
    assert collected.left == collected.evicted != ()
    assert {body.reason for body in collected.evicted} != {""}
    assert collected.plan.freed_tokens > 0
    again = session.collect(messages, budget=12_000)
    assert again.left == ()
    assert again.evicted == collected.evicted
    whole = results_of(messages)
    for body in collected.evicted:
        assert session.recall(body.address) == whole[body.id]
        assert abs(body.tokens - collected.plan.freed_tokens / len(collected.evicted)) < 3000


def play(client, session, api, turns, **shape):
    """A conversation by the pacer; what each call gave."""
    for messages in story(api, turns, **shape):
        sent = with_breakpoint(messages) if api == ANTHROPIC else messages
        collected = session.collect(sent, system="Be brief.", tools=[session.tool(api)])
        check_against(api, sent, collected)
        assert collected.messages is sent or collected.is_edited
        yield sent, collected
        session.usage(usage_of(api, 1000 + collected.tokens, collected.tokens))
        client.flush()


@pytest.mark.parametrize("api", ONE_FAST)
def test_the_pacer_decides_when_and_says_what_left_why_and_at_what_cost(client, api):
    session, seen = open_session(client, api), []
    for sent, collected in play(client, session, api, 60 if api != ANTHROPIC else 40):
        assert collected.failure == ""
        seen.append((sent, collected))

    first = next(collected for _, collected in seen if collected.is_edited)
    assert first.left == first.evicted != ()
    assert first.plan.trigger == "value"
    assert first.plan.predicted_cost < 0
    assert {body.reason for body in first.left} <= {"cold", "current", "named", "superseded_read", "value", "duplicate"}
    out = [{body.address for body in collected.evicted} for _, collected in seen]
    assert all(before <= after for before, after in pairwise(out)), "I14"
    assert seen[-1][1].tokens < first.plan.freed_tokens * 4
    assert client.failures == {}


def test_a_breakpoint_of_our_own_stands_on_a_tombstone_beside_the_callers_own(client):
    session = open_session(client, ANTHROPIC)
    last = list(play(client, session, ANTHROPIC, 40))[-1]

    sent, collected = last
    marked = [m for m in collected.messages if "cache_control" in str(m)]
    assert len(marked) == 2
    assert marked[-1] is collected.messages[-1] is sent[-1]
    assert "[evicted by ctxgc" in str(marked[0])


def test_a_list_without_breakpoints_is_paced_as_uncached_and_sooner(client):
    def first_edit(api_list):
        session = open_session(client, ANTHROPIC)
        for turn, messages in enumerate(story(ANTHROPIC, 40)):
            if session.collect(api_list(messages), tools=[session.tool(ANTHROPIC)]).is_edited:
                return turn
            client.flush()
        return 99

    assert first_edit(lambda messages: messages) < first_edit(with_breakpoint) < 99


@pytest.mark.parametrize("api", ONE_FAST)
def test_a_model_brings_a_body_back_by_the_tool_that_the_tombstone_names(client, api):
    session = open_session(client, api)
    sent, collected = list(play(client, session, api, 60 if api != ANTHROPIC else 40))[-1]
    body = collected.evicted[0]
    shown = results_of(collected.messages)[body.id]
    assert f"get it back: {RECALL_TOOL} {body.address}]" in shown

    answers = [session.answer(call_of(api, RECALL_TOOL, {"id": id_})) for id_ in (body.address, shown)]

    assert [results_of([{"role": "user", "content": [a]} if api == ANTHROPIC else a])["recall_1"] for a in answers] == [
        results_of(sent)[body.id]
    ] * 2
    assert session.answer(call_of(api, "Read", {"id": body.address})) is None
    lines = str(session.answer(call_of(api, RECALL_TOOL, {"id": body.address, "lines": "3-4"})))
    assert "ferry" in lines
    assert lines.count("leaves pier") == 2


@pytest.mark.parametrize(
    "arguments",
    [{}, {"id": ""}, {"id": "1-1", "query": "x"}, {"id": "../../etc/passwd"}, {"id": "\ud800"}, {"id": ["x"]},
     {"id": "x" * 5000}, {"query": "zzz"}, {"id": "9-9", "lines": "a"}, {"id": 7}, "no json", 5, None],
)  # fmt: skip
def test_a_recall_that_cannot_be_is_a_sentence_for_the_model(client, arguments):
    session = open_session(client, CHAT)
    session.collect(prompt(CHAT), budget=ENOUGH)
    text = arguments if isinstance(arguments, str) else __import__("json").dumps(arguments)
    call = {"id": "c", "type": "function", "function": {"name": RECALL_TOOL, "arguments": text}}

    answer = session.answer(call)

    assert answer["role"] == "tool"
    assert answer["tool_call_id"] == "c"
    assert answer["content"]


def test_another_sessions_body_is_not_given_to_a_model(client):
    mine, yours = open_session(client, CHAT), open_session(client, CHAT)
    messages = list(story(CHAT, 8))[-1]
    body = yours.collect(messages, budget=5000).evicted[0]
    mine.collect(prompt(CHAT), budget=ENOUGH)

    answer = mine.answer(call_of(CHAT, RECALL_TOOL, {"id": body.address}))

    assert "leaves pier" not in answer["content"]


def test_a_pinned_result_stays_and_an_unpinned_one_goes(client):
    session, messages = open_session(client, CHAT), list(story(CHAT, 8))[-1]
    session.collect(messages, budget=ENOUGH)
    assert session.pin("call_0_0") == ["call_0_0"]

    assert "call_0_0" not in {body.id for body in session.collect(messages, budget=6000).evicted}
    session.unpin("call_0_0")
    assert "call_0_0" in {body.id for body in session.collect(messages, budget=2000).evicted}


@pytest.mark.parametrize("api", FORMATS)
def test_a_tombstone_is_the_same_whenever_its_body_leaves_and_is_known_in_a_list_that_goes_on(client, api):
    messages, tombstones = list(story(api, 8))[-1], []
    for first in (ENOUGH, 3000):
        session = open_session(client, api)
        session.collect(messages, budget=first)
        collected = session.collect(messages, budget=3000)
        body = next(body for body in collected.evicted if body.id == "call_0_0")
        tombstones.append(results_of(collected.messages)[body.id].replace(body.address, "ADDRESS"))
        longer = [*collected.messages, *turn_of(api, [("more", 1, result_text(9, 9))])]
        again = session.collect(longer, budget=3000)
        assert again.messages[: len(messages)][:2] == collected.messages[:2]
        assert body.address in {known.address for known in again.evicted} or body.address in str(again.messages)
        assert session.recall(body.address) == results_of(messages)[body.id]

    assert "Read /src/0.py" in tombstones[0]
    assert tombstones[0] == tombstones[1]


def test_what_was_collected_is_found_by_words(client):
    session = open_session(client, RESPONSES)
    session.collect(
        [*prompt(RESPONSES), *turn_of(RESPONSES, [("c1", 0, "the heron sleeps on one leg " * 9)])], budget=ENOUGH
    )

    hits = client.search("heron sleeps", session=session.name)

    assert [hit.id for hit in hits] == ["c1"]
    assert client.search("no such words at all", session=session.name) == []


def test_the_bill_teaches_the_budget_what_the_list_does_not_show(client):
    session, messages = open_session(client, CHAT), list(story(CHAT, 4))[-1]
    before = session.collect(messages, budget=ENOUGH).tokens
    session.usage(usage_of(CHAT, before + 5000, 0))

    assert 4500 < session.collect(messages, budget=10).plan.protected_by["system_and_tools"] < 5500


def test_objects_of_the_providers_libraries_are_lists_too_and_come_back_as_they_are(client):
    from pydantic import BaseModel

    class Block(BaseModel):
        type: str
        text: str
        citations: list | None = None

    class Message(BaseModel):
        role: str
        content: list[Block]
        id: str | None = None

    session = open_session(client, ANTHROPIC)
    reply = Message(role="assistant", content=[Block(type="text", text="I look.")])
    messages = [prompt(ANTHROPIC)[0], reply, *turn_of(ANTHROPIC, [("c1", 0, result_text(1, 1, 900))]) * 1]
    messages += [{"role": "assistant", "content": [Block(type="text", text="Done.")]}] * 1
    for turn in range(6):
        messages += turn_of(ANTHROPIC, [(f"d{turn}", 0, result_text(turn, 2))])

    collected = session.collect(tuple(messages), budget=3000)

    assert collected.is_edited
    assert collected.messages[1] is reply
    assert collected.messages[4] is messages[4]
    assert "c1" in {body.id for body in collected.evicted}


@pytest.mark.parametrize("wrong", ["text", {"role": "user"}, None, 5, iter([])])
def test_what_is_no_list_is_the_programs_own_error(client, wrong):
    with pytest.raises(TypeError):
        open_session(client, CHAT).collect(wrong, budget=5)


def test_names_formats_and_ways_that_cannot_be_are_refused(client):
    for name in ("", "a b", "a/b", "x" * 200, "Agent:x"):
        with pytest.raises(ValueError, match="name"):
            client.session(name)
    with pytest.raises(ValueError, match="openai_chat"):
        client.session("x", format="chat")
    with pytest.raises(ValueError, match="format"):
        client.session("x").tool()
    with pytest.raises(ValueError, match="format"):
        client.session("x").collect([{"no": "message"}])
    session = open_session(client, CHAT)
    session.collect(prompt(CHAT), budget=5)
    with pytest.raises(ValueError, match="another session"):
        session.collect(prompt(CHAT))


@pytest.mark.parametrize("api", ONE_FAST)
@given(turns=st.lists(st.lists(st.integers(0, 400), max_size=4), max_size=9), budgets=st.lists(st.integers(0, 20_000)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_collected_down_to_whatever_budget_the_list_is_valid(client, api, turns, budgets):
    session, messages = open_session(client, api), prompt(api)
    for turn, (sizes, budget) in enumerate(zip(turns, [*budgets, *[9000] * len(turns)], strict=False)):
        calls = [(f"c{turn}_{n}", n, result_text(turn, n, size)) for n, size in enumerate(sizes)]
        messages = [*messages, *(turn_of(api, calls) if calls else prompt(api))]
        collected = session.collect(messages, budget=budget)
        check_against(api, messages, collected)
        assert collected.tokens <= budget or collected.plan.protected_by


def test_a_list_that_surely_fits_is_not_waited_for_and_reaches_the_daemon_all_the_same(client, daemon):
    session, lists = open_session(client, CHAT), list(story(CHAT, 6))
    session.collect(lists[3], budget=ENOUGH)
    os.kill(daemon.child.pid, signal.SIGSTOP)
    try:
        assert session.collect(lists[4], budget=ENOUGH).messages is lists[4]
    finally:
        os.kill(daemon.child.pid, signal.SIGCONT)

    assert session.collect(lists[5], budget=3000).is_edited
    client.flush()
    assert "call_4_0" in {segment["id"] for segment in daemon.call("segment.list", session=session.name)["segments"]}
    assert client.failures == {}


# When the daemon fails


def test_without_a_daemon_the_list_comes_back_and_the_failure_is_counted(tmp_path):
    with ctxgc.Client(str(tmp_path / "none"), start_daemon=False, deadline_s=DEADLINE_S) as client:
        by_budget, by_pacer = client.session("a"), client.session("b")
        messages = list(story(CHAT, 3))[-1]

        kept = [by_budget.collect(messages, budget=10), by_pacer.collect(messages), by_pacer.collect(messages)]

        assert all(collected.messages is messages for collected in kept)
        assert [bool(collected.failure) for collected in kept] == [True] * 3
        assert client.failures["unreachable"] == 1
        assert client.failures["daemon_gone"] == 2
        with pytest.raises(ctxgc.CallFailed):
            by_budget.recall("1-1")


@pytest.mark.slow
@pytest.mark.parametrize("way", [100_000, None])
def test_a_daemon_that_hangs_costs_the_deadline_and_one_that_dies_nothing_and_both_are_forgiven(way):
    daemon = DaemonProcess().start()
    try:
        with ctxgc.Client(daemon.socket, start_daemon=False, deadline_s=1.5) as client:
            session, api = client.session("a", model=MODELS[CHAT]), CHAT
            lists = list(story(api, 5))
            assert session.collect(lists[0], budget=way).failure == ""
            client.flush()
            os.kill(daemon.child.pid, signal.SIGSTOP)
            late = client.session("b", model=MODELS[CHAT]).collect(lists[1], budget=way)
            assert late.messages is lists[1]
            os.kill(daemon.child.pid, signal.SIGCONT)
            daemon.kill()
            for messages in lists[2:4]:
                assert session.collect(messages, budget=way).messages is messages
            daemon.start()
            for _ in range(100):
                if session.collect(lists[4], budget=way).failure == "":
                    break
                threading.Event().wait(0.1)
            else:
                pytest.fail(str(client.failures))
            assert client.failures
    finally:
        daemon.close()


@pytest.mark.slow
def test_a_daemon_is_started_where_none_listens():
    daemon = DaemonProcess()
    script = (
        "import ctxgc\n"
        "with ctxgc.Client(deadline_s=20) as client:\n"
        "    collected = client.session('a').collect([{'role': 'user', 'content': 'hello'}], budget=100)\n"
        "    print(repr(collected.failure), collected.tokens > 0)\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], env=daemon.env, capture_output=True, text=True, timeout=60
        )
        assert done.stdout == "'' True\n", done.stderr
        daemon.call("shutdown")
    finally:
        daemon.close()


# Threads, loops, forks


def test_two_threads_and_two_sessions_share_a_client(client):
    sessions = [open_session(client, api) for api in (CHAT, ANTHROPIC)]
    seen = {}

    def run(session, api):
        seen[api] = [(messages, session.collect(messages, budget=3000)) for messages in story(api, TURNS)]

    threads = [threading.Thread(target=run, args=pair) for pair in zip(sessions, (CHAT, ANTHROPIC), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for api, collected in seen.items():
        assert all(each.failure == "" for _, each in collected)
        check_against(api, *collected[-1])
        assert collected[-1][1].evicted


def test_one_loop_after_another_and_a_cancelled_call_leave_the_client_usable(daemon):
    client = ctxgc.AsyncClient(daemon.socket, start_daemon=False, deadline_s=DEADLINE_S)
    messages = list(story(CHAT, 8))[-1]

    async def cancelled():
        session = client.session(f"loop-{next(_numbers)}")
        task = asyncio.create_task(session.collect(messages, budget=3000))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await session.collect(messages, budget=3000)

    async def both():
        names = [f"loop-{next(_numbers)}" for _ in range(4)]
        sessions = [client.session(name) for name in names]
        return await asyncio.gather(*(session.collect(messages, budget=3000) for session in sessions))

    first, several = asyncio.run(cancelled()), asyncio.run(both())

    for collected in (first, *several):
        assert collected.failure == ""
        check_against(CHAT, messages, collected)
    asyncio.run(client.close())


def test_the_async_client_has_the_words_of_the_blocking_one(daemon):
    async def run():
        async with ctxgc.AsyncClient(daemon.socket, start_daemon=False, deadline_s=DEADLINE_S) as client:
            session = open_session(client, CHAT)
            messages = list(story(CHAT, 8))[-1]
            body = (await session.collect(messages, budget=3000)).evicted[0]
            assert await session.recall(body.address) == results_of(messages)[body.id]
            answer = await session.answer(call_of(CHAT, RECALL_TOOL, {"id": body.address}))
            assert answer["content"] == results_of(messages)[body.id]
            assert await session.answer(call_of(CHAT, "other", {})) is None
            assert await session.pin(body.id) == await session.unpin(body.id) == [body.id]
            assert await client.search("ferry", session=session.name)
            await session.usage(usage_of(CHAT, 100, 0))
            await client.flush()
            assert session.tool()["function"]["name"] == RECALL_TOOL
            assert client.failures == {}

    asyncio.run(run())
    for blocking, awaited in ((ctxgc.Client, ctxgc.AsyncClient), (ctxgc.ClientSession, ctxgc.AsyncClientSession)):
        words = {name for name in vars(blocking) if not name.startswith("_")}
        assert words == {name for name in vars(awaited) if not name.startswith("_")}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_an_engine_of_its_own(client):
    session, messages = open_session(client, CHAT), list(story(CHAT, 8))[-1]
    whole = session.collect(messages, budget=ENOUGH)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            forked = open_session(client, CHAT).collect(messages, budget=3000)
            os.write(writer, b"1" if forked.is_edited and not forked.failure else b"0")
        finally:
            os._exit(0)
    os.close(writer)
    assert os.read(reader, 1) == b"1"
    os.waitpid(pid, 0)
    os.close(reader)
    assert whole.messages is messages
    assert session.collect(messages, budget=3000).is_edited


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_another_thread_is_inside_the_client_does_not_hang(tmp_path):
    script = (
        "import os, signal, sys, ctxgc\n"
        f"client = ctxgc.Client({str(tmp_path / 'none')!r}, start_daemon=False, deadline_s=1)\n"
        "session, messages = client.session('a'), [{'role': 'user', 'content': 'x'}]\n"
        "session.collect(messages)\n"
        "with client._engine._lock:  # As a thread that is not in the fork.\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        signal.alarm(20)\n"
        "        os._exit(0 if session.collect(messages).messages is messages else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )

    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


def test_what_is_collected_is_handed_over_before_the_client_closes(daemon):
    with ctxgc.Client(daemon.socket, start_daemon=False, deadline_s=DEADLINE_S) as client:
        session = open_session(client, CHAT)
        for messages in story(CHAT, 2):
            session.collect(messages)

    listed = daemon.call("segment.list", session=session.name)

    assert {"call_0_0", "call_1_0"} <= {segment["id"] for segment in listed["segments"]}


def test_a_bill_that_is_named_while_its_list_is_on_its_way_is_the_next_lists(client, daemon):
    session, lists = open_session(client, CHAT), list(story(CHAT, 5))
    before = session.collect(lists[3], budget=ENOUGH).tokens
    os.kill(daemon.child.pid, signal.SIGSTOP)
    try:
        session.collect(lists[4], budget=ENOUGH)
        session.usage(usage_of(CHAT, 50_000, 0))
    finally:
        os.kill(daemon.child.pid, signal.SIGCONT)
    client.flush()

    assert before < 20_000 < 45_000 < session.collect(lists[5], budget=10).tokens


def test_a_list_whose_answer_never_came_counts_as_the_most_that_it_may(client, daemon, monkeypatch):
    session, lists = open_session(client, CHAT), list(story(CHAT, 5))
    session.collect(lists[2], budget=ENOUGH)
    work, calls = session._lists.work, []

    async def send_nothing(*arguments):
        calls.append(arguments)

    monkeypatch.setattr(work, "_send_list_beside", send_nothing)
    first = work._last_list.tokens
    grown = [len(str(messages)) for messages in lists]
    session.collect(lists[3], budget=ENOUGH)

    assert len(calls) == 1
    assert work._last_list.tokens >= first + grown[3] - grown[2], "else a later list would seem to fit"


def test_a_full_disk_gives_the_list_back_and_says_so():
    daemon = DaemonProcess(CTXGC_STASH__RESERVE_BYTES=str(2**50)).start()
    try:
        with ctxgc.Client(daemon.socket, start_daemon=False, deadline_s=DEADLINE_S) as client:
            messages = list(story(CHAT, 6))[-1]
            by_budget = client.session("a", model=MODELS[CHAT]).collect(messages, budget=100)
            assert by_budget.messages is messages
            assert by_budget.failure == "read_only"
            paced = client.session("b", model=MODELS[CHAT])
            for _ in range(2):
                assert paced.collect(messages).messages is messages
                client.flush()
            assert paced.collect(messages).failure == "daemon_failed"
    finally:
        daemon.close()


def test_a_configuration_that_cannot_be_stops_no_list(daemon, monkeypatch):
    monkeypatch.setenv("CTXGC_GATEWAY__HOST", "192.0.2.1")
    with ctxgc.Client(daemon.socket, start_daemon=False, deadline_s=DEADLINE_S) as client:
        messages = list(story(CHAT, 6))[-1]

        assert open_session(client, CHAT).collect(messages, budget=3000).is_edited


def test_a_daemon_that_does_not_start_is_not_started_for_each_list(tmp_path, monkeypatch):
    starts = []

    def fail(path):
        starts.append(path)
        raise ctxgc.CallFailed("config", 0, "the daemon did not start")

    monkeypatch.setattr("ctxgc.client.daemon.ensure_daemon", fail)
    with ctxgc.Client(str(tmp_path / "none"), deadline_s=DEADLINE_S) as client:
        kept = [client.session(name).collect(prompt(CHAT), budget=9) for name in "abc"]

    assert [collected.failure for collected in kept] == ["config", "unreachable", "unreachable"]
    assert len(starts) == 1


def test_a_list_is_sent_when_the_list_before_is_answered(client, monkeypatch):
    session, lists, events = open_session(client, CHAT), list(story(CHAT, 5)), []
    session.collect(lists[2], budget=ENOUGH)
    call = ClientDaemon.call

    async def slow_call(daemon, method, params, timeout_s):
        events.append("sent")
        await asyncio.sleep(0.05)
        answer = await call(daemon, method, params, timeout_s)
        events.append("answered")
        return answer

    monkeypatch.setattr(ClientDaemon, "call", slow_call)
    for messages in lists[3:]:
        session.collect(messages, budget=ENOUGH)
    client.flush()

    assert events == ["sent", "answered"] * len(lists[3:])


def test_a_texts_own_kind_is_a_text_and_a_session_has_its_folder(client):
    class Text(str):
        """As LangChain's messages have."""

    session = open_session(client, CHAT, project="/src/harbour")
    session.collect([{"role": Text("user"), "content": Text("the cormorant dives at noon")}])
    client.flush()

    (hit,) = client.search("cormorant dives", session=session.name)
    assert hit.project == "/src/harbour"
