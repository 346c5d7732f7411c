"""Whatever a person says, and whatever rules an agent is given, no collection takes out of a request or a log.

Requests are made up in the shapes in which agents send them. Every segment of an evictable kind that a request lets go
is evicted, which is more than any budget takes.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.contract import Tombstone
from ctxgc.adapters.host_texts.claude_code import ClaudeTexts
from ctxgc.adapters.host_texts.codex import CodexTexts
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.frame import END, HEAD
from ctxgc.core.segment import Kind
from tests.contracts.test_wire_corpus import windows_of

EVICTABLE = (Kind.TOOL_CALL, Kind.ATTACHMENT, Kind.THINKING)
GONE = "[evicted]"

NOTE = f"{HEAD}\n[ctxgc last request: 7-1]\n1|Look.\n{END}\n[ctxgc: 3 segments left]"
STARTS = (
    f"{NOTE}\n",
    f"{HEAD}\n",
    "Warning: unused variable\n",
    "Caveat: ",
    "Base directory for this skill: /skills/pdf\n",
    "# AGENTS.md instructions for me: ",
    "Called the Read tool with the following input: {} ",
    "The user sent a new message while you were working:\n",
    *(
        begin
        for tag in (
            "system-reminder",
            "bash-stdout",
            "local-command-stdout",
            "task-notification",
            "skill",
            "hook_prompt",
            "goal_context",
            'codex_internal_context source="goal"',
            "user_shell_command",
            "subagent_notification",
            "environment_context",
            "path",
        )
        for begin in (f"<{tag}>", f"<{tag}>mine</{tag.split()[0]}> ", f"  <{tag}>\nmine\n</{tag.split()[0]}>\n")
    ),
)
PLAIN = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(lambda s: s.strip())
ENDINGS = ("", " </system-reminder>", " <system-reminder>x</system-reminder>", " please. </skill>")
WORDS = st.builds("{}keep {} of mine{}".format, st.sampled_from(("", *STARTS)), PLAIN, st.sampled_from(ENDINGS))
"""A person's words: like a host's in how they begin or end, but not from end to end."""

RULES = "<system-reminder>\n# claudeMd\nNever push.\n</system-reminder>"
FILE = '<system-reminder>\nCalled the Read tool with the following input: {"file_path":"/w/a.md"}\n</system-reminder>'
ENDS = ("IMPORTANT: After completing your current task, you MUST address the user's message above. Do not ignore it.",
        "This is how Claude Code surfaces messages the user sends mid-turn. Address the message above.")  # fmt: skip


def folded(words, end):
    return (
        f"<system-reminder>\nThe user sent a new message while you were working:\n{words}\n\n{end}\n</system-reminder>"
    )


def answered(content, *beside):
    """Anthropic: a call, its result, and what stands in the user's message behind it."""
    call = {"type": "tool_use", "id": "a", "name": "Bash", "input": {"command": "make " + "x" * 500}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": content}
    said = [{"type": "text", "text": text} for text in beside]
    return [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result, *said]}]


def texts(*parts):
    return [{"type": "text", "text": part} for part in parts]


CLAUDE_PLACES = {
    "first": lambda words, end: [{"role": "user", "content": words}, *answered("made")],
    "behind the rules": lambda words, end: [{"role": "user", "content": texts(RULES, FILE, words)}, *answered("made")],
    "beside a result": lambda words, end: answered("made", words),
    "in a system message": lambda words, end: [*answered("made"), {"role": "system", "content": words}],
    "folded": lambda words, end: answered(f"made é\n\n{folded(words, end)}"),
    "folded behind a rule": lambda words, end: answered(f"made\n\n{RULES}\n{folded(words, end)}"),
    "folded beside": lambda words, end: answered("made", folded(words, end)),
    "folded alone": lambda words, end: answered(folded(words, end)),
    "folded in a part": lambda words, end: answered(texts("one", "two", f"three\n\n{folded(words, end)}")),
    "folded between parts": lambda words, end: answered(texts("one", folded(words, end), "two", "three")),
}


