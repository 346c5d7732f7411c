"""From raw tokens and blocks to a provider's billed tokens: two coefficients a model, learned from usage.

    prior of the model's family ──observed(raw, blocks, billed)──▶ billed = raw × per_raw + blocks × per_block

A provider adds overhead to each block of a prompt: tokens that no text shows. In a prompt of long results, a single
ratio absorbs the overhead; where tombstones and small calls are left, the overhead is a fifth of the prompt, and a
prediction by a single ratio errs more with each turn. Weighted least squares over decayed sums, each observation
weighted by its length, so that relative errors count alike. All types here are values.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Self

from ctxgc.tokens.calibration import DECAY, OBSERVED_RAW_MIN, RATIO_MAX, RATIO_MIN, prior_ratio

PRIOR_OVERHEAD_TOKENS = 6.0
"""Overhead of a block to assume before any usage was seen: its role, its type, a call's id."""
PER_BLOCK_MAX = 60.0
"""A larger overhead is text that the raw count missed, not overhead."""
PRIOR_RAW_TOKENS, PRIOR_BLOCKS = 2000.0, 20.0
"""The prior counts as an observation of this much text alone, and an observation of this many empty blocks."""
PRIOR_WEIGHT_MIN = 0.02
"""The prior never fades beyond this: bills of one shape alone leave the split between text and overhead undecided."""


@dataclass(frozen=True, slots=True)
class OverheadCalibration:
    """The knowledge of a model's tokenizer and overhead: decayed sums of a weighted regression through zero."""

    prior_ratio: float
    raw_raw: float = 0.0
    raw_blocks: float = 0.0
    blocks_blocks: float = 0.0
    raw_billed: float = 0.0
    blocks_billed: float = 0.0
    prior_weight: float = 1.0
    observations: int = 0

    @classmethod
    def from_prior(cls, model: str) -> Self:
        """A calibration without observations, which starts from the prior of the model's family."""
        return cls(prior_ratio(model))

    @property
    def coefficients(self) -> tuple[float, float]:
        """Billed tokens per raw token, and per block; both within their bounds under any observations."""
        aa, ab, bb, ay, by = self._normal_equations()
        per_raw = (ay * bb - by * ab) / (aa * bb - ab * ab)  # The prior keeps the sums of full rank.
        per_block = (by - ab * per_raw) / bb
        # The best point of a convex bowl over a rectangle lies inside, or on the side that the free optimum exceeds.
        if not 0.0 <= per_block <= PER_BLOCK_MAX:
            per_block = _clamp(per_block, 0.0, PER_BLOCK_MAX)
            per_raw = (ay - ab * per_block) / aa
        if not RATIO_MIN <= per_raw <= RATIO_MAX:
            per_raw = _clamp(per_raw, RATIO_MIN, RATIO_MAX)
            per_block = _clamp((by - ab * per_raw) / bb, 0.0, PER_BLOCK_MAX)
        return per_raw, per_block

    def _normal_equations(self) -> tuple[float, float, float, float, float]:
        """The normal equations, the prior included."""
        text = self.prior_weight * PRIOR_RAW_TOKENS
        overhead = self.prior_weight * PRIOR_BLOCKS**2 / OBSERVED_RAW_MIN
        return (
            self.raw_raw + text,
            self.raw_blocks,
            self.blocks_blocks + overhead,
            self.raw_billed + text * self.prior_ratio,
            self.blocks_billed + overhead * PRIOR_OVERHEAD_TOKENS,
        )

    def observe(self, raw_tokens: int, blocks: int, billed_tokens: int) -> Self:
        """Learn from a step between two replies of a thread: the visibly new tokens, and the tokens billed more.

        A step without word of the tokenizer (too short, a shrinking window, more or less than any text and overhead
        come to) has no effect.
        """
        least, most = RATIO_MIN * raw_tokens, RATIO_MAX * raw_tokens + PER_BLOCK_MAX * blocks
        if raw_tokens < OBSERVED_RAW_MIN or blocks < 0 or not least <= billed_tokens <= most:
            return self
        weight = 1.0 / raw_tokens
        return type(self)(
            self.prior_ratio,
            self.raw_raw * DECAY + weight * raw_tokens * raw_tokens,
            self.raw_blocks * DECAY + weight * raw_tokens * blocks,
            self.blocks_blocks * DECAY + weight * blocks * blocks,
            self.raw_billed * DECAY + weight * raw_tokens * billed_tokens,
            self.blocks_billed * DECAY + weight * blocks * billed_tokens,
            max(self.prior_weight * DECAY, PRIOR_WEIGHT_MIN),
            self.observations + 1,
        )

    def to_billed_tokens(self, raw_tokens: int, blocks: int) -> int:
        """The billed tokens of these raw tokens in these blocks, rounded up. Monotone in both."""
        per_raw, per_block = self.coefficients
        return ceil(raw_tokens * per_raw + blocks * per_block)

    def unexplained_tokens(self, billed_tokens: int, raw_tokens: int, blocks: int) -> int:
        """Tokens of a billed prompt that its visible part does not explain: system prompt, tool schemas."""
        return max(0, billed_tokens - self.to_billed_tokens(raw_tokens, blocks))


def _clamp(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)
