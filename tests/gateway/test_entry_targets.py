"""Targets that leave a list, or are others than they were: no request points at what it does not show."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.gateway.daemon_client import DaemonClient
from tests.daemon.harness import DaemonProcess
from tests.effort import effort
from tests.gateway.agent import ClaudeAgent, ResponsesAgent
from tests.gateway.stage import Stage
from tests.gateway.test_entry import AGENTS, LIMIT_TOKENS, Session, file_text, read, results_of

CLEARED = "[Old tool result content cleared]"


@pytest.fixture(scope="module")
def daemon():
    made = DaemonProcess(CTXGC_PACER__WINDOW_MAX_TOKENS=str(10 * LIMIT_TOKENS))
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture(scope="module")
def stage(daemon):
    with Stage(DaemonClient(daemon.socket), wait_s=5.0, references=True) as made:
        yield made


def list_in(agent):
    return agent.input if isinstance(agent, ResponsesAgent) else agent.messages


def clear(agent, number):
    """The host takes the text out of an old result."""
    call_id = f"call_{number}_0"
    for item in list_in(agent):
        if item.get("call_id") == call_id and "output" in item:
            item["output"] = CLEARED
        if item.get("tool_call_id") == call_id:
            item["content"] = CLEARED
        for block in item["content"] if isinstance(item.get("content"), list) else ():
            if block.get("tool_use_id") == call_id:
                block["content"] = CLEARED


def drop_turn(agent, number):
    """The host drops a turn of its list."""
    elements = list_in(agent)
    elements[:] = [one for one in elements if f"call_{number}_" not in json.dumps(one)]


@pytest.mark.parametrize("make", AGENTS)
def test_after_a_rewind_no_pointer_leads_to_what_the_rewind_took(stage, make):
    session = Session(stage, make)
    session.ask()
    session.read(0, file_text("b"))
    length = len(list_in(session.agent))
    session.read(1, file_text("a"))
    del list_in(session.agent)[length:]
    session.read(2, file_text("a"))

    session.check()
    assert results_of(session.agent.wire, session.sent[-1][1])["call_2_0"] == file_text("a")


@pytest.mark.parametrize("make", AGENTS)
@pytest.mark.parametrize("change", [drop_turn, clear])
@pytest.mark.parametrize("is_held", [True, False], ids=["held", "new"])
def test_a_target_that_the_host_takes_is_pointed_at_by_nothing(stage, make, change, is_held):
    session = Session(stage, make)
    session.ask()
    session.read(0, file_text("a"))
    session.read(1, file_text("b"))
    if is_held:
        session.read(2, file_text("a"))
    change(session.agent, 0)
    for number in (3, 4):
        session.read(number, file_text("a", 0, 59) if number == 3 else file_text("c"))
        results = results_of(session.agent.wire, session.sent[-1][1])
        assert ("call_2_0" not in results) or results["call_2_0"] == file_text("a")
        if not is_held:
            assert results["call_3_0"] == file_text("a", 0, 59)


@pytest.mark.parametrize("make", AGENTS)
def test_another_session_with_the_same_ids_gets_no_pointers_of_this_one(stage, make):
    one = Session(stage, make)
    one.ask()
    one.read(0, file_text("a"))
    one.read(1, file_text("a"))
    assert one.check() == 1

    other = Session(stage, make)
    read(other.agent, 0, [file_text("b")])
    read(other.agent, 1, [file_text("a")])
    other.ask()
    other.ask()

    assert results_of(other.agent.wire, other.sent[-1][1])["call_1_0"] == file_text("a")


@pytest.mark.parametrize("is_held", [True, False], ids=["held", "new"])
def test_a_target_that_the_host_orders_the_server_to_clear_is_pointed_at_by_nothing(stage, is_held):
    clears = {"type": "clear_tool_uses_20250919", "trigger": {"type": "tool_uses", "value": 2}}
    orders = {"context_management": {"edits": [clears | {"keep": {"type": "tool_uses", "value": 2}}]}}
    session = Session(stage, ClaudeAgent)
    session.ask(**orders)
    session.read(0, file_text("a"), **orders)
    if is_held:
        session.read(1, file_text("a"), **orders)
        session.read(2, file_text("b"), **orders)
    else:
        session.read(1, file_text("b"), **orders)
        session.read(2, file_text("a"), **orders)
    session.read(3, file_text("c"), **orders)

    for number in (1, 2):
        own, sent = (results_of(session.agent.wire, body) for body in session.sent[-1])
        assert sent[f"call_{number}_0"] == own[f"call_{number}_0"]
    if not is_held:
        assert results_of(session.agent.wire, session.sent[-2][1])["call_2_0"] == file_text("a")


@pytest.mark.parametrize("make", AGENTS)
def test_a_call_id_that_a_rewind_freed_takes_no_pointer_of_its_first_use(stage, make):
    session = Session(stage, make)
    session.ask()
    session.read(100, file_text("a", 0, 20))
    length = len(list_in(session.agent))
    session.read(0, file_text("a", 0, 20))
    del list_in(session.agent)[length:]
    session.read(0, file_text("a", 10, 20))
    session.read(101, file_text("b"))

    own, sent = (results_of(session.agent.wire, body) for body in session.sent[-1])
    assert sent["call_0_0"] == own["call_0_0"]


@pytest.mark.parametrize("make", AGENTS)
def test_a_call_id_twice_in_a_list_leaves_the_first_result_as_it_went_upstream(stage, make):
    session = Session(stage, make)
    session.ask()
    session.read(2, file_text("c", 0, 25), file_text("c", 20, 20))
    session.read(101, file_text("a"))
    first = results_of(session.agent.wire, session.sent[-1][1])["call_2_1"]
    assert first != file_text("c", 20, 20)
    session.read(2, file_text("c", 0, 25), file_text("c", 20, 20))

    session.check()
    assert results_of(session.agent.wire, session.sent[-1][1])["call_2_1"] == first


SLICES = st.tuples(st.sampled_from("abc"), st.integers(0, 5).map(lambda n: 10 * n), st.integers(20, 70))
STEPS = st.tuples(st.sampled_from([None, None, 0.2, 0.6]), st.integers(0, 5), st.lists(SLICES, min_size=1, max_size=2))


@pytest.mark.parametrize("make", AGENTS)
@effort(6)
@given(steps=st.lists(STEPS, min_size=3, max_size=10))
def test_whatever_is_rewound_and_numbered_anew_pointers_lead_to_what_the_request_shows(stage, make, steps):
    session = Session(stage, make)
    session.ask()
    lengths = [len(list_in(session.agent))]
    for number, (rewind, again, slices) in enumerate(steps):
        if rewind is not None:
            lengths = lengths[: 1 + int(rewind * len(lengths))]
            del list_in(session.agent)[lengths[-1] :]
        session.read(again if rewind else 100 + number, *(file_text(*one) for one in slices))
        lengths.append(len(list_in(session.agent)))

        session.check()
    assert stage.upstream.refused == []
