"""A request's body as a provider's cache sees it: units in the order of the prompt, and breakpoints with their lives.

    Anthropic   tools (deferred ones are no part of the prompt) ─▶ system ─▶ messages, each block a unit
    others      tools ─▶ instructions ─▶ items, each part of an item a unit; no breakpoints

A bare string and one text block are the same unit, and a breakpoint is no part of one.
"""

import json
from typing import NamedTuple

from ctxgc.core.pacing.provider_cache import (
    ANTHROPIC,
    LONG_LIFE_S,
    OPENAI,
    SHORT_LIFE_S,
    CacheBreakpoint,
    Layer,
    Part,
    Prompt,
    anthropic_provider,
    units_of,
)

ANTHROPIC_WIRE = "anthropic_messages"
BYTES_PER_TOKEN = 4
NO_PROMPT = {"id", "status", "internal_chat_message_metadata_passthrough"}
"""Of an item: what its API does not show the model."""
BILLING_LINE = "x-anthropic-billing-header:"
"""The first block of a system prompt of Claude Code's: its maker's API takes it off, other words in each request."""
NO_BREAKPOINT_BLOCKS = {"thinking", "redacted_thinking"}


def text_blocks(content):
    """A message's or a system prompt's content as blocks: providers take a bare string for a single block of text."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def refusal_of_breakpoints(provider, breakpoints):
    """Why the provider refuses a request with these breakpoints; empty if the provider takes the request."""
    if provider.name != ANTHROPIC.name:
        return ""
    if len(breakpoints) > provider.breakpoints_max:
        return f"more than {provider.breakpoints_max} blocks with cache_control"
    lives = [point.life_s for point in sorted(breakpoints, key=lambda point: point.blocks)]
    if lives != sorted(lives, reverse=True):
        return "a breakpoint with a longer life stands behind one with a shorter life"
    return ""


class Block(NamedTuple):
    """One unit of a prompt: its bytes, and the lives of the breakpoints on it or inside it."""

    data: bytes
    lives: list[float]
    kind: str
    is_blank: bool = False

    @property
    def may_carry(self):
        return self.kind not in NO_BREAKPOINT_BLOCKS and not self.is_blank


def layers_of(wire, asked):
    """For tools, system and messages: what spoils the cache from there on, and the blocks."""
    system, items = asked.get("system", asked.get("instructions")), asked.get("messages", asked.get("input", []))
    if wire != ANTHROPIC_WIRE:
        parts = [(_rest(item), part) for item in items for part in _parts(item.get("content"))]
        whole = [_block({}, asked.get("tools"))] + ([_block({}, system)] if system else [])
        return [(asked.get("model"), whole), (None, [_block(*part) for part in parts])]
    tools = [tool for tool in asked.get("tools") or () if not tool.get("defer_loading")]
    spoils = [asked.get(key) for key in ("thinking", "tool_choice")]
    system = [part for part in text_blocks(system) or () if not is_billing_line(part)]
    messages = [(message["role"], part) for message in items for part in text_blocks(message["content"])]
    return [
        (asked.get("model"), [_block("tool", tool) for tool in tools]),
        (None, [_block("system", part) for part in system]),
        (json.dumps(spoils) if any(spoils) else None, [_block(*part) for part in messages]),
    ]


def is_billing_line(part):
    """Whether a block of the system prompt is the line that Claude Code writes for the bill: no part of the prompt."""
    return part.get("text", "").startswith(BILLING_LINE)


def _rest(item):
    return {key: value for key, value in item.items() if key not in NO_PROMPT | {"content"}}


def _parts(content):
    return content if isinstance(content, list) else [content]


def _block(around, part):
    kind = part.get("type", "") if isinstance(part, dict) else ""
    is_blank = kind == "text" and not part.get("text", "").strip()
    return Block(json.dumps([plain(around), plain(part)]).encode(), lives_of(part), kind, is_blank)


def prompt_of(wire, asked):
    """The prompt with its breakpoints. Raises `AssertionError` for a breakpoint that the API refuses."""
    layers = layers_of(wire, asked)
    blocks = [block for _, layer in layers for block in layer]
    units = units_of(
        Layer([Part(block.data, len(block.data) // BYTES_PER_TOKEN) for block in layer], setting)
        for setting, layer in layers
    )
    if wire != ANTHROPIC_WIRE:
        return Prompt(units)
    for block in blocks:
        assert block.may_carry or not block.lives, f"cache_control on a block of type {block.kind!r}, or a blank one"
    breakpoints = [CacheBreakpoint(at, life_s) for at, block in enumerate(blocks, 1) for life_s in block.lives]
    if isinstance(asked.get("cache_control"), dict):  # The API puts this one on the last block that may carry it.
        last = max((at for at, block in enumerate(blocks, 1) if block.may_carry), default=0)
        breakpoints.append(CacheBreakpoint(last, life_of(asked["cache_control"])))
    return Prompt(units, sorted(breakpoints, key=lambda point: point.blocks))


def provider_of(wire, model):
    """The cache of the API that speaks this wire format."""
    return anthropic_provider(model) if wire == ANTHROPIC_WIRE else OPENAI


def lives_of(value):
    """The lives of all breakpoints in a value, in the order of its bytes."""
    if isinstance(value, dict):
        own = [life_of(value["cache_control"])] if isinstance(value.get("cache_control"), dict) else []
        return own + [life_s for part in value.values() for life_s in lives_of(part)]
    return [life_s for part in value for life_s in lives_of(part)] if isinstance(value, list) else []


def life_of(point):
    return LONG_LIFE_S if point.get("ttl") == "1h" else SHORT_LIFE_S


def plain(value):
    """A value without its breakpoints."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items() if key != "cache_control"}
    return [plain(part) for part in value] if isinstance(value, list) else value
