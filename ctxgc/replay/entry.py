"""Results at entry in a replay: a new result shows by pointers the lines that the window shows already.

    result ──LineIndex──▶ runs worth a pointer ──▶ a shorter heap entry, and its pointers as edges of the heap

The heap and the roots are the core's own: a target of a root's pointers stays, and a target that leaves takes the lines
of its pointers with it. Tokens of a run are its share of the result's characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ctxgc.adapters.contract import RESULT_PIECE
from ctxgc.core.heap import RESIDENT, Heap, HeapEntry, PointerEdge, Proof
from ctxgc.core.line_index import LineIndex, Run
from ctxgc.core.segment import Kind, Status
from ctxgc.replay.trace import CountedSegment

POINTER_TOKENS = 32
"""Raw tokens of a pointer's text, on average."""
WORTH_TOKENS = POINTER_TOKENS * 3 // 2
"""A run of fewer tokens gets no pointer."""

SlotProof = tuple[int, Proof]


def entering_result(sized: CountedSegment) -> tuple[str | None, int]:
    """The text of a call's result and its tokens, where pointers may stand in it: as the daemon's `window.enter`."""
    segment, facts = sized.segment, sized.segment.facts
    if segment.kind is not Kind.TOOL_CALL or segment.has_opaque or segment.status is not Status.OK:
        return None, 0
    if facts.holds_words or facts.is_plan or facts.recalls:
        return None, 0
    texts = [piece.text for piece in segment.body if piece.name == RESULT_PIECE]
    return (texts[0], dict(sized.tokens.pieces)[RESULT_PIECE]) if texts else (None, 0)


class ReplayedEntry:
    """The results of a session's window, for those that enter it. Mutable; belongs to a simulation."""

    def __init__(self, heap: Heap) -> None:
        self._heap = heap
        self._index = LineIndex()

    def enter(
        self, result: str, tokens: int, entry: HeapEntry, proofs: Sequence[SlotProof]
    ) -> tuple[HeapEntry, Sequence[SlotProof]]:
        """The heap entry of a new call with its pointers, and the proofs that hold beside them.

        `tokens` are the result's own. The older copy is kept, so that no pointer proves its target garbage.
        """
        heap = self._heap
        runs = [
            (run, tokens * _run_chars(result, run) // (len(result) + 1))
            for run in self._index.find_runs(result, self._is_shown)
        ]
        worth = [(run, run_tokens) for run, run_tokens in runs if run_tokens >= WORTH_TOKENS]
        edges = tuple(PointerEdge(heap.slot_of[run.target], size - POINTER_TOKENS) for run, size in worth)
        self._index.add_target(entry.id, result, [(run.first, run.lines) for run, _ in worth])
        targets = {edge.target for edge in edges}
        return replace(entry, pointers=edges), [proof for proof in proofs if proof[0] not in targets]

    def targets_of(self, slot: int) -> set[int]:
        """The slots that a slot's pointers lead to."""
        return {edge.target for edge in self._heap.pointers.get(slot, ())}

    def is_shown(self, slot: int) -> bool:
        """Whether the window shows a slot's whole body: in its place, or where its pointers lead."""
        state = self._heap.state
        return state[slot] == RESIDENT and all(state[target] == RESIDENT for target in self.targets_of(slot))

    def _is_shown(self, target: str) -> bool:
        return self._heap.state[self._heap.slot_of[target]] == RESIDENT


def _run_chars(text: str, run: Run) -> int:
    lines = text.split("\n")[run.first : run.first + run.lines]
    return sum(map(len, lines)) + len(lines)
