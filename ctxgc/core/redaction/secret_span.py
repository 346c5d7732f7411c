"""Where a secret lies in a text, and what a rule says of one match."""

from __future__ import annotations

from typing import NamedTuple


class SecretSpan(NamedTuple):
    """A secret's place: half-open offsets."""

    start: int
    end: int
    kind: str


Outcome = tuple[list[SecretSpan], int]
"""Secrets, and the end of a long value that is none."""
NO_SECRET: Outcome = ([], 0)


def single_secret(start: int, end: int, kind: str) -> Outcome:
    """The outcome of a match with a single secret."""
    return [SecretSpan(start, end, kind)], 0
