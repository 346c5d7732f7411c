"""Filters over whole columns at C speed: a mask has 1 where a slot passes, 0 where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator


def filter_table(is_one: Callable[[int], bool]) -> bytes:
    """A table for `bytes.translate` that maps each code to 1 or 0: a filter over a whole column at C speed."""
    return bytes(is_one(code) for code in range(256))


def and_masks(*masks: bytes | bytearray) -> bytes:
    """1 where every mask, of equal length, has 1: a wide AND instead of a loop over slots."""
    both = int.from_bytes(masks[0], "little")
    for mask in masks[1:]:
        both &= int.from_bytes(mask, "little")
    return both.to_bytes(len(masks[0]), "little")


def mask_positions(mask: bytes | bytearray) -> Iterator[int]:
    """Positions of 1 in a mask, ascending."""
    at = mask.find(1)
    while at >= 0:
        yield at
        at = mask.find(1, at + 1)
