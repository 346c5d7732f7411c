"""What the real APIs refuse, as assertions on a rendered or spliced request."""

import json
import re

CALL_ID = re.compile(r"^[a-zA-Z0-9_-]+$")
TOOL_NAME = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")
USER_BLOCKS = {"text", "image", "document", "search_result", "tool_result", "container_upload"}
ASSISTANT_BLOCKS = {"text", "thinking", "redacted_thinking", "tool_use"}
RESULT_BLOCKS = {"text", "image", "document", "search_result", "tool_reference"}


def check(name: str, request: bytes, *, is_rendered: bool = True) -> None:
    """Raise AssertionError for a request that the API `name` would answer with 400.

    A request that a client made (not `is_rendered`) may reuse call ids and send unsigned thinking, as lenient servers
    of these APIs take them; ours may not.
    """
    RULES[name](json.loads(request), is_rendered)


def check_anthropic(request, is_rendered):
    messages = request["messages"] if isinstance(request, dict) else request
    for block in request.get("system", []) if isinstance(request, dict) else []:
        assert block["type"] == "text"
        assert block["text"].strip(), "system: text content blocks must be non-empty"
    used: set[str] = set()
    open_calls: list[str] = []
    for index, message in enumerate(messages):
        role, content = message["role"], message["content"]
        if role == "system" and not is_rendered:
            continue  # Claude Code says so in the middle of a conversation, under a beta of the API.
        assert role in ("user", "assistant"), f"role {role}"
        assert index or role == "user", "first message must use the user role"
        assert content, "messages must have non-empty content"
        assert not is_rendered or not index or messages[index - 1]["role"] != role, "roles must alternate"
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        answered = _check_user(blocks) if role == "user" else []
        assert sorted(answered) == sorted(open_calls), "tool_use ids without tool_result blocks immediately after"
        open_calls = _check_assistant(blocks, used, is_rendered) if role == "assistant" else []
    # Calls of the last message may be open: the host appends their results.


def _check_user(blocks):
    answered = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    kinds = [block["type"] for block in blocks]
    assert set(kinds) <= USER_BLOCKS
    assert kinds[: len(answered)] == ["tool_result"] * len(answered), "tool results come first"
    assert len(set(answered)) == len(answered), "each tool_use must have a single result"
    for block in blocks:
        if block["type"] == "text":
            assert block["text"].strip(), "text content blocks must contain non-whitespace text"
        if block["type"] == "tool_result":
            _check_result(block)
    return answered


def _check_result(block):
    content = block.get("content", "")
    parts = [] if isinstance(content, str) else content
    assert not block.get("is_error") or content, "content cannot be empty if is_error is true"
    for part in parts:
        assert part["type"] in RESULT_BLOCKS
        assert part["type"] != "text" or part["text"].strip(), "text content blocks must be non-empty"


def _check_assistant(blocks, used, is_rendered):
    calls = []
    for block in blocks:
        assert block["type"] in ASSISTANT_BLOCKS
        if block["type"] == "text":
            assert block["text"].strip(), "text content blocks must contain non-whitespace text"
        if block["type"] == "thinking":
            assert block["signature"] or not is_rendered, "thinking needs its signature"
        if block["type"] == "tool_use":
            assert CALL_ID.match(block["id"]) or not is_rendered
            assert TOOL_NAME.match(block["name"])
            assert isinstance(block["input"], dict)
            assert block["id"] not in used or not is_rendered, "tool_use ids must be unique"
            used.add(block["id"])
            calls.append(block["id"])
    assert blocks[-1]["type"] not in ("thinking", "redacted_thinking"), "the final block cannot be thinking"
    return calls