def evicted(wire, request, agent):
    window = WIRE_FORMATS[wire].parse(request, agent)
    gone = {s.id: Tombstone(GONE) for s in window.segments if s.kind in EVICTABLE and s.id in window.spans}
    return WIRE_FORMATS[wire].splice(request, window, gone)


def strings_of(value):
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings_of(part)


def dumped(value, is_ascii):
    return json.dumps(value, ensure_ascii=is_ascii).encode()


@pytest.mark.parametrize("agent", ["claude_code", ""])
@given(WORDS, st.sampled_from(sorted(CLAUDE_PLACES)), st.sampled_from(ENDS), st.booleans())
def test_no_words_of_a_person_leave_an_anthropic_request_wherever_they_stand_I16(agent, words, place, end, is_ascii):
    request = dumped({"messages": CLAUDE_PLACES[place](words, end)}, is_ascii)

    spliced = evicted("anthropic_messages", request, agent)

    assert dumped(words, is_ascii)[1:-1] in spliced
    assert any(words in text for text in strings_of(json.loads(spliced)))
    assert spliced.count(RULES.splitlines()[1].encode()) == request.count(RULES.splitlines()[1].encode())
    assert GONE.encode() in spliced


@pytest.mark.parametrize("place", [place for place in CLAUDE_PLACES if place.startswith("folded")])
@pytest.mark.parametrize("agent", ["claude_code", ""])
def test_of_a_result_with_words_folded_into_it_the_tools_own_goes(place, agent):
    request = dumped({"messages": CLAUDE_PLACES[place]("stop, please", ENDS[0])}, is_ascii=False)

    messages = json.loads(evicted("anthropic_messages", request, agent))["messages"]

    said = [text for text in strings_of(messages) if text not in ("a", "Bash", "text", "tool_use", "tool_result")]
    assert not [text for text in said if any(own in text for own in ("made", "one", "two", "three"))]
    assert sum(text.count("stop, please") for text in said) == 1
    (result,) = (block for block in messages[-1]["content"] if block["type"] == "tool_result")
    assert result["content"], "an API takes no empty text"


def item(role, *parts):
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": part} for part in parts]}


CODEX_RULES = "# AGENTS.md instructions for /w\n\n<INSTRUCTIONS>\nNever push.\n</INSTRUCTIONS>"
OUTPUT = [
    {"type": "function_call", "call_id": "a", "name": "shell", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "a", "output": "made"},
]
CODEX_PLACES = {
    "first": lambda words: [item("user", words), *OUTPUT],
    "beside the rules": lambda words: [item("user", CODEX_RULES, words), *OUTPUT],
    "later": lambda words: [item("user", "go"), *OUTPUT, item("user", words)],
}


@given(WORDS, st.sampled_from(sorted(CODEX_PLACES)), st.booleans(), st.sampled_from(("codex", "")))
def test_no_words_of_a_person_leave_a_responses_request_wherever_they_stand_I16(words, place, is_ascii, agent):
    request = dumped({"input": CODEX_PLACES[place](words)}, is_ascii)

    spliced = evicted("openai_responses", request, agent)

    assert any(words in text for text in strings_of(json.loads(spliced)))
    assert spliced.count(b"Never push.") == request.count(b"Never push.")
    assert b'"made"' not in spliced


@given(WORDS, st.booleans(), st.booleans(), st.sampled_from(("opencode", "client", "")))
def test_no_words_of_a_person_leave_a_chat_wherever_they_stand_I16(words, is_list, is_ascii, agent):
    call = {"id": "a", "type": "function", "function": {"name": "sh", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": texts("go", words) if is_list else words},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": f"made\n\n{folded(words, ENDS[0])}" if not agent else "made"},
        {"role": "user", "content": words},
    ]
    request = dumped({"messages": messages}, is_ascii)

    spliced = evicted("openai_chat", request, agent)

    wanted = 3 if not agent else 2
    assert sum(text.count(words) for text in strings_of(json.loads(spliced))) >= wanted
    assert b'"made' not in spliced


