"""Signatures in a turn of the model: strings by which a server knows its own thinking again, under any provider's
names.

A turn with a signature is never edited: the server may refuse the turn, or drop the thinking. Members with names that a
model or a tool chose are passed over: a call's input may have a member `signature`, and a quoted page is no thinking.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ctxgc.adapters.json_spans import Extent, JsonText

_FREE_MEMBERS = frozenset({"input", "arguments", "action", "citations", "annotations", "cache_control", "caller"})
_SIGNATURE = re.compile(r"signatures?$|^encrypted|_opaque$|^reasoning_details$|^thinking_blocks$", re.IGNORECASE)
"""The name of a member that only the model's own server reads, or that holds thinking as the server gave it."""
_SEALED_TYPES = ("redacted_thinking", "reasoning.encrypted")
_SIGNED_ID = "__thought__"
"""A proxy that speaks Chat Completions for Gemini puts the signature of a call into the call's id."""


def is_signed(text: JsonText, fields: Mapping[str, Extent]) -> bool:
    """Whether a signature stands anywhere in an object of the model: a message, a block or an item."""
    shown = {name: text.value(extent) for name, extent in fields.items() if _may_hold_signature(text, name, extent)}
    return _holds_signature([shown])


def _may_hold_signature(text: JsonText, name: str, extent: Extent) -> bool:
    is_text = text.first_byte(extent) == b'"' and name not in ("id", "type") and not _SIGNATURE.search(name)
    return name not in _FREE_MEMBERS and not is_text


def _holds_signature(parts: list[Any]) -> bool:
    while parts:
        part = parts.pop()
        if isinstance(part, list):
            parts += part
        elif isinstance(part, dict):
            if part.get("type") in _SEALED_TYPES or _SIGNED_ID in str(part.get("id")):
                return True
            for name in part.keys() - _FREE_MEMBERS:
                if part[name] and _SIGNATURE.search(name):
                    return True
                parts.append(part[name])
    return False
