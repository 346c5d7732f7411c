"""Histories of Cline and Roo with calls in XML: a result is the tool's, and a person's words stay a person's."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.transcripts.formats import detect_format
from ctxgc.core.segment import Kind, Role, Status
from tests.contracts.transcript_state import read, state_of

DETAILS = "<environment_details>\n# Open tabs\na.py\n</environment_details>"
TASK = {
    "role": "user",
    "content": [{"type": "text", "text": "<task>\nFix it\n</task>"}, {"type": "text", "text": DETAILS}],
}
CALLS = {
    "read_file": ("a.py", {"path": "a.py"}),
    "write_to_file": ("a.py", {"path": "a.py", "content": "<p>\n</content>\n</p>"}),
    "execute_command": ("ls [a] | wc", {"command": "ls [a] | wc", "requires_approval": "false"}),
    "search_files": ("x", {"path": "x", "regex": "<[a-z]+>"}),
    "use_mcp_tool": ("srv", {"server_name": "srv", "tool_name": "t", "arguments": '{"a": 1}'}),
}
each_tool = pytest.mark.parametrize("tool", CALLS)


def asked(tool, before="I look.\n\n", after=""):
    tags = "\n".join(f"<{name}>{value}</{name}>" for name, value in CALLS[tool][1].items())
    return {"role": "assistant", "content": [{"type": "text", "text": f"{before}<{tool}>\n{tags}\n</{tool}>{after}"}]}


def answered(tool, *texts, is_one_block=False):
    header = f"[{tool} for '{CALLS.get(tool, ('q', {}))[0]}'] Result:"
    texts = [f"{header}\n{texts[0]}", *texts[1:]] if is_one_block else [header, *texts]
    return {"role": "user", "content": [{"type": "text", "text": text} for text in (*texts, DETAILS)]}


def segments_of(*messages):
    data = json.dumps([TASK, *messages]).encode()
    assert detect_format(data) == "anthropic"
    [state] = state_of(read("anthropic", data)[0]).values()
    return list(state.segments.values())


@each_tool
@pytest.mark.parametrize("is_one_block", [False, True])
def test_a_result_is_the_calls_and_not_said_by_the_user(tool, is_one_block):
    segments = segments_of(asked(tool), answered(tool, "the output", is_one_block=is_one_block))

    [call] = [segment for segment in segments if segment.kind is Kind.TOOL_CALL]
    assert call.tool == tool
    assert call.body[-1].text == "the output"
    whole = call.skeleton.decode() + "".join(piece.text for piece in call.body)
    assert all(value in whole or json.dumps(value)[1:-1] in whole for value in CALLS[tool][1].values())
    others = [piece.text for segment in segments if segment is not call for piece in segment.body]
    assert not any("the output" in text or "Result:" in text for text in others)
    assert any("I look." in text for text in others)


def test_a_file_that_was_read_is_known_by_its_path():
    nested = "<read_file>\n<args>\n<file>\n<path>a.py</path>\n</file>\n</args>\n</read_file>"
    for reply in (asked("read_file"), {"role": "assistant", "content": nested}):
        [call] = [one for one in segments_of(reply, answered("read_file", "x")) if one.kind is Kind.TOOL_CALL]

        assert [use.path for use in call.paths] == ["a.py"]


@each_tool
@pytest.mark.parametrize(
    "words",
    [
        "The user denied this operation.",
        "The user made the following updates to your content:\n\n@@ -1 +1 @@",
        "Done.\n<feedback>\nnot so\n</feedback>",
        "<answer>\nat dawn\n</answer>",
        "<user_message>\nnot so\n</user_message>",
    ],
)
def test_what_a_person_may_have_said_stays_the_users(tool, words):
    segments = segments_of(asked("read_file"), answered("read_file", "x"), asked(tool), answered(tool, words))

    said = [
        piece.text for one in segments if one.kind is not Kind.TOOL_CALL and one.role is Role.USER for piece in one.body
    ]
    assert any(words in text for text in said)


def test_the_answer_to_a_tool_that_asks_stays_the_users():
    ask = {"role": "assistant", "content": "<ask_followup_question>\n<question>q</question>\n</ask_followup_question>"}
    segments = segments_of(
        asked("read_file"), answered("read_file", "x"), ask, answered("ask_followup_question", "dawn")
    )

    assert [one.tool for one in segments if one.kind is Kind.TOOL_CALL] == ["read_file"]


@each_tool
@pytest.mark.parametrize("is_one_block", [False, True])
def test_a_text_behind_an_output_is_the_users(tool, is_one_block):
    segments = segments_of(asked(tool), answered(tool, "the output", "Not so!", is_one_block=is_one_block))

    [call] = [one for one in segments if one.kind is Kind.TOOL_CALL]
    assert call.body[-1].text == "the output"
    assert any("Not so!" in piece.text for one in segments if one is not call for piece in one.body)


def test_a_chat_list_with_a_system_message_stays_one():
    system = {"role": "system", "content": "You are Cline."}

    messages = [system, TASK, asked("read_file"), answered("read_file", "x")]
    assert detect_format(json.dumps(messages).encode()) == "openai_chat"


def test_a_failure_is_one():
    words = "The tool execution failed with the following error:\n<error>\nno such file\n</error>"

    [call] = [one for one in segments_of(asked("read_file"), answered("read_file", words)) if one.tool]
    assert call.status is Status.ERROR


def test_a_result_that_no_call_was_made_for_stays_as_it_is():
    reply = {"role": "assistant", "content": "I do nothing."}

    assert not [one for one in segments_of(reply, answered("read_file", "x")) if one.kind is Kind.TOOL_CALL]


@given(count=st.integers(1, 5))
def test_the_same_call_again_is_another_call(count):
    messages = [message for n in range(count) for message in (asked("read_file"), answered("read_file", f"output {n}"))]

    calls = [one for one in segments_of(*messages) if one.kind is Kind.TOOL_CALL]
    assert [one.body[-1].text for one in calls] == [f"output {n}" for n in range(count)]
