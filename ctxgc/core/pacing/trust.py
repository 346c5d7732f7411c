"""Trust in the model of a provider's cache: bills of editing requests confirm the model, or contradict it.

    edit, predicted read ──bill──▶ agrees ──▶ trust is whole again
                                ├▶ less was read, by more than a tenth of the rewrite ──▶ third time: a pause
                                └▶ not half was read ──▶ a pause at once

During a pause a session is cut where the cache is cold, at the limit, or where a cut pays although it makes
the provider write the whole prompt again: none of these needs a model. After the pause one cut tries the model again,
and another contradiction doubles the next pause.
"""

from __future__ import annotations

from typing import NamedTuple

MISSES_MAX = 3
"""Contradictions in a row before a pause."""
OFF_PART = 0.1
"""A bill contradicts the model when the tokens not read exceed this part of the rewrite."""
REFUTED_PART = 0.5
"""A bill that read less than this part of what was predicted refutes the model alone."""
PAUSE_TURNS, PAUSE_TURNS_MAX = 16, 4096


class Trust(NamedTuple):
    """The word of editing requests' bills about the model. A value."""

    misses: int = 0
    """Contradictions since the last agreement."""
    pause_turns: int = 0
    """Length of the last pause; 0: no pause yet."""
    resumes_turn: int = 0
    """The turn from which on the model is tried again."""

    def after_edit(self, turn: int, predicted_tokens: int, read_tokens: int, rewrite_tokens: float) -> Trust:
        """Trust once an editing request is billed. Tokens are billed tokens."""
        if not is_model_contradicted(predicted_tokens, read_tokens, rewrite_tokens):
            return Trust()
        is_refuted = read_tokens < REFUTED_PART * predicted_tokens
        misses = MISSES_MAX if is_refuted else min(self.misses + 1, MISSES_MAX)
        if misses < MISSES_MAX:
            return self._replace(misses=misses)
        pause = min(self.pause_turns * 2, PAUSE_TURNS_MAX) if self.pause_turns else PAUSE_TURNS
        return Trust(misses, pause, turn + pause)

    def pause_reason(self, turn: int) -> str:
        """Why the pacer stands back at this turn, and for how long; empty where the pacer does not."""
        if not self.is_paused(turn):
            return ""
        turns = self.resumes_turn - turn
        return (
            f"the pacer stands back for {turns} turn{'s' * (turns != 1)} because the provider's bills contradict its "
            "forecasts of the cache"
        )

    def is_paused(self, turn: int) -> bool:
        """Whether no cut may rest on the model."""
        return turn < self.resumes_turn


def is_model_contradicted(predicted_tokens: int, read_tokens: int, rewrite_tokens: float) -> bool:
    """Whether a bill read too little for the model to be right. More read tokens than predicted cost nothing."""
    return predicted_tokens - read_tokens > OFF_PART * max(rewrite_tokens, 1.0)
