"""Requests in Anthropic's format without breakpoints, at a provider that then caches nothing, and at another
provider."""

import json

import pytest

from tests.daemon.harness import DaemonProcess
from tests.gateway.agent import ClaudeAgent
from tests.gateway.cached_prompt import plain
from tests.gateway.stage import CLAUDE, MESSAGES, Stage
from tests.gateway.test_unknown_cache import Tapped, cost_of
from tests.gateway.upstream import Upstream

TURNS = 70


class SharedPrefix(Upstream):
    """Reads the beginning that two requests share, and sells writes at the price of input."""

    def _bill(self, wire, asked, session):
        return super()._bill("openai_chat", asked, session)


def bodies():
    agent = ClaudeAgent(size=8000)
    for number in range(TURNS):
        agent.run(1, number)
        yield json.dumps(plain(json.loads(agent.body()))).encode()


def costs(upstream):
    """The cost of each request, straight and through ctxgc, and the session as the daemon shows it."""
    straight, through = upstream(), upstream(keeps=False)
    for body in bodies():
        straight._bill("anthropic_messages", json.loads(body), "straight")
    daemon = DaemonProcess().start()
    try:
        with Stage(Tapped(daemon.socket), upstream=through, wait_s=5.0) as stage:
            for body in bodies():
                stage.send(MESSAGES, body, CLAUDE)
                stage.settle()
        shown = daemon.call("session.show", session=f"claude_code:{CLAUDE['x-claude-code-session-id']}")
    finally:
        daemon.close()
    assert not through.refused
    return [cost_of(one) for one in straight.billed], [cost_of(one) for one in through.billed], shown


@pytest.mark.slow
def test_a_session_without_breakpoints_is_collected_as_a_session_of_which_nothing_is_cached():
    straight, ours, shown = costs(Upstream)

    assert sum(ours) < 0.6 * sum(straight)
    assert shown["next_collection"]["words"].startswith("no prompt is cached")


@pytest.mark.slow
def test_a_provider_that_caches_without_breakpoints_is_known_by_its_bills_and_its_cache_is_not_broken():
    straight, ours, shown = costs(SharedPrefix)

    assert sum(ours) < 0.85 * sum(straight)
    assert max(sum(ours[:n]) / sum(straight[:n]) for n in range(6, TURNS)) < 1.05
    assert "no prompt is cached" not in shown["next_collection"]["words"]
