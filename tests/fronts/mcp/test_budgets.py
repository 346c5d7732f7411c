"""What the tool `recall` brings back has no more tokens than its budget, whatever the daemon has to say beside it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.fronts.mcp.scope import Scope
from ctxgc.fronts.mcp.tool_schemas import BUDGET_TOKENS_MAX, BUDGET_TOKENS_MIN
from ctxgc.fronts.mcp.tools import Tools
from ctxgc.protocol.blocking_client import CallFailed
from ctxgc.protocol.record import Record
from tests.ranks import shipped_ranks

NOTES = (
    "7 more hits did not fit into 200 tokens",
    "no segment has lamo; showing results for lamp, 数据库, 🚀🚀🚀",
    "23 segments have all words; the rest have some of the words, or stand beside a segment that has them",
    "\x1b[31m" * 30,
)
FRAME_END = "]\n"
OWN = {"session": "client:/own"}


class FullDaemon:
    """Fills every budget to the last token, and adds notes."""

    def __init__(self, notes, next_line):
        self.notes, self.next_line = notes, next_line

    def __call__(self, method, params):
        return json.loads(json.dumps(self.reply(method, params)), object_hook=Record)

    def reply(self, method, params):
        if method == "config.get":
            return {"config": {"mcp": {"projects": "own"}}}
        if method != "stash.recall":
            name = params["session"]
            return {"session": name, "id": "i", "project": name.removeprefix("client:"), "parent": ""}
        text = " a" * (params["budget_tokens"] - 1) + FRAME_END
        return {
            "text": text,
            "tokens": params["budget_tokens"],
            "notes": self.notes,
            "next_line": self.next_line,
            "excerpts": [{"session": f"client:{params.get('project', '/own')}"}],
        }


@given(
    budget=st.integers(BUDGET_TOKENS_MIN, BUDGET_TOKENS_MIN * 10) | st.just(BUDGET_TOKENS_MAX),
    asked=st.sampled_from(
        [{"query": "lamp"}, OWN | {"id": "i"}, OWN | {"around": "i"}, OWN | {"id": "i", "lines": "3-"}]
    ),
    notes=st.lists(st.sampled_from(NOTES) | st.text(), max_size=4),
    next_line=st.integers(0, 10**6),
    roots=st.lists(st.sampled_from(["file:///two", "file:///three"]), unique=True),
)
def test_a_reply_is_within_its_budget_and_names_the_line_to_go_on_with(budget, asked, notes, next_line, roots):
    daemon = FullDaemon(notes, next_line if "id" in asked else 0)
    scope = Scope(daemon, "/own", {})
    scope.set_roots(["file:///own", *roots])

    text = Tools(daemon, scope).recall(budget_tokens=budget, **asked)

    assert len(shipped_ranks().encoding.encode(text, disallowed_special=())) <= budget
    assert "id" not in asked or not next_line or f"The rest: lines {next_line}-" in text


def test_a_budget_that_is_too_small_is_called_by_the_number_that_the_model_gave():
    def call(method, params):
        if method == "stash.recall":
            raise CallFailed("over_budget", 0, f"nothing fits into {params['budget_tokens']} tokens", "give 298")
        return FullDaemon([], 0)(method, params)

    result = Tools(call, Scope(call, "/own", {})).call_tool(
        {"name": "recall", "arguments": OWN | {"id": "i", "budget_tokens": 200}}
    )

    assert result["isError"]
    assert "200 tokens" in result["content"][0]["text"]
