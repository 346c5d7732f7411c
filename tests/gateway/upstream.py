"""A model's API that refuses what the real ones refuse, and bills as they do.

    request ──valid?──▶ 400, with the reason        orphaned pairs; signed turns edited or without their thinking;
                                                    tools that change or go; cache breakpoints that are too many,
                                                    out of order, or where none may stand
            ──bill────▶ by breakpoints, look-back and lives, as `ctxgc.core.pacing.provider_cache` has it of this API
            ──answer──▶ a stream or a JSON body     the next tool call, until the session has run its turns

Behaviours that a test asks for come as the header `x-test`. Everything received is kept, byte for byte.
"""

import asyncio
import gzip
import json
import zlib
from collections import Counter
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import NamedTuple

import zstandard
from aiohttp import web

from ctxgc.core.pacing.provider_cache import LONG_LIFE_S, entries_after_request, findable_prefixes
from ctxgc.gateway.body.content_coding import brotli
from tests.contracts import wire_rules
from tests.gateway.cached_prompt import ANTHROPIC_WIRE, plain, prompt_of, provider_of, refusal_of_breakpoints

FORMATS = {
    "/v1/messages": "anthropic_messages",
    "/v1/chat/completions": "openai_chat",
    "/v1/responses": "openai_responses",
}
DECODERS = {
    "": bytes,
    "zstd": lambda body: zstandard.ZstdDecompressor().stream_reader(body).read(),
    **dict.fromkeys(("gzip", "x-gzip"), gzip.decompress),
    "deflate": zlib.decompress,
} | ({"br": brotli.decompress} if brotli else {})
READ, WRITE, LONG_WRITE = 0.1, 1.25, 2.0
"""Prices of a cached read and of a cache write, for five minutes or an hour, relative to input."""


class Received(NamedTuple):
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Bill:
    read: int = 0
    written: int = 0
    plain: int = 0
    """Behind the last cache breakpoint, or of an API that sells writes at the price of input."""
    long_written: int = 0
    """The part of `written` that is kept for an hour."""

    @property
    def cost(self):
        write = self.written * WRITE + self.long_written * (LONG_WRITE - WRITE)
        return self.read * READ + write + self.plain

    @property
    def hit_rate(self):
        return self.read / max(self.read + self.written + self.plain, 1)


