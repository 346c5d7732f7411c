"""Results at entry, on the wire: pointers before anything is cached, and every byte of the host within reach."""

import json
import re
from itertools import pairwise
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.entry.elisions import Elision, restore_elided_text
from ctxgc.daemon.sessions.entry_index import result_text
from ctxgc.gateway.daemon_client import DaemonClient
from ctxgc.protocol.blocking_client import TimedOut
from tests.daemon.harness import DaemonProcess
from tests.effort import effort
from tests.gateway.agent import ChatAgent, ClaudeAgent, ResponsesAgent
from tests.gateway.stage import Stage
from tests.gateway.upstream import ANSWERS

AGENTS = [ClaudeAgent, ChatAgent, ResponsesAgent]
LIMIT_TOKENS = 6000
TOMBSTONE, LINES_TOMBSTONE = "[evicted by ctxgc: ", "[evicted by ctxgc: lines "
BREAKPOINT = re.compile(rb', ?"cache_control": ?\{[^}]*\}')


def file_text(name, first=0, lines=60, edited=()):
    written = (
        f"    {name}_{n} = wait_for_tide({n * 37}, 'quay {name}'){'  # later' * (n in edited)}" for n in range(200)
    )
    return "\n".join(f"{n + 1:>6}\t{line}" for n, line in list(enumerate(written))[first : first + lines])


def read(agent, number, texts):
    """The agent reads files, all in one turn."""
    for at, text in enumerate(texts):
        call_id = f"call_{number}_{at}"
        if isinstance(agent, ResponsesAgent):
            item = {"type": "function_call", "call_id": call_id, "name": "read", "arguments": '{"path": "/w/tide.py"}'}
            agent.input.insert(len(agent.input) - at, item)
            agent.input.append({"type": "function_call_output", "call_id": call_id, "output": text})
        elif isinstance(agent, ChatAgent):
            call = {
                "id": call_id,
                "type": "function",
                "function": {"name": "read", "arguments": '{"path": "/w/tide.py"}'},
            }
            if not at:
                agent.messages.append({"role": "assistant", "content": None, "tool_calls": []})
            agent.messages[-1 - at]["tool_calls"].append(call)
            agent.messages.append({"role": "tool", "tool_call_id": call_id, "content": text})
        else:
            call = {"type": "tool_use", "id": call_id, "name": "Read", "input": {"file_path": "/w/tide.py"}}
            if not at:
                agent.messages += [{"role": "assistant", "content": []}, {"role": "user", "content": []}]
            agent.messages[-2]["content"].append(call)
            agent.messages[-1]["content"].append({"type": "tool_result", "tool_use_id": call_id, "content": text})


def results_of(wire, body):
    segments = WIRE_FORMATS[wire].parse(body).segments
    return {one.id: text for one in segments if (text := result_text(one.body)) is not None}


def list_of(body):
    """The request's list without breakpoints of the cache, which move on."""
    value = json.loads(BREAKPOINT.sub(b"", body))
    return value.get("messages", value.get("input"))


