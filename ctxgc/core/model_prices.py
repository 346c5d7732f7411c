"""The list prices of models in US dollars, as data with their date.

    model ──name without the date of its snapshot──▶ ModelPrice ──input-token equivalents──▶ dollars

Prices are the list prices of the providers' own APIs, standard tier and short context. A batch, a faster tier, a long
context and another seller of the same model bill otherwise; a configuration may say so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

AS_OF = "2026-11"
"""The month in which the prices were looked up."""
TOKENS_PER_PRICE = 1_000_000


class ModelPrice(NamedTuple):
    """A model's price, in dollars for a million tokens."""

    input: float
    output: float
    as_of: str = AS_OF
    """The month of the price; empty for a price of the user's own."""

    def input_dollars(self, input_tokens: float) -> float:
        """The price of so many input tokens, to a hundredth of a cent."""
        return round(input_tokens * self.input / TOKENS_PER_PRICE, 4)


_ROWS: tuple[tuple[str, float, float], ...] = (
    ("claude-fable-5", 10.0, 50.0),
    ("claude-mythos-5", 10.0, 50.0),
    ("claude-opus-5-5", 4.0, 20.0),
    ("claude-opus-5", 5.0, 25.0),
    ("claude-opus-4-8", 5.0, 25.0),
    ("claude-opus-4-7", 5.0, 25.0),
    ("claude-opus-4-6", 5.0, 25.0),
    ("claude-opus-4-5", 5.0, 25.0),
    ("claude-opus-4-1", 15.0, 75.0),
    ("claude-opus-4", 15.0, 75.0),
    ("claude-sonnet-5-5", 2.0, 10.0),
    ("claude-sonnet-5", 2.0, 10.0),
    ("claude-sonnet-4", 3.0, 15.0),
    ("claude-haiku-5-5", 0.1, 0.5),
    ("claude-haiku-4-5", 1.0, 5.0),
    ("gpt-6.2-astra", 8.0, 40.0),
    ("gpt-6.2-sol", 2.0, 10.0),
    ("gpt-6-astra", 10.0, 50.0),
    ("gpt-6.1-sol", 2.0, 10.0),
    ("gpt-6-sol", 2.0, 10.0),
    ("gpt-6-luna", 0.1, 0.5),
    ("gpt-5.6-sol", 4.0, 20.0),
    ("gpt-5.6-terra", 2.0, 12.0),
    ("gpt-5.6-luna", 0.2, 1.2),
    ("gpt-5.5", 5.0, 30.0),
    ("gpt-5.4-mini", 0.75, 4.5),
    ("gpt-5.4-nano", 0.2, 1.25),
    ("gpt-5.4", 2.5, 15.0),
    ("gpt-5.3-codex", 1.75, 14.0),
    ("gpt-5.2-codex", 1.75, 14.0),
    ("gpt-5.2", 1.75, 14.0),
    ("gpt-5.1-codex", 1.25, 10.0),
    ("gpt-5.1", 1.25, 10.0),
    ("gpt-5-codex", 1.25, 10.0),
    ("gpt-5-mini", 0.25, 2.0),
    ("gpt-5-nano", 0.05, 0.4),
    ("gpt-5", 1.25, 10.0),
    ("gpt-4.1-mini", 0.4, 1.6),
    ("gpt-4.1-nano", 0.1, 0.4),
    ("gpt-4.1", 2.0, 8.0),
    ("gpt-4o-mini", 0.15, 0.6),
    ("gpt-4o", 2.5, 10.0),
)

MODEL_PRICES: Mapping[str, ModelPrice] = {name: ModelPrice(input_, output) for name, input_, output in _ROWS}
"""By the model's own name, without the date of a snapshot."""
_SUFFIX = re.compile(r"(?:-latest|-\d{4}-?\d{2}-?\d{2}|@\d{8})?(?:-v\d(?::\d)?)?(?:\[1m\])?")
"""What may stand behind the name: the date of a snapshot, the size of a window. Anything else is another model."""


def price_of(model: str, own: Mapping[str, ModelPrice] | None = None) -> ModelPrice | None:
    """The price of a model, the user's `own` before ours; `None` for an unknown model: no price is guessed.

    A seller's prefix (`anthropic/`, `us.anthropic.`) does not count; a user's price for the whole name does.
    """
    name = model.lower()
    if own and (price := own.get(model) or own.get(name)):
        return price
    name = re.sub(r"^(?:.*[/.])?(?=claude-|gpt-)", "", name)
    bare = _strip_suffix(name)
    for table in (own or {}, MODEL_PRICES):
        if price := table.get(bare) or table.get(_strip_minor_version(bare)):
            return price
    return None


def _strip_suffix(name: str) -> str:
    match = re.match(rf"(.+?){_SUFFIX.pattern}$", name)
    return match[1] if match else name


def _strip_minor_version(name: str) -> str:
    """The family of a Claude model: minor versions of a family cost alike unless a row says otherwise."""
    return re.sub(r"^(claude-(?:sonnet|fable|mythos)-\d)-\d$", r"\1", name)