@given(st.sampled_from([start for start in STARTS if start.startswith("  <")]), st.sampled_from(sorted(WIRE_FORMATS)))
def test_no_wrapper_counts_for_an_agent_that_nobody_knows(wrapper, wire):
    made = {"openai_responses": {"input": [item("user", wrapper)]}}
    request = dumped(made.get(wire, {"messages": [{"role": "user", "content": wrapper}]}), is_ascii=False)

    (segment,) = WIRE_FORMATS[wire].parse(request).segments

    is_goal = "goal" in wrapper and wire == "openai_responses"
    assert segment.kind is (Kind.ATTACHMENT if is_goal else Kind.USER)


def claude_log(*records):
    lines = [{"uuid": f"u{at}", "parentUuid": f"u{at - 1}" if at else None, "sessionId": "s"} | record
             for at, record in enumerate(records)]  # fmt: skip
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def claude_records(content, *more):
    call, result = answered(content)
    reply = {"id": "m", "role": "assistant", "content": call["content"]}
    return ({"type": "assistant", "message": reply}, {"type": "user", "message": result}, *more)


@given(WORDS, st.sampled_from(ENDS), st.sampled_from(("said", "queued", "folded")))
def test_no_words_of_a_person_are_evictable_in_a_claude_code_log_I16(words, end, place):
    prompt = {"type": "user", "message": {"role": "user", "content": words if place == "said" else "go"}}
    queued = {"type": "attachment", "attachment": {"type": "queued_command", "prompt": words, "commandMode": "prompt"}}
    content = f"made\n\n{folded(words, end)}" if place == "folded" else "made"
    log = claude_log(prompt, *claude_records(content, *([queued] if place == "queued" else [])))

    window = windows_of("claude_code", log)["s"]

    kept = [piece.text for s in window if s.kind not in EVICTABLE for piece in s.body]
    assert any(words.strip() in text for text in kept)
    assert [piece.text for s in window if s.kind is Kind.TOOL_CALL for piece in s.body][-1] == "made"