@dataclass
class Upstream:
    turns: int = 1000
    """Tool calls of a session before it is answered with text."""
    received: list[Received] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    statuses: Counter = field(default_factory=Counter)
    bills: dict[str, Bill] = field(default_factory=dict)
    keeps: bool = True
    """Whether bodies are kept."""
    script: list[list[dict] | int] = field(default_factory=list)
    """Blocks of the next answers of Anthropic's API, or their error's status, before it goes on by itself."""
    least_tokens: int | None = None
    """The shortest prefix that is cached, where not what the API's documentation says of the model."""
    now_s: float = 0.0
    """The provider's clock: it stands until a test moves it."""
    billed: list = field(default_factory=list)
    """What each answered request was billed, in order."""
    port: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """The other side of a stream went away."""
    _entries: dict = field(default_factory=dict)
    _seen: tuple | None = None
    _tools: dict[str, str] = field(default_factory=dict)
    _thought: dict[str, set[str]] = field(default_factory=dict)
    """For each session: calls made by turns that thought."""

    async def start(self):
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self.runner = web.AppRunner(
            app, access_log=None, auto_decompress=False, handler_cancellation=True, shutdown_timeout=0.1,
            max_field_size=2**18, max_line_size=2**18,
        )  # fmt: skip
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.port = self.runner.addresses[0][1]
        return self

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def last(self):
        return self.received[-1].body

    async def _serve(self, request):
        body = await request.read()
        headers = [(k.decode(), v.decode("utf-8", "surrogateescape")) for k, v in request.raw_headers]
        self.received.append(Received(request.method, request.raw_path, headers, body if self.keeps else b""))
        wanted = request.headers.get("x-test", "")
        if wanted:
            return await getattr(self, f"_{wanted}")(request)
        wire = FORMATS.get(request.path)
        if wire is None:
            return web.Response(body=b'{"path":"%s"}' % request.path.encode(), content_type="application/json")
        if self.script and isinstance(self.script[0], int):
            return self._error(self.script.pop(0), "not this one", **{"retry-after": "17"})
        session = request.headers.get("x-claude-code-session-id") or request.headers.get("x-ctxgc-session", "")
        try:
            for coding in reversed(request.headers.get("content-encoding", "").split(",")):
                body = DECODERS[coding.strip()](body)
            asked = json.loads(body)
            session = session or asked.get("prompt_cache_key", "")
            self._check(wire, asked, session, body)
        except (AssertionError, KeyError, TypeError, ValueError) as fault:
            self.refused.append(f"{type(fault).__name__}: {fault}")
            return self._error(400, str(fault))
        usage = self._bill(wire, asked, session)
        return await self._answer(request, wire, asked, usage)

    def _check(self, wire, asked, session, body):
        wire_rules.check(wire, body, is_rendered=False)
        wire_rules.check_is_answered(wire, body)
        items = asked.get("messages", asked.get("input", []))
        tools = tools_of(asked)
        # A title and the like are asked for without any, under the same id: but whoever has called has tools.
        assert tools or not any(is_call(item) for item in items), "calls without tools"
        assert not tools or self._tools.setdefault(session, tools) == tools, "the tools changed"
        why = refusal_of_breakpoints(provider_of(wire, asked.get("model") or ""), self._prompt(wire, asked).breakpoints)
        assert not why, why
        check_seals(items)
        for message in items:
            check_signature(message)
            self._check_thinking(message, self._thought.setdefault(session, set()))

    @staticmethod
    def _check_thinking(message, thought):
        blocks = message["content"] if isinstance(message.get("content"), list) else []
        calls = {block["id"] for block in blocks if block.get("type") == "tool_use"}
        if any(block.get("type") == "thinking" for block in blocks):
            thought |= calls
        else:
            assert not calls & thought, "a turn lost its thinking"

    def _bill(self, wire, asked, session):
        """What the request is billed, which is answered with 200 from here on: so it leaves its entries."""
        provider, prompt = provider_of(wire, asked.get("model") or ""), self._prompt(wire, asked)
        if self.least_tokens is not None:
            provider = replace(provider, least_tokens=self.least_tokens)
        billed = findable_prefixes(provider, self._entries, prompt, self.now_s).predict_bill()
        self._entries = entries_after_request(provider, self._entries, prompt, self.now_s)
        if wire != ANTHROPIC_WIRE:
            billed = billed._replace(written=0, plain=billed.written + billed.plain)
        self.billed.append(billed)
        bill = self.bills.setdefault(session, Bill())
        bill.read += billed.read
        bill.written += billed.written
        bill.plain += billed.plain
        bill.long_written += billed.long_written
        return billed.read, billed.written, billed.plain

    def _prompt(self, wire, asked):
        """The request as the cache sees it: made once for its check and its bill."""
        if self._seen is None or self._seen[0] is not asked:
            self._seen = (asked, prompt_of(wire, asked))
        return self._seen[1]

    def forget(self):
        """So much time goes by that nothing is cached any more."""
        self.now_s += 2 * LONG_LIFE_S

    async def _answer(self, request, wire, asked, usage):
        done = sum(1 for item in asked.get("messages", asked.get("input", [])) if is_assistants(item))
        call = None if done >= self.turns or not asked.get("tools") else f"call_{done}"
        if self.script:
            return await self._scripted(request, asked, usage)
        if not asked.get("stream"):
            return web.json_response(ANSWERS[wire](call, done, usage))
        out = self.stream()
        await out.prepare(request)
        for event in EVENTS[wire](ANSWERS[wire](call, done, usage)):
            await out.write(event)
        await out.write_eof()
        return out

    async def _scripted(self, request, asked, usage):
        answer = _anthropic(None, 0, usage) | {"content": self.script.pop(0), "model": asked["model"]}
        is_calling = answer["content"][-1]["type"] == "tool_use"
        answer["stop_reason"] = "tool_use" if is_calling else "end_turn"
        if not asked.get("stream"):
            return web.json_response(answer)
        out = self.stream()
        await out.prepare(request)
        for event in deltas(answer):
            await out.write(event)
        await out.write_eof()
        return out

    def _error(self, status, why, **headers):
        error = {"type": "error", "error": {"type": "invalid_request_error", "message": why}}
        return web.json_response(error, status=status, headers=headers)

    # Behaviours

    @staticmethod
    def stream():
        return web.StreamResponse(headers={"content-type": "text/event-stream"})

    async def _limited(self, request):
        return self._error(429, "slow down", **{"retry-after": "17", "x-ratelimit-remaining": "0"})

    async def _overloaded(self, request):
        return self._error(529, "overloaded")

    async def _breaks(self, request):
        """Dies in the middle of a stream."""
        out = self.stream()
        await out.prepare(request)
        await out.write(b"event: ping\ndata: {}\n\n")
        await asyncio.sleep(0.02)
        request.transport.close()
        return out

    async def _dies(self, request):
        """Dies before it answers."""
        request.transport.close()
        return web.Response()

    async def _stalls(self, request):
        """Streams one event, and then nothing for ever."""
        out = self.stream()
        await out.prepare(request)
        await out.write(b"event: ping\ndata: {}\n\n")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.hung_up.set()
            raise
        return out

    async def _drips(self, request):
        """Streams the body back byte by byte, so that UTF-8 and events are cut anywhere."""
        body = await request.read()
        out = self.stream()
        await out.prepare(request)
        for at in range(len(body)):
            await out.write(body[at : at + 1])
        await out.write_eof()
        return out

    async def _bare(self, request):
        """Answers with headers of its own and no others."""
        headers = {"X-Odd-Case": "1", "content-encoding": "br", "set-cookie": "a=1"}
        return web.Response(body=b"\x00\xff", headers=headers)

    async def _redirects(self, request):
        return web.Response(status=307, headers={"location": "/elsewhere"})


