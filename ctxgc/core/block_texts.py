"""Texts inside blocks that are no text: what a server or a connector returned, for search and recall alike.

skeleton ──`opaque`──▶ blocks ──▶ every string with words; binary data, ids and signatures are left out
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

WORDLESS = frozenset(
    {"type", "id", "tool_use_id", "call_id", "signature", "encrypted_content", "encrypted_index", "media_type"}
)
"""Members of a block that hold no text of anybody."""
DATA = "data"
"""The member that holds a file: words only where the file is plain text."""
DATA_CHARS_MIN = 512
"""A longer string without a space is data, not text."""


def texts_in_blocks(value: Any) -> Iterator[str]:
    """Every string with words in blocks that are no text, in order."""
    if isinstance(value, str):
        if len(value) < DATA_CHARS_MIN or " " in value or "\n" in value:
            yield value
    elif isinstance(value, list):
        yield from chain.from_iterable(map(texts_in_blocks, value))
    elif isinstance(value, dict):
        left_out = WORDLESS if value.get("type") == "text" else WORDLESS | {DATA}
        yield from chain.from_iterable(texts_in_blocks(part) for key, part in value.items() if key not in left_out)


def texts_in_opaque_blocks(skeleton: bytes) -> list[str]:
    """The texts inside a segment's blocks that are no text."""
    if b'"opaque"' not in skeleton:
        return []
    value = json.loads(skeleton)
    return list(texts_in_blocks(value.get("opaque"))) if isinstance(value, dict) else []
