"""Results at entry in a replay: a new result shows by pointers the lines that the window shows already.

    result ──LineIndex──▶ runs worth a pointer ──▶ a shorter heap entry, and its pointers as edges of the heap
       └──shortening──▶ pages left out ──▶ a shorter heap entry, and parts that a fault brings back alone

The heap and the roots are the core's own: a target of a root's pointers stays, and a target that leaves takes the lines
of its pointers with it. Tokens of a run are its share of the result's characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ctxgc.core.entry.line_index import LineIndex, Run
from ctxgc.core.entry.shortening import FITTED, BirthFacts, BirthPrice, HiddenRun, PageWeights, hidden_runs
from ctxgc.core.heap import RESIDENT, Heap, HeapEntry, PointerEdge, Proof
from ctxgc.replay.parts import ShortenedResults

POINTER_TOKENS = 32
"""Raw tokens of a pointer's text, on average."""
WORTH_TOKENS = POINTER_TOKENS * 3 // 2
"""A run of fewer tokens gets no pointer."""

SlotProof = tuple[int, Proof]


class EntryRules(NamedTuple):
    """How the results of an episode enter the window."""

    has_references: bool = False
    """With pointers to the lines that the window shows already."""
    birth_price: BirthPrice | None = None
    """By these prices long results are shortened; None: not at all."""
    weights: PageWeights = FITTED


WHOLE = EntryRules()
"""As the host sends them."""


class EnteringResult(NamedTuple):
    """A result on its way into the window."""

    text: str
    tokens: int
    birth: BirthFacts | None
    """None: the result may not be shortened."""


class ReplayedEntry:
    """The results of a session's window, for those that enter it. Mutable; belongs to a simulation."""

    def __init__(self, heap: Heap, rules: EntryRules) -> None:
        self._heap = heap
        self._index = LineIndex()
        self._rules = rules
        self.shortened = ShortenedResults(heap)
        self._subjects: set[str] = set()
        """Of the shortened results."""

    def enter(
        self, result: EnteringResult, entry: HeapEntry, proofs: Sequence[SlotProof]
    ) -> tuple[HeapEntry, Sequence[SlotProof]]:
        """The heap entry of a new call with its pointers and without what the result leaves out, and the proofs that
        hold beside them.

        The older copy is kept, so that no pointer proves its target garbage.
        """
        runs = self._runs_worth_a_pointer(result) if self._rules.has_references else []
        edges = tuple(PointerEdge(self._heap.slot_of[run.target], size - POINTER_TOKENS) for run, size in runs)
        pointed = [(run.first, run.lines) for run, _ in runs]
        hidden = self._choose_hidden_runs(result, pointed)
        saved = self.shortened.add_result(len(self._heap), result.text, result.tokens, hidden)
        if self._rules.has_references:
            self._index.add_target(entry.id, result.text, [*pointed, *((run.first, run.lines) for run in hidden)])
        targets = {edge.target for edge in edges}
        entry = replace(entry, pointers=edges, hidden_tokens=saved)
        return entry, [proof for proof in proofs if proof[0] not in targets]

    def _runs_worth_a_pointer(self, result: EnteringResult) -> list[tuple[Run, int]]:
        """The runs worth a pointer, each with its tokens."""
        runs = [
            (run, result.tokens * _run_chars(result.text, run) // (len(result.text) + 1))
            for run in self._index.find_runs(result.text, self._is_target_resident)
        ]
        return [(run, run_tokens) for run, run_tokens in runs if run_tokens >= WORTH_TOKENS]

    def _choose_hidden_runs(self, result: EnteringResult, taken: Sequence[tuple[int, int]]) -> list[HiddenRun]:
        price, birth = self._rules.birth_price, result.birth
        if price is None or birth is None or birth.subject in self._subjects:
            return []
        chars, tokens = len(result.text) + 1, result.tokens
        runs = hidden_runs(
            result.text,
            birth,
            price,
            lambda text: tokens * (len(text) + 1) // chars,
            taken=taken,
            weights=self._rules.weights,
        )
        self._subjects.update([birth.subject] if runs else ())
        return runs

    def targets_of(self, slot: int) -> set[int]:
        """The slots that a slot's pointers lead to."""
        return {edge.target for edge in self._heap.pointers.get(slot, ())}

    def is_shown(self, slot: int) -> bool:
        """Whether the window shows a slot's lines, but for those left out at birth: in its place, or where its pointers
        lead."""
        state = self._heap.state
        return state[slot] == RESIDENT and all(state[target] == RESIDENT for target in self.targets_of(slot))

    def _is_target_resident(self, target: str) -> bool:
        return self._heap.state[self._heap.slot_of[target]] == RESIDENT


def _run_chars(text: str, run: Run) -> int:
    lines = text.split("\n")[run.first : run.first + run.lines]
    return sum(map(len, lines)) + len(lines)
