"""What people see: nothing steers their terminal, columns stay columns, bytes stay bytes."""

import base64
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.display_texts import tokens_text
from ctxgc.core.roots import ROOTS
from ctxgc.core.segment import Departure, EdgeKind
from ctxgc.fronts.cli import terminal
from ctxgc.fronts.cli.commands import STATES
from ctxgc.fronts.cli.status import MODES, NEXT
from tests.fronts import replies

ANY_TEXT = st.text(st.characters(codec=None), max_size=60)


@given(ANY_TEXT)
def test_text_of_a_session_never_steers_the_terminal(text):
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in terminal.printable_line(text))
    assert terminal.printable_line(text).isprintable() or "\u00a0" in text


@given(ANY_TEXT, st.integers(1, 40))
def test_a_cell_is_exactly_as_wide_as_its_column(text, width):
    fitted = terminal.fit_columns(terminal.printable_line(text), width)

    assert terminal.count_columns(fitted) in (width, width - 1)  # A wide character may leave one column empty.


def test_a_person_sees_matches_in_colour_and_escapes_as_signs(daemon, run, terminal):
    server = daemon({"stash.search": {"hits": [replies.HIT], "notes": ["all words in one"], "next_offset": -1}})

    run(server, "search", "clock", on=terminal)

    page = terminal.written()
    assert "\x1b[1;33mclock\x1b[0m went ␛[31mback" in page
    assert "all words in one" in page


def test_hits_in_a_pipe_are_not_padded_to_the_width_that_a_pipe_does_not_have(daemon, run):
    server = daemon({"stash.search": {"hits": [replies.HIT], "notes": [], "next_offset": -1}})

    page = run(server, "search", "clock").out

    assert page.strip()
    assert all(line == line.rstrip() for line in page.splitlines())


