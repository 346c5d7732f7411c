"""Scripted agents: conversations in the shapes of three model APIs, and the laws that the APIs hold lists to."""

import json
import re
from random import Random

ANTHROPIC, CHAT, RESPONSES = "anthropic_messages", "openai_chat", "openai_responses"
FORMATS = (ANTHROPIC, CHAT, RESPONSES)
CALLS = ("function_call", "custom_tool_call")
ANSWERS = ("function_call_output", "custom_tool_call_output")
MODELS = {ANTHROPIC: "claude-sonnet-4-5", CHAT: "gpt-4.1", RESPONSES: "gpt-5"}
PROMPT = "Find out why the ferry table is empty, and mend it."


def result_text(turn, file, lines=150):
    """What a tool answers: long enough to be worth evicting, and different in each turn."""
    draw = Random(turn * 1000 + file)
    return "\n".join(f"{n}: ferry {draw.randrange(10**6)} leaves pier {turn % 9}" for n in range(lines))


def prompt(api):
    if api == RESPONSES:
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": PROMPT}]}]
    return [{"role": "user", "content": PROMPT}]


def turn_of(api, calls, text="I look at the table."):
    """The messages of a turn: a reply that asks for these (id, file, result) calls, and their results."""
    if api == ANTHROPIC:
        uses = [
            {"type": "tool_use", "id": i, "name": "Read", "input": {"file_path": f"/src/{f}.py"}} for i, f, _ in calls
        ]
        results = [{"type": "tool_result", "tool_use_id": i, "content": r} for i, _, r in calls]
        return [
            {"role": "assistant", "content": [{"type": "text", "text": text}, *uses]},
            {"role": "user", "content": results},
        ]
    arguments = {i: json.dumps({"file_path": f"/src/{f}.py"}) for i, f, _ in calls}
    if api == CHAT:
        asked = [
            {"id": i, "type": "function", "function": {"name": "Read", "arguments": arguments[i]}} for i, _, _ in calls
        ]
        results = [{"role": "tool", "tool_call_id": i, "content": r} for i, _, r in calls]
        return [{"role": "assistant", "content": text, "tool_calls": asked}, *results]
    asked = [{"type": "function_call", "call_id": i, "name": "Read", "arguments": arguments[i]} for i, _, _ in calls]
    results = [{"type": "function_call_output", "call_id": i, "output": r} for i, _, r in calls]
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    return [said, *asked, *results]


def story(api, turns, *, files=3, parallel=1, lines=150):
    """A whole conversation, turn by turn: yields the list as it is before each call of the model."""
    messages = prompt(api)
    for turn in range(turns):
        yield messages
        calls = [(f"call_{turn}_{n}", (turn + n) % files, result_text(turn, n, lines)) for n in range(parallel)]
        messages = messages + turn_of(api, calls, f"Turn {turn}: I look at the table.")
    yield messages


def with_breakpoint(messages):
    """An Anthropic list with the host's moving breakpoint on its last block, as agents send it."""
    *rest, last = messages
    content = last["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    blocks[-1] = blocks[-1] | {"cache_control": {"type": "ephemeral"}}
    return [*rest, last | {"content": blocks}]


def pairs_problem(api, messages):
    """What an API would refuse in a list: a call without its result behind it, or a result without its call."""
    asked, answered = [], []
    for message in messages:
        content = message.get("content")
        blocks = content if isinstance(content, list) else []
        asked += [b["id"] for b in blocks if b.get("type") == "tool_use"]
        answered += [b["tool_use_id"] for b in blocks if b.get("type") == "tool_result"]
        asked += [call["id"] for call in message.get("tool_calls") or ()]
        answered += [message["tool_call_id"]] if message.get("role") == "tool" else []
        asked += [message["call_id"]] if message.get("type") in CALLS else []
        answered += [message["call_id"]] if message.get("type") in ANSWERS else []
    if json.dumps(messages, default=str).count('"cache_control": {') > 4:
        return "more than four breakpoints"
    return "" if asked == answered else f"asked {asked}, answered {answered}"


def results_of(messages):
    """The results in a list, by call id."""
    found = {}
    for message in messages:
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            if block.get("type") == "tool_result":
                found[block["tool_use_id"]] = text_of(block["content"])
        if message.get("role") == "tool":
            found[message["tool_call_id"]] = text_of(content)
        if message.get("type") in ANSWERS:
            found[message["call_id"]] = text_of(message["output"])
    return found


def text_of(content):
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


def address_in(content):
    """The address in a result that left; empty for a result that is there."""
    found = re.match(r"\[evicted by ctxgc: .*get it back: ctxgc.recall ([0-9-]+)\]", text_of(content))
    return found[1] if found else ""


def call_of(api, name, arguments, call_id="recall_1"):
    """A model's call of a tool, in the API's shape."""
    if api == ANTHROPIC:
        return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
    if api == CHAT:
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": json.dumps(arguments)}


def usage_of(api, prompt_tokens, cached):
    """A bill in the API's shape."""
    if api == ANTHROPIC:
        return {
            "input_tokens": 10,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": max(prompt_tokens - cached - 10, 0),
            "output_tokens": 50,
        }
    if api == CHAT:
        details = {"prompt_tokens_details": {"cached_tokens": cached}}
        return {"prompt_tokens": prompt_tokens, "completion_tokens": 50, **details}
    return {"input_tokens": prompt_tokens, "output_tokens": 50, "input_tokens_details": {"cached_tokens": cached}}
