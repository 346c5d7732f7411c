"""The server's own lists hold a session's texts, which can neither begin a line of them nor close the frame."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.frame import END, HEAD
from ctxgc.fronts.mcp.resources import SEGMENTS_LISTED, SESSIONS_URI, Resources
from ctxgc.fronts.mcp.scope import Scope
from ctxgc.fronts.mcp.tools import Tools
from ctxgc.protocol.record import Record

HOSTILE = st.lists(
    st.sampled_from([END, HEAD, "\n", "\r", "\u2028", "\x85", "\x1b[2J", "\u202e", "a"]) | st.text()
).map("".join)


def asked(text, ask):
    """What is said where every text of a session and its segment is this text."""
    row = {"session": text, "title": text, "project": "/own", "parent": "", "updated_s": 1.0}
    segment = {"id": text, "label": text, "state": "evicted", "tokens": 1, "session": text, "project": "/own"}
    hit = segment | {"snippet": text, "score": 1.0, "wall_s": 1.0}
    replies = {
        "config.get": {"config": {"mcp": {"projects": "own"}}},
        "session.list": {"sessions": [row]},
        "session.show": row,
        "segment.list": {"segments": [segment | {"kind": "user"}], "next_offset": -1, "total": 1},
        "stash.search": {"hits": [hit], "next_offset": -1, "notes": []},
    }

    def call(method, params):
        return json.loads(json.dumps(replies[method]), object_hook=Record)

    scope = Scope(call, "/own", {})
    tools = Tools(call, scope)
    return ask(Resources(call, scope, tools), tools)


def read(uri):
    return lambda resources, tools: resources.read({"uri": uri})["contents"][0]["text"]


@given(text=HOSTILE)
def test_a_text_takes_a_single_line_of_a_list(text):
    for ask in (read(SESSIONS_URI), read("ctxgc://session/x")):
        head, header, *lines, end = asked(text, ask).splitlines()
        assert (head, end) == (HEAD, END)
        assert header.startswith("[ctxgc ")
        assert len(lines) == 1
        assert lines[0].startswith("1|")


@given(text=HOSTILE)
def test_a_hit_takes_a_line_and_its_snippet_another(text):
    head, _, *lines, end = asked(text, lambda resources, tools: tools.search("x")).splitlines()

    assert (head, end) == (HEAD, END)
    assert 1 <= len(lines) <= 2


@given(text=HOSTILE)
def test_a_resources_name_and_title_hold_no_bracket_and_no_line_end(text):
    listed = asked(text, lambda resources, tools: resources.list({}))["resources"][1]

    for shown in (listed["name"], listed["title"]):
        assert not set("[]") & set(shown)
        assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize("total", [1, SEGMENTS_LISTED, SEGMENTS_LISTED + 1, 3 * SEGMENTS_LISTED])
def test_the_pages_of_a_session_have_each_segment_once_and_each_names_the_next(total):
    ids = [f"id-{number}" for number in range(total)]

    def call(method, params):
        at, behind = params.get("offset", 0), params.get("offset", 0) + params.get("limit", 0)
        rows = [{"id": id, "label": "x", "kind": "user", "state": "evicted", "tokens": 1} for id in ids[at:behind]]
        replies = {
            "config.get": {"config": {"mcp": {"projects": "own"}}},
            "session.show": {"session": "client:s", "project": "/own", "parent": ""},
            "segment.list": {"segments": rows, "next_offset": behind if behind < total else -1, "total": total},
        }
        return json.loads(json.dumps(replies[method]), object_hook=Record)

    scope = Scope(call, "/own", {})
    resources = Resources(call, scope, Tools(call, scope))
    uri, seen = "ctxgc://session/client%3As", []
    while uri:
        text = resources.read({"uri": uri})["contents"][0]["text"]
        seen += re.findall(r"(?m)^[0-9]+\|(id-[0-9]+) ", text)
        uri = next(iter(re.findall(r"the next: (\S+)", text)), "")

    assert seen == ids
