"""A model for real coding agents: refuses and bills as `tests.gateway.upstream` does, and answers in full streams.

    request ──which thread?──▶ valid? 400 ──▶ bill ──▶ the next file to read, until all are read ──▶ text

It asks for the tools that the agent offers, so that the agent does real work: it reads generated files.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from aiohttp import web

from ctxgc.gateway.identity.headers import identity_from_cache_key, identity_in_headers_or_path
from tests.gateway.upstream import DECODERS, FORMATS, Received, Upstream, seal, sign

STAMP = "x-tap-number"
"""A header of the tests' own, which the gateway passes on as any other."""


class Request(NamedTuple):
    """One call to the model, as it arrived."""

    number: str
    wire: str
    thread: str
    body: bytes


@dataclass
class AgentModel(Upstream):
    """Has an agent read `turns` files of its working folder, one after another."""

    requests: list[Request] = field(default_factory=list)
    others: Counter = field(default_factory=Counter)

    async def _serve(self, request):
        body = await request.read()
        wire = FORMATS.get(request.path)
        if wire is None:
            self.others[f"{request.method} {request.path}"] += 1
            return web.json_response({"input_tokens": len(body) // 4, "data": [], "models": []})
        try:
            body = DECODERS[request.headers.get("content-encoding", "")](body)
            asked = json.loads(body)
            thread = branch_of(request.headers, wire, asked)
            self.requests.append(Request(request.headers.get(STAMP, ""), wire, thread, body))
            self._check(wire, asked, thread, body)
        except (AssertionError, KeyError, TypeError, ValueError) as fault:
            self.refused.append(f"{type(fault).__name__}: {fault}")
            return self._error(400, str(fault))
        self.received.append(Received(request.method, request.raw_path, list(request.headers.items()), b""))
        usage = self._bill(wire, asked, thread)
        return await self._answer(request, wire, asked, usage)

    async def _answer(self, request, wire, asked, usage):
        done = len(calls_in(wire, asked))
        call = self.next_call(wire, asked, done)
        if not asked.get("stream"):
            return web.json_response({"content": [{"type": "text", "text": "Done."}], "type": "message"})
        out = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await out.prepare(request)
        for event in STREAMS[wire](done, call, usage):
            await out.write(event)
        await out.write_eof()
        return out

    def next_call(self, wire, asked, done):
        """The call that answers a request with so many calls in it; None at the end."""
        return call_for(wire, asked, done) if done < self.turns else None


def branch_of(headers, wire, asked):
    """The agent's session, and which of its conversations: titles and sub-agents begin with another prompt."""
    identity = identity_in_headers_or_path(headers) or identity_from_cache_key(wire, asked.get("prompt_cache_key", ""))
    items = asked.get("messages", asked.get("input"))
    first = next((item for item in items if item.get("role") == "user"), None)
    is_bare = not asked.get("tools") and wire != "openai_responses"
    begin = blake2b(json.dumps([is_bare, first and _words(first)]).encode(), digest_size=4)
    return f"{identity.session if identity else 'nobody'} {begin.hexdigest()}"


def _words(item):
    content = item["content"]
    return content if isinstance(content, str) else [part.get("text") for part in content]


def calls_in(wire, asked):
    """Ids of all calls in a request."""
    if wire == "openai_responses":
        return [item["call_id"] for item in asked["input"] if item.get("type") in ("function_call", "custom_tool_call")]
    found = []
    for message in asked["messages"]:
        content = message.get("content")
        blocks = content if isinstance(content, list) else []
        found += [block["id"] for block in blocks if block.get("type") == "tool_use"]
        found += [call["id"] for call in message.get("tool_calls") or ()]
    return found


class Call(NamedTuple):
    id: str
    name: str
    input: dict | str


FILES = 3
"""The agent goes round these: each file is read again and again, as files are that are worked on."""

SCRIPT = """// @exec: {{"max_output_tokens": 20000}}
const shown = await tools.exec_command({{cmd: "{command}", max_output_tokens: 20000}});
text(shown.output);"""


def call_for(wire, asked, number):
    """The next call, of a tool that the agent offers; None if it offers none of these."""
    return command_call(wire, asked, number, f"cat part{number % FILES:03}.txt")


def command_call(wire, asked, number, command):
    """A call that runs a command in the shell that the agent offers; None if it offers none."""
    said = f"Step {number}"
    wishes = [
        ("Bash", {"command": command, "description": said}),
        ("bash", {"command": command, "description": said}),
        ("run_shell_command", {"command": command, "is_background": False}),
        ("exec", SCRIPT.format(command=command)),
        ("exec_command", {"cmd": command, "max_output_tokens": 20000}),
    ]
    names = offered_tools(wire, asked)
    return next((Call(f"call_{number:03}", name, given) for name, given in wishes if name in names), None)


def offered_tools(wire, asked):
    """Names of all tools that a request offers."""
    names = set(_tool_names(asked.get("tools") or ()))
    for item in asked["input"] if wire == "openai_responses" else ():
        names |= set(_tool_names(item["tools"])) if item.get("type") == "additional_tools" else set()
    return names


def _tool_names(tools):
    for tool in tools:
        yield from _tool_names(tool.get("tools", ()))
        yield tool.get("name") or tool.get("function", {}).get("name")


def _event(name, value):
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


def typed_event(value):
    return _event(value["type"], value)


def _messages(number, call, usage, text=""):
    """Anthropic: every second turn thinks first, under a signature over the whole turn."""
    blocks = [{"type": "text", "text": text or f"Step {number}."}]
    if call:
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": call.input})
    if number % 2 and call:
        blocks.insert(0, {"type": "thinking", "thinking": f"Now step {number}.", "signature": ""})
        blocks[0]["signature"] = sign(blocks)
    counted = {
        "input_tokens": usage[2], "cache_read_input_tokens": usage[0], "cache_creation_input_tokens": usage[1],
        "output_tokens": 1,
    }  # fmt: skip
    message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "m", "content": []}
    yield typed_event({"type": "message_start", "message": message | {"stop_reason": None, "usage": counted}})
    for index, block in enumerate(blocks):
        empty = block | {
            key: {} if key == "input" else "" for key in {"text", "thinking", "signature", "input"} & block.keys()
        }
        yield typed_event({"type": "content_block_start", "index": index, "content_block": empty})
        for delta in _deltas(block):
            yield typed_event({"type": "content_block_delta", "index": index, "delta": delta})
        yield typed_event({"type": "content_block_stop", "index": index})
    stop = {"stop_reason": "tool_use" if call else "end_turn", "stop_sequence": None}
    yield typed_event({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 20}})
    yield typed_event({"type": "message_stop"})


