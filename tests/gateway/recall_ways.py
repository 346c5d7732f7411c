"""The recall tool's contract suite in three languages: how each API writes a reply, and how its agent reads one.

    parts [said, thought, recall, other] ──answer──▶ a reply of the API, whole or as its events
    what the agent got ──read──▶ parts again, with the rules of the stream checked ──take──▶ its next request

A part is a pair: ("said", text) | ("thought", text) | ("recall", id) | ("other", id).
"""

import json
from itertools import takewhile

from ctxgc.gateway.recall.reply_filter import TOOL_NAME
from tests.gateway.agent import ChatAgent, ClaudeAgent, ResponsesAgent
from tests.gateway.stage import CLAUDE
from tests.gateway.upstream import FORMATS, Upstream, deltas, seal, sign

CLIENT = {"x-ctxgc-session": "a-client-session"}


def lines_of(body):
    """The data of a stream's events."""
    for event in body.decode().split("\n\n")[:-1]:
        yield event.partition("data: ")[2]


class AnthropicWay:
    name, wire, headers, agent_class = "anthropic", "anthropic_messages", CLAUDE, ClaudeAgent
    list_name = "messages"

    def answer(self, parts, asked, usage):
        read, written, plain = usage
        blocks = [self.block(*part) for part in parts]
        for block in blocks:
            if block["type"] == "thinking":
                block["signature"] = sign(blocks)
        calls = any(block["type"] == "tool_use" for block in blocks)
        counted = {"input_tokens": plain, "cache_read_input_tokens": read, "cache_creation_input_tokens": written}
        return {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": blocks,
            "stop_reason": "tool_use" if calls else "end_turn", "usage": counted | {"output_tokens": 20},
        }  # fmt: skip

    def events(self, answer):
        return deltas(answer)

    def block(self, kind, value):
        if kind in ("said", "thought"):
            return {"type": "text", "text": value} if kind == "said" else {
                "type": "thinking", "thinking": value, "signature": ""
            }  # fmt: skip
        called = {"name": TOOL_NAME, "input": {"id": "#7"}} if kind == "recall" else {"name": "Read", "input": {}}
        return {"type": "tool_use", "id": value} | called

    def read(self, body, is_stream):
        message = json.loads(body) if not is_stream else self.joined(body)
        found = []
        for block in message["content"]:
            if block["type"] == "tool_use":
                found.append(("other", block["id"]))
            else:
                found.append(("said", block["text"]) if "text" in block else ("thought", block["thinking"]))
        return found, message

    def joined(self, body):
        blocks, kinds = [], []
        for event in map(json.loads, lines_of(body)):
            kinds.append(event["type"])
            if event["type"] == "content_block_start":
                assert event["index"] == len(blocks)
                blocks.append(event["content_block"] | {"partial": ""})
            elif event["type"] == "content_block_delta":
                assert event["index"] == len(blocks) - 1
                for key, value in event["delta"].items():
                    if key != "type":
                        blocks[-1]["partial" if key == "partial_json" else key] += value
        assert kinds.count("message_start") == kinds.count("message_stop") == 1
        for block in blocks:
            partial = block.pop("partial")
            block |= {"input": json.loads(partial)} if block["type"] == "tool_use" else {}
        return {"content": blocks}

    def take(self, agent, message, number):
        if not agent.take(message, number):
            agent.messages.append({"role": "user", "content": [{"type": "text", "text": "Go on."}]})


