"""A model's API on the loopback with a scripted model: the shapes of Anthropic, Chat Completions and Responses."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ctxgc.client.recall_tool import RECALL_TOOL
from tests.client.stories import ANTHROPIC, CHAT, RESPONSES, address_in, results_of

PATHS = {"messages": ANTHROPIC, "completions": CHAT, "responses": RESPONSES}


class ScriptedApi:
    """Asks for two files in each turn, and for a body that left in the last but one; keeps the requests."""

    def __init__(self, turns=40):
        self.turns = turns
        self.seen = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._server.server_close()

    def calls_for(self, items):
        """(name, arguments, id) of the calls with which the model replies; none at the end."""
        results = results_of(items)
        turn = sum(id_.startswith("c") for id_ in results) // 2
        if turn < self.turns:
            return [("read", {"file": n, "turn": turn}, f"c{turn}_{n}") for n in range(2)]
        gone = next((address for text in results.values() if (address := address_in(text))), "")
        return [(RECALL_TOOL, {"id": gone}, "back")] if gone and "back" not in results else []

    def _handler(self):
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                form = PATHS[self.path.partition("?")[0].rpartition("/")[2]]
                api.seen.append(asked)
                items = asked["input" if form == RESPONSES else "messages"]
                body = RENDER[form](api.calls_for(items) if isinstance(items, list) else [], asked)
                is_stream = isinstance(body, list)
                data = "".join(body).encode() if is_stream else json.dumps(body).encode()
                self.send_response(200)
                self.send_header("content-type", "text/event-stream" if is_stream else "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *words):
                """Say nothing."""

        return Handler


def _anthropic(calls, asked):
    content = [{"type": "tool_use", "id": id_, "name": name, "input": arguments} for name, arguments, id_ in calls]
    usage = {"input_tokens": 10, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 100, "output_tokens": 9}
    message = {"id": "m", "type": "message", "role": "assistant", "model": asked["model"], "stop_sequence": None}
    message |= {"stop_reason": "tool_use" if calls else "end_turn", "usage": usage}
    if not asked.get("stream"):
        return message | {"content": content or [{"type": "text", "text": "Done."}]}
    events = [{"type": "message_start", "message": message | {"content": []}}]
    for at, block in enumerate(content):
        given = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        events += [
            {"type": "content_block_start", "index": at, "content_block": block | {"input": {}}},
            {"type": "content_block_delta", "index": at, "delta": given},
            {"type": "content_block_stop", "index": at},
        ]
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events += [{"type": "message_delta", "delta": ended, "usage": {"output_tokens": 9}}, {"type": "message_stop"}]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]


def _chat(calls, asked):
    asked_calls = [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for name, arguments, id_ in calls
    ]
    message = {"role": "assistant", "content": None if calls else "Done."} | (
        {"tool_calls": asked_calls} if calls else {}
    )
    choice = {"index": 0, "finish_reason": "tool_calls" if calls else "stop", "message": message, "logprobs": None}
    usage = {"prompt_tokens": 2000, "completion_tokens": 9, "total_tokens": 2009}
    base = {"id": "r", "created": 1, "model": asked["model"]}
    if not asked.get("stream"):
        return base | {"object": "chat.completion", "choices": [choice], "usage": usage}
    delta = message | {"tool_calls": [call | {"index": at} for at, call in enumerate(asked_calls)]}
    parts = [{"index": 0, "delta": delta, "finish_reason": None}]
    parts.append({"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]})
    chunks = [base | {"object": "chat.completion.chunk", "choices": [part]} for part in parts]
    chunks.append(base | {"object": "chat.completion.chunk", "choices": [], "usage": usage})
    return [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]


def _responses(calls, asked):
    output = [
        {"type": "function_call", "id": f"fc_{id_}", "call_id": id_, "name": name, "arguments": json.dumps(arguments)}
        for name, arguments, id_ in calls
    ]
    if not calls:
        content = [{"type": "output_text", "text": "Done.", "annotations": []}]
        output = [{"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": content}]
    usage = {"input_tokens": 2000, "output_tokens": 9, "total_tokens": 2009}
    usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    more = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "status": "completed", "error": None}
    more |= {"incomplete_details": None, "instructions": None, "metadata": {}, "temperature": 1.0, "top_p": 1.0}
    whole = {
        "id": "r",
        "object": "response",
        "created_at": 1,
        "model": asked["model"],
        "output": output,
        "usage": usage,
    } | more
    if not asked.get("stream"):
        return whole
    events = [{"type": "response.created", "response": whole | {"output": [], "usage": None}, "sequence_number": 0}]
    events.append({"type": "response.completed", "response": whole, "sequence_number": 1})
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]


RENDER = {ANTHROPIC: _anthropic, CHAT: _chat, RESPONSES: _responses}
