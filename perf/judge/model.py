"""A forward pass of a Llama model in numpy: grouped-query attention, rotary positions, gated feed-forward.

    tokens ──embed──▶ hidden ──┬─▶ norm ─▶ attention over the past and these tokens ──+──▶ norm ─▶ feed-forward ──+──▶
                               └─────────────────────── blocks times ─────────────────────────────────────────────┘
    hidden ──norm──▶ × embeddingᵀ ──▶ logits

Arrays are float32. Of shapes, T is the tokens of a call, P the tokens of its past, D the width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

QUERIES_PER_SLICE = 128
"""Rows of attention at a time: a slice looks at no key behind its last query, which spares nearly half of the work."""

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a model that its weights do not show."""

    heads: int
    kv_heads: int
    """Heads of keys and values; each serves `heads // kv_heads` heads of queries."""
    rope_base: float
    epsilon: float
    """Of the root mean square norm."""


@dataclass(frozen=True, slots=True)
class Block:
    """The weights of a layer; a matrix maps (T, inputs) to (T, outputs) and has the shape (inputs, outputs)."""

    attention_norm: Array
    query: Array
    key: Array
    value: Array
    output: Array
    feed_norm: Array
    gate: Array
    up: Array
    down: Array


@dataclass(slots=True)
class Past:
    """Keys and values of the tokens so far, by block, each (kv_heads, P, D). Only `Model.hidden` writes."""

    keys: list[Array] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Tokens so far."""
        return int(self.keys[0].shape[1]) if self.keys else 0

    def extend(self, number: int, key: Array, value: Array) -> tuple[Array, Array]:
        """Add to a block's keys and values, and return all of them."""
        if number == len(self.keys):
            self.keys.append(key)
            self.values.append(value)
        else:
            self.keys[number] = np.concatenate((self.keys[number], key), axis=1)
            self.values[number] = np.concatenate((self.values[number], value), axis=1)
        return self.keys[number], self.values[number]


@dataclass(frozen=True, slots=True)
class Model:
    """A model ready to run; the embedding serves as the output matrix too."""

    shape: Shape
    embedding: Array
    """(vocabulary, width)."""
    blocks: Sequence[Block]
    final_norm: Array

    def hidden(self, tokens: Sequence[int], past: Past | None = None) -> Array:
        """The normed hidden states (T, width) of these tokens behind a past, which grows by them.

        O(T · width² + T · (P + T) · width) for each block.
        """
        past = Past() if past is None else past
        start = past.tokens
        cosine, sine = self._rotation(start, len(tokens))
        state = self.embedding[np.asarray(tokens, int)]
        for number, block in enumerate(self.blocks):
            normed = self._norm(state, block.attention_norm)
            query = rotate(split_heads(normed @ block.query, self.shape.heads), cosine, sine)
            key = rotate(split_heads(normed @ block.key, self.shape.kv_heads), cosine, sine)
            value = split_heads(normed @ block.value, self.shape.kv_heads)
            state = state + attention(query, *past.extend(number, key, value)) @ block.output
            normed = self._norm(state, block.feed_norm)
            gate = normed @ block.gate
            state = state + (gate / (1 + np.exp(-gate)) * (normed @ block.up)) @ block.down
        return self._norm(state, self.final_norm)

    def reply_nats(self, context: Sequence[int], reply: Sequence[int]) -> float:
        """Minus the log-probability, in nats, of a reply behind a context of at least one token."""
        if not context:
            raise ValueError("a reply needs a token in front of it")
        states = self.hidden([*context, *reply[:-1]])[len(context) - 1 :]
        logits = states @ self.embedding.T
        logits -= logits.max(axis=1, keepdims=True)
        picked = logits[np.arange(len(reply)), np.asarray(reply, int)]
        return float((np.log(np.exp(logits).sum(axis=1)) - picked).sum())

    def _rotation(self, start: int, count: int) -> tuple[Array, Array]:
        """Cosine and sine (T, D / 2) of each position's angles."""
        width = self.blocks[0].query.shape[1] // self.shape.heads
        speeds = self.shape.rope_base ** (-np.arange(0, width, 2) / width)
        angles = np.arange(start, start + count)[:, None] * speeds
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def _norm(self, state: Array, weight: Array) -> Array:
        mean_square = np.mean(state * state, axis=-1, keepdims=True)
        normed: Array = state / np.sqrt(mean_square + np.float32(self.shape.epsilon)) * weight
        return normed


def split_heads(flat: Array, heads: int) -> Array:
    """(T, heads · D) as (heads, T, D)."""
    return flat.reshape(len(flat), heads, -1).transpose(1, 0, 2)


def rotate(heads: Array, cosine: Array, sine: Array) -> Array:
    """Rotary positions for neighbouring pairs, the order of a GGUF's Llama weights.

    The turned first halves of all pairs come before the second ones. Queries and keys share that order, so their
    products are the same.
    """
    even, odd = heads[..., 0::2], heads[..., 1::2]
    return np.concatenate((even * cosine - odd * sine, even * sine + odd * cosine), axis=-1)


def attention(query: Array, key: Array, value: Array) -> Array:
    """Causal attention of the last T tokens over all P + T, as (T, heads · D)."""
    heads, count, width = query.shape
    kv_heads, total, _ = key.shape
    past = total - count
    grouped = query.reshape(kv_heads, heads // kv_heads, count, width) * np.float32(width**-0.5)
    mixed_values = np.empty((count, kv_heads, heads // kv_heads, width), np.float32)
    for first in range(0, count, QUERIES_PER_SLICE):
        last = min(first + QUERIES_PER_SLICE, count)
        seen = past + last
        scores = grouped[:, :, first:last] @ key[:, None, :seen].transpose(0, 1, 3, 2)
        later = np.arange(seen) > np.arange(past + first, seen)[:, None]
        scores[..., later] = -np.inf
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        mixed = (scores @ value[:, None, :seen]) / scores.sum(axis=-1, keepdims=True)
        mixed_values[first:last] = mixed.transpose(2, 0, 1, 3)
    return mixed_values.reshape(count, heads * width)
