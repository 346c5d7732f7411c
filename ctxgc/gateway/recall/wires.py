"""The APIs in which the gateway can give a model the recall tool, by the name of their wire format."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ctxgc.gateway.recall.anthropic import AnthropicTool
from ctxgc.gateway.recall.chat import ChatTool
from ctxgc.gateway.recall.responses import ResponsesTool
from ctxgc.gateway.recall.tool import Wire

WIRES: Mapping[str, Wire] = MappingProxyType(
    {"anthropic_messages": AnthropicTool(), "openai_chat": ChatTool(), "openai_responses": ResponsesTool()}
)
