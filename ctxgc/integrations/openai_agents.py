"""OpenAI's Agents SDK: a filter of the model's input, the recall tool, and hooks that learn from bills.

    context = CtxgcContext(session="my-agent")
    agent = Agent(…, tools=[*tools, context.recall_tool])
    await Runner.run(agent, "…", run_config=RunConfig(call_model_input_filter=context.filter), hooks=context.hooks)

The run's own items stay whole: the filter's edits are for the model's call alone.
"""

from __future__ import annotations

from typing import Any

from agents.lifecycle import RunHooks
from agents.run import CallModelData, ModelInputData
from agents.tool import FunctionTool

from ctxgc.client.async_client import AsyncClient, AsyncClientSession
from ctxgc.client.lists import RESPONSES
from ctxgc.client.recall_tool import RECALL_TOOL, recall_tool
from ctxgc.integrations.result_edits import UNREADABLE, keep_unreadable_list


class CtxgcContext:
    """The hooks of one session. `budget`: tokens of each input; without, the pacer decides."""

    def __init__(
        self, client: AsyncClient | None = None, *, session: str, model: str = "", budget: int | None = None
    ) -> None:
        self.client = client or AsyncClient()
        self.session: AsyncClientSession = self.client.session(session, model=model, format=RESPONSES)
        self._budget = budget
        self.hooks = _UsageHooks(self.session)
        self.recall_tool = _recall_tool_of(self.session)

    async def filter(self, data: CallModelData[Any]) -> ModelInputData:
        """The input that fits; for `RunConfig.call_model_input_filter`."""
        given = data.model_data
        tools = [recall_tool(RESPONSES)] if any(tool.name == RECALL_TOOL for tool in data.agent.tools) else None
        try:
            arguments = {"budget": self._budget, "system": given.instructions, "tools": tools}
            items = (await self.session.collect(given.input, **arguments)).messages
        except UNREADABLE as error:
            items = keep_unreadable_list(given.input, error)
        return ModelInputData(input=list(items), instructions=given.instructions)


class _UsageHooks(RunHooks[Any]):  # type: ignore[misc, unused-ignore]  # Where the SDK is not installed.
    """Hands the bill of each reply to the session."""

    def __init__(self, session: AsyncClientSession) -> None:
        self._session = session

    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        """A reply of the model came."""
        usage = response.usage
        details = getattr(usage, "input_tokens_details", None)
        cached = {"cached_tokens": getattr(details, "cached_tokens", 0) or 0}
        bill = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        await self._session.usage(bill | {"input_tokens_details": cached})


def _recall_tool_of(session: AsyncClientSession) -> FunctionTool:
    schema = recall_tool(RESPONSES)

    async def recall(context: Any, arguments: str) -> str:
        call = {"type": "function_call", "call_id": "recall", "name": RECALL_TOOL, "arguments": arguments}
        answer = await session.answer(call)
        return "" if answer is None else str(answer["output"])

    return FunctionTool(
        name=RECALL_TOOL,
        description=schema["description"],
        params_json_schema=schema["parameters"],
        on_invoke_tool=recall,
        strict_json_schema=False,
    )
