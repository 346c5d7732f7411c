"""Recorded sessions go through the client as the lists that their agents would send."""

import pytest

import ctxgc
from tests.client.stories import ANTHROPIC, MODELS, RESPONSES, results_of
from tests.daemon.harness import DaemonProcess

pytestmark = [pytest.mark.slow, pytest.mark.corpus]

CUTS = 8
BUDGET = 30_000
RECALLS = 3


@pytest.fixture(scope="module")
def recorded(corpus):
    daemon = DaemonProcess().start()
    daemon.call("import", paths=[str(corpus / agent) for agent in ("claude_code", "codex")])
    yield daemon
    daemon.close()


def lists_of(daemon):
    """(model API, the list) of each recorded session."""
    for source, api in (("claude_code", ANTHROPIC), ("codex", RESPONSES)):
        for row in daemon.call("session.list", source=source, limit=1000)["sessions"]:
            rendered = daemon.call("session.render", session=row["session"], format=api)["messages"]
            yield api, rendered["input" if api == RESPONSES else "messages"]


def prefixes(api, messages):
    """Beginnings of a list that an API takes: every call has its result."""
    step = max(len(messages) // CUTS, 1)
    for count in range(step, len(messages) + 1, step):
        begun = messages[:count]
        calls = {b["id"] for m in begun for b in blocks_of(m) if b.get("type") == "tool_use"}
        calls |= {m["call_id"] for m in begun if m.get("type") in ("function_call", "custom_tool_call")}
        if calls == results_of(begun).keys():
            yield begun


def blocks_of(message):
    content = message.get("content")
    return content if isinstance(content, list) else []


def calls_and_results(messages):
    """All that pairs a list's calls with its results, in order."""
    shapes = [[(b.get("type"), b.get("id"), b.get("tool_use_id")) for b in blocks_of(m)] for m in messages]
    return [(m.get("role"), m.get("type"), m.get("call_id"), shape) for m, shape in zip(messages, shapes, strict=True)]


@pytest.mark.parametrize("budget", [None, BUDGET])
def test_every_list_keeps_its_pairs_and_what_left_comes_back_exactly(recorded, budget):
    sessions = edited = recalled = 0
    with ctxgc.Client(recorded.socket, start_daemon=False, deadline_s=30.0) as client:
        for number, (api, messages) in enumerate(lists_of(recorded)):
            session = client.session(f"recorded-{number}-{budget}", model=MODELS[api], format=api)
            sessions, collected, begun = sessions + 1, None, []
            for begun in prefixes(api, messages):
                collected = session.collect(begun, budget=budget)
                edited += collected.is_edited
                assert collected.failure == ""
                assert collected.messages is begun or collected.is_edited
                assert calls_and_results(collected.messages) == calls_and_results(begun)
                client.flush()
            whole = results_of(begun)
            for body in (collected.evicted if collected else ())[:RECALLS]:
                recalled += bool(body.id)
                assert not body.id or session.recall(body.address) == whole[body.id]
    assert sessions == 40
    assert edited > 50
    assert recalled > 50