def _deltas(block):
    if block["type"] == "text":
        yield {"type": "text_delta", "text": block["text"]}
    elif block["type"] == "thinking":
        yield {"type": "thinking_delta", "thinking": block["thinking"]}
        yield {"type": "signature_delta", "signature": block["signature"]}
    else:
        yield {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}


def _chat(number, call, usage, text=""):
    def choice(delta, finish=None):
        chunk = {"id": f"c{number}", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return _event("", chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield choice({"role": "assistant", "content": text or f"Step {number}."})
    if call:
        function = {"name": call.name, "arguments": json.dumps(call.input)}
        yield choice({"tool_calls": [{"index": 0, "id": call.id, "type": "function", "function": function}]})
    yield choice({}, "tool_calls" if call else "stop")
    counted = {"prompt_tokens": sum(usage), "completion_tokens": 20, "total_tokens": sum(usage) + 20}
    counted["prompt_tokens_details"] = {"cached_tokens": usage[0]}
    yield _event("", {"id": f"c{number}", "object": "chat.completion.chunk", "choices": [], "usage": counted})
    yield b"data: [DONE]\n\n"


def _responses(number, call, usage, text=""):
    response = {"id": f"resp_{number}", "object": "response", "status": "in_progress", "output": []}
    yield typed_event({"type": "response.created", "response": response})
    said = {"type": "output_text", "text": text or f"Step {number}.", "annotations": []}
    message = {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": [said]}
    items = [message]
    if call and isinstance(call.input, str):
        items.append({"type": "custom_tool_call", "call_id": call.id, "name": call.name, "input": call.input})
    elif call:
        arguments = json.dumps(call.input)
        space, _, name = call.name.rpartition(".")
        named = {"type": "function_call", "id": f"fc_{number}", "call_id": call.id, "name": name}
        named |= {"namespace": space} if space else {}
        items.append(named | {"arguments": arguments, "status": "completed"})
    if number % 2 and call:
        items.insert(0, {"type": "reasoning", "id": f"rs_{number}", "summary": [], "encrypted_content": seal(items)})
    for index, item in enumerate(items):
        yield typed_event({"type": "response.output_item.added", "output_index": index, "item": item})
        if item is message:
            delta = {"item_id": message["id"], "output_index": index, "content_index": 0, "delta": said["text"]}
            yield typed_event({"type": "response.output_text.delta"} | delta)
        yield typed_event({"type": "response.output_item.done", "output_index": index, "item": item})
    counted = {"input_tokens": sum(usage), "output_tokens": 20, "total_tokens": sum(usage) + 20}
    counted |= {"input_tokens_details": {"cached_tokens": usage[0]}, "output_tokens_details": {"reasoning_tokens": 0}}
    done = response | {"status": "completed", "output": items, "usage": counted}
    yield typed_event({"type": "response.completed", "response": done})


STREAMS = {"anthropic_messages": _messages, "openai_chat": _chat, "openai_responses": _responses}
