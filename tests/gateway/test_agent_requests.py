"""What Claude Code 2.1.332, Codex 0.171.0, OpenCode 1.18.33 and older ones were seen to send, and how it is taken."""

import json

import pytest

from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.gateway.body.prompt_layout import prompt_of_layout
from ctxgc.gateway.body.request_body import read_body
from ctxgc.gateway.identity.agent_session import AgentSession
from ctxgc.gateway.identity.headers import (
    Identity,
    identity_in_headers_or_path,
    parent_session_in_headers,
    sub_agent_in_headers,
)
from tests.gateway.stage import ScriptedDaemon, Stage

SOME_UUID = "0199a2b4-1111-7222-8333-444455556666"
TOOLS = {"type": "additional_tools", "role": "developer", "tools": [{"type": "custom", "name": "exec"}]}
SETTING = {"type": "configuration_update", "reasoning": {"effort": "low"}}
PROMPT = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Read the files."}]}
CALL = {"type": "custom_tool_call", "call_id": "c", "name": "exec", "input": "text('x')"}
OUTPUT = {"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x" * 900}]}


def codex(*items):
    return json.dumps({"model": "m", "input": list(items)}).encode()


def test_codexs_items_that_only_set_something_up_are_passed_over():
    window = WIRE_FORMATS["openai_responses"].parse(codex(TOOLS, PROMPT, SETTING, CALL, OUTPUT))

    assert [segment.id for segment in window.segments][1:] == ["c"]
    assert window.spans["c"]


def test_codex_is_known_by_the_tools_it_sends_as_an_item():
    session = AgentSession(Identity("codex", "s"))

    with_tools, without = (read_body(codex(*items), "openai_responses", set()) for items in ([TOOLS, PROMPT], [PROMPT]))

    assert session.find_or_open_branch(without).name != "s"
    assert session.find_or_open_branch(with_tools).name == "s"


READ, BASH = {"name": "Read", "description": "Reads."}, {"name": "Bash", "description": "Runs a command."}
SEARCHED = {"name": "mcp__t__big", "defer_loading": True}
PLACEHOLDER = {"name": "DeferredToolPlaceholder", "defer_loading": True}


def branch_with(session, tools, prompt="Fix it."):
    body = json.dumps({"tools": tools, "messages": [{"role": "user", "content": prompt}]}).encode()
    return session.find_or_open_branch(read_body(body, "anthropic_messages", set())).name


@pytest.mark.parametrize(
    "later",
    [
        [READ, BASH, PLACEHOLDER, SEARCHED],
        [PLACEHOLDER, SEARCHED, BASH, READ],
        [READ, BASH],
        [READ, BASH | {"description": "Runs a command, as the newest version words it."}, PLACEHOLDER],
    ],
)
def test_a_tool_search_and_a_tool_worded_anew_are_of_the_session_of_before(later):
    session = AgentSession(Identity("claude_code", "s"))

    assert branch_with(session, [READ, BASH, PLACEHOLDER]) == "s"
    assert branch_with(session, later) == "s"


@pytest.mark.parametrize(
    "other", [[READ], [READ, BASH, {"name": "Write"}], [READ, BASH, SEARCHED | {"defer_loading": False}]]
)
def test_other_tools_are_of_another_sub_agent(other):
    session = AgentSession(Identity("claude_code", "s"))

    assert branch_with(session, [READ, BASH]) == "s"
    assert branch_with(session, other) != "s"


def test_tools_of_openais_apis_are_known_by_their_names_too():
    def digest_of(*tools):
        return read_body(json.dumps({"tools": tools, "messages": []}).encode(), "openai_chat", set()).tools

    one, other = ({"type": "function", "function": {"name": name, "parameters": {}}} for name in ("a", "b"))
    assert digest_of(one, other) == digest_of(other, one | {"strict": True})
    assert digest_of(one) != digest_of(other)
    assert digest_of() == b""
    assert digest_of({"type": "web_search"}) != digest_of({"type": "shell"})
    assert digest_of("no tool") != digest_of(1)