class ChatWay:
    name, wire, headers, agent_class = "chat", "openai_chat", CLIENT, ChatAgent
    list_name = "messages"

    def answer(self, parts, asked, usage):
        message = {"role": "assistant", "content": "".join(text for kind, text in parts if kind == "said") or None}
        if thought := "".join(text for kind, text in parts if kind == "thought"):
            message["reasoning_content"] = thought
        calls = [self.call(*part) for part in parts if part[0] in ("recall", "other")]
        message |= {"tool_calls": calls} if calls else {}
        counted = {"prompt_tokens": sum(usage), "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 0}}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
        return {"id": f"c{len(asked['messages'])}", "object": "chat.completion", "choices": [choice], "usage": counted}

    def call(self, kind, id_):
        name, given = (TOOL_NAME, '{"id": "#7"}') if kind == "recall" else ("read", '{"path": "x"}')
        return {"id": id_, "type": "function", "function": {"name": name, "arguments": given}}

    def events(self, answer):
        (choice,) = answer["choices"]

        def chunk(delta, finish=None):
            choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
            return self.event({"id": answer["id"], "choices": choices, "usage": None})

        yield chunk({"role": "assistant", "content": ""})
        for name in ("reasoning_content", "content"):
            text = choice["message"].get(name) or ""
            for part in (text[: len(text) // 2], text[len(text) // 2 :]):
                if part:
                    yield chunk({name: part})
        for index, call in enumerate(choice["message"].get("tool_calls", ())):
            begun = call | {"function": call["function"] | {"arguments": ""}}
            yield chunk({"tool_calls": [{"index": index} | begun]})
            for part in (call["function"]["arguments"][:4], call["function"]["arguments"][4:]):
                yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
        yield chunk({}, choice["finish_reason"])
        yield self.event({"id": answer["id"], "choices": [], "usage": answer["usage"]})
        yield b"data: [DONE]\n\n"

    @staticmethod
    def event(value):
        return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()

    def read(self, body, is_stream):
        message, finish = self.joined(body) if is_stream else self.whole(body)
        assert finish == ("tool_calls" if message.get("tool_calls") else "stop")
        texts = [("thought", message.get("reasoning_content")), ("said", message["content"])]
        calls = [("other", call["id"]) for call in message.get("tool_calls", ())]
        return [part for part in texts if part[1]] + calls, {"choices": [{"message": message}]}

    def whole(self, body):
        (choice,) = json.loads(body)["choices"]
        return choice["message"], choice["finish_reason"]

    def joined(self, body):
        message, calls, finishes, ids, roles = {"role": "assistant", "content": ""}, [], [], set(), 0
        *chunks, done = lines_of(body)
        assert done == "[DONE]"
        assert json.loads(chunks[-1])["usage"]["completion_tokens"]
        for chunk in map(json.loads, chunks):
            ids.add(chunk["id"])
            for choice in chunk["choices"]:
                delta = choice["delta"]
                assert delta or choice["finish_reason"] or self.name != "chat"
                roles += "role" in delta
                for name in ("content", "reasoning_content"):
                    message[name] = message.get(name, "") + (delta.get(name) or "")
                for piece in delta.get("tool_calls", ()):
                    if piece.get("id"):
                        assert piece["index"] == len(calls)
                        calls.append(piece | {"function": piece["function"] | {"arguments": ""}})
                    calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
                finishes += [choice["finish_reason"]] if choice["finish_reason"] else []
        assert (len(ids), len(finishes), roles) == (1, 1, 1)
        for call in calls:
            del call["index"]
            assert json.loads(call["function"]["arguments"]) == {"path": "x"}
        if not message["reasoning_content"]:
            del message["reasoning_content"]
        return message | ({"tool_calls": calls} if calls else {}), finishes[0]

    def take(self, agent, message, number):
        if not agent.take(message, number):
            agent.messages.append({"role": "user", "content": "Go on."})


class TerseChatWay(ChatWay):
    """Servers that say the role with every piece, and whole calls at once."""

    name = "terse_chat"

    def events(self, answer):
        (choice,) = answer["choices"]
        message = choice["message"]
        pieces = [{name: message[name]} for name in ("reasoning_content", "content") if message.get(name)]
        pieces += [{"tool_calls": [{"index": i} | call for i, call in enumerate(message.get("tool_calls", ()))]}]
        for at, piece in enumerate(pieces):
            finish = choice["finish_reason"] if at == len(pieces) - 1 else None
            choices = [{"index": 0, "delta": {"role": "assistant"} | piece, "finish_reason": finish}]
            yield self.event({"id": answer["id"], "choices": choices})
        yield self.event({"id": answer["id"], "choices": [], "usage": answer["usage"]})
        yield b"data: [DONE]\n\n"

    def joined(self, body):
        """The same rules, but for the role, which its first reply says again and again."""
        pieces = [json.loads(line) for line in lines_of(body) if line != "[DONE]"]
        once = [{"role": "assistant", "content": ""}]
        for piece in pieces[:-1]:
            piece["choices"][0]["delta"].pop("role", None)
        begun = pieces[0] | {"choices": [{"index": 0, "delta": once[0], "finish_reason": None}]}
        calls = [piece for piece in pieces if piece["choices"]]
        assert all(one["id"] == calls[0]["id"] for one in calls)
        return super().joined(b"".join(map(self.event, [begun, *pieces])) + b"data: [DONE]\n\n")


class ResponsesWay:
    name, wire, headers, agent_class = "responses", "openai_responses", CLIENT, ResponsesAgent
    list_name = "input"

    def answer(self, parts, asked, usage):
        number = len(asked["input"])
        items = [self.item(index, number, *part) for index, part in enumerate(parts)]
        for at, item in enumerate(items):
            if item["type"] == "reasoning":
                turn = takewhile(lambda later: later["type"] != "reasoning", items[at + 1 :])
                item["encrypted_content"] += "|" + seal(list(turn))
        counted = {"input_tokens": sum(usage), "input_tokens_details": {"cached_tokens": usage[0]}, "output_tokens": 20}
        return {
            "id": f"resp_{number}", "object": "response", "status": "completed", "output": items,
            "tools": asked["tools"], "usage": counted,
        }  # fmt: skip

    def item(self, index, number, kind, value):
        if kind == "said":
            content = [{"type": "output_text", "text": value, "annotations": []}]
            return {"type": "message", "id": f"msg_{number}_{index}", "role": "assistant", "content": content}
        if kind == "thought":
            return {"type": "reasoning", "id": f"rs_{number}_{index}", "summary": [], "encrypted_content": value}
        name, given = (TOOL_NAME, '{"id": "#7"}') if kind == "recall" else ("read", '{"path": "x"}')
        return {
            "type": "function_call", "id": f"fc_{value}", "call_id": value, "name": name, "arguments": given
        }  # fmt: skip

    def events(self, answer):
        number = 0

        def event(name, **more):
            nonlocal number
            number += 1
            value = {"type": name, "sequence_number": number - 1} | more
            return f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n".encode()

        begun = answer | {"status": "in_progress", "output": [], "usage": None}
        yield event("response.created", response=begun)
        yield event("response.in_progress", response=begun)
        for index, item in enumerate(answer["output"]):
            grown = {"message": "content", "function_call": "arguments"}.get(item["type"], "summary")
            empty = item | {grown: "" if grown == "arguments" else []}
            yield event("response.output_item.added", output_index=index, item=empty)
            if grown != "summary":
                at = {"item_id": item["id"], "output_index": index}
                text = item["arguments"] if grown == "arguments" else item["content"][0]["text"]
                name = "function_call_arguments" if grown == "arguments" else "output_text"
                for part in (text[: len(text) // 2], text[len(text) // 2 :]):
                    yield event(f"response.{name}.delta", delta=part, **at)
                yield event(f"response.{name}.done", **at)
            yield event("response.output_item.done", output_index=index, item=item)
        yield event("response.completed", response=answer)

    def read(self, body, is_stream):
        response = self.joined(body) if is_stream else json.loads(body)
        assert [tool["name"] for tool in response["tools"]] == ["read"]
        found = []
        for item in response["output"]:
            if item["type"] == "message":
                found.append(("said", item["content"][0]["text"]))
            else:
                found.append(
                    ("other", item["call_id"])
                    if "call_id" in item
                    else ("thought", item["encrypted_content"].partition("|")[0])
                )
        return found, response

    def joined(self, body):
        events = list(map(json.loads, lines_of(body)))
        first = events[0]["sequence_number"]
        assert [event["sequence_number"] for event in events] == list(range(first, first + len(events)))
        assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
        items, is_open = [], None
        for event in events[2:-1]:
            if event["type"] == "response.output_item.added":
                assert (event["output_index"], is_open) == (len(items), None)
                is_open = len(items)
            else:
                assert event["output_index"] == is_open
            if event["type"] == "response.output_item.done":
                items.append(event["item"])
                is_open = None
        done = events[-1]["response"]
        assert events[-1]["type"] == "response.completed"
        assert done["output"] == items
        assert {event["response"]["id"] for event in (events[0], events[1], events[-1])} == {done["id"]}
        return done

    def take(self, agent, message, number):
        if not agent.take(message, number):
            agent.input.append({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Go."}]})


WAYS = [AnthropicWay(), ChatWay(), TerseChatWay(), ResponsesWay()]


class Scripted(Upstream):
    """Answers from a script of parts, of statuses, or of functions that write an answer of their own."""

    way = None
    piece_bytes = 2**20

    async def _scripted(self, request, asked, usage):
        way = self.way or next(way for way in WAYS if way.wire == FORMATS[request.path])
        answer = way.answer(self.script.pop(0), asked, usage)
        out = self.stream()
        if not asked.get("stream"):
            out.content_type = "application/json"
        await out.prepare(request)
        data = b"".join(way.events(answer)) if asked.get("stream") else json.dumps(answer).encode()
        for at in range(0, len(data), self.piece_bytes):
            await out.write(data[at : at + self.piece_bytes])
        await out.write_eof()
        return out
