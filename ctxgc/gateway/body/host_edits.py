"""Edits that a host orders of the server under `context_management`, and the results to be cleared.

    clear_thinking_…    thinking goes, which ctxgc never edits                    ─┐ known: played along with
    clear_tool_uses_…   results go, but for the last and for tools that are kept  ─┘
    any other           nothing more may leave; bodies that are out stay out

A result that the host is about to clear is left to the host: two edits of the same result would pay for its rewrite
twice. Bodies that are out stay out in every case, for a return would write the whole window into the cache anew.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from ctxgc.core.segment import Kind, Segment, Status

CLEAR_THINKING, CLEAR_TOOL_USES = "clear_thinking_", "clear_tool_uses_"
KEPT_DEFAULT = 3
TRIGGER_TOKENS_DEFAULT = 100_000
TOKEN_BYTES = 4
"""Bytes of a request for each of its tokens, roughly: enough to tell whether a trigger is near."""


def can_edit_beside_host_edits(management: Any, allowed: Set[str]) -> bool:
    """Whether ctxgc may edit beside these orders: each is known, or the user's policy allows its type."""
    if not management:
        return True
    edits = management.get("edits") if isinstance(management, dict) else None
    return bool(edits) and isinstance(edits, list) and all(_is_known_or_allowed_edit(edit, allowed) for edit in edits)


def may_clear_results(body: bytes) -> bool:
    """Whether a body may order the server to clear results, by a look at its bytes alone. O(bytes)."""
    return CLEAR_TOOL_USES.encode() in body


def call_ids_to_clear(
    management: Any, segments: Sequence[Segment], body_bytes: int, allowed: Set[str]
) -> frozenset[str]:
    """Ids of the tool calls whose results the orders will clear in this request."""
    edits = management.get("edits") if isinstance(management, dict) else None
    cleared: set[str] = set()
    for edit in edits if isinstance(edits, list) else ():
        if (
            _is_known_or_allowed_edit(edit, allowed)
            and edit["type"].startswith(CLEAR_TOOL_USES)
            and edit["type"] not in allowed
        ):
            cleared |= _call_ids_cleared_by_edit(edit, segments, body_bytes)
    return frozenset(cleared)


def _is_known_or_allowed_edit(edit: Any, allowed: Set[str]) -> bool:
    if not isinstance(edit, dict) or not isinstance(name := edit.get("type"), str):
        return False
    if name in allowed:
        return True
    if name.startswith(CLEAR_THINKING):
        keep = edit.get("keep", "all")
        return keep == "all" or _amount_value(keep, "thinking_turns", -1) >= 0
    if not name.startswith(CLEAR_TOOL_USES):
        return False
    trigger = edit.get("trigger", {"type": "input_tokens", "value": TRIGGER_TOKENS_DEFAULT})
    excluded = edit.get("exclude_tools") or []
    return (
        _amount_value(edit.get("keep"), "tool_uses", KEPT_DEFAULT) >= 0
        and (_amount_value(trigger, "tool_uses", -1) >= 0 or _amount_value(trigger, "input_tokens", -1) >= 0)
        and isinstance(excluded, list)
    )


def _amount_value(amount: Any, unit: str, absent: int) -> int:
    """The number of such an amount, -1 for an amount of another shape."""
    if amount is None:
        return absent
    if not isinstance(amount, dict) or amount.get("type") != unit:
        return -1
    value = amount.get("value")
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _call_ids_cleared_by_edit(edit: dict[str, Any], segments: Sequence[Segment], body_bytes: int) -> set[str]:
    calls = [s for s in segments if s.kind is Kind.TOOL_CALL and s.status is not Status.PENDING]
    trigger = edit.get("trigger")
    uses_min = _amount_value(trigger, "tool_uses", -1)
    tokens_min = _amount_value(trigger, "input_tokens", TRIGGER_TOKENS_DEFAULT)
    is_due = len(calls) > uses_min if uses_min >= 0 else body_bytes > tokens_min * TOKEN_BYTES
    kept = _amount_value(edit.get("keep"), "tool_uses", KEPT_DEFAULT)
    excluded = {name for name in edit.get("exclude_tools") or () if isinstance(name, str)}
    older = calls[: max(len(calls) - kept, 0)]
    return {segment.id for segment in older if segment.tool not in excluded} if is_due else set()
