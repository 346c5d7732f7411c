"""Read out of the inputs of stored tool calls for a later session: open plan items, the text that an edit put in.

input ──open_plan_items──▶ one line an item
      ──written_lines────▶ the lines that the call put into a file
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ctxgc.adapters.facts.patch_paths import has_patch, parse_script, text_added_by_patch
from ctxgc.adapters.json_values import as_list

ITEMS_MAX = 100
ITEM_KEYS = ("content", "step", "title", "subject", "text")
"""Members with a plan item's words: Claude Code and OpenCode write `content`, Codex `step`."""
CLOSED = frozenset({"completed", "complete", "done", "cancelled", "canceled"})
NEW_KEYS = ("new_string", "newString", "new_str", "new_text", "newText", "content", "file_text", "insert_text")


def open_plan_items(value: Any) -> list[str]:
    """The items of a plan that are not closed, each as `[status] words`; of a plan in prose the lines."""
    if not isinstance(value, dict):
        return []
    lists = [part for part in value.values() if isinstance(part, list)]
    items = [item for part in lists for item in part if isinstance(item, dict)][:ITEMS_MAX]
    words = [(str(item.get("status", "open")), _plan_item_text(item)) for item in items]
    if not words and isinstance(value.get("plan"), str):
        return [line for line in value["plan"].split("\n") if line.strip()]
    return [f"[{status}] {text}" for status, text in words if text and status.lower() not in CLOSED]


def _plan_item_text(item: dict[str, Any]) -> str:
    return next((" ".join(item[key].split()) for key in ITEM_KEYS if isinstance(item.get(key), str)), "")


def written_lines(value: Any, path: str) -> list[str]:
    """The lines that an edit or a write put into a file, in order; of a patch its added lines in that file."""
    return [line for text in _written_texts(value, path) if text.strip() for line in text.split("\n")]


def _written_texts(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, str):
        value = {"patch": value}
    if not isinstance(value, dict):
        return
    for step in [value, *as_list(value.get("edits"))]:
        if isinstance(step, dict):
            yield from (step[key] for key in NEW_KEYS if isinstance(step.get(key), str))
    for key in ("patch", "input", "command", "cmd"):
        part = value.get(key)
        text = part[-1] if isinstance(part, list) and part else part
        if isinstance(text, str) and has_patch(text):
            patches = [text] if text.lstrip().startswith("***") else parse_script(text).parts
            yield from (text_added_by_patch(patch, path) for patch in patches if has_patch(patch))
