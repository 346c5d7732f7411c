"""`ctxgc status`: the session at hand, on a screen, as JSON, or on a line that is always printed."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctxgc.fronts.cli import gateway_status
from tests.fronts import replies
from tests.fronts.fake_daemon import Refusal

ROOT = Path(__file__).parents[2]
LINE_S = 1.0
"""Of a line on a busy machine; it takes a twentieth of it."""
WAITS = {"state": "growing", "words": "looks again after 1.2 k more evictable tokens; cold in 3 min",
         "grown_tokens": 800, "due_tokens": 2000, "cold_in_s": 180.0, "limit_tokens": 0}  # fmt: skip
ON = replies.SHOW | {
    "gateway": "on", "rendered_by": "gateway", "cache_hit_rate": 0.94, "faults": 2, "next_collection": WAITS,
    "last_collection": replies.journal(3, trigger="value", actual_cost=-4100.0),
}  # fmt: skip
SHADOW = ON | {"gateway": "shadow", "rendered_by": "agent", "last_collection": replies.journal(3)}


def of(show):
    return {"stats": replies.STATS, "session.show": show}


def test_the_screen_says_what_is_out_what_it_cost_and_what_the_next_collection_waits_for(daemon, run):
    page = run(daemon(of(ON)), "status").out

    assert "4.8 k tokens" in page
    assert "3.6 k evictable, 1.2 k proven garbage" in page  # 3,000 and 1,000 raw, at 1.2 billed for each.
    assert "1.4 k tokens are out of it" in page
    assert "94% of the prompt tokens" in page
    assert "evicted 3, freed 1.8 k; saves 6.2 k predicted, saves 4.9 k by the bill" in page
    assert "looks again after 1.2 k more evictable tokens; cold in 3 min" in page


def test_what_the_host_dropped_is_offered_and_nothing_is_said_where_nothing_was(daemon, run):
    dropped = ON | {"departed": 212, "departed_tokens": 84_000}

    assert "212 segments, 84.0 k raw tokens, by the host; `ctxgc rehydrate`" in run(daemon(of(dropped)), "status").out
    assert "dropped" not in run(daemon(of(ON)), "status").out


def test_in_shadow_nothing_is_said_to_have_left(daemon, run):
    page = run(daemon(of(SHADOW)), "status").out

    assert "would be out of it" in page
    assert "would have evicted 3" in page
    assert "by the bill" not in page
    assert "`ctxgc mode on`" in page


def test_a_session_that_was_named_and_is_not_there_is_refused_and_so_is_a_daemon_at_fault(daemon, run):
    none, ill = Refusal("not_found", "no session 'x'", "`ctxgc sessions` lists them"), Refusal("storage_failed", "ill")

    assert "no session 'x'" in run(daemon(of(none)), "status", "--session", "x").err
    assert "ill" in run(daemon(of(ill)), "status").err
    assert "no session of this directory yet" in run(daemon(of(none)), "status").out
    empty = of(none) | {"stats": replies.STATS | {"sessions": 0}}
    assert "`ctxgc import PATH` reads a transcript" in run(daemon(empty), "status").out


def test_json_holds_the_daemon_and_the_session_or_null(daemon, run):
    known, none = daemon(of(ON)), daemon(of(Refusal("not_found", "no session")))

    assert json.loads(run(known, "status", "--json").out) == replies.STATS | {"window": ON, "gateways": []}
    assert json.loads(run(none, "status", "--json").out) == replies.STATS | {"window": None, "gateways": []}


@pytest.mark.parametrize(
    ("show", "line"),
    [
        (ON, "ctxgc on · 4.8 k tokens · 1.4 k freed · 94% cached · 2 faults · next in 1.2 k"),
        (SHADOW | {"faults": 0}, "ctxgc shadow · 4.8 k tokens · 1.4 k could go · 94% cached · next in 1.2 k"),
        (ON | {"next_collection": WAITS | {"state": "cold"}, "faults": 0, "freed_tokens": 0},
         "ctxgc on · 4.8 k tokens · 94% cached · next request: cold"),
        (replies.SHOW | {"freed_tokens": 0}, "ctxgc watching · 4.8 k tokens"),
    ],
)  # fmt: skip
def test_a_line_says_mode_window_and_next_and_nothing_that_is_not_known(show, line, daemon, run):
    assert run(daemon(of(show)), "status", "--line").out == line + "\n"


def test_what_was_planned_of_a_session_that_is_only_watched_is_still_in_its_agents_window(daemon, run):
    server = daemon(of(replies.SHOW))

    # 4,000 raw tokens stay by plan and 1,200 could go, at 1.2 billed for each.
    assert run(server, "status", "--line").out == "ctxgc watching · 6.2 k tokens · 1.4 k could go\n"
    page = run(server, "status").out
    assert "6.2 k tokens" in page
    assert "1.4 k tokens would be out of it" in page


@pytest.mark.parametrize(
    ("replied", "line"),
    [
        (Refusal("not_found", "no session"), "ctxgc: no session"),
        (Refusal("busy", "later"), "ctxgc: busy"),
        (Refusal("storage_failed", "the disk"), "ctxgc: storage_failed"),
    ],
)
def test_a_line_is_printed_whatever_is_wrong(replied, line, daemon, run):
    ran = run(daemon({"session.show": replied}), "status", "--line")

    assert (ran.code, ran.out, ran.err) == (0, line + "\n", "")


def test_a_line_without_a_daemon_starts_none(run, tmp_path):
    ran = run(tmp_path / "none.sock", "status", "--line")

    assert (ran.code, ran.out) == (0, "ctxgc: not running\n")


def test_a_line_shows_the_session_that_claude_code_names(daemon, run, monkeypatch):
    server = daemon(of(ON))
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"session_id": "6f0c", "cwd": "/p"}'))

    run(server, "status", "--line", "--stdin")

    assert server.params("session.show") == {"session": "claude_code:6f0c"}


@pytest.mark.parametrize("told", ["", "no JSON", "[]", '{"session_id": 7}'])
def test_a_line_of_whoever_names_no_session_is_of_this_directorys(told, daemon, run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    server = daemon(of(ON))
    monkeypatch.setattr(sys, "stdin", io.StringIO(told))

    run(server, "status", "--line", "--stdin")

    assert server.params("session.show") == {"cwd": str(tmp_path)}


def test_a_line_is_there_at_once(daemon):
    server = daemon(of(ON))
    command = [sys.executable, "-S", "-m", "ctxgc.fronts.cli.main", "status", "--line", "--socket", server.path]
    started_s = time.monotonic()

    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)

    assert done.stdout.startswith("ctxgc on")
    assert time.monotonic() - started_s < LINE_S


def test_a_session_that_is_no_longer_followed_says_so_and_why(daemon, run, monkeypatch):
    def found(_folder, reasons):
        status = {"mode": "on", "modes": {}, "not_followed": reasons}
        return [{"pid": 1, "url": "http://127.0.0.1:8787", "since_s": 0.0, "status": status}]

    name = replies.SHOW["session"]
    monkeypatch.setattr(gateway_status, "gateways_with_status", lambda folder: found(folder, {name: "not_understood"}))
    page = run(daemon(of(ON)), "status").out
    assert "not followed: its last request went on as it came (not understood)" in page
    assert "looks again" not in page

    monkeypatch.setattr(
        gateway_status, "gateways_with_status", lambda folder: found(folder, {"codex:other": "not_understood"})
    )
    assert "looks again" in run(daemon(of(ON)), "status").out


@pytest.mark.parametrize(("mode", "said"), [("on", "$1.25 saved"), ("shadow", "$1.25 would be saved")])
def test_the_screen_speaks_in_dollars_where_the_models_price_is_known_and_says_whose_price(mode, said, daemon, run):
    price = {"model": "claude-opus-5", "input_usd": 5.0, "output_usd": 25.0, "as_of": "2026-11"}
    show = replies.SHOW | {"gateway": mode, "saved_usd": 1.25, "collections": 2, "price": price}

    ran = run(daemon(of(show)), "status")

    assert said in ran.out
    assert "claude-opus-5 at $5.00 for a million input tokens, the list price of 2026-11" in ran.out
    assert "$" not in run(daemon(of(show | {"saved_usd": None, "price": None})), "status").out