@pytest.mark.parametrize("words", ["stop", "IMPORTANT: stop\n\nIMPORTANT: now", "<task-notification>x"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("place", ["folded", "folded beside", "folded in a part"])
def test_words_typed_while_a_tool_ran_have_one_name_in_the_log_and_in_the_request(words, end, place):
    queued = {"type": "attachment", "attachment": {"type": "queued_command", "prompt": words}}
    content = {"folded": "made é", "folded beside": "made", "folded in a part": texts("one", "two", "three")}[place]
    logged = windows_of("claude_code", claude_log(*claude_records(content, queued)))["s"]
    messages = CLAUDE_PLACES[place](words, end)

    sent = WIRE_FORMATS["anthropic_messages"].parse(dumped(messages, is_ascii=True), "claude_code").segments

    assert [(s.id, s.kind, s.body) for s in sent] == [(s.id, s.kind, s.body) for s in logged]


@given(WORDS)
def test_no_words_of_a_person_are_evictable_in_a_codex_log_I16(words):
    payloads = [{"type": "session_meta", "payload": {"id": "s"}}]
    payloads += [{"type": "response_item", "payload": one} for one in [item("user", words), *OUTPUT]]
    log = b"".join(json.dumps(line).encode() + b"\n" for line in payloads)

    window = windows_of("codex", log)["s"]

    assert [s.kind for s in window if any(words == piece.text for piece in s.body)] == [Kind.USER]


@pytest.mark.parametrize(
    "reminder",
    [
        "As you answer the user's questions, you can use the following context:\n# claudeMd\nNever push.",
        "Attribution for git commits and pull requests you create from here on: none",
        "Contents of /w/sub/CLAUDE.md:\n\nNever push.",
        "The following skills are available for use with the Skill tool:\n\n- pdf: reads PDF",
        "Available agent types for the Agent tool:\n- explorer",
        "The following deferred tools are now available via ToolSearch:\nCron",
        "# MCP Server Instructions\n\nAsk first.",
        "SessionStart:startup hook success: be brief",
        "The TodoWrite tool hasn't been used recently.",
        "A reminder of a kind that nobody has seen",
    ],
)
@pytest.mark.parametrize("is_folded", [False, True])
def test_a_reminder_that_shows_neither_a_file_nor_an_output_is_system(reminder, is_folded):
    text = f"<system-reminder>\n{reminder}\n</system-reminder>"
    messages = answered(f"made\n\n{text}") if is_folded else answered("made", text)

    window = WIRE_FORMATS["anthropic_messages"].parse(dumped(messages, is_ascii=False), "claude_code")

    assert [s.kind for s in window.segments] == [Kind.TOOL_CALL, Kind.SYSTEM]


def test_a_note_of_our_plugin_is_no_word_of_the_person_who_typed_beside_it():
    text = [{"type": "text", "text": text} for text in ("Go on.", NOTE)]

    window = WIRE_FORMATS["anthropic_messages"].parse(
        dumped([{"role": "user", "content": text}], is_ascii=False), "opencode"
    )

    assert [s.kind for s in window.segments] == [Kind.USER, Kind.SYSTEM]


@pytest.mark.parametrize("attachment", [
    {"type": "nested_memory", "path": "/w/CLAUDE.md", "content": {"content": "Never push."}},
    {"type": "skill_listing", "content": "- pdf"},
    {"type": "agent_listing_delta", "addedLines": ["- explorer"]},
    {"type": "deferred_tools_delta", "addedLines": ["Cron"]},
    {"type": "mcp_instructions_delta", "addedBlocks": ["Ask first."]},
    {"type": "critical_system_reminder", "content": "Never push."},
    {"type": "hook_additional_context", "content": ["Be brief."]},
    {"type": "hook_success", "content": "Be brief."},
    {"type": "todo_reminder", "content": [{"content": "moor", "status": "pending"}]},
    {"type": "queued_command", "prompt": '<agent-message from="x">go</agent-message>', "origin": {"kind": "peer"}},
])  # fmt: skip
def test_an_attachment_that_shows_neither_a_file_nor_an_output_is_system(attachment):
    (segment,) = windows_of("claude_code", claude_log({"type": "attachment", "attachment": attachment}))["s"]

    assert segment.kind is Kind.SYSTEM


def test_a_rule_beside_a_shown_file_keeps_the_whole_text():
    assert ClaudeTexts().read_user_text(FILE + RULES).kind is Kind.SYSTEM
    assert ClaudeTexts().read_user_text(f"{FILE} please look {FILE}").kind is Kind.USER


def test_a_skills_text_in_a_request_counts_only_where_that_skill_was_launched():
    text = "Base directory for this skill: /skills/pdf\n\n# PDF"
    claude = ClaudeTexts()
    assert claude.read_user_text(text).kind is Kind.USER

    claude.note_call("Skill", {"skill": "office:pdf"})

    assert [claude.read_user_text(text).kind for _ in range(2)] == [Kind.ATTACHMENT, Kind.USER]


@pytest.mark.parametrize("text", [
    "<skill>\n<name>pdf</name>\nread\n</skill>",
    "<user_shell_command>\n<command>\nls\n</command>\n<result>a</result>\n</user_shell_command>",
    '<subagent_notification>\n{"agent_path":"/root/a"}\n</subagent_notification>',
])  # fmt: skip
def test_what_codex_shows_says_its_name(text):
    reading = CodexTexts().read_user_text(text)

    assert (reading.kind, bool(reading.facts.command)) == (Kind.ATTACHMENT, True)