def check_openai(request, is_rendered):
    messages = request["messages"] if isinstance(request, dict) else request
    used: set[str] = set()
    open_calls: list[str] = []
    for message in messages:
        role, content = message["role"], message.get("content")
        assert role in ("system", "developer", "user", "assistant", "tool")
        if role == "tool":
            assert message["tool_call_id"] in open_calls, "tool messages must follow their tool_calls"
            open_calls.remove(message["tool_call_id"])
            assert isinstance(content, str | list)
            continue
        assert not open_calls, "tool_calls must be followed by tool messages for each id"
        calls = message.get("tool_calls") or []
        assert content or (role == "assistant" and calls), "content must not be empty"
        for part in content if isinstance(content, list) else []:
            assert part["type"] in ("text", "image_url", "input_audio", "file")
            assert part["type"] != "text" or part["text"]
        for call in calls:
            assert len(call["id"]) <= 40
            assert call["id"] not in used or not is_rendered, "call ids must be unique"
            assert TOOL_NAME.match(call["function"]["name"])
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
            used.add(call["id"])
            open_calls.append(call["id"])


SETTINGS = {"additional_tools", "configuration_update"}
CALLS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}


def check_responses(request, is_rendered):
    items = request["input"] if isinstance(request, dict) else request
    used: set[str] = set()
    open_calls: list[tuple[str, str]] = []
    is_answering = False
    for item in items:
        kind = item.get("type", "message")
        if kind in SETTINGS and not is_rendered:
            continue
        if kind in CALLS.values():
            assert (item["call_id"], kind) in open_calls, "no tool call found for function call output"
            open_calls.remove((item["call_id"], kind))
            assert isinstance(item["output"], str | list)
            is_answering = True
            continue
        assert not is_answering or not open_calls, "no tool output found for function call"
        is_answering = False
        if kind in CALLS:
            assert len(item["call_id"]) <= 64
            assert item["call_id"] not in used or not is_rendered, "call ids must be unique"
            assert TOOL_NAME.match(item["name"])
            assert kind != "function_call" or isinstance(json.loads(item["arguments"]), dict)
            used.add(item["call_id"])
            open_calls.append((item["call_id"], CALLS[kind]))
        elif kind == "message":
            assert not open_calls or item["role"] == "assistant", "no tool output found for function call"
            _check_content(item)
        else:
            assert kind in ("reasoning", "compaction", "compaction_trigger", "agent_message"), f"item {kind}"
            assert kind != "compaction_trigger" or item is items[-1], "the order to sum up stands last"
            assert not is_rendered, "reasoning is the server's own"


def _check_content(item):
    assert item["role"] in ("system", "developer", "user", "assistant")
    parts = {"output_text", "refusal"} if item["role"] == "assistant" else {"input_text", "input_image", "input_file"}
    assert item["content"], "content must not be empty"
    for part in item["content"] if isinstance(item["content"], list) else []:
        assert part["type"] in parts
        assert part["type"] not in ("output_text", "input_text") or part["text"]


def check_is_answered(name: str, request: bytes) -> None:
    """Raise AssertionError where the last calls have no results: a host that asks a model has them all."""
    asked = json.loads(request)
    items = asked.get("messages", asked.get("input")) if isinstance(asked, dict) else asked
    if name == "openai_responses":
        called = [item["call_id"] for item in items if item.get("type") in CALLS]
        answered = [item["call_id"] for item in items if item.get("type") in CALLS.values()]
        assert sorted(called) == sorted(answered), "no tool output found for function call"
        return
    last = [item for item in items if item["role"] != "system"][-1:] or [{}]
    blocks = last[0].get("content") if isinstance(last[0].get("content"), list) else []
    is_calling = any(block.get("type") == "tool_use" for block in blocks) or last[0].get("tool_calls")
    assert not is_calling, "the last calls have no results"
    if name == "openai_chat":
        called = [call["id"] for item in items for call in item.get("tool_calls") or ()]
        assert len(called) == sum(item["role"] == "tool" for item in items), "tool_calls without tool messages"


RULES = {
    "anthropic_messages": check_anthropic,
    "openai_chat": check_openai,
    "openai_responses": check_responses,
}
