"""The bound of a table that only grows (I12)."""

from __future__ import annotations

from itertools import islice
from typing import Any


def drop_oldest_entries(table: dict[Any, Any], most: int) -> list[Any]:
    """Once a table holds more than `most` entries, drop the oldest eighth; the keys dropped. Amortised O(1).

    Never a single key at a time: each look at the first key of a dict walks over the holes that earlier drops left.
    """
    if len(table) <= most:
        return []
    keys = list(islice(table, len(table) - most + most // 8))
    for key in keys:
        del table[key]
    return keys
