"""The standing of a body in the window: why a plan leaves the body where it is, or when the body's turn comes.

    root ──▶ never        no body to take ──▶ never        else ──▶ a rank in the order of eviction, and the key's terms

A standing is the plan's own reason, by the functions that the plan asks (`core.collector.rank_bodies`): no statement
about a body says more than the plan does.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

from ctxgc.core.collector import LIVE_LAST, find_evictable_bodies, protection_of, rank_bodies
from ctxgc.core.garbage import garbage_proof
from ctxgc.core.heap import Heap, Now, Proof
from ctxgc.core.liveness import NAMED, liveness_terms, newest_naming_root
from ctxgc.core.mark import path_from_root
from ctxgc.core.paths import PathIndex
from ctxgc.core.reuse import ln_turns
from ctxgc.core.roots import PINS, ROOTS, find_roots
from ctxgc.core.rules import Rules


class KeyTerm(NamedTuple):
    """A term of the key that bodies are ranked by: the lower the sum, the sooner the body goes."""

    name: str
    log_odds: float


class Standing(NamedTuple):
    """Why a body stays, or how many bodies go before it."""

    root: str = ""
    """The root that the slot is; empty for none."""
    protection: str = ""
    """Why a body that is no root is never evicted: its kind, `opaque`, `small`; empty for an evictable body."""
    reason: str = ""
    """The reason that an eviction would have: a proof's, or `cold`, `current`, `named`, `live`."""
    proof: Proof | None = None
    """The proof, where the body is garbage; a root that looks like garbage stays."""
    namer: int = -1
    """The newest root that names the slot, where that counts for the body; -1: none."""
    path: tuple[int, ...] = ()
    """A path of given references from a root, or from the pinned segment that refers to the slot; both included."""
    rank: int = 0
    """The place in the order of eviction, from 1; 0: the body is not evictable."""
    ranked: int = 0
    """How many bodies are evictable now."""
    terms: tuple[KeyTerm, ...] = ()
    """The terms of the body's key."""


def find_standing(heap: Heap, paths: PathIndex, slot: int, now: Now, rules: Rules) -> Standing:
    """The standing of a resident slot. O(slots + candidates · log candidates), as a plan that takes everything."""
    roots = find_roots(heap, paths, now, rules)
    if roots[slot]:
        return Standing(root=ROOTS[roots[slot]], proof=garbage_proof(heap, slot, now, rules))
    among = find_evictable_bodies(heap, paths, roots)
    liveness = among.liveness
    found, rank = Standing(protection=protection_of(heap, slot)), 0
    for group, reasons in rank_bodies(heap, among, now, rules):
        if slot in group.slots:
            reason, by = reasons(slot)
            proof = Proof(reason, by) if heap.proofs.get(slot) == (reason, by) else None
            at = rank + group.slots.index(slot) + 1
            found = Standing(
                reason=reason, proof=proof, rank=at, terms=key_terms(heap, slot, liveness[slot], now, proof)
            )
        rank += len(group.slots)
    if found.reason == LIVE_LAST:
        found = found._replace(path=tuple(_path_to_live_slot(heap, roots, slot)))
    elif liveness[slot] & NAMED and found.rank and found.proof is None:
        found = found._replace(namer=newest_naming_root(heap, roots, slot))
    return found._replace(ranked=rank)


def key_terms(heap: Heap, slot: int, liveness: int, now: Now, proof: Proof | None) -> tuple[KeyTerm, ...]:
    """The terms of a body's key, which add up to the key; proven garbage has no age."""
    weights = heap.weights
    terms = [
        KeyTerm("what it is", heap.logit[slot]),
        KeyTerm("freed tokens", -log(max(heap.freed[slot], 1))),
    ]
    if proof is None:
        terms += [
            KeyTerm("age", weights.age * ln_turns(now.turn - heap.born[slot])),
            KeyTerm("last use", weights.idle * ln_turns(now.turn - heap.touched[slot])),
            KeyTerm("references", liveness_terms(weights)[liveness]),
        ]
    return tuple(terms)


def _path_to_live_slot(heap: Heap, roots: bytearray, slot: int) -> list[int]:
    given = path_from_root(lambda source: heap.given.get(source, ()), roots, slot)
    if given:
        return given
    pinned = bytearray(code == PINS for code in roots)
    return [newest_naming_root(heap, pinned, slot), slot]
