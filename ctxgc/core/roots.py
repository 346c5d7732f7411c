"""Roots: the segments that a session stands on now. Never evicted (I2); targets of references are reached.

A root that looks like garbage is a root.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import translate
from functools import lru_cache

from ctxgc.core.heap import ERRORED, EVICTED, IS_INSIDE, KINDS, PENDING, PINNED, PLANNING, RESIDENT, WORDED, Heap, Now
from ctxgc.core.masks import and_masks, filter_table, mask_positions
from ctxgc.core.paths import PathIndex
from ctxgc.core.rules import Rules
from ctxgc.core.segment import Kind, Segment

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
    "pointed",
)
"""Names of the root codes; 0 is no root. Where several hold, the earliest in this order that explains best wins."""
SYSTEM, USER, PINS, RECENT, PENDING_CALL, PLAN, FILE, SUMMARY, TASK, OPEN, PROTECTED, RECALLED, POINTED = range(1, 14)

POINTED_PART = 2
"""A file under edit keeps the targets of its pointers that it shows at least one part in so many of."""

UNSEEN_TURNS = 1
GLOBS_MAX = 256
"""Globs kept as patterns; configurations have few."""

_BRACKETS = re.compile(r"(\[!?\]?[^\]]*\])")
_END = translate("").removeprefix("(?s:)")
"""What `translate` puts behind a pattern."""

_BY_KIND = bytes({Kind.SYSTEM: SYSTEM, Kind.USER: USER}.get(kind, 0) for kind in KINDS).ljust(256, b"\0")
_IS_PLAN = filter_table(lambda kind: kind == KINDS.index(Kind.PLAN))
_IS_SUMMARY = filter_table(lambda kind: kind == KINDS.index(Kind.SUMMARY))
_IS_PINNED = filter_table(lambda flags: bool(flags & PINNED))
_IS_PLAN_CALL = filter_table(lambda flags: bool(flags & PLANNING) and not flags & (PENDING | ERRORED))
_IS_WORDED = filter_table(lambda flags: bool(flags & WORDED))
_IS_PENDING = filter_table(lambda flags: bool(flags & PENDING))
_IS_OUTSIDE = filter_table(lambda state: state > EVICTED)


def find_roots(heap: Heap, paths: PathIndex, now: Now, rules: Rules) -> bytearray:
    """A root code for every slot, 0 for all other slots; slots outside the window are never roots.

    Deterministic; O(slots + paths), all but the recent slots at C speed.
    """
    roots = bytearray(heap.kind.translate(_BY_KIND))
    # The results of the last reply have not been seen by the model yet: they stay whatever the rules say.
    for slot in slots_born_since(heap, now.turn - max(rules.recent_turns, UNSEEN_TURNS)):
        roots[slot] = roots[slot] or RECENT
    _set_flagged_roots(heap, roots)
    _set_kind_task_and_tool_roots(heap, roots, rules)
    _set_file_roots(heap, paths, now, rules, roots)
    for slot in heap.grace.in_force(now.turn):
        roots[slot] = roots[slot] or RECALLED
    _set_pointed_roots(heap, roots)
    for slot in mask_positions(heap.state.translate(_IS_OUTSIDE)):
        roots[slot] = 0
    return roots


def slots_born_since(heap: Heap, turn: int) -> Iterator[int]:
    """The slots born in this turn or later, the newest first. O(those slots), and what came in between."""
    for slot in range(len(heap) - 1, -1, -1):
        if heap.born_peak[slot] < turn:
            break  # No slot before is younger, even where a host rewound or an import came in late.
        if heap.born[slot] >= turn:
            yield slot


def _set_pointed_roots(heap: Heap, roots: bytearray) -> None:
    """The targets of a root's pointers: the root's own text stands there.

    Most files stay under edit for long, and a few lines of a file would keep a large result for as long: these lines
    may become a line tombstone.
    """
    for holder, edges in heap.pointers.items():
        if not roots[holder] or heap.state[holder] != RESIDENT:
            continue
        is_under_edit = roots[holder] == FILE
        saved: Counter[int] = Counter()
        for edge in edges:
            saved[edge.target] += edge.saved_tokens
        for target, tokens in saved.items():
            if not is_under_edit or POINTED_PART * tokens >= heap.body[target]:
                roots[target] = roots[target] or POINTED


def _set_flagged_roots(heap: Heap, roots: bytearray) -> None:
    for slot in mask_positions(heap.flags.translate(_IS_WORDED)):
        roots[slot] = USER
    for slot in mask_positions(heap.flags.translate(_IS_PENDING)):
        roots[slot] = PENDING_CALL
    for slot in mask_positions(heap.flags.translate(_IS_PINNED)):
        roots[slot] = PINS


def _set_kind_task_and_tool_roots(heap: Heap, roots: bytearray, rules: Rules) -> None:
    inside = heap.state.translate(IS_INSIDE)
    summary = and_masks(inside, heap.kind.translate(_IS_SUMMARY)).rfind(1)
    if summary >= 0:
        roots[summary] = roots[summary] or SUMMARY
    plan = and_masks(inside, heap.kind.translate(_IS_PLAN)).rfind(1)
    if plan >= 0:
        roots[plan] = roots[plan] or PLAN
    _set_plan_roots(heap, inside, roots)
    protected = {number for number, tool in enumerate(heap.tools) if tool and tool in rules.protect_tools}
    task = heap.tasks.index(rules.task) if rules.task and rules.task in heap.tasks else -1
    for slot in range(len(heap)) if protected or task >= 0 else ():
        if heap.task[slot] == task or heap.tool[slot] in protected:
            roots[slot] = roots[slot] or (TASK if heap.task[slot] == task else PROTECTED)


def _set_plan_roots(heap: Heap, inside: bytes | bytearray, roots: bytearray) -> None:
    """The newest successful call of each plan tool: a todo list does not replace the plan behind the list."""
    tools: set[int] = set()
    for slot in reversed(list(mask_positions(and_masks(inside, heap.flags.translate(_IS_PLAN_CALL))))):
        if heap.tool[slot] not in tools:
            tools.add(heap.tool[slot])
            roots[slot] = roots[slot] or PLAN


def _set_file_roots(heap: Heap, paths: PathIndex, now: Now, rules: Rules, roots: bytearray) -> None:
    for path, history in paths.histories.items():
        is_open = path in rules.open_paths
        if is_open or history.touched_turn >= now.turn - rules.file_turns:
            newest = next((slot for slot in paths.reader_slots(path) if heap.state[slot] <= EVICTED), -1)
            if newest >= 0:
                roots[newest] = roots[newest] or (OPEN if is_open else FILE)
        if any(_is_glob_match(path, glob) for glob in rules.protect_paths):
            for use in history.uses:
                roots[use.slot] = roots[use.slot] or PROTECTED


def is_protected_by_rules(segment: Segment, rules: Rules) -> bool:
    """Whether the user's rules protect a tool call, by its tool or by a file of it."""
    if segment.tool in rules.protect_tools:
        return True
    return any(_is_glob_match(use.path, glob) for use in segment.paths for glob in rules.protect_paths)


def _is_glob_match(path: str, glob: str) -> bool:
    """Whether a glob names a path: each pair of its brackets is letters of the path, or a choice of letters.

    Folders are named `[slug]` and `[...rest]`; a protected path may hold such a name beside a star or a choice.
    """
    return _glob_pattern(glob).match(path) is not None


@lru_cache(maxsize=GLOBS_MAX)
def _glob_pattern(glob: str) -> re.Pattern[str]:
    parts = [
        f"(?:{re.escape(part)}|{translate(part)[: -len(_END)]})" if at % 2 else translate(part)[: -len(_END)]
        for at, part in enumerate(_BRACKETS.split(glob))
    ]
    return re.compile("".join(parts) + _END)
