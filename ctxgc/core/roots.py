"""Roots: what a session stands on now. Never evicted (I2); what they refer to is reached.

A root that looks like garbage is a root.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from ctxgc.core.heap import EVICTED, KINDS, PENDING, PINNED, PLAN_TOOLS, Heap, Now
from ctxgc.core.paths import PathIndex
from ctxgc.core.policy import Rules
from ctxgc.core.segment import Kind

ROOTS = (
    "",
    "system",
    "user",
    "pinned",
    "recent",
    "pending",
    "plan",
    "file",
    "summary",
    "task",
    "open",
    "protected",
    "recalled",
)
"""Names of the root codes; 0 is no root. Where several hold, the earliest in this order that explains best wins."""
SYSTEM, USER, PINS, RECENT, PENDING_CALL, PLAN, FILE, SUMMARY, TASK, OPEN, PROTECTED, RECALLED = range(1, 13)

_BY_KIND = bytes({Kind.SYSTEM: SYSTEM, Kind.USER: USER}.get(kind, 0) for kind in KINDS)


def find_roots(heap: Heap, paths: PathIndex, now: Now, rules: Rules) -> bytearray:
    """A root code for every slot, 0 for those that are none; slots outside the window are never roots.

    Deterministic; O(slots + recently touched paths).
    """
    roots = bytearray(heap.kind.translate(_BY_KIND + bytes(256 - len(_BY_KIND))))
    youngest = now.turn - rules.recent_turns
    for slot in range(len(heap) - 1, -1, -1):
        # Turns grow with slots except where a host rewinds; a whole recent window of older ones ends the search.
        if heap.born[slot] > youngest:
            roots[slot] = roots[slot] or RECENT
        elif heap.born[slot] < youngest - 64:
            break
    _mark_flags(heap, roots)
    _newest_of_a_kind(heap, roots, rules)
    _files(heap, paths, now, rules, roots)
    for slot, turn in heap.grace_until.items():
        if now.turn <= turn:
            roots[slot] = roots[slot] or RECALLED
    for slot, state in enumerate(heap.state):
        if state > EVICTED:
            roots[slot] = 0
    return roots


def _mark_flags(heap: Heap, roots: bytearray) -> None:
    either = PINNED | PENDING
    for slot, flags in enumerate(heap.flags):
        if flags & either:
            roots[slot] = PINS if flags & PINNED else PENDING_CALL


def _newest_of_a_kind(heap: Heap, roots: bytearray, rules: Rules) -> None:
    plan_tools = {number for number, tool in enumerate(heap.tools) if tool in PLAN_TOOLS}
    wanted = {KINDS.index(Kind.SUMMARY): SUMMARY, KINDS.index(Kind.PLAN): PLAN}
    protected = {number for number, tool in enumerate(heap.tools) if tool and tool in rules.protect_tools}
    task = heap.tasks.index(rules.task) if rules.task and rules.task in heap.tasks else -1
    has_plan = False
    for slot in range(len(heap) - 1, -1, -1):
        if heap.state[slot] > EVICTED:
            continue
        code = wanted.pop(heap.kind[slot], 0)
        if not code and not has_plan and heap.tool[slot] in plan_tools:
            code, has_plan = PLAN, True
        if not code and task >= 0 and heap.task[slot] == task:
            code = TASK
        if not code and heap.tool[slot] in protected:
            code = PROTECTED
        roots[slot] = roots[slot] or code


def _files(heap: Heap, paths: PathIndex, now: Now, rules: Rules, roots: bytearray) -> None:
    for path, history in paths.histories.items():
        is_open = path in rules.open_paths
        if is_open or history.touched_turn > now.turn - rules.file_turns:
            newest = next((slot for slot in paths.reads(path) if heap.state[slot] <= EVICTED), -1)
            if newest >= 0:
                roots[newest] = roots[newest] or (OPEN if is_open else FILE)
        if any(fnmatchcase(path, glob) for glob in rules.protect_paths):
            for use in history.uses:
                roots[use.slot] = roots[use.slot] or PROTECTED
