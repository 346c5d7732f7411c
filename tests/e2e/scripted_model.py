"""A model that follows a script, whatever its agent's host does to the conversation: summaries, sub-agents, retries.

    order for a summary ──▶ a summary              sub-agent ──▶ a few files, then text
    anything else ──▶ the call of the next step; text where the stage ends

A call's id names its step, so that a request that comes again is answered as before. A step may have a hook, which
runs before the step is first answered: a test kills a process there.
"""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from tests.e2e.agent_model import STREAMS, Call, call_for, calls_in, offered_tools
from tests.e2e.compacting_model import CompactingModel

STEP = re.compile(r"step_(\d+)")
SUB_TURNS = 3
SUBTASK = "Look closely at the harbour"
"""The words by which a sub-agent's prompt is known."""
TOMBSTONE = "[evicted by ctxgc"
SUMMARY_ORDERS = ("Your task is to create a detailed summary", "anchored summary")
SUMMARY = "<analysis>All was read.</analysis><summary>The user wants every part read; {} steps are done.</summary>"


@dataclass
class ScriptedModel(CompactingModel):
    """Answers step by step up to `turns`, which a test raises for each stage."""

    script: dict[int, Callable[[set[str]], Call | None]] = field(default_factory=dict)
    """What a step calls, made from the names of the tools that are offered; None: the next file is read."""
    hooks: dict[int, Callable[[], None]] = field(default_factory=dict)
    """By the number of steps since the first edited request."""
    unthinking: range = range(0)
    """Steps without reasoning, where a host itself makes of signed turns what the strict model refuses: Codex cuts an
    answer off where a sub-agent's word comes in, and OpenCode joins its summary with the turn behind it."""
    first_edit: int = 0
    """The step that the first edited request asked for."""
    newest_step: int = 0
    sub_calls: int = 0
    summaries: int = 0

    def begin_stage(self, turns):
        """Let a process of the agent do so many more steps. A new process may describe its tools in other words."""
        self.turns = self.newest_step + turns
        self._tools.clear()

    async def _answer(self, request, wire, asked, usage):
        items = asked.get("messages", asked.get("input"))
        if items[-1].get("type") == "compaction_trigger":
            return await super()._answer(request, wire, asked, usage)
        text = ""
        if any(order in json.dumps(items[-2:]) for order in SUMMARY_ORDERS):
            self.summaries += 1
            call, text = None, SUMMARY.format(self.newest_step)
        elif not offered_tools(wire, asked):
            call = None
        elif (own := sub_agent_items(items)) is not None:
            call = self._call_of_sub_agent(wire, asked, own)
        else:
            call = await self._call_of_step(wire, asked, items)
        return await self._stream(request, wire, call, usage, text)

    def _call_of_sub_agent(self, wire, asked, own):
        done = len(calls_in(wire, {"messages": own, "input": own}))
        if done >= SUB_TURNS:
            return None
        self.sub_calls += 1
        return call_for(wire, asked, done)._replace(id=f"sub_{self.sub_calls:03}")

    async def _call_of_step(self, wire, asked, items):
        steps = [int(found) for call in calls_in(wire, asked) for found in STEP.findall(call)]
        step = (max(steps) if steps else self.newest_step) + 1
        if step > self.turns:
            return None
        if step > self.newest_step:
            self.newest_step = step
            self.first_edit = self.first_edit or (step if TOMBSTONE in json.dumps(items) else 0)
            if self.first_edit and (hook := self.hooks.get(step - self.first_edit)):
                await self._run_hook(hook)
        make = self.script.get(step)
        call = make(offered_tools(wire, asked)) if make else None
        return (call or call_for(wire, asked, step))._replace(id=f"step_{step:03}")

    async def _run_hook(self, hook):
        try:
            await asyncio.get_running_loop().run_in_executor(None, hook)
        except Exception as fault:
            self.refused.append(f"a hook: {fault!r}")
            raise

    async def _stream(self, request, wire, call, usage, text):
        out = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await out.prepare(request)
        # Claude Code takes answers with one id for parts of one. Odd numbers think first.
        number = 2 * len(self.requests) + (self.newest_step % 2 and self.newest_step not in self.unthinking)
        for event in STREAMS[wire](number, call, usage, text):
            await out.write(event)
        await out.write_eof()
        return out


def sub_agent_items(items):
    """What a sub-agent's conversation has behind the prompt that its parent wrote; None in any other conversation."""
    for at, item in enumerate(items):
        is_order = item.get("type") == "agent_message" and item["recipient"] != "/root"
        if is_order or (at < 4 and item.get("role") == "user" and SUBTASK in json.dumps(item)):
            return items[at + 1 :]
    return None
