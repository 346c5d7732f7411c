"""`ctxgc limit`: sizes that a window is held to, and sizes that none can be held to."""

import json

import pytest

from tests.fronts import replies

WAITS = {"state": "limit", "words": "collects at its hard limit, in 55.2k tokens", "limit_tokens": 60_000}
HELD = replies.SHOW | {"gateway": "on", "next_collection": WAITS}


@pytest.mark.parametrize(("size", "tokens"), [("60k", 60_000), ("off", 2**40), ("unset", 0)])
def test_a_size_becomes_the_sessions_limit_and_the_page_says_which_is_in_force(size, tokens, daemon, run):
    server = daemon(
        {"heap.plan": replies.PLAN | {"protected_by": {}}, "session.set": replies.SESSION, "session.show": HELD}
    )

    ran = run(server, "limit", size)

    assert server.params("session.set")["window_max_tokens"] == tokens
    assert "60.0 k tokens" in ran.out


def test_a_size_below_what_must_stay_is_refused_with_the_names_of_what_holds_it(daemon, run):
    plan = replies.PLAN | {"after_tokens": 72_000, "protected_by": {"user": 30_000, "system": 42_000}}
    server = daemon({"heap.plan": plan, "session.set": replies.SESSION, "session.show": HELD})

    ran = run(server, "limit", "60k")

    assert ran.code == 1
    assert "72.0 k is protected: system prompts 42.0 k, what the user said 30.0 k" in ran.err
    assert not [name for name, _ in server.calls if name == "session.set"]
    assert run(server, "limit", "60k", "--force").code == 0


@pytest.mark.parametrize("size", ["5k", "100", "0", "-1", "many"])
def test_no_window_is_held_to_less_than_an_agents_instructions_take(size, daemon, run):
    ran = run(daemon({}), "limit", "--", size)

    assert ran.code == 2
    assert "tokens" in ran.err


def test_without_a_size_the_limit_in_force_is_said_and_nothing_is_set(daemon, run):
    server = daemon({"session.show": HELD})

    assert json.loads(run(server, "limit", "--json").out)["next_collection"]["limit_tokens"] == 60_000
    assert [name for name, _ in server.calls if name == "session.set"] == []


@pytest.mark.parametrize(
    ("protections", "advised"),
    [
        ({"user": 72_000}, ()),
        ({"user": 42_000, "pinned": 30_000}, ("fewer pins",)),
        ({"user": 42_000, "recalled": 30_000}, ("recently recalled",)),
    ],
)
def test_a_refused_limit_advises_only_against_protections_that_there_are(protections, advised, daemon, run):
    server = daemon({"heap.plan": replies.PLAN | {"after_tokens": 72_000, "protected_by": protections}})

    said = run(server, "limit", "60k").err

    hint = said.splitlines()[-1]
    assert tuple(way for way in ("fewer pins", "recently recalled") if way in hint) == advised


def test_on_a_session_that_is_only_watched_the_way_to_a_limit_is_the_gateway_and_no_mode(daemon, run):
    said = run(daemon({"session.show": HELD | {"gateway": ""}}), "limit").out
    shadowed = run(daemon({"session.show": HELD | {"gateway": "shadow"}}), "limit").out

    assert "`ctxgc run AGENT`" in said
    assert "ctxgc mode" not in said
    # 4,000 raw tokens stay by plan and 1,200 could go, at 1.2 billed for each.
    assert "the window has 6.2 k now" in said
    assert "`ctxgc mode on`" in shadowed
