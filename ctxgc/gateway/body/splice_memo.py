"""The bytes to send: the request with the tombstones in force, or the original.

    body ──begins with the memo's head──▶ edited head + the rest       no parsing: agents append
         ──else──▶ parse ──▶ splice ──▶ a new memo

A memo is the last edited request up to its last tombstone, before and after. A body that begins with the same bytes
holds the same segments at the same places, because parsing goes from left to right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ctxgc.adapters.contract import Tombstone
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.gateway.body.request_body import Asked


class Memo(NamedTuple):
    """A request up to its last tombstone: as its agent sent it, and as it was sent on."""

    head: bytes
    edited_head: bytes
    ids: frozenset[str]
    """Whose bodies are out in it."""


class Evicted(NamedTuple):
    """A body that is out: what stands for it, and the digest of what it is."""

    tombstone: Tombstone
    digest: bytes


def edited(body: bytes, wire: str, asked: Asked, out: Mapping[str, Evicted]) -> tuple[bytes, Memo | None]:
    """The body with these tombstones, and the memo of it; the same object and none if they do not apply.

    A segment that has no spans here (pending, signed, not text), or another content under the same id, stays as it is,
    whatever was decided elsewhere.
    """
    spans = asked.window.spans
    here = {id_: out[id_].tombstone for id_ in spans if id_ in out and asked.digests[id_] == out[id_].digest}
    if not here:
        return body, None
    spliced = WIRE_FORMATS[wire].splice(body, asked.window, here)
    cut = max(span.end for id_ in here for span in spans[id_])
    return spliced, Memo(body[:cut], spliced[: len(spliced) - (len(body) - cut)], frozenset(here))


def edited_by(memo: Memo | None, body: bytes) -> bytes | None:
    """The body with the memo's tombstones, or None if it does not begin as the memo does."""
    if memo is None or not body.startswith(memo.head):
        return None
    return memo.edited_head + body[len(memo.head) :]
