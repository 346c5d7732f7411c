"""Long results on the wire: what is left out at birth stays left out, byte for byte, and the stash has it."""

from functools import partial
from itertools import pairwise

import pytest

from ctxgc.core.entry.elisions import restore_elided_text
from ctxgc.gateway.daemon_client import DaemonClient
from tests.daemon.harness import DaemonProcess
from tests.gateway.stage import Stage
from tests.gateway.test_entry import AGENTS, Session, file_text, list_of, read, results_of
from tests.gateway.test_way_back import CLAUDE_TOOL

NOTE = "[left out by ctxgc: lines "


@pytest.fixture(scope="module")
def daemon():
    made = DaemonProcess(CTXGC_ENTRY__SHORTEN="on")
    try:
        yield made.start()
    finally:
        made.close()


def stage_of(daemon):
    return Stage(DaemonClient(daemon.socket), wait_s=5.0, references=True)


@pytest.mark.parametrize("tools", [[], [CLAUDE_TOOL]])
@pytest.mark.parametrize("make", AGENTS)
def test_a_long_result_goes_up_short_from_its_first_request_on_and_after_a_restart(daemon, make, tools):
    text = file_text("a", 0, 200)
    with stage_of(daemon) as stage:
        session = Session(stage, partial(make, tools=tools) if tools else make)
        session.ask()
        session.read(0, "nothing")
        first = session.read(1, text)
        session.read(2, "nothing more")
        requests = [list_of(sent) for _, sent in session.sent]
        shown = results_of(session.agent.wire, first)["call_1_0"]

        assert NOTE in shown
        assert restore_elided_text(shown, session.elisions["call_1_0"], {"": text}) == text
        for before, after in pairwise(requests):
            assert after[: len(before)] == before
        assert stage.upstream.refused == []
    with stage_of(daemon) as stage:
        session.stage = stage

        assert list_of(session.ask()) == requests[-1]


@pytest.mark.parametrize("make", AGENTS)
def test_a_model_that_calls_again_sees_every_line(daemon, make):
    text = file_text("a", 0, 200)
    with stage_of(daemon) as stage:
        session = Session(stage, make)
        session.ask()
        session.read(0, "nothing")
        session.read(1, text)
        read(session.agent, 2, [text])
        last = results_of(session.agent.wire, session.ask())

    shown = "\n".join([last["call_1_0"], last["call_2_0"]]).split("\n")
    assert set(text.split("\n")) <= set(shown)
    assert NOTE not in last["call_2_0"]
