"""What the pacer has learned of a session outlives the process, in one short line of the session's row."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.pacing.fault_lessons import TOOLS_MAX, FaultCounts, FaultLessons
from ctxgc.core.pacing.provider_cache import SHARED_PREFIX, Prompt
from ctxgc.core.pacing.regret_budget import RegretAccount
from ctxgc.core.pacing.trust import Trust
from ctxgc.daemon.sessions.pacing_state import ENTRIES_STORED_MAX, decode_pacing, encode_pacing, is_readable_pacing
from ctxgc.daemon.sessions.provider_ledger import SentRequest
from ctxgc.daemon.sessions.request_ledger import RequestLedger
from tests.daemon.test_provider_ledger import BODY, Session, asked

ENTRIES = (
    "from tests.daemon.test_provider_ledger import asked\n"
    "session = asked(4)\nsession.ledger.settle_request(was_answered=True)\nprint(sorted(session.ledger.entries))"
)


def learned(turns=5):
    session = asked(turns)
    session.ledger.apply_bill(0, 9000)
    session.ledger.settle_request(was_answered=True)
    return session


def test_distrust_the_account_and_the_entries_are_there_again():
    session, account = (
        learned(),
        RegretAccount(5000.0, -40.0, 300, 7, FaultLessons(FaultCounts(0.5, 3.0), {"Read": FaultCounts(0.25, 2.0)})),
    )
    ledger = RequestLedger(trust=Trust(3, 16, 40), provider=session.ledger, is_account_real=True)

    resumed, again = decode_pacing(encode_pacing(ledger, account))

    assert (resumed.trust, again, resumed.is_account_real) == (ledger.trust, account, True)
    assert resumed.provider.entries == session.ledger.entries
    assert resumed.provider.anchors == session.ledger.anchors
    assert resumed.provider.overhead == session.ledger.overhead
    assert resumed.provider.provider == session.ledger.provider


def test_a_resumed_session_finds_the_prefixes_that_it_found_before():
    session = learned()
    expected = session.cache() if session.ledger.request else None
    resumed, _ = decode_pacing(encode_pacing(RequestLedger(provider=session.ledger), RegretAccount()))

    session.ledger = resumed.provider
    session.grow()
    session.ask()

    assert expected is None
    assert session.cache().read_tokens(5 * (BODY + 10)) == 5 * (BODY + 10)


def test_what_a_provider_was_learned_to_be_is_known_again():
    session = Session()
    session.grow()
    session.ask()
    session.ledger.request = SentRequest(Prompt(session.ledger.request.prompt.units), *session.ledger.request[1:3])
    session.ledger.apply_bill(2000, 0)

    resumed, _ = decode_pacing(encode_pacing(RequestLedger(provider=session.ledger), RegretAccount()))

    assert resumed.provider.provider == session.ledger.provider == SHARED_PREFIX


@pytest.mark.slow
def test_prefixes_are_the_same_in_every_process():
    told = {subprocess.run([sys.executable, "-c", ENTRIES], capture_output=True, check=True).stdout for _ in range(2)}

    assert len(told) == 1


def test_the_state_of_a_long_session_is_short():
    session = learned(300)

    state = encode_pacing(RequestLedger(provider=session.ledger), RegretAccount())

    assert len(decode_pacing(state)[0].provider.entries) == ENTRIES_STORED_MAX
    assert len(state) < 4096


@given(st.one_of(st.text(), st.sampled_from(["[]", "null", "7", '{"format":1}', '{"format":2,"trust":[1,2,3]}'])))
def test_a_state_that_cannot_be_read_is_none(text):
    ledger, account = decode_pacing(text)

    assert (ledger.trust, account) == (Trust(), RegretAccount())


@pytest.mark.parametrize("turns", [1, 3])
def test_entries_end_their_lives_while_a_session_sleeps(turns):
    session = learned(turns)
    resumed, _ = decode_pacing(encode_pacing(RequestLedger(provider=session.ledger), RegretAccount()))
    session.ledger, session.now_s = resumed.provider, session.now_s + 3600
    session.grow()

    session.ask()

    assert session.cache().read_tokens(turns * (BODY + 10)) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"trust": ["x"] * 3},
        {"trust": [2**60] * 3},
        {"account": [None] * 4},
        {"account": [1.0, 2.0, 3, 4, [[-1.0, 0.0], {}]]},
        {"account": [1.0, 2.0, 3, 4, [[0.0, 1.0], {"Read": [0.0, -0.5]}]]},
        {"account": [1.0, 2.0, 3, 4, [[0.0, 1.0], {"Read": [0.0, 1e300]}]]},
        {"account": [1.0, 2.0, 3, 4, [[0.0, 1.0], {str(n): [0.0, 0.0] for n in range(TOOLS_MAX + 1)}]]},
        {"frames": [0.0] * 8},
        {"frames": [1.0, 1e15, 1e15, 1e15, 1.0, 1.0, 0.02, 0], "model": 5},
        {"blocks": [-1, 0]},
        {"entries": [["p", "x", "y", "z"]]},
        {"format": 9},
    ],
)
def test_a_state_that_no_daemon_wrote_is_an_empty_one(change):
    state = json.loads(encode_pacing(RequestLedger(), RegretAccount(1.0, 2.0, 3, 4)))

    assert is_readable_pacing(json.dumps(state))
    assert not is_readable_pacing(json.dumps(state | change))
    assert decode_pacing(json.dumps(state | change)) == (RequestLedger(), RegretAccount())


def test_a_state_nested_without_end_is_an_empty_one():
    assert decode_pacing("[" * 100_000) == (RequestLedger(), RegretAccount())


def test_a_tools_name_that_no_text_may_hold_costs_no_state():
    account = RegretAccount(5000.0, -40.0, 300, 7).after_reread("\ud800x")

    resumed, again = decode_pacing(encode_pacing(RequestLedger(trust=Trust(3, 16, 40)), account))

    assert resumed.trust == Trust(3, 16, 40)
    assert again.lessons.session == account.lessons.session
