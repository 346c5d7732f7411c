"""The scope of the MCP server's tools, against a daemon that answers from every project whatever it is asked."""

import json
import re

import pytest

from ctxgc.core.redaction.redact import redact_text
from ctxgc.fronts.mcp.scope import OutOfScope, Scope
from ctxgc.fronts.mcp.tools import Tools
from ctxgc.protocol.blocking_client import CallFailed
from ctxgc.protocol.record import Record
from tests.core.made_secrets import issued

SECRET = "crimson-walrus"
OWN, OTHER, SIDE = "client:own", "client:other", "client:side"
MINE, THEIRS = "claude_code:mine", "claude_code:theirs"
ROWS = {
    OWN: {"session": OWN, "project": "/own", "parent": "", "updated_s": 2.0},
    OTHER: {"session": OTHER, "project": "/other", "parent": "", "updated_s": 3.0},
    MINE: {"session": MINE, "project": "/own", "parent": "", "updated_s": 1.5},
    THEIRS: {"session": THEIRS, "project": "/other", "parent": "", "updated_s": 3.0},
    SIDE: {"session": SIDE, "project": "", "parent": "own", "updated_s": 1.0},
}


class LeakyDaemon:
    """Takes no notice of `project`, and resolves every id to another project's segment."""

    def __init__(self, holder=OTHER, projects="own"):
        self.holder = holder
        self.projects = projects
        self.calls = []

    def __call__(self, method, params):
        self.calls.append((method, params))
        return json.loads(json.dumps(self.reply(method, params)), object_hook=Record)

    def reply(self, method, params):
        if method == "config.get":
            return {"config": {"mcp": {"projects": self.projects}}}
        if method == "session.list":
            return {"sessions": [row for row in ROWS.values() if row["project"] == params.get("project", "/other")]}
        if method == "session.show":
            if params["session"] not in ROWS:
                raise CallFailed("not_found", 0, f"no session; there is {OTHER} about {SECRET}")
            return ROWS[params["session"]]
        if method == "segment.get":
            return {"session": self.holder, "id": "i"}
        if method == "stash.search":
            hit = {"id": "i", "session": OTHER, "project": "/other", "label": SECRET, "state": "evicted", "tokens": 9}
            return {"hits": [hit | {"wall_s": 0.0, "score": 1.0, "snippet": SECRET}], "next_offset": -1}
        if method == "stash.recall":
            text = {"text": f"1|{SECRET}\n", "excerpts": [{"session": OTHER}], "notes": [SECRET], "next_line": 0}
            return text | {"tokens": 5}
        return {"changed": SECRET, "label": SECRET, "explanation": SECRET}


def used(daemon, tool, **arguments):
    tools = Tools(daemon, Scope(daemon, "/own", {}))
    return tools.call_tool({"name": tool, "arguments": arguments})


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search", {"query": "x"}),
        ("search", {"query": "x", "session": OTHER}),
        ("recall", {"query": "x"}),
        ("recall", {"id": "i"}),
        ("recall", {"around": "i", "session": OWN}),
        ("recall", {"id": "i", "session": "nobody"}),
        ("why", {"id": "i"}),
        ("pin", {"ids": ["i"]}),
        ("unpin", {"ids": ["i"], "session": OWN}),
        ("status", {"session": OTHER}),
    ],
)
def test_nothing_of_another_project_passes_whatever_the_daemon_answers(tool, arguments):
    daemon = LeakyDaemon()

    assert SECRET not in json.dumps(used(daemon, tool, **arguments))
    assert not [method for method, _ in daemon.calls if method in ("segment.pin", "segment.unpin", "heap.why")]


def test_no_segment_is_pinned_where_one_of_those_named_lies_outside():
    class Half(LeakyDaemon):
        def reply(self, method, params):
            inside = method == "segment.get" and params["id"] == "mine"
            return {"session": OWN, "id": "mine"} if inside else super().reply(method, params)

    daemon = Half()

    assert used(daemon, "pin", ids=["mine", "theirs"])["isError"]
    assert "segment.pin" not in [method for method, _ in daemon.calls]


def test_a_side_chain_without_a_project_is_in_its_parents():
    assert Scope(LeakyDaemon(), "/own", {}).resolve_session(SIDE) == SIDE


@pytest.mark.parametrize(("tool", "name"), [("search", "here"), ("recall", "cwd")])
def test_where_all_projects_are_open_the_first_root_is_the_folder_whose_project_comes_first(tool, name):
    daemon = LeakyDaemon(projects="all")
    scope = Scope(daemon, "/own", {})
    scope.set_roots(["file:///root/app"])

    Tools(daemon, scope).call_tool({"name": tool, "arguments": {"query": "x"}})

    [params] = [params for method, params in daemon.calls if method.startswith("stash.")]
    assert params[name] == "/root/app"
    assert not params.get("project")


