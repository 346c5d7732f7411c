"""The MCP server's calls over a daemon that hangs up, dies, or is not there."""

import pytest

from ctxgc.fronts.cli.mcp import RETRY_PAUSES_S, DaemonLink
from ctxgc.protocol.blocking_client import TimedOut, Unreachable


class Shell:
    """A connection that breaks with each failure in turn, then answers."""

    def __init__(self, failures, *, connects=True):
        self.failures = list(failures)
        self.connects = connects
        self.is_connected = False
        self.calls = 0

    def call(self, method, params):
        self.calls += 1
        self.is_connected = self.connects
        if self.failures:
            raise self.failures.pop()
        return "reply"

    def close(self):
        self.is_connected = False


@pytest.mark.parametrize("hang_ups", range(len(RETRY_PAUSES_S) + 1))
def test_a_call_survives_a_daemon_that_hangs_up_while_it_dies(hang_ups):
    shell = Shell([Unreachable("the daemon hung up")] * hang_ups)

    assert DaemonLink(shell).call("session.list", {}) == "reply"
    assert shell.calls == hang_ups + 1


def test_where_no_daemon_can_be_had_or_one_is_late_a_call_fails_at_once():
    for failure, connects in ((Unreachable("no daemon"), False), (TimedOut("late"), True)):
        shell = Shell([failure] * 9, connects=connects)

        with pytest.raises(type(failure)):
            DaemonLink(shell).call("session.list", {})

        assert shell.calls == 1
        assert not shell.is_connected
