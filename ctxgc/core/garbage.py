"""Proven garbage: bodies that something later in the same session makes useless. First out, each with its reason.

    duplicate              a later exchange has the same call and the same result
    superseded_read        a later read covers its lines
    stale_read             the file was changed, and a later read shows lines of it as they are now
    superseded_write       the written text was read back, or written again
    failed_then_succeeded  an error older than a few turns that a later call like it did not have
    superseded_plan        a newer plan or todo list stands
    empty                  a result without a character that prints

A proof names the later segment. It falls when that segment is rewound, because then the later never happened.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from ctxgc.core.heap import DEPARTED, PENDING, PLAN_TOOLS, Heap, Now, Proof
from ctxgc.core.paths import PathIndex
from ctxgc.core.policy import Rules
from ctxgc.core.segment import Access, Kind, PathUse, Segment, Status

REASONS = (
    "duplicate",
    "superseded_read",
    "stale_read",
    "superseded_write",
    "failed_then_succeeded",
    "superseded_plan",
    "empty",
)

READ_TOOLS = frozenset({"Read", "read", "read_file", "view", "open"})
WRITE_TOOLS = frozenset({"Write", "write", "write_file", "create"})

# One reader and nothing else: no list, pipe, redirection or substitution that could have printed more than the file.
_PURE_READ = re.compile(r"^(?:cd [^|;&<>`$()]+ && )?(?:cat|nl|head|tail|sed -n)\b[^|;&<>`$()]*$")
FAILED_KEPT_MAX = 64

Found = list[tuple[int, Proof]]


def is_pure_read(segment: Segment) -> bool:
    """Whether the result is file text only, so that another read of the lines can replace all of it."""
    if segment.tool in READ_TOOLS:
        return True
    return len(segment.command) < 200 and bool(_PURE_READ.match(segment.command))


class GarbageIndex:
    """Finds what a new exchange proves useless. A cache, rebuilt like the reference index."""

    def __init__(self, paths: PathIndex) -> None:
        self._paths = paths
        self._likeness: dict[bytes, int] = {}
        self._unread_parts: dict[int, int] = {}
        """Pure reads: how many of their path ranges no later read has covered."""
        self._written: dict[str, int] = {}
        self._failed: dict[tuple[str, ...], list[int]] = {}
        self._plan = -1

    def admit(self, slot: int, segment: Segment) -> Found:
        """Proofs that the exchange in `slot` brings, older slots first. Call before the paths are recorded.

        Of a segment without content everything but duplicates and emptiness is found.
        """
        if segment.kind is not Kind.EXCHANGE or segment.status is Status.PENDING:
            return []
        found = self.duplicates(slot, segment) + self._plans(slot, segment)
        if _is_empty(segment):
            found.append((slot, Proof("empty", -1)))
        if segment.status is Status.ERROR:
            failed = self._failed.setdefault(_attempt(segment), [])
            failed.append(slot)
            del failed[:-FAILED_KEPT_MAX]
            return found
        for old in self._failed.pop(_attempt(segment), ()):
            found.append((old, Proof("failed_then_succeeded", slot)))
        for use in segment.paths:
            if use.access is Access.READ:
                found += self._read(slot, use)
            elif use.access is Access.WRITE and segment.tool in WRITE_TOOLS:
                found += self._write(slot, use)
        reads = sum(use.access is Access.READ for use in segment.paths)
        if reads and is_pure_read(segment):
            self._unread_parts[slot] = reads
        return sorted(entry for entry in found if entry[0] < slot or entry[1].by == -1)

    def duplicates(self, slot: int, segment: Segment) -> Found:
        """The older exchange with the same call and result, if there is one; records this one."""
        body = blake2b(digest_size=16)
        for part in (segment.tool, segment.command, *(str(use) for use in segment.paths)):
            body.update(part.encode("utf-8", "surrogatepass") + b"\0")
        for piece in segment.body:
            body.update(piece.name.encode() + b"\0" + piece.data + b"\0")
        if not segment.body:
            return []
        key = body.digest()
        old, self._likeness[key] = self._likeness.get(key, slot), slot
        return [(old, Proof("duplicate", slot))] if old < slot else []

    def _plans(self, slot: int, segment: Segment) -> Found:
        if segment.tool not in PLAN_TOOLS or segment.status is Status.ERROR:
            return []
        old, self._plan = self._plan, max(slot, self._plan)
        return [(old, Proof("superseded_plan", slot))] if 0 <= old < slot else []

    def _read(self, slot: int, use: PathUse) -> Found:
        found: Found = []
        for old, reason in self._paths.superseded_by(use, slot):
            parts = self._unread_parts.get(old)
            if parts == 1:
                del self._unread_parts[old]
                found.append((old, Proof(reason, slot)))
            elif parts:
                self._unread_parts[old] = parts - 1
        written = self._written.get(use.path, slot)
        if written < slot and use.first_line == 1 and use.last_line == PathUse("", Access.READ).last_line:
            del self._written[use.path]
            found.append((written, Proof("superseded_write", slot)))
        return found

    def _write(self, slot: int, use: PathUse) -> Found:
        old, self._written[use.path] = self._written.get(use.path, slot), slot
        return [(old, Proof("superseded_write", slot))] if old < slot else []


def _is_empty(segment: Segment) -> bool:
    results = [piece for piece in segment.body if piece.name == "result"]
    return 0 < len(results) == len(segment.body) and not any(piece.data.strip() for piece in results)


def _attempt(segment: Segment) -> tuple[str, ...]:
    """What makes two calls attempts at the same thing: the tool with the file, or with the command's first words."""
    if segment.paths and not segment.command:
        return (segment.tool, segment.paths[0].path)
    return (segment.tool, *segment.command.split()[:2])


def proven(heap: Heap, slot: int, now: Now, rules: Rules) -> Proof | None:
    """The proof that a slot is garbage, if it has one that holds now."""
    proof = heap.proofs.get(slot)
    if proof is None or heap.is_set(slot, PENDING):
        return None
    if proof.by >= 0 and heap.state[proof.by] == DEPARTED:
        return None
    if proof.reason == "failed_then_succeeded" and heap.born[slot] > now.turn - rules.error_turns:
        return None
    return proof