@pytest.mark.parametrize(
    ("edit", "obstacle"),
    [
        ({"type": "clear_thinking_20251015", "keep": "all"}, None),
        ({"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 1}}, None),
        ({"type": "clear_thinking_20251015", "keep": "most"}, "context_management"),
        ({"type": "clear_tool_uses_20250919", "keep": "all"}, "context_management"),
    ],
)
def test_an_order_that_concerns_thinking_alone_is_no_obstacle(edit, obstacle):
    asked = {"messages": [{"role": "user", "content": "hi"}], "context_management": {"edits": [edit]}}

    assert read_body(json.dumps(asked).encode(), "anthropic_messages", set()).obstacle == obstacle


def test_a_word_of_the_system_in_the_middle_of_a_conversation_is_understood():
    asked = [{"role": "user", "content": "hi"}, {"role": "system", "content": "Agents: none."}]

    window = WIRE_FORMATS["anthropic_messages"].parse(json.dumps(asked).encode())

    assert [segment.role for segment in window.segments] == ["user", "system"]


def test_the_line_that_claude_code_writes_for_the_bill_is_no_part_of_the_prompt():
    def read(line):
        first = [{"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1.332; {line};"}] if line else []
        system = [*first, {"type": "text", "text": "You work here.", "cache_control": {"type": "ephemeral"}}]
        asked = {"model": "m", "system": system, "messages": [{"role": "user", "content": "Hello."}]}
        contents = read_body(json.dumps(asked).encode(), "anthropic_messages", set())
        return contents.digests, prompt_of_layout(contents.layout, contents.window, contents.digests, ())

    assert read("cch=b3016") == read("cch=0daa7") == read("")


@pytest.mark.parametrize(
    ("value", "identity"),
    [
        ("ses_e080a04daffepnHJyZBSTASXWZ", Identity("opencode", "ses_e080a04daffepnHJyZBSTASXWZ")),
        ("my-sticky-pod", None),
    ],
)
def test_opencode_names_its_session_to_other_providers_by_their_affinity_header(value, identity):
    assert identity_in_headers_or_path({"x-session-affinity": value}) == identity


def test_codexs_sub_agent_is_a_session_of_its_own_under_its_thread_and_not_its_roots_main_branch():
    root, thread = SOME_UUID, SOME_UUID.replace("0", "a")
    metadata = {"session_id": root, "thread_id": thread, "parent_thread_id": root, "subagent_kind": "thread_spawn"}
    headers = {"x-codex-turn-metadata": json.dumps(metadata), "session-id": root, "x-codex-parent-thread-id": root}

    asked = identity_in_headers_or_path(headers)

    assert asked == Identity("codex", thread)
    assert parent_session_in_headers(asked, headers) == root


@pytest.mark.parametrize(
    ("agent", "headers", "parent", "side"),
    [
        ("opencode", {"x-parent-session-id": "ses_e080a04daffepnHJyZBSTASXWZ"}, "ses_e080a04daffepnHJyZBSTASXWZ", ""),
        ("codex", {"x-codex-parent-thread-id": SOME_UUID}, SOME_UUID, ""),
        ("claude_code", {"x-claude-code-agent-id": "a7c41f9"}, "", "a7c41f9"),
        ("codex", {"x-codex-parent-thread-id": "s"}, "", ""),  # No session is its own child.
        ("claude_code", {"x-codex-parent-thread-id": SOME_UUID}, "", ""),
        ("opencode", {"x-claude-code-agent-id": "a7c41f9"}, "", ""),
        ("opencode", {"x-parent-session-id": "p/q"}, "", ""),
        ("claude_code", {"x-claude-code-agent-id": "a:b/c"}, "", ""),
    ],
)
def test_whose_child_a_session_is_and_which_sub_agent_asks_is_read_from_headers_alone(agent, headers, parent, side):
    identity = Identity(agent, "s")

    assert (parent_session_in_headers(identity, headers), sub_agent_in_headers(identity, headers)) == (parent, side)


@pytest.mark.parametrize(
    ("text", "project"),
    [
        ("You are in:\n - Primary working directory: /home/dev/my mole\n - Platform: linux", "/home/dev/my mole"),
        ("<environment_context>\n  <cwd>/home/dev/mole</cwd>\n</environment_context>", "/home/dev/mole"),
        ("<env>\n  Working directory: /home/dev/mole\n</env>", "/home/dev/mole"),
        ("Switches the session's working directory: /elsewhere", ""),
    ],
)
def test_where_an_agent_works_is_what_it_says_itself(text, project):
    asked = [{"role": "system", "content": text}, {"role": "user", "content": "Working directory: /not/said/by/it"}]

    assert read_body(json.dumps({"messages": asked}).encode(), "openai_chat", set()).project == project


def permissions(network):
    text = (
        f"<permissions instructions>\n`sandbox_mode` is `workspace-write`. Network access is {network}.\n</permissions"
    )
    return {"role": "developer", "content": text}


BASH_ALONE = [{"type": "function", "function": {"name": "bash"}}]


def chat_window(agent, first, calls):
    items = [{"role": "user", "content": first}]
    for id_ in calls:
        call = {"id": id_, "type": "function", "function": {"name": "bash", "arguments": "{}"}}
        items += [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": id_, "content": "x"}]
    return read_body(json.dumps({"tools": BASH_ALONE, "messages": items}).encode(), "openai_chat", set(), agent)


@pytest.mark.parametrize(
    ("agent", "summary"),
    [
        ("copilot_cli", "Some of the conversation history has been summarized to free up context.\n\n<summary>…"),
        ("pi", "The conversation history before this point was compacted into the following summary:\n\n<summary>…"),
    ],
)
def test_a_session_goes_on_after_its_agents_own_summary(agent, summary):
    session = AgentSession(Identity(agent, "s"))

    main = session.find_or_open_branch(chat_window(agent, "Read every part.", ["a", "b"]))

    assert session.find_or_open_branch(chat_window(agent, summary, ["c"])) is main
    assert session.find_or_open_branch(chat_window(agent, "Look into this alone.", ["d"])) is not main


@pytest.mark.parametrize(
    ("said", "can_recall"),
    [
        ([permissions("restricted")], False),
        ([permissions("enabled")], True),
        ([permissions("restricted"), {"role": "assistant", "content": "ok"}, permissions("enabled")], False),
        ([{"role": "user", "content": "Network access is restricted, isn't it?"}], True),
        ([], True),
    ],
)
def test_a_sandbox_that_keeps_the_shell_from_our_socket_is_known_by_what_codex_first_said_of_it(said, can_recall):
    asked = [{"role": "system", "content": "You are an agent."}, {"role": "user", "content": "hi"}, *said]

    assert read_body(json.dumps({"messages": asked}).encode(), "openai_chat", set()).can_recall is can_recall


@pytest.mark.parametrize(
    ("headers", "kinds"),
    [
        ({"x-claude-code-session-id": "s"}, ["system", "attachment", "user"]),
        ({"x-ctxgc-session": "s"}, ["user", "user", "user"]),
    ],
)
def test_reminders_count_for_claude_code_alone(headers, kinds):
    shown = 'Called the Read tool with the following input: {"file_path":"/w/a.md"}'
    texts = [f"<system-reminder>\n{said}\n</system-reminder>" for said in ("# claudeMd\nNever push.", shown)]
    content = [{"type": "text", "text": text} for text in (*texts, "go")]
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], "tools": [READ]}).encode()
    daemon = ScriptedDaemon()

    with Stage(daemon) as stage:
        stage.ask("/anthropic/v1/messages", body, {"x-api-key": "k", **headers})

    assert [segment["kind"] for told in daemon.told for segment in told["new"]] == kinds
