"""What the indexes of a session keep of a segment's text: hashes, the same in every process.

    admitted ──text_keys──▶ kept beside the body ──▶ a session wakes without its texts

Nobody reads a text back out of its keys; who forgets the text forgets the keys.
"""

from __future__ import annotations

from typing import NamedTuple

from ctxgc.core.garbage import likeness_key
from ctxgc.core.reference import definition_keys
from ctxgc.core.segment import Segment, Status

TEXT_KEYS_VERSION = 1
"""Grows with every change of what `text_keys` returns: keys of another version are made anew from the text."""


class TextKeys(NamedTuple):
    """Keys of a segment's text."""

    likeness: bytes
    """`core.garbage.likeness_key`."""
    definitions: tuple[int, ...]
    """`core.reference.definition_keys`."""


NO_TEXT_KEYS = TextKeys(b"", ())


def text_keys(segment: Segment) -> TextKeys:
    """The keys of a segment with its content; a call that still runs has none. Linear in the text."""
    if segment.status is Status.PENDING:
        return NO_TEXT_KEYS
    return TextKeys(likeness_key(segment), tuple(definition_keys(segment)))