def test_all_projects_are_open_where_the_users_configuration_says_so():
    assert SECRET in json.dumps(used(LeakyDaemon(projects="all"), "search", query="x"))


@pytest.mark.parametrize(("name", "current"), [("mine", MINE), ("theirs", OWN), ("", OWN)])
def test_an_agents_variable_names_its_own_session_and_never_one_outside(name, current):
    assert Scope(LeakyDaemon(), "/own", {"CLAUDE_CODE_SESSION_ID": name}).current_session() == current


class TwoProjects(LeakyDaemon):
    """Two projects with hits of every second rank each, and as many sessions."""

    def reply(self, method, params):
        if method not in ("stash.search", "session.list"):
            return super().reply(method, params)
        project, first = params["project"], params.get("offset", 0)
        ranks = range(0, 20, 2) if project == "/a" else range(1, 20, 2)
        chosen = list(ranks)[first : first + params["limit"]]
        if method == "session.list":
            rows = [{"session": f"client:{rank}", "project": project, "updated_s": 20.0 - rank} for rank in chosen]
            return {"sessions": rows}
        hits = [{"id": f"i{rank:02}", "session": "client:s", "project": project, "label": "l"} for rank in chosen]
        facts = {"state": "evicted", "tokens": 9, "wall_s": 0.0, "snippet": ""}
        scored = [hit | facts | {"score": 20.0 - rank} for hit, rank in zip(hits, chosen, strict=True)]
        return {"hits": scored, "next_offset": -1 if len(chosen) < params["limit"] else first + params["limit"]}


def test_pages_over_several_roots_neither_skip_nor_repeat():
    daemon = TwoProjects()
    scope = Scope(daemon, "/a", {})
    scope.set_roots(["file:///a", "file:///b"])
    tools, found, offset = Tools(daemon, scope), [], 0
    while True:
        text = tools.call_tool({"name": "search", "arguments": {"query": "x", "limit": 3, "offset": offset}})
        text = text["content"][0]["text"]
        found += re.findall(r"id (i\d\d)", text)
        offset += 3
        if "More:" not in text:
            break

    assert found == [f"i{rank:02}" for rank in range(20)]
    names = [row.session for start in range(0, 20, 6) for row in scope.newest_sessions(6, start)]
    assert names == [f"client:{rank}" for rank in range(20)]


FIRST, SECOND = (f"/w/{issued(seed)['github']}" for seed in (1, 2))
MARK = redact_text(FIRST)
IN_MARKED = {"session": "client:marked", "project": MARK, "parent": "", "updated_s": 2.0}


class MarkedDaemon(LeakyDaemon):
    """Has a session of the first folder, under the mark that both folders have; redacts params as the daemon does."""

    def reply(self, method, params):
        if method == "session.list":
            return {"sessions": [IN_MARKED] if redact_text(params["project"]) == MARK else []}
        if method == "session.show":
            return IN_MARKED
        if method in ("stash.search", "stash.recall"):
            reply = super().reply(method, params)
            for shown in (*reply.get("hits", ()), *reply.get("excerpts", ())):
                shown |= {"session": "client:marked", "project": MARK}
            return reply
        return super().reply(method, params)


@pytest.mark.parametrize("folder", [FIRST, SECOND, MARK])
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search", {"query": "x"}),
        ("search", {"query": "x", "session": "client:marked"}),
        ("recall", {"id": "i"}),
        ("recall", {"query": "x"}),
        ("status", {}),
    ],
)
def test_a_folder_with_a_credential_in_its_name_shows_no_session_and_says_why(folder, tool, arguments):
    daemon = MarkedDaemon(holder="client:marked")
    tools = Tools(daemon, Scope(daemon, folder, {}))

    result = tools.call_tool({"name": tool, "arguments": arguments})

    assert result["isError"]
    assert "has a credential" in result["content"][0]["text"]
    assert SECRET not in json.dumps(result)
    with pytest.raises(OutOfScope, match="has a credential"):
        Scope(daemon, folder, {}).newest_sessions(9)


def test_a_root_with_a_credential_in_its_name_leaves_the_other_roots_in_the_scope():
    scope = Scope(MarkedDaemon(), "/own", {})
    scope.set_roots([f"file://{FIRST}", "file:///own"])

    assert scope.projects() == ("/own",)


@pytest.mark.parametrize("roots", [[], ["https://example.org"], [None, "file:relative"]])
def test_where_the_client_has_closed_its_folders_only_the_one_of_the_start_is_left(roots):
    scope = Scope(LeakyDaemon(), "/own", {})
    scope.set_roots(["file:///other"])
    assert scope.projects() == ("/other",)

    scope.set_roots(roots)

    assert scope.projects() == ("/own",)