class Session:
    """An agent behind the gateway, and the elisions that its gateway knows."""

    def __init__(self, stage, make):
        self.stage, self.agent = stage, make()
        self.headers = {"x-claude-code-session-id": str(uuid4())}
        self.sent = []

    def ask(self, **more):
        own = self.agent.body(**more)
        self.sent.append((own, self.stage.ask(self.agent.path, own, self.headers)))
        return self.sent[-1][1]

    def read(self, number, *texts, **more):
        read(self.agent, number, texts)
        return self.ask(**more)

    @property
    def elisions(self):
        sessions = self.stage.running.syncer._sessions.values()
        mine = [one for one in sessions if one.identity.session == self.headers["x-claude-code-session-id"]]
        branches = [branch for one in mine for branch in one.branches.values()]
        return {id_: [Elision(*run) for run in runs] for branch in branches for id_, runs in branch.elisions.items()}

    def check(self):
        """Every result of the last request is whole, a tombstone, or its pointers lead to every byte."""
        own, sent = (results_of(self.agent.wire, body) for body in self.sent[-1])
        pointers = 0
        for id_, text in sent.items():
            if text == own[id_] or (text.startswith(TOMBSTONE) and not text.startswith(LINES_TOMBSTONE)):
                continue
            lines = text.split("\n")
            shown = [one for one in self.elisions[id_] if one.note in lines]
            gone = [line for line in lines if line.startswith(LINES_TOMBSTONE)]
            assert len(shown) + len(gone) == len(self.elisions[id_])
            for one in shown:
                there = "\n".join(own[one.target].split("\n")[one.target_first :][: one.lines])
                assert there in sent[one.target], "a pointer leads to what the request does not show"
            if not gone:
                assert restore_elided_text(text, shown, own) == own[id_]
            pointers += len(shown)
        return pointers


@pytest.fixture(scope="module")
def daemon():
    made = DaemonProcess(CTXGC_PACER__WINDOW_MAX_TOKENS=str(LIMIT_TOKENS))
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture(scope="module")
def stage(daemon):
    with Stage(DaemonClient(daemon.socket), wait_s=5.0, references=True) as made:
        yield made


@pytest.mark.parametrize("make", AGENTS)
def test_a_file_that_is_read_again_goes_up_as_a_pointer_in_the_request_that_first_carries_it(stage, make):
    session = Session(stage, make)
    session.ask()
    session.read(0, file_text("a"))
    sent = session.read(1, file_text("a"))

    assert results_of(session.agent.wire, sent)["call_1_0"].startswith("[ctxgc: lines 1-60 unchanged, see ")
    assert session.check() == 1


@pytest.mark.parametrize("make", AGENTS)
def test_of_two_reads_in_one_turn_the_second_points_to_the_first(stage, make):
    session = Session(stage, make)
    session.ask()
    session.read(0, file_text("b", 0, 20))
    sent = session.read(1, file_text("a"), file_text("a", 10, 40))

    results = results_of(session.agent.wire, sent)
    assert results["call_1_0"] == file_text("a")
    assert results["call_1_1"].startswith("[ctxgc: lines 11-50 unchanged, see ")


@pytest.mark.parametrize("make", AGENTS)
def test_a_request_that_is_sent_again_has_the_same_bytes(stage, make):
    session = Session(stage, make)
    session.ask()
    session.read(0, file_text("a"))
    first = session.read(1, file_text("a"))

    assert session.ask() == first
    assert session.ask() == first


SLICES = st.tuples(st.sampled_from("abc"), st.integers(0, 12).map(lambda n: 10 * n), st.integers(5, 70))
TEXTS = st.tuples(SLICES, st.frozensets(st.integers(0, 150), max_size=3)).map(lambda one: file_text(*one[0], one[1]))
TURNS = st.lists(st.lists(TEXTS, min_size=1, max_size=3), min_size=2, max_size=9)


@pytest.mark.parametrize("make", AGENTS)
@effort(6)
@given(turns=TURNS)
def test_whatever_is_read_and_collected_pointers_lead_to_every_byte_and_only_collections_edit(stage, make, turns):
    session = Session(stage, make)
    session.ask()
    for number, texts in enumerate(turns):
        session.read(number, *texts)
        session.check()

    for (_, before), (_, after) in pairwise(session.sent):
        if before.count(TOMBSTONE.encode()) == after.count(TOMBSTONE.encode()):
            assert list_of(after)[: len(list_of(before))] == list_of(before)
    assert stage.upstream.refused == []


@pytest.mark.parametrize("make", AGENTS)
def test_after_a_restart_of_the_gateway_pointers_stand_as_they_stood(daemon, make):
    with Stage(DaemonClient(daemon.socket), wait_s=5.0, references=True) as stage:
        session = Session(stage, make)
        session.ask()
        session.read(0, file_text("a"))
        before = session.read(1, file_text("a"))
    with Stage(DaemonClient(daemon.socket), wait_s=5.0, references=True) as stage:
        session.stage = stage

        assert list_of(session.ask()) == list_of(before)