def is_assistants(item):
    return item.get("role") == "assistant" or item.get("type") in wire_rules.CALLS


def tools_of(asked):
    """A request's tools, wherever it lists them; empty without any. A deferred tool is no part of the prompt."""
    listed = [tool for tool in asked.get("tools") or () if not tool.get("defer_loading")] or [
        item["tools"]
        for item in asked.get("input", ())
        if isinstance(item, dict) and item.get("type") == "additional_tools"
    ]
    return json.dumps(plain(listed)) if listed else ""


def is_call(item):
    content = item.get("content")
    blocks = content if isinstance(content, list) else []
    is_block = any(block.get("type") == "tool_use" for block in blocks)
    return is_block or bool(item.get("tool_calls")) or item.get("type") in wire_rules.CALLS


def sign(blocks):
    """A signature over everything else that the assistant said in this turn."""
    others = [plain(block) for block in blocks if block["type"] != "thinking"]
    thought = [block["thinking"] for block in blocks if block["type"] == "thinking"]
    return blake2b(json.dumps([thought, others]).encode(), digest_size=8).hexdigest()


def check_signature(message):
    blocks = message["content"] if isinstance(message.get("content"), list) else []
    for block in blocks:
        if block.get("type") == "thinking" and message["role"] == "assistant":
            assert block["signature"] == sign(blocks), "a turn under a thinking signature was edited"


def seal(items):
    """What stands for reasoning that only the server can read: it belongs to the items that follow it."""
    # As the server reads it: clients write the arguments' JSON in their own way, and leave the type of a message out.
    said = [
        [
            *(item.get(key) for key in ("call_id", "name", "input")),
            json.loads(item.get("arguments") or "{}"),
            _texts(item),
        ]
        for item in items
    ]
    return "sealed:" + blake2b(json.dumps(said).encode(), digest_size=8).hexdigest()


def _texts(item):
    content = item.get("content")
    return [part.get("text") for part in content] if isinstance(content, list) else content


def check_seals(items):
    """Sealed reasoning is the server's own, and what it led to is what it led to."""
    for at, item in enumerate(items):
        if item.get("type") == "reasoning":
            turn = []
            for later in items[at + 1 :]:
                if later.get("type") == "reasoning" or not is_assistants(later):
                    break
                turn.append(later)
            assert turn, "reasoning without the item that it led to"
            sealed = (item.get("encrypted_content") or "").rpartition("|")[2]
            assert sealed == seal(turn), "a turn under encrypted reasoning was edited"


# Answers


def tool(number, read, run, field):
    """Every fourth call reads a file, the others run a test."""
    if number % 4 == 0:
        return {"name": read[0], field: {read[1]: f"/src/f{number}.py"}}
    return {"name": run, field: {"command": f"pytest -x tests/test_{number}.py"}}