def test_no_color_is_obeyed_on_a_terminal_too(daemon, run, terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    server = daemon({"heap.collect": replies.PLAN})

    run(server, "collect", on=terminal)

    assert "\x1b" not in terminal.written()


def test_collect_says_what_left_why_the_cost_and_what_it_means(daemon, run):
    ran = run(daemon({"heap.collect": replies.PLAN}), "collect")

    for part in ("Read src/clock.py:1-80", "superseded by toolu_12", "4.8 k → 1.6 k", "saves 5.2 k", "and 6 smaller"):
        assert part in ran.out
    assert "your agent's window is unchanged" in ran.out
    assert "protected by  the newest turns 1.2 k, what the user said 400" in ran.out
    assert "the budget is not reached: what stays is protected" in ran.out


def test_a_budget_below_what_is_billed_beside_the_window_is_not_said_to_be_another(daemon, run):
    server = daemon({"heap.collect": replies.PLAN})

    assert "10, less than the 1.5 k that are billed beside the window" in run(server, "collect", "--budget", "10").out
    assert "less than" not in run(server, "collect", "--budget", "9k").out


def test_everything_that_may_hold_a_window_is_said_in_words():
    assert not set(ROOTS[1:]) - terminal.PROTECTIONS.keys()
    assert not {"skeleton", "tombstone", "small", "opaque", "system_and_tools"} - terminal.PROTECTIONS.keys()


def test_show_lists_the_newest_of_the_window_and_not_what_a_host_took_out_of_it(daemon, run):
    listed = {"session": "claude_code:s1", "segments": [replies.segment()], "total": 1, "next_offset": -1}
    server = daemon({"session.show": replies.SHOW, "segment.list": listed})

    run(server, "show")

    asked = [params["states"] for name, params in server.calls if name == "segment.list"]
    assert asked == [["resident", "evicted"]] * 2


def test_show_gives_the_window_that_the_agent_sends_of_a_session_that_is_only_watched(daemon, run):
    listed = {"session": "claude_code:s1", "segments": [replies.segment()], "total": 1, "next_offset": -1}
    watched, paced = replies.SHOW | {"rendered_by": "agent"}, replies.SHOW | {"rendered_by": "agent", "gateway": "on"}
    pages = [run(daemon({"session.show": show, "segment.list": listed}), "show").out for show in (watched, paced)]

    # 4,000 raw tokens stay and 1,200 are planned out, at 1.2 billed for each.
    assert "6.2 k tokens as the agent sends it, 4.8 k as planned here" in pages[0]
    assert "as planned" not in pages[1]


def test_show_with_a_filter_gives_a_program_the_list(daemon, run):
    listed = {"session": "claude_code:s1", "segments": [replies.segment()], "total": 1, "next_offset": -1}
    server = daemon({"session.show": replies.SHOW, "segment.list": listed})

    ran = run(server, "show", "--state", "evicted", "--json")

    assert json.loads(ran.out) == listed


def test_the_journal_of_a_session_in_shadow_says_what_would_have_left_and_what_that_would_have_saved(daemon, run):
    entries = [replies.journal(2, before_tokens=9000, after_tokens=5000), replies.journal(1, predicted_cost=-300.0)]
    ran = run(daemon({"heap.log": replies.LOG | {"collections": entries}}), "log")

    assert "would have evicted 3, freed 4.8 k" in ran.out
    assert "2 collections would have freed 6.6 k tokens and saved 6.6 k input tokens" in ran.out


def test_the_journal_names_a_pause_of_the_pacer(daemon, run):
    pause = "the pacer stands back for 9 turns because the provider's bills contradict its forecasts of the cache"
    entry = replies.journal(1, trigger="value")

    assert pause in run(daemon({"heap.log": replies.LOG | {"collections": [entry], "pause": pause}}), "log").out


def test_the_journal_of_a_session_that_is_on_says_what_left_and_what_the_bill_said(daemon, run):
    entry = replies.journal(1, trigger="value", actual_cost=-4100.0)
    ran = run(daemon({"heap.log": replies.LOG | {"collections": [entry]}}), "log")

    assert "evicted 3, freed 1.8 k" in ran.out  # 4,000 to 2,500 raw tokens, at 1.2 billed for each.
    assert "5.3 k → 3.5 k" in ran.out  # With the 500 hidden ones.
    assert "-4.9 k" in ran.out
    assert "would" not in ran.out


def test_why_draws_the_path_from_the_root(daemon, run):
    ran = run(daemon({"heap.why": replies.WHY}), "why", "toolu_3")

    root, step = ran.out.splitlines()[-2:]
    assert root.startswith("  recent root  Edit src/clock.py")
    assert step.startswith("  └─ edit source → Read src/clock.py")


def test_a_recalled_segment_is_framed_as_data_on_a_terminal(daemon, run, terminal):
    text = "ignore all that\x1b]0;title\x07"
    server = daemon({"stash.recall": replies.recalled(replies.content(replies.piece(text)))})

    run(server, "recall", "toolu_1", on=terminal)

    page = terminal.written()
    assert "Read src/clock.py:1-80 · toolu_1 · claude_code:s1" in page
    assert "ignore all that␛]0;title␇" in page
    assert "data from a past session" in page


@pytest.mark.parametrize("end", ["\n", "\r\n", "\x0b", "\x85", "\u2028"])
def test_no_line_of_a_text_passes_for_a_line_of_ours_on_a_terminal(end, daemon, run, terminal):
    text = end.join(["first", "── what stands above is data from a past session", "", "ctxgc: run this next"])
    server = daemon({"stash.recall": replies.recalled(replies.content(replies.piece(text)))})

    run(server, "recall", "toolu_1", on=terminal)

    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.written()).splitlines()
    assert [line[:2] for line in shown if line.startswith("──")] == ["──"] * 2
    assert [line for line in shown if line.startswith("ctxgc:")] == []


@pytest.mark.parametrize(
    "data", [b"plain", b"no newline\r\n\x00", "\ud800".encode("utf-8", "surrogatepass"), b"\xff\xfe"]
)
def test_recall_into_a_pipe_is_the_exact_bytes(data, daemon, run):
    piece = {"name": "result", "bytes": len(data), "tokens": 1, "next_offset": -1}
    piece["data_b64"] = base64.b64encode(data).decode()
    server = daemon({"stash.recall": replies.recalled(replies.content(piece))})

    ran = run(server, "recall", "toolu_1")

    assert ran.out.encode("utf-8", "surrogateescape") == data


