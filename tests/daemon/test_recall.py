"""What a recall does to the window depends on who renders it, and the reply says which it was."""

import pytest

from tests.daemon.test_laws import a_session, states


@pytest.mark.parametrize(
    ("mode", "state", "says"),
    [
        ("client", "resident", "1 back in the window"),
        ("observe", "resident", "1 brought back here; your agent's own window is unchanged"),
        ("wire", "evicted", "1 read back; in the window its tombstone stays, or the prompt cache would break"),
    ],
)
async def test_a_recall_says_what_became_of_the_window(bench, mode, state, says):
    session = await a_session(bench)
    await bench.call("segment.evict", **session, ids=["call0"])
    await bench.call("session.set", **session, mode=mode)

    recalled = await bench.call("stash.recall", **session, id="call0")

    assert recalled["changed"] == says
    assert (await states(bench, **session))["call0"] == state
    assert recalled["faults"] == 1


async def test_recalling_what_is_in_the_window_is_no_fault_and_says_so(bench):
    session = await a_session(bench)

    recalled = await bench.call("stash.recall", **session, id="call0")

    assert recalled["changed"] == "it had not been evicted"
    assert recalled["faults"] == 0
