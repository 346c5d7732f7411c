"""From raw o200k tokens to a provider's billed tokens, and back: a ratio a model, learned from usage.

    prior of the model's family ──observe(raw, billed)──▶ ratio ──▶ billed = raw × ratio + hidden

Counts are stored raw and multiplied on read, so learning never touches the stash. All types here are values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Self

OBSERVED_RAW_MIN = 200
"""Fewer new tokens say more about framing than about the tokenizer."""
RATIO_MIN, RATIO_MAX = 0.7, 2.5
"""Outside of these it was not text that was billed (an image, a hidden tool result, a lost record)."""
DECAY = 0.98
PRIOR_RAW_TOKENS = 2000.0
"""The weight of the prior: after this much observed text, prior and observation count alike."""

UNKNOWN_RATIO = 1.2
CLAUDE_RATIO = 1.18
CLAUDE_NEWER_RATIO = 1.5
CLAUDE_NEWER_FROM = (4, 7)
"""The first Claude version with the tokenizer that makes about 30 % more of the same text."""

_FAMILIES = (
    (re.compile(r"gpt|codex|\bo[134]\b|chatgpt"), 1.0),
    (re.compile(r"llama"), 0.99),
    (re.compile(r"deepseek"), 1.02),
    (re.compile(r"qwen"), 1.03),
)
_CLAUDE = re.compile(r"claude|\b(?:opus|sonnet|haiku)\b")
_CLAUDE_VERSION = re.compile(r"[-_ ](\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")


def prior_ratio(model: str) -> float:
    """Billed tokens per raw token to assume of a model before any usage was seen.

    Claude without a version counts as a newer Claude: to overstate shrinks a window, to understate overruns the window.
    """
    name = model.lower()
    if _CLAUDE.search(name):
        found = _CLAUDE_VERSION.search(name)
        version = (int(found[1]), int(found[2] or 0)) if found else CLAUDE_NEWER_FROM
        return CLAUDE_NEWER_RATIO if version >= CLAUDE_NEWER_FROM else CLAUDE_RATIO
    return next((ratio for family, ratio in _FAMILIES if family.search(name)), UNKNOWN_RATIO)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Knowledge of a model's tokenizer: two decayed sums, whose quotient is the ratio."""

    raw_tokens: float
    billed_tokens: float
    observations: int = 0

    @classmethod
    def from_prior(cls, model: str) -> Self:
        """Before the first observation: the prior of the model's family."""
        return cls(PRIOR_RAW_TOKENS, PRIOR_RAW_TOKENS * prior_ratio(model))

    @classmethod
    def from_stored_ratio(cls, model: str, ratio: float) -> Self:
        """Go on from a stored ratio; 0.0 means no stored ratio."""
        return cls.from_prior(model) if ratio <= 0 else cls(PRIOR_RAW_TOKENS, PRIOR_RAW_TOKENS * ratio)

    @property
    def ratio(self) -> float:
        """Billed tokens per raw token."""
        return self.billed_tokens / self.raw_tokens

    def observe(self, raw_tokens: int, billed_tokens: int) -> Self:
        """Learn from a step between two replies of a thread: `raw_tokens` visibly new, `billed_tokens` more billed.

        A step without word of the tokenizer (too little text, a shrinking window, an implausible ratio) has no effect.
        """
        if raw_tokens < OBSERVED_RAW_MIN or not RATIO_MIN <= billed_tokens / raw_tokens <= RATIO_MAX:
            return self
        return replace(
            self,
            raw_tokens=self.raw_tokens * DECAY + raw_tokens,
            billed_tokens=self.billed_tokens * DECAY + billed_tokens,
            observations=self.observations + 1,
        )

    def to_billed_tokens(self, raw_tokens: int) -> int:
        """The billed tokens of these raw tokens, rounded up. Monotone."""
        return ceil(raw_tokens * self.ratio)

    def raw_budget(self, billed_tokens: int, hidden_tokens: int = 0) -> int:
        """The most raw tokens that a billed budget leaves room for, the hidden prefix taken off; 0 if none.

        `billed(raw_budget(b, h)) + h <= b` wherever `h <= b`.
        """
        room = max(0, billed_tokens - hidden_tokens)
        raw = floor(room / self.ratio)
        return raw if self.to_billed_tokens(raw) <= room else raw - 1

    def unexplained_tokens(self, billed_tokens: int, raw_tokens: int) -> int:
        """Tokens of a billed prompt that its visible part does not explain: system prompt, tool schemas."""
        return max(0, billed_tokens - self.to_billed_tokens(raw_tokens))
