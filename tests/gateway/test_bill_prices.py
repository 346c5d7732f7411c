"""What a bill says of the server that made it, and what the daemon is told of that."""

import pytest

from ctxgc.gateway.billing.usage import ReplyUsage
from ctxgc.gateway.identity.agent_session import Branch, ReplyProgress
from tests.gateway.agent import ResponsesAgent
from tests.gateway.stage import OPENAI, RESPONSES, ScriptedDaemon, Stage


@pytest.mark.parametrize(
    ("bills", "charges"),
    [
        ([], True),
        ([None], True),
        ([ReplyUsage(9000, 0, 0, 7)], False),
        ([ReplyUsage(100, 8000, 900, 7)], True),
        ([ReplyUsage(9000, 0, 0, 7), ReplyUsage(100, 9000, 0, 7)], False),
        ([ReplyUsage(9000, 0, 0, 7), None], False),
        ([ReplyUsage(9000, 0, 0, 7), ReplyUsage(0, 9000, 2000, 7)], True),
        ([ReplyUsage(0, 0, 9000, 7), ReplyUsage(1000, 9000, 0, 7)], True),
    ],
)
def test_a_bill_of_a_long_new_part_says_whether_writes_are_charged(bills, charges):
    branch = Branch("codex", "a")
    for usage in bills:
        branch.reply = ReplyProgress(usage)
        branch.update_charges_writes()

    assert branch.charges_writes is charges


def test_a_newer_model_at_a_server_that_charges_no_writes_is_priced_without_writes():
    with Stage(ScriptedDaemon()) as stage:
        agent = ResponsesAgent("Please read everything. " * 800)
        for number in range(3):
            stage.ask(RESPONSES, agent.body(model="gpt-6.2-sol"), OPENAI)
            agent.run(1, start=number)

        assert [told["profile"] for told in stage.daemon.told][:3] == ["openai_6_1", "openai", "openai"]
