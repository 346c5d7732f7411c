"""A session's work on the engine's loop: each method is what a method of `ClientSession` and `AsyncClientSession` does.

    collect ──budget──▶ messages.collect ─────────────────────────────▶ CollectedList
            └─pacer──▶ the pipeline: tombstones in force, own breakpoint ──▶ CollectedList
                           └── the list, and the bill of the reply before ──▶ the daemon, beside the program

A collection by the pacer takes hold with the list after the one that it was decided on, unless the provider's cache is
cold: then the list waits for the decision. The daemon's failures never reach the program: its list comes back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from ctxgc.client.collected_list import CollectedList, CollectionPlan, find_evicted
from ctxgc.client.engine import Running
from ctxgc.client.lists import changed_positions, decode_list, merge_edited
from ctxgc.client.recall_tool import RecallCall, answer_message, recall_params, recalled_text
from ctxgc.client.usage import reply_usage
from ctxgc.core.bounded_dict import drop_oldest_entries
from ctxgc.gateway.editing.request_state import ModelCall
from ctxgc.gateway.identity.headers import SESSION_HEADER, identity_in_headers_or_path
from ctxgc.gateway.metrics import Reason
from ctxgc.protocol.blocking_client import CallFailed
from ctxgc.protocol.replies.stash import HitReply, SearchReply

REASONS_MAX = 10_000
LATE = "deadline"
TOKENS_PER_BYTE_MAX = 2
FRAME_TOKENS = 256
HEAD_START_S = 0.02
"""Seconds that the program has for itself before its list is read beside it."""


class ListRequest(NamedTuple):
    """A list to collect, as the program gave it and as bytes."""

    messages: Sequence[Any]
    format: str
    list_json: bytes
    body: bytes
    """The list in a request with model, system prompt and tools, for the pacer."""


class _LastList(NamedTuple):
    """The last list by a budget, and the most that it may count, in billed tokens."""

    list_json: bytes = b""
    tokens: int = 0


class SessionWork:
    """A session of the client. Belongs to the engine's loop."""

    def __init__(self, name: str, project: str, deadline_s: float, failures: Counter[str], *, can_mark: bool) -> None:
        identity = identity_in_headers_or_path({SESSION_HEADER: name})
        if identity is None:
            raise ValueError(f"a session's name is letters, digits, `.`, `_` and `-`, at most 128: not {name!r}")
        self.name = "{}:{}".format(*identity)
        self._project = project
        self._can_mark = can_mark
        self._deadline_s = deadline_s
        self.failures = failures
        """Lists of all the client's sessions that came back as they were because the daemon failed, by kind."""
        self._call: ModelCall | None = None
        """The last list by the pacer."""
        self._last_list = _LastList()
        self._sending: asyncio.Task[None] | None = None
        """The list before, on its way to the daemon, where no program waited for the answer."""
        self._usage: dict[str, int] | None = None
        """The bill of the last list by a budget, for the next."""
        self._collects_by = ""
        self._out: frozenset[str] = frozenset()
        """Addresses of the bodies that were out of the last list."""
        self._reasons: dict[str, str] = {}
        self._plan: CollectionPlan | None = None

    async def collect(self, running: Running, request: ListRequest, budget: int | None, unit: str) -> CollectedList:
        """The list to send. Raises `ValueError` for a session that is collected both ways, and nothing else."""
        collects_by = "pacer" if budget is None else "budget"
        if self._collects_by and self._collects_by != collects_by:
            raise ValueError("a session is collected by budgets or by the pacer, not by both: open another session")
        self._collects_by = collects_by
        try:
            async with asyncio.timeout(self._deadline_s):
                if budget is None:
                    return await self._collect_by_pacer(running, request)
                return await self._collect_by_budget(running, request, budget, unit)
        except TimeoutError:
            return self._unchanged(request, LATE)
        except CallFailed as failure:
            return self._unchanged(request, failure.kind)

    def _unchanged(self, request: ListRequest, failure: str) -> CollectedList:
        self.failures[failure] += 1
        return CollectedList(request.messages, request.format, failure=failure)

    async def _collect_by_budget(self, running: Running, request: ListRequest, budget: int, unit: str) -> CollectedList:
        await self._wait_for_last_list()
        tokens, most_tokens = self._last_list.tokens, self._most_tokens(request)
        if unit == "billed" and not self._out and most_tokens is not None and most_tokens <= budget:
            self._last_list = _LastList(request.list_json, most_tokens)
            sending = asyncio.create_task(self._send_list_beside(running, request, budget, unit))
            running.daemon.background.add(sending)
            sending.add_done_callback(running.daemon.background.discard)
            self._sending = sending
            return CollectedList(request.messages, request.format, tokens=tokens)
        return await self._send_list(running, request, budget, unit)

    def _most_tokens(self, request: ListRequest) -> int | None:
        """The most billed tokens that a list may count; `None` for a list that does not go on from the list before.

        A token is a byte or more; the factor leaves room for the model's ratio and for what frames a message.
        """
        last = self._last_list
        head = last.list_json[:-1]
        if not head or not request.list_json.startswith(head):
            return None
        return last.tokens + FRAME_TOKENS + TOKENS_PER_BYTE_MAX * (len(request.list_json) - len(head))

    async def _wait_for_last_list(self) -> None:
        if self._sending is not None:
            sending, self._sending = self._sending, None
            await asyncio.wait([sending])

    async def _send_list_beside(self, running: Running, request: ListRequest, budget: int, unit: str) -> None:
        """Send a list that no program waits for. After a failure the next list is waited for."""
        try:
            await self._send_list(running, request, budget, unit)
        except CallFailed as failure:
            self.failures[failure.kind] += 1
            self._last_list = _LastList()

    async def _send_list(self, running: Running, request: ListRequest, budget: int, unit: str) -> CollectedList:
        params = {
            "session": self.name,
            "format": request.format,
            "messages": msgspec.Raw(request.list_json),
            "budget_tokens": budget,
            "unit": unit,
            "cwd": self._project,
            "usage": self._usage,
            "only_edited": True,
        }
        self._usage = None  # A bill that the program names while this list is on its way is the next list's.
        reply = await running.daemon.call("messages.collect", params, self._deadline_s)
        self._note_plan(reply["plan"])
        edited = reply["messages"]
        collected = self._merge(request, edited) if edited is not None else self._whole(request)
        self._last_list = _LastList(request.list_json, reply["billed_tokens"])
        tokens = reply["billed_tokens"] if unit == "billed" else reply["tokens"]
        return replace(self._with_numbers(collected, tokens, 0), plan=self._plan)

    async def _collect_by_pacer(self, running: Running, request: ListRequest) -> CollectedList:
        editor = running.pipeline.editor
        self._end_call(None)
        triage = editor.triage_call(request.format, {SESSION_HEADER: self.name}, len(request.body))
        if triage.session is not None:
            triage.session.project, triage.session.bars_breakpoints = self._project, not self._can_mark
        if triage.holds_body:
            outgoing = await editor.edit_request(triage, request.body)
            call, body = outgoing.call, outgoing.body
        else:
            call, body = editor.sync_streamed_request(triage, [request.body]), request.body
        self._call = call
        if call is not None:
            asyncio.get_running_loop().call_later(HEAD_START_S, call.reply.began.set)
        answer = running.daemon.sync_answers.get(call.branch.session_name if call and call.branch else self.name)
        if answer is not None and (plan := answer["plan"]) is not None:
            self._note_plan(plan)
        is_edited = body is not request.body
        collected = self._merge(request, decode_list(body, request.format)) if is_edited else self._whole(request)
        window = answer["window"] if answer is not None else {"billed_tokens": 0, "freed_tokens": 0}
        failure = _failure_of(call, running.pipeline.syncer.trouble)
        self.failures.update([failure] if failure else [])
        return self._with_numbers(collected, window["billed_tokens"], window["freed_tokens"], failure)

    def _whole(self, request: ListRequest) -> CollectedList:
        """The list as the program gave it, of which no body is out."""
        self._out = frozenset()
        return CollectedList(request.messages, request.format)

    def _merge(self, request: ListRequest, edited: Sequence[Any]) -> CollectedList:
        before = msgspec.json.decode(request.list_json)
        changed = changed_positions(before, edited)
        evicted = find_evicted([edited[at] for at in changed], self._reasons)
        left = tuple(body for body in evicted if body.address not in self._out)
        self._out = frozenset(body.address for body in evicted)
        return CollectedList(
            messages=merge_edited(request.messages, edited, changed) if changed else request.messages,
            format=request.format,
            is_edited=bool(changed),
            evicted=evicted,
            left=left,
            plan=self._plan if left else None,
        )

    def _with_numbers(self, collected: CollectedList, tokens: int, freed: int, failure: str = "") -> CollectedList:
        freed = freed or sum(body.tokens for body in collected.evicted)
        return replace(collected, tokens=tokens, freed_tokens=freed if collected.evicted else 0, failure=failure)

    def _note_plan(self, plan: dict[str, Any]) -> None:
        self._reasons |= {victim["id"]: victim["reason"] for victim in plan["victims"]}
        drop_oldest_entries(self._reasons, REASONS_MAX)
        self._plan = CollectionPlan(
            plan["trigger"],
            plan["evicted"],
            plan["freed_tokens"],
            plan["predicted_cost"],
            plan["cache_rewrite_tokens"],
            plan.get("protected_by", {}),
        )

    def _end_call(self, usage: Any) -> None:
        """End the last list's reply: with its bill, or with none where the program named none."""
        if self._call is not None:
            self._call.reply.is_answer = True
            bill = reply_usage(usage)
            self._call.reply.end(bill, 0)
            self._call = None

    async def note_usage(self, running: Running, usage: Any) -> None:
        """Note the bill of the last list, or of the model's whole response: pacer and calibration learn from it."""
        if self._collects_by == "budget":
            bill = reply_usage(usage)
            if bill is not None:
                self._usage = dict(bill._asdict())
                billed = bill.input_tokens + bill.cache_read_tokens + bill.cache_creation_tokens
                self._last_list = self._last_list._replace(tokens=max(self._last_list.tokens, billed))
        else:
            self._end_call(usage)

    async def recall(self, running: Running, id: str) -> str:
        """Every byte of a segment's body, in pages. Raises `CallFailed`."""
        params = {"session": self.name, "id": id}
        reply = await running.daemon.call("stash.recall", params, self._deadline_s)
        pieces = [piece for content in reply["recalled"] for piece in content["pieces"]]
        results = [piece for piece in pieces if piece["name"] == "result"] or pieces
        texts = []
        for piece in results:
            texts.append(piece["text"] or "")
            while piece["next_offset"] >= 0:
                page = params | {"piece": piece["name"], "offset": piece["next_offset"]}
                more = await running.daemon.call("stash.recall", page, self._deadline_s)
                piece = next(p for c in more["recalled"] for p in c["pieces"] if p["name"] == piece["name"])
                texts.append(piece["text"] or "")
        return "".join(texts)

    async def answer(self, running: Running, call: RecallCall) -> dict[str, Any]:
        """The answer to a model's recall; a failure is a text for the model."""
        params = recall_params(call, self.name)
        if isinstance(params, str):
            return answer_message(call, params)
        try:
            reply = await running.daemon.call("stash.recall", params, self._deadline_s)
            return answer_message(call, recalled_text(reply))
        except CallFailed as failure:
            return answer_message(call, f"ctxgc cannot bring this back: {failure}. {failure.hint}".strip())

    async def set_pins(self, running: Running, ids: Sequence[str], verb: str) -> list[str]:
        """Pin or unpin segments; their ids. Raises `CallFailed`."""
        reply = await running.daemon.call(verb, {"session": self.name, "ids": list(ids)}, self._deadline_s)
        return list(reply["ids"])


async def search(running: Running, query: str, session: str, limit: int, timeout_s: float) -> list[HitReply]:
    """The hits of words, best first. Raises `CallFailed`."""
    params = {"query": query, "limit": limit} | ({"session": session} if session else {})
    answer = await running.daemon.call("stash.search", params, timeout_s)
    return msgspec.convert(answer, SearchReply).hits


def _failure_of(call: ModelCall | None, trouble: Reason | None) -> str:
    """The word for what kept a list from the pacer, or the daemon from the list before; empty for nothing."""
    if call is not None:
        for latch in (call.is_read, call.is_placed, call.is_synced):
            if isinstance(latch.value, Reason):
                return latch.value.value
    return trouble.value if trouble is not None else ""
