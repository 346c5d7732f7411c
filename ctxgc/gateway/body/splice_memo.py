"""The bytes to send: the request with the tombstones in force, or the original.

    body ──begins with the memo's head──▶ edited head + the rest       no parsing: agents append
         ──else──▶ parse ──▶ splice ──▶ a new memo

A memo is the last edited request up to its last tombstone, before and after editing. A body that begins with the same
bytes holds the same segments at the same places, because parsing goes from left to right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ctxgc.adapters.contract import Tombstone
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.gateway.body.request_body import BodyContents


class Memo(NamedTuple):
    """A request up to its last tombstone: the agent's bytes, and the bytes that went upstream."""

    head: bytes
    edited_head: bytes
    ids: frozenset[str]
    """Segments whose tombstones stand in the edited bytes."""


class EvictedBody(NamedTuple):
    """An evicted body: its tombstone, and the digest of its content."""

    tombstone: Tombstone
    digest: bytes


def splice_tombstones(
    body: bytes, wire: str, contents: BodyContents, evicted: Mapping[str, EvictedBody]
) -> tuple[bytes, Memo | None]:
    """The body with these tombstones, and its memo; the same object and no memo if no tombstone applies.

    A segment without spans in this body (pending, signed, not text) stays whole, and so does another content under the
    id of an evicted one.
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
    """The body with the memo's tombstones, or None if the body does not begin as the memo does."""
    if memo is None or not body.startswith(memo.head):
        return None
    return memo.edited_head + body[len(memo.head) :]
