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
from ctxgc.gateway.body.request_body import BodyContents


class Memo(NamedTuple):
    """A request up to its last tombstone: as its agent sent it, and as it was sent on."""

    head: bytes
    edited_head: bytes
    ids: frozenset[str]
    """Whose bodies are out in it."""


class EvictedBody(NamedTuple):
    """A body that is out: what stands for it, and the digest of what it is."""

    tombstone: Tombstone
    digest: bytes


def splice_tombstones(
    body: bytes, wire: str, contents: BodyContents, evicted: Mapping[str, EvictedBody]
) -> tuple[bytes, Memo | None]:
    """The body with these tombstones, and the memo of it; the same object and none if they do not apply.

    A segment that has no spans here (pending, signed, not text), or another content under the same id, stays as it is,
    whatever was decided elsewhere.
    """
    spans = contents.window.spans
    applicable = {
        id_: evicted[id_].tombstone for id_ in spans if id_ in evicted and contents.digests[id_] == evicted[id_].digest
    }
    if not applicable:
        return body, None
    spliced = WIRE_FORMATS[wire].splice(body, contents.window, applicable)
    cut = max(span.end for id_ in applicable for span in spans[id_])
    return spliced, Memo(body[:cut], spliced[: len(spliced) - (len(body) - cut)], frozenset(applicable))


def splice_from_memo(memo: Memo | None, body: bytes) -> bytes | None:
    """The body with the memo's tombstones, or None if it does not begin as the memo does."""
    if memo is None or not body.startswith(memo.head):
        return None
    return memo.edited_head + body[len(memo.head) :]
