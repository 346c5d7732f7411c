"""Requests that are sent again, and lists that change while a request waits."""

import pytest

from ctxgc.adapters.contract import ElidedResult
from ctxgc.gateway.body.list_tail import elided_spans, read_list_head
from ctxgc.gateway.body.request_body import read_body
from ctxgc.gateway.daemon_client import DaemonClient
from ctxgc.gateway.editing import sync_records
from ctxgc.gateway.editing.entry import EntryEditor
from ctxgc.gateway.editing.request_state import ModelCall
from ctxgc.gateway.identity.agent_session import AgentSession, Branch
from ctxgc.gateway.metrics import Counters
from ctxgc.gateway.settings import Settings
from tests.daemon.harness import DaemonProcess
from tests.gateway.agent import ClaudeAgent
from tests.gateway.stage import Stage
from tests.gateway.test_entry import AGENTS, LIMIT_TOKENS, Session, file_text, list_of, read, results_of


@pytest.fixture(scope="module")
def daemon():
    made = DaemonProcess(CTXGC_PACER__WINDOW_MAX_TOKENS=str(10 * LIMIT_TOKENS))
    try:
        yield made.start()
    finally:
        made.close()


@pytest.mark.parametrize("make", AGENTS)
def test_a_request_that_is_sent_again_needs_no_longer_wait(daemon, make):
    with Stage(DaemonClient(daemon.socket), wait_s=0.15, references=True) as stage:
        session = Session(stage, make)
        session.ask()
        session.read(0, file_text("a"))
        first = session.read(1, file_text("a"))

        assert session.check() == 1
        assert session.ask() == first


class MovingDaemon:
    """Answers `window.enter` after the answer to another request has changed the branch's list."""

    def __init__(self, branch, head):
        self.branch, self.head = branch, head

    async def call(self, method, params, timeout_s):
        self.branch.head = self.head
        return {"elisions": {}}


async def test_places_of_another_list_are_put_into_no_request():
    def noted(body):
        contents = read_body(body, "anthropic_messages", frozenset(), "claude_code")
        made = read_list_head(body, "anthropic_messages", contents.window, "", contents.digests)
        made.elided["call_0_0"] = elided_spans(contents.window, "call_0_0", ElidedResult(("[pointer]",)))
        return made

    agent = ClaudeAgent()
    read(agent, 0, [file_text("a")])
    branch = Branch("claude_code", "s")
    head, other = noted(agent.body()), noted(agent.body().replace(b"claude-x", b"claude-longer"))
    branch.head, branch.synced_ids = head, ("call_0_0",)
    read(agent, 1, [file_text("b")])
    call = ModelCall(session=AgentSession(("claude_code", "s")), wire=agent.wire, parts=[agent.body()], mode="on")
    editor = EntryEditor(
        MovingDaemon(branch, other), Counters(), lambda: Settings(port=0, upstreams={}, modes={}), None, None
    )

    entered = await editor.edit_tail_at_entry(call, branch, head.last_common_cut(call.body), None)

    assert entered is None or results_of(agent.wire, entered.body)["call_0_0"] == "[pointer]"


@pytest.mark.parametrize("make", AGENTS)
def test_a_fork_of_a_long_session_goes_on_with_the_bytes_of_the_session(daemon, make, monkeypatch):
    monkeypatch.setattr(sync_records, "NEW_BYTES_MAX", 2000)
    with Stage(DaemonClient(daemon.socket), wait_s=5.0, references=True) as stage:
        session = Session(stage, make)
        session.ask()
        for number in range(4):
            session.read(number, file_text("ab"[number % 2], 0, 30 + number))
        fork = Session(stage, make)
        fork.agent = session.agent

        before = list_of(session.sent[-1][1])
        assert list_of(fork.ask())[: len(before)] == before
        assert list_of(fork.read(9, file_text("c")))[: len(before)] == before
