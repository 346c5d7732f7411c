"""An agent that reads one large file after another, as each API wants it written."""

import json

from tests.gateway.upstream import ANSWERS

TOOLS = [{"name": "Read", "description": "Reads a file.", "input_schema": {"type": "object"}}]
CHAT_TOOLS = [{"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}]

RESPONSES_TOOLS = [{"type": "function", "name": "read", "parameters": {"type": "object"}}]


def file_text(number, size=4000):
    line = "def function_{n}_{i}(value):  # what number {n} does in line {i}\n    return value + {i}\n"
    text = "".join(line.format(n=number, i=i) for i in range(size // 70))
    return text[:size]


class ClaudeAgent:
    """Keeps the list, as Claude Code does: only the newest user block has the cache breakpoint."""

    wire, path = "anthropic_messages", "/v1/messages"

    def __init__(self, prompt="Please read everything.", size=4000, tools=TOOLS, stream=True):
        self.messages = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
        self.size = size
        self.tools = tools
        self.stream = stream

    def body(self, **more):
        messages = json.loads(json.dumps(self.messages))
        messages[-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}
        system = [{"type": "text", "text": "You read files.", "cache_control": {"type": "ephemeral"}}]
        asked = {"model": "claude-x", "messages": messages, "system": system, "tools": self.tools}
        return json.dumps(asked | {"stream": self.stream, "max_tokens": 9} | more, ensure_ascii=False).encode()

    def run(self, turns, start=0):
        """Go on for so many turns without asking anybody, as the fake upstream would have answered."""
        for number in range(start, start + turns):
            self.take(ANSWERS[self.wire](f"call_{number}", number, (0, 0, 0)), number)
        return self

    def take(self, answer, number):
        """Take an answer, and run its tool."""
        self.messages.append({"role": "assistant", "content": answer["content"]})
        calls = [block for block in answer["content"] if block["type"] == "tool_use"]
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": file_text(number, self.size)}
            for call in calls
        ]
        if results:
            self.messages.append({"role": "user", "content": results})
        return bool(results)


class ChatAgent:
    """The same over Chat Completions."""

    wire, path = "openai_chat", "/v1/chat/completions"

    def __init__(self, prompt="Please read everything.", size=4000, tools=CHAT_TOOLS, stream=True):
        self.messages = [{"role": "system", "content": "You read files."}, {"role": "user", "content": prompt}]
        self.size = size
        self.tools = tools
        self.stream = stream

    def body(self, **more):
        asked = {"model": "gpt-x", "stream": self.stream, "tools": self.tools, "messages": self.messages}
        return json.dumps(asked | more).encode()

    def run(self, turns, start=0):
        for number in range(start, start + turns):
            self.take(ANSWERS[self.wire](f"call_{number}", number, (0, 0, 0)), number)
        return self

    def take(self, answer, number):
        message = answer["choices"][0]["message"]
        self.messages.append(message)
        for call in message.get("tool_calls", ()):
            text = file_text(number, self.size)
            self.messages.append({"role": "tool", "tool_call_id": call["id"], "content": text})
        return "tool_calls" in message


class ResponsesAgent:
    """The same over Responses, as Codex does: the session's id is the key of the cache."""

    wire, path = "openai_responses", "/v1/responses"

    def __init__(self, prompt="Please read everything.", size=4000, tools=RESPONSES_TOOLS, stream=True):
        self.input = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": prompt}]}]
        self.size = size
        self.tools = tools
        self.stream = stream

    def body(self, **more):
        asked = {"model": "gpt-x", "instructions": "You read files.", "input": self.input, "tools": self.tools}
        return json.dumps(asked | {"stream": self.stream, "store": False} | more).encode()

    def run(self, turns, start=0):
        for number in range(start, start + turns):
            self.take(ANSWERS[self.wire](f"call_{number}", number, (0, 0, 0)), number)
        return self

    def take(self, answer, number):
        self.input += answer["output"]
        calls = [item for item in answer["output"] if item["type"] == "function_call"]
        for call in calls:
            output = file_text(number, self.size)
            self.input.append({"type": "function_call_output", "call_id": call["call_id"], "output": output})
        return bool(calls)
