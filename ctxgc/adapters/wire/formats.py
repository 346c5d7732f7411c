"""Which model APIs ctxgc speaks: the wire formats by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ctxgc.adapters.contract import WireFormat
from ctxgc.adapters.wire.anthropic_messages import AnthropicMessages
from ctxgc.adapters.wire.openai_chat import OpenAiChat
from ctxgc.adapters.wire.openai_responses import OpenAiResponses

WIRE_FORMATS: Mapping[str, WireFormat] = MappingProxyType(
    {wire.name: wire for wire in (AnthropicMessages(), OpenAiChat(), OpenAiResponses())}
)
