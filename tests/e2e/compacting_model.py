"""A model whose server sums a session up: a `compaction_trigger` is answered with one opaque `compaction` item.

… items, compaction_trigger ──▶ compaction (sealed)        the agent goes on from the sealed item alone
any other request           ──▶ the next file to read, counted over the whole session
"""

from dataclasses import dataclass

from aiohttp import web

from tests.e2e.agent_model import AgentModel, Call, call_for, typed_event


@dataclass
class CompactingModel(AgentModel):
    """Counts its turns over the whole session: what was compacted is no longer in any request."""

    asked_calls: int = 0
    compactions: int = 0

    async def _answer(self, request, wire, asked, usage):
        items = asked.get("input") or [{}]
        if items[-1].get("type") != "compaction_trigger":
            return await super()._answer(request, wire, asked, usage)
        self.compactions += 1
        out = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await out.prepare(request)
        for event in _summary(self.compactions, usage):
            await out.write(event)
        await out.write_eof()
        return out

    def next_call(self, wire, asked, done):
        call = call_for(wire, asked, self.asked_calls) if self.asked_calls < self.turns else None
        self.asked_calls += call is not None
        return call._replace(id=f"call_s{self.asked_calls}") if isinstance(call, Call) else None


def _summary(number, usage):
    item = {"type": "compaction", "id": f"cmp_{number}", "encrypted_content": "c2VhbGVk" * 20}
    response = {"id": f"resp_c{number}", "object": "response", "status": "in_progress", "output": []}
    yield typed_event({"type": "response.created", "response": response})
    yield typed_event({"type": "response.output_item.added", "output_index": 0, "item": item})
    yield typed_event({"type": "response.output_item.done", "output_index": 0, "item": item})
    counted = {"input_tokens": sum(usage), "output_tokens": 20, "total_tokens": sum(usage) + 20}
    counted |= {"input_tokens_details": {"cached_tokens": usage[0]}, "output_tokens_details": {"reasoning_tokens": 0}}
    done = response | {"status": "completed", "output": [item], "usage": counted}
    yield typed_event({"type": "response.completed", "response": done})