@pytest.mark.parametrize("make", AGENTS)
def test_a_fork_of_a_session_goes_on_with_the_bytes_of_the_session(stage, make):
    session = Session(stage, make)
    session.ask()
    for number in range(4):
        session.read(number, file_text("ab"[number % 2], 0, 30 + number))
    fork = Session(stage, make)
    fork.agent = session.agent

    before = list_of(session.sent[-1][1])
    forked = list_of(fork.read(9, file_text("c")))

    assert forked[: len(before)] == before
    assert json.dumps(before).count("[ctxgc: lines") >= 2


def test_a_gateway_without_its_daemon_sends_every_result_whole():
    with Stage(DaemonClient("/nowhere/ctxgc.sock"), references=True) as stage:
        session = Session(stage, ClaudeAgent)
        for number in range(3):
            session.agent.take(ANSWERS[session.agent.wire](f"call_{number}", 0, (0, 0, 0)), 0)
            stage.send(session.agent.path, session.agent.body(), session.headers)

            assert stage.upstream.last == session.agent.body()


class Meddler(DaemonClient):
    """A daemon whose answers to `window.enter` a test replaces."""

    answers = None

    async def call(self, method, params, timeout_s):
        if method == "window.enter" and self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            if answer is not None:
                return answer
        return await super().call(method, params, timeout_s)


@pytest.mark.parametrize("make", AGENTS)
def test_a_result_that_went_up_whole_because_the_daemon_was_late_stays_whole(daemon, make):
    link = Meddler(daemon.socket)
    with Stage(link, wait_s=5.0, references=True) as stage:
        session = Session(stage, make)
        session.ask()
        session.read(0, file_text("a"))
        pointer = [0, 60, "call_0_0", 0, 0, 9, "[ctxgc: lines 1-60 unchanged]"]
        link.answers = [TimedOut("late"), {"elisions": {"call_1_0": [pointer]}}]
        read(session.agent, 1, [file_text("a")])
        own = session.agent.body()
        stage.send(session.agent.path, own, session.headers)  # Before the daemon has heard of it.
        first = stage.upstream.last
        stage.send(session.agent.path, own, session.headers)
        again = stage.upstream.last
        stage.settle()

        assert first == again == own
        assert session.ask() == own
        assert stage.counters.late_entries == 1


@pytest.mark.parametrize("target", ["call_9_9", "call_1_0"])
def test_a_pointer_to_what_the_request_does_not_show_is_not_taken(daemon, target):
    link = Meddler(daemon.socket)
    with Stage(link, wait_s=5.0, references=True) as stage:
        session = Session(stage, ClaudeAgent)
        session.ask()
        session.read(0, file_text("a"))
        link.answers = [{"elisions": {"call_1_0": [[0, 60, target, 0, 0, 99, "[ctxgc: lines 1-60 unchanged]"]]}}]

        sent = session.read(1, file_text("b"))

        assert results_of(session.agent.wire, sent)["call_1_0"] == file_text("b")


@pytest.mark.parametrize("make", AGENTS)
def test_pointers_behind_the_last_tombstone_stand_where_the_list_has_to_be_read_whole(stage, make):
    session = Session(stage, make)
    session.ask()
    for number in range(12):
        session.read(number, file_text("abcdefghijkl"[number]), file_text("abcdefghijkl"[number], 5, 40))
    last = session.sent[-1][1]
    [known] = [one for one in stage.running.syncer._sessions.values() if one.identity.session in str(session.headers)]
    for branch in known.branches.values():
        branch.head = None

    assert TOMBSTONE.encode() in last
    assert b"[ctxgc: lines" in last
    assert list_of(session.ask()) == list_of(last)
