"""A provider whose cache has a rule that ctxgc does not know: the bills are believed, not the model."""

import json

import pytest

from ctxgc.gateway.daemon_client import DaemonClient
from tests.daemon.harness import DaemonProcess
from tests.gateway.agent import ClaudeAgent
from tests.gateway.stage import CLAUDE, MESSAGES, Stage
from tests.gateway.upstream import READ, WRITE, Upstream

TURNS = 90


class Forgetful(Upstream):
    """Keeps what the last request left, and nothing older: no edit finds what stands in front of it."""

    def _bill(self, wire, asked, session):
        before = set(self._entries)
        bill = super()._bill(wire, asked, session)
        written = {prefix: entry for prefix, entry in self._entries.items() if prefix not in before}
        self._entries = written or self._entries
        return bill


class Tapped(DaemonClient):
    """Keeps what the daemon answered."""

    def __init__(self, path):
        super().__init__(path)
        self.answers = []

    async def call(self, method, params, timeout_s):
        answer = await super().call(method, params, timeout_s)
        if method == "window.sync":
            self.answers.append(answer)
        return answer


def bodies():
    agent = ClaudeAgent(size=8000)
    for number in range(TURNS):
        agent.run(1, number)
        yield agent.body()


@pytest.mark.slow
def test_distrust_outlives_a_daemon_that_was_killed_and_the_log_names_the_pause():
    session = f"claude_code:{CLAUDE['x-claude-code-session-id']}"
    daemon = DaemonProcess().start()
    try:
        with Stage(DaemonClient(daemon.socket), upstream=Forgetful(keeps=False), wait_s=5.0) as stage:
            for body in bodies():
                stage.send(MESSAGES, body, CLAUDE)
                stage.settle()
                before = daemon.call("heap.log", session=session).get("pause", "")
                if before:
                    break
        daemon.kill()
        daemon.start()
        after = daemon.call("heap.log", session=session).get("pause", "")
    finally:
        daemon.close()

    assert before.startswith("the pacer stands back for ")
    assert after == before


def cost_of(billed):
    return READ * billed.read + WRITE * billed.written + billed.plain


@pytest.mark.slow
def test_a_cache_with_another_rule_costs_101_percent_of_straight_and_what_the_first_three_cuts_lost():
    straight, upstream, predicted, lost = Forgetful(), Forgetful(keeps=False), None, []
    for body in bodies():
        straight._bill("anthropic_messages", json.loads(body), "straight")
    daemon = DaemonProcess().start()
    link = Tapped(daemon.socket)
    try:
        with Stage(link, upstream=upstream, wait_s=5.0) as stage:
            for body in bodies():
                seen = len(link.answers)
                stage.send(MESSAGES, body, CLAUDE)
                stage.settle()
                if predicted is not None:
                    lost.append((WRITE - READ) * max(predicted - upstream.billed[-1].read, 0))
                plans = [answer["plan"] for answer in link.answers[seen:] if answer.get("plan")]
                predicted = plans[-1]["predicted_read_tokens"] if plans else None
        shown = daemon.call("session.show", session=f"claude_code:{CLAUDE['x-claude-code-session-id']}")
    finally:
        daemon.close()

    ours, theirs = (sum(map(cost_of, one.billed)) for one in (upstream, straight))

    assert 1 <= sum(map(bool, lost)) <= 3, "the model is tried, and given up"
    assert ours <= 1.01 * theirs + sum(lost[:3])
    assert ours - sum(lost[:3]) < 0.95 * theirs, (
        "a cut that pays although the whole prompt is written again needs no model"
    )
    assert shown["next_collection"]["state"] in ("paused", "growing", "looking")
