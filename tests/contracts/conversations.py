"""Conversations as hypothesis draws them, written as each API writes them, in JSON as odd as JSON may be."""

import json
from dataclasses import dataclass, field
from random import Random

from hypothesis import strategies as st

from ctxgc.adapters.contract import INPUT_PIECE_CHARS_MIN

TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from('\0\ud800\udfff"\\\n\u2028é'), max_size=12)
SAID = st.builds("w{}".format, TEXT)
LARGE = st.builds(lambda text: text + "x" * INPUT_PIECE_CHARS_MIN, TEXT)
NUMBER = st.sampled_from([0, -1, 1.5, 1e21, 10**25])
INPUT = st.dictionaries(
    TEXT | st.sampled_from(["path", "content", "a.b"]),
    TEXT | LARGE | NUMBER | st.lists(st.dictionaries(st.just("new"), LARGE), max_size=2),
    max_size=3,
)


@dataclass
class Call:
    id: str
    name: str
    input: dict
    result: str | list[str] | None


@dataclass
class Turn:
    user: list[str]
    said: list[str]
    thought: str
    signature: str
    calls: list[Call] = field(default_factory=list)


CALLS = st.builds(
    Call,
    id=st.sampled_from(["a", "b", "c", "a~2"]),
    name=st.sampled_from(["Read", "bash"]),
    input=INPUT,
    result=TEXT | st.lists(SAID, min_size=1, max_size=3),
)
TURNS = st.builds(
    Turn,
    user=st.lists(SAID, min_size=1, max_size=2),
    said=st.lists(SAID, min_size=1, max_size=2),
    thought=st.sampled_from(["", "hm"]),
    signature=st.sampled_from(["", "sig"]),
    calls=st.lists(CALLS, max_size=3, unique_by=lambda call: call.id),
)
CONVERSATIONS = st.lists(TURNS, min_size=1, max_size=4)


def anthropic_messages(turns):
    messages = []
    for turn in turns:
        blocks = [{"type": "text", "text": text} for text in turn.said]
        if turn.thought:
            blocks.insert(0, {"type": "thinking", "thinking": turn.thought, "signature": turn.signature})
        blocks += [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.input} for c in turn.calls]
        user = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}} for text in turn.user]
        results = [{"type": "tool_result", "tool_use_id": c.id, "content": _parts(c.result)} for c in turn.calls]
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": blocks}]
        messages += [{"role": "user", "content": results}] if results else []
    return messages


def openai_chat(turns):
    messages = []
    for turn in turns:
        messages.append({"role": "user", "content": _parts(turn.user)})
        message = {"role": "assistant", "content": _parts(turn.said)}
        if turn.thought:
            message["reasoning_content"] = turn.thought
        if turn.calls:
            message["tool_calls"] = [_openai_call(call) for call in turn.calls]
        messages.append(message)
        messages += [{"role": "tool", "tool_call_id": c.id, "content": _parts(c.result)} for c in turn.calls]
    return messages


def openai_responses(turns):
    items = []
    for turn in turns:
        items.append({"role": "user", "content": _content(turn.user, "input_text")})
        if turn.thought:
            reasoning = {"type": "reasoning", "summary": [{"type": "summary_text", "text": turn.thought}]}
            items.append(reasoning | ({"encrypted_content": turn.signature} if turn.signature else {}))
        items.append({"type": "message", "role": "assistant", "content": _content(turn.said, "output_text")})
        for at, call in enumerate(turn.calls):
            named = {"call_id": call.id, "name": call.name}
            if at == 1:
                items.append({"type": "custom_tool_call", **named, "input": json.dumps(call.input)})
            else:
                items.append({"type": "function_call", **named, "arguments": json.dumps(call.input)})
        for at, call in enumerate(turn.calls):
            kind = "custom_tool_call_output" if at == 1 else "function_call_output"
            items.append({"type": kind, "call_id": call.id, "output": _content(call.result, "input_text")})
    return items


def _content(content, kind):
    return content if isinstance(content, str) else [{"type": kind, "text": text} for text in content]


def _openai_call(call):
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.input)}}


def _parts(content):
    return content if isinstance(content, str) else [{"type": "text", "text": text} for text in content]


WRITERS = {
    "anthropic_messages": anthropic_messages,
    "openai_chat": openai_chat,
    "openai_responses": openai_responses,
}
LIST_NAMES = {"openai_responses": "input"}
"""What an API calls its list, where that is not `messages`."""


def odd_json(value, random) -> str:
    """The value as JSON that another writer might have made: white space, escapes, fields nobody knows."""
    gap = random.choice(["", "", " ", "\n\t"])
    if isinstance(value, dict):
        items = [f"{gap}{_odd_string(key, random)}{gap}:{gap}{odd_json(part, random)}" for key, part in value.items()]
        return "{" + ",".join(items) + gap + "}"
    if isinstance(value, list):
        return "[" + gap + f"{gap},{gap}".join(odd_json(part, random) for part in value) + gap + "]"
    return _odd_string(value, random) if isinstance(value, str) else json.dumps(value)


def _odd_string(text, random):
    if len(text) > 100 or random.random() < 0.5:
        return json.dumps(text)
    return '"' + "".join(_odd_char(char, random) for char in text) + '"'


def _odd_char(char, random):
    if ord(char) < 0x10000 and random.random() < 0.3:
        return f"\\u{ord(char):04X}"
    plain = json.dumps(char, ensure_ascii=0xD800 <= ord(char) < 0xE000)
    return plain[1:-1]


@st.composite
def requests(draw, name):
    """A request of the API as bytes: a bare list, or an object with fields nobody knows around it."""
    messages = WRITERS[name](draw(CONVERSATIONS))
    key = LIST_NAMES.get(name, "messages")
    # Seeded, not drawn: a draw per character would cost more than it would shrink.
    random = Random(draw(st.integers(0, 2**32)))
    value = draw(
        st.sampled_from(
            [messages, {"model": "m", "temperature": 1.0, key: messages, "unknown": {"messages": [1e3, None]}}]
        )
    )
    return odd_json(value, random).encode()
