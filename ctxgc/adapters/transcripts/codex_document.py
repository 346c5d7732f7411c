"""Sessions of the first Codex, written in TypeScript: one document of `{session: {id, timestamp, …}, items: […]}`.

The items are those that a rollout of bare items has a line each: `Codex` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ctxgc.adapters.contract import Event
from ctxgc.adapters.json_values import as_dict, as_text, encode_json
from ctxgc.adapters.transcripts.codex import Codex
from ctxgc.adapters.transcripts.json_document import DocumentTranscript
from ctxgc.core.errors import BadTranscript

_SESSION = re.compile(rb'\s*\{\s*"session"\s*:\s*\{')
_ITEMS = re.compile(rb'\}\s*,\s*"items"\s*:\s*\[')


def is_codex_document(head: bytes) -> bool:
    """An object of a session and its items."""
    return _SESSION.match(head) is not None and _ITEMS.search(head) is not None


class CodexDocument(DocumentTranscript):
    """One session."""

    source = "codex"

    def _events_of_document(self, document: Any, digest: str) -> Iterator[Event]:
        session, items = as_dict(as_dict(document).get("session")), as_dict(document).get("items")
        if not isinstance(items, list):
            raise BadTranscript("no list `items` in this document")
        header = {"timestamp": "", "instructions": None} | session | {"id": as_text(session.get("id")) or digest}
        rollout = Codex()
        rollout.skipped = self.skipped
        for record in [header, *map(_normalize_item, items)]:
            yield from rollout.feed(encode_json(record) + b"\n")
        yield from rollout.finish()
        self.records = len(items)

    def _count_foreign_blocks(self, events: list[Event]) -> None:
        """The reader of rollouts has counted them."""


def _normalize_item(item: Any) -> Any:
    """The item in a rollout's spelling: a message may lack the type, and a shell's output had its own type."""
    kind = as_dict(item).get("type", "message" if "role" in as_dict(item) else None)
    return as_dict(item) | {"type": "function_call_output" if kind == "local_shell_call_output" else kind}
