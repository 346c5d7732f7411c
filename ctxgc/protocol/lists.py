"""The params of `messages.collect`: a list of a model API, for callers who render their own requests."""

from __future__ import annotations

from typing import ClassVar

from ctxgc.protocol.params import MutatingSession, Tokens, Unit, VerbatimObjects, WireFormatName
from ctxgc.protocol.wire import Usage


class MessagesCollect(MutatingSession):
    """Collect a list of a model API: the caller sends its list and gets back one that fits the budget."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"messages"})
    format: WireFormatName
    messages: VerbatimObjects
    budget_tokens: Tokens
    unit: Unit = "billed"
    references: bool = False
    """Whether the results after the model's last reply show by pointers what the list shows already, for good."""
    usage: Usage | None = None
    """The bill of the list before: the budget then counts system prompt and tools."""
    only_edited: bool = False
    """Whether the reply leaves out `messages` where the list is to be sent as it is."""