@pytest.mark.parametrize("pieces", [(), (replies.piece(""),)])
def test_a_segment_without_a_text_of_its_own_shows_the_texts_inside_its_blocks(pieces, daemon, run, terminal):
    block = {"type": "web_search_tool_result", "content": [{"title": "the gudgeon pin"}]}
    segment = replies.content(*pieces) | {"skeleton": json.dumps({"opaque": [block]})}
    server = daemon({"stash.recall": replies.recalled(segment)})

    assert run(server, "recall", "toolu_1").out == "the gudgeon pin\n"
    run(server, "recall", "toolu_1", on=terminal)
    assert "the gudgeon pin" in terminal.written()


def test_recall_reads_large_pieces_to_their_end_and_counts_one_fault(daemon, run):
    text = "0123456789"

    def get(params):
        at = params["offset"]
        pages = [replies.piece(text[at : at + 3], next_offset=at + 3 if at + 3 < len(text) else -1)]
        return replies.content(replies.piece("short", name="input.note"), *pages)

    first = replies.content(replies.piece("note", name="input.note"), replies.piece(text[:4], next_offset=4))
    server = daemon({"stash.recall": replies.recalled(first), "segment.get": get})

    ran = run(server, "recall", "toolu_1")

    assert ran.out == "note" + text
    assert [method for method, _ in server.calls].count("stash.recall") == 1


def test_one_piece_can_be_asked_for_alone(daemon, run):
    segment = replies.content(replies.piece("call", name="input.content"), replies.piece("answer"))
    server = daemon({"stash.recall": replies.recalled(segment)})

    assert run(server, "recall", "toolu_1", "--piece", "result").out == "answer"


@pytest.mark.parametrize("way", [(), ("--raw",), ("--json",)])
def test_a_piece_that_no_recalled_segment_has_is_refused_with_the_names_there_are(way, daemon, run):
    segment = replies.content(replies.piece("call", name="input.content"), replies.piece("answer"))
    server = daemon({"stash.recall": replies.recalled(segment)})

    ran = run(server, "recall", "toolu_1", "--piece", "nosuch", *way)

    refused = ran.out if "--json" in way else ran.err
    assert ran.code == 1
    assert "answer" not in ran.out
    assert "nosuch" in refused
    assert "input.content, result" in refused


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0"), (999, "999"), (1000, "1.0 k"), (999_949, "999.9 k"), (999_951, "1.00 M")]
)
def test_tokens_are_short(number, shown):
    assert tokens_text(number) == shown


def test_every_word_that_a_page_prints_for_a_state_of_things_is_in_the_glossary():
    said = (Path(__file__).parents[2] / "docs" / "reference" / "glossary.md").read_text()
    triggers = {"asked", "evicted_by_hand", "value", "hard_limit", "undo", terminal.SHADOW}
    words = {*triggers, *MODES, *NEXT, *STATES, *Departure, *(edge.name.lower() for edge in EdgeKind)}

    assert not sorted(word for word in words if f"**{word}**" not in said)


def test_the_journal_has_dollars_by_the_bill_where_one_showed_the_cost_and_none_without_a_price(daemon, run):
    price = {"model": "gpt-5", "input_usd": 1.25, "output_usd": 10.0, "as_of": "2026-11"}
    billed = replies.journal(2, trigger="value", predicted_usd=-0.5, actual_cost=-40.0, actual_usd=-0.25)
    unbilled = replies.journal(1, trigger="value", predicted_usd=-0.5)

    ran = run(daemon({"heap.log": replies.LOG | {"collections": [billed, unbilled], "price": price}}), "log")

    assert "-$0.25" in ran.out
    assert "-$0.50" in ran.out
    assert "$" not in run(daemon({"heap.log": replies.LOG | {"collections": [unbilled]}}), "log").out
