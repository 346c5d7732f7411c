"""What a person says as the answer to a tool, and rules that a tool's result ends in, stay in the window.

Requests and results are made up in the shapes in which agents write them; every segment that is no root is evicted.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.contract import Tombstone
from ctxgc.adapters.facts.result_words import QUESTION_TOOLS, REASON, has_protected_words, is_question_tool
from ctxgc.adapters.facts.segment_facts import add_facts
from ctxgc.adapters.host_texts.opencode import OpenCodeTexts
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.segment import Kind
from tests.contracts.test_user_words import EVICTABLE, GONE, PLAIN, answered, claude_log, dumped, strings_of, texts
from tests.contracts.test_wire_corpus import windows_of

LONG = "of the tide\n" * 100
REFUSALS = (
    "The user doesn't want to proceed with this tool use. The tool use was rejected (eg. if it was a file edit, the "
    "new_string was NOT written to the file). To tell you how to proceed, the user said:\n{}",
    "Permission for this tool use was denied. The tool use was rejected. The user said:\n{}",
    "The user rejected permission to use this specific tool call with the following feedback: {}",
    "The user rejected this tool call. User feedback: {}",
    "The user denied this operation and provided the following feedback:\n<feedback>\n{}\n</feedback>",
    "Error: the human operator declined this call. Operator message: {}",
    "The user doesn't want to proceed with this tool use. The tool use was rejected (eg. if it was a file edit, the "
    "new_string was NOT written to the file). The user provided the following reason for the rejection:  {}",
    "The agent proposed a plan that was rejected by the user. The user chose to stay in plan mode rather than proceed "
    "with implementation.\n\nRejected plan:\n1. Dig.\n\nUser feedback:\n{}",
)
BEHIND = (
    "The user approved this operation and provided the following context:\n<feedback>\n{}\n</feedback>",
    "--- Newly Discovered Project Context ---\n--- Context from: /w/sub/GEMINI.md ---\n{}\n--- End Project Context ---",
    "<system-reminder>\nInstructions from: /w/sub/AGENTS.md\n{}\n</system-reminder>",
    "<system-reminder>\nThe user sent a new message while you were working:\n{}\n</system-reminder>",
    "<system-reminder>\nThe user sent a new message while you were working:\n{}\n</system-reminder>\n(output cut)",
    "## Approved Plan (edited by user):\n{}",
    "## Approved Plan (edited by user):\n# Plan\n\n1. Dig.\n\n## Tests\n{}\n",
    "## Plan (modified by the user)\n{}",
    "The user made the following updates to your content:\n\n{}",
    "User modified the `new_string` content to be: {}",
)
HEADS = (
    "User has answered your questions: {}. You can now continue with the user's answers in mind.",
    "Your questions have been answered: {}. You can now continue with these answers in mind.",
    "The file /w/a.py has been updated.  The user modified your proposed changes before accepting them. . Here's a "
    "snippet of the edited file:\n{}",
)
RESULTS = (*REFUSALS, *HEADS, *(f"{LONG}\n\n{behind}" for behind in BEHIND), '{{"status": "denied", "feedback": "{}"}}')
AGENTS = ("claude_code", "opencode", "codex", "pi", "copilot_cli", "qwen_code", "client", "")
WORDS = PLAIN.map("keep {} of mine".format)


def chat(content, tool="Bash"):
    call = {"id": "a", "type": "function", "function": {"name": tool, "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "a", "content": content}
    return {"messages": [{"role": "assistant", "tool_calls": [call]}, result]}


def responses(content, tool="Bash"):
    call = {"type": "function_call", "call_id": "a", "name": tool, "arguments": "{}"}
    return {"input": [call, {"type": "function_call_output", "call_id": "a", "output": content}]}


def messages(content, tool="Bash"):
    made = answered(content)
    made[0]["content"][0]["name"] = tool
    return {"messages": made}


SHAPES = {"anthropic_messages": messages, "openai_chat": chat, "openai_responses": responses}


def evicted(wire, request, agent):
    """The request without any body that no fact protects."""
    window = WIRE_FORMATS[wire].parse(request, agent)
    known = add_facts(window.segments, "/w")
    may_go = [s.id for s in known if s.kind in EVICTABLE and s.id in window.spans and not s.facts.holds_words]
    return WIRE_FORMATS[wire].splice(request, window, dict.fromkeys(may_go, Tombstone(GONE)))


@given(WORDS, st.sampled_from(RESULTS), st.sampled_from(AGENTS), st.sampled_from(sorted(SHAPES)), st.booleans())
def test_no_words_of_a_person_and_no_rules_leave_with_a_tools_result_I16(words, shape, agent, wire, is_ascii):
    result = shape.format(json.dumps(words)[1:-1] if shape.startswith("{") else words)

    spliced = json.loads(evicted(wire, dumped(SHAPES[wire](result), is_ascii), agent))

    said = json.dumps(words)[1:-1] if shape.startswith("{") else words
    assert any(said in text for text in strings_of(spliced))


@given(WORDS, st.sampled_from([*sorted(QUESTION_TOOLS), "AskUserQuestion", "mcp__forms__ask_user"]))
def test_the_answer_to_a_question_stays_whichever_tool_asked_I16(words, tool):
    for wire, shape in SHAPES.items():
        spliced = json.loads(evicted(wire, dumped(shape(words, tool), is_ascii=False), "client"))

        assert any(words in text for text in strings_of(spliced))


@pytest.mark.parametrize(
    "tool", ["mcp__deepwiki__ask_question", "mcp__perplexity__ask", "Bash", "questionnaire", "ask"]
)
def test_a_question_to_a_server_or_a_program_is_a_call_like_any_other(tool):
    assert not is_question_tool(tool)


@pytest.mark.parametrize("agent", ["claude_code", ""])
@pytest.mark.parametrize("shape", [*(f"{LONG}\n\n{behind}" for behind in BEHIND), REFUSALS[0]])
@pytest.mark.parametrize("is_list", [False, True])
def test_beside_the_words_the_tools_own_goes(agent, shape, is_list):
    result = shape.format("stop, please")
    request = dumped(messages(texts(result) if is_list else result), is_ascii=False)

    spliced = evicted("anthropic_messages", request, agent).decode()

    assert "stop, please" in spliced
    assert "of the tide" not in spliced
    assert "xxxxx" not in spliced, "the input of a refused call goes"
    assert "proceed with this tool use" not in spliced


@given(WORDS, st.sampled_from(BEHIND), st.integers(1, 40))
def test_words_behind_an_output_are_seen_however_long_the_output_is(words, behind, times):
    assert has_protected_words(f"{LONG * times}\n\n{behind.format(words)}".encode())


@pytest.mark.parametrize("output", [
    "The user table has 3 rows",
    "user denied: 3 times",
    "Permission denied (publickey). User feedback forms are in docs/",
    f"{LONG}the user said: no",
    "all is well with the following message: 3 tests passed",
    "## Approved Plan:\n1. Dig.",
    "12: ## Approved Plan (edited by user):",
    "The user doesn't want to proceed with this tool use. The tool use was rejected.",
    "a row\nUser feedback:\nnone",
])  # fmt: skip
def test_an_output_that_only_speaks_of_users_goes_like_any_other(output):
    assert not has_protected_words(output.encode())


def test_the_reason_of_a_refusal_has_one_name_in_the_log_and_in_the_request():
    refusal = REFUSALS[0].format("stop, please")
    made = answered(refusal)
    log = claude_log(
        {"type": "assistant", "message": {"id": "m", "role": "assistant", "content": made[0]["content"]}},
        {"type": "user", "message": made[1]},
    )

    sent = WIRE_FORMATS["anthropic_messages"].parse(dumped(made, is_ascii=True), "claude_code").segments

    assert [(s.id, s.kind, s.body) for s in sent] == [
        (s.id, s.kind, s.body) for s in windows_of("claude_code", log)["s"]
    ]
    assert (sent[-1].kind, sent[-1].body[0].text) == (Kind.USER, "stop, please")


@pytest.mark.parametrize("shape", REFUSALS)
def test_a_refusal_without_a_reason_holds_no_words(shape):
    assert not has_protected_words(shape.format("").replace("<feedback>\n\n</feedback>", "").encode())
    assert REASON.search(shape)


def test_a_message_that_opencode_wraps_has_the_name_of_the_users_own_words():
    wrapped = "<system-reminder>\nThe user sent the following message:\nstop\n\nPlease address this message and continue with your tasks.\n</system-reminder>"  # noqa: E501

    assert OpenCodeTexts().read_user_text(wrapped)[:2] == (Kind.USER, "stop")
