"""The answer of a collection: the list to send, the bodies that are out of it, and what the plan expects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ctxgc.core.tombstone import address_in_tombstone

_WORDS = re.compile(r"\[evicted by ctxgc: (?P<label>.*), (?P<tokens>[0-9.]+[kM]?) tokens; get it back: [^\]]*\]")
_UNITS = {"k": 1_000, "M": 1_000_000}


class EvictedContent(NamedTuple):
    """A body that is out of a list, and the tombstone in its place."""

    id: str
    """The tool call's own id; empty for a text that is no tool call's."""
    address: str
    """Brings the body back from anywhere: `session.recall(address)`, `ctxgc recall ADDRESS`."""
    name: str
    """Tool and file, or tool and command."""
    tokens: int
    """The body's tokens, rounded as the tombstone says."""
    reason: str
    """Why the body left: `cold`, `duplicate`, `superseded_read`, …; empty where the body left before this program."""


class CollectionPlan(NamedTuple):
    """A collection that the pacer or the budget asked for."""

    trigger: str
    """`value`: the pacer's; `hard_limit`; `asked`: by a budget."""
    evicted: int
    freed_tokens: int
    predicted_cost: float
    """Change of the bill over the pacer's horizon, in input tokens; negative is a saving."""
    cache_rewrite_tokens: int
    """Cached tokens that the next request writes again."""
    protected_by: Mapping[str, int]
    """Tokens by their protection, where a budget was not reached."""


@dataclass(frozen=True, slots=True)
class CollectedList:
    """A list to send. `messages` is the caller's own list where no body is out, and where the daemon did not answer."""

    messages: Sequence[Any]
    format: str = ""
    """`anthropic_messages`, `openai_chat` or `openai_responses`."""
    is_edited: bool = False
    evicted: tuple[EvictedContent, ...] = ()
    """All bodies that are out of this list."""
    left: tuple[EvictedContent, ...] = ()
    """The bodies among these that the list of the call before still had."""
    tokens: int = 0
    """Billed tokens of the window, system prompt and tools included, by the daemon's last answer; 0 before one."""
    freed_tokens: int = 0
    """Tokens that the bodies that are out would add, by the daemon's last answer."""
    plan: CollectionPlan | None = None
    """The collection by which the `left` bodies left."""
    failure: str = ""
    """Why the list came back as it was, in a word: `unreachable`, `deadline`, …; empty where nothing failed."""


def find_evicted(messages: Sequence[Any], reasons: Mapping[str, str]) -> tuple[EvictedContent, ...]:
    """The tombstones in some messages; `reasons` by id."""
    return tuple(
        _evicted_of(text, id_, reasons)
        for message in messages
        for id_, text in _texts_with_ids(message)
        if address_in_tombstone(text) is not None
    )


def _evicted_of(text: str, id_: str, reasons: Mapping[str, str]) -> EvictedContent:
    words = _WORDS.fullmatch(text)
    size = words["tokens"] if words else "0"
    tokens = float(size.rstrip("kM")) * _UNITS.get(size[-1], 1)
    name = words["label"] if words else ""
    return EvictedContent(id_, str(address_in_tombstone(text)), name, round(tokens), reasons.get(id_, ""))


def _texts_with_ids(message: Any) -> Iterator[tuple[str, str]]:
    """(the tool call's id or nothing, text) of each text in a message or item as JSON has it."""
    if not isinstance(message, dict):
        return
    own = message.get("tool_call_id") or message.get("call_id") or ""
    for name in ("content", "output"):
        value = message.get(name)
        if isinstance(value, str):
            yield own, value
        for block in value if isinstance(value, list) else ():
            if isinstance(block, dict):
                id_ = block.get("tool_use_id") or own
                yield from ((id_, text) for text in _block_texts(block))


def _block_texts(block: dict[str, Any]) -> Iterator[str]:
    for name in ("text", "content"):
        value = block.get(name)
        if isinstance(value, str):
            yield value
        for inner in value if isinstance(value, list) else ():
            if isinstance(inner, dict) and isinstance(inner.get("text"), str):
                yield inner["text"]