def _anthropic(call, number, usage):
    blocks = [{"type": "text", "text": f"Step {number}."}]
    if call:
        blocks.append({"type": "tool_use", "id": call, **tool(number, ("Read", "file_path"), "Bash", "input")})
    blocks.insert(0, {"type": "thinking", "thinking": f"Now step {number}…", "signature": ""})
    if number % 2:
        blocks[0]["signature"] = sign(blocks)
    else:
        del blocks[0]
    read, written, plain = usage
    counted = {
        "input_tokens": plain, "cache_read_input_tokens": read, "cache_creation_input_tokens": written,
        "output_tokens": 20,
    }  # fmt: skip
    return {"id": "m", "type": "message", "role": "assistant", "content": blocks, "usage": counted}


def _openai(call, number, usage):
    message = {"role": "assistant", "content": f"Step {number}."}
    if call:
        function = tool(number, ("read", "path"), "bash", "arguments")
        function["arguments"] = json.dumps(function["arguments"])
        message["tool_calls"] = [{"id": call, "type": "function", "function": function}]
    details = {"cached_tokens": usage[0]}
    counted = {"prompt_tokens": sum(usage), "completion_tokens": 20, "prompt_tokens_details": details}
    return {"id": "c", "choices": [{"index": 0, "message": message}], "usage": counted}


def _responses(call, number, usage):
    output = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": f"Step {number}."}]}]
    if call:
        function = tool(number, ("read", "path"), "bash", "arguments")
        function["arguments"] = json.dumps(function["arguments"])
        output.append({"type": "function_call", "call_id": call, **function})
    if number % 2:
        output.insert(0, {"type": "reasoning", "id": f"rs_{number}", "summary": [], "encrypted_content": seal(output)})
    details = {"cached_tokens": usage[0]}
    return {
        "output": output,
        "usage": {"input_tokens": sum(usage), "input_tokens_details": details, "output_tokens": 9},
    }


def _event(name, value):
    return f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def _anthropic_events(answer):
    start = answer | {"content": [], "usage": answer["usage"] | {"output_tokens": 1}}
    yield _event("message_start", {"type": "message_start", "message": start})
    for index, block in enumerate(answer["content"]):
        yield _event("content_block_start", {"index": index, "content_block": block})
    yield _event("message_delta", {"delta": {}, "usage": {"output_tokens": answer["usage"]["output_tokens"]}})
    yield _event("message_stop", {"type": "message_stop"})


def deltas(answer):
    """A stream as the API writes it: each block begun, grown and stopped."""
    start = answer | {"content": [], "stop_reason": None, "usage": answer["usage"] | {"output_tokens": 1}}
    yield _event("message_start", {"type": "message_start", "message": start})
    yield _event("ping", {"type": "ping"})
    for index, block in enumerate(answer["content"]):
        grown = {key: value for key, value in block.items() if key not in ("text", "input", "thinking", "signature")}
        empty = {key: {} if key == "input" else "" for key in block if key not in grown}
        yield _block_event("content_block_start", index, content_block=grown | empty)
        for key in empty:
            kind, name = {"input": ("input_json_delta", "partial_json")}.get(key, (f"{key}_delta", key))
            text = json.dumps(block["input"]) if key == "input" else block[key]
            for part in (text[: len(text) // 2], text[len(text) // 2 :]):
                yield _block_event("content_block_delta", index, delta={"type": kind, name: part})
        yield _block_event("content_block_stop", index)
    stop = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": answer["usage"]["output_tokens"]}
    yield _event("message_delta", {"type": "message_delta", "delta": stop, "usage": usage})
    yield _event("message_stop", {"type": "message_stop"})


def _block_event(name, index, **more):
    return _event(name, {"type": name, "index": index} | more)


def _openai_events(answer):
    yield _event("", {"choices": [{"delta": answer["choices"][0]["message"]}]})
    yield _event("", {"choices": [], "usage": answer["usage"]})
    yield b"data: [DONE]\n\n"


def _responses_events(answer):
    yield _event("response.completed", {"type": "response.completed", "response": answer})


ANSWERS = {"anthropic_messages": _anthropic, "openai_chat": _openai, "openai_responses": _responses}
EVENTS = {
    "anthropic_messages": _anthropic_events,
    "openai_chat": _openai_events,
    "openai_responses": _responses_events,
}
