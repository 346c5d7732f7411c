"""A case's nats: how much likelier the real reply is behind the body than behind the body's placebo.

    prompt   <start> chunk ␤␤ recent ␤␤ reply
    nats     ln p(reply | the body's chunk, recent) − ln p(reply | the placebo's chunk, recent)

A chunk is the run of tokens whose words overlap most with the reply's, of body and placebo alike: a placebo has the
same chances. Values are kept in a file, by a digest of model and tokens and without any text, so that a run goes on
where the last one stopped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from os import truncate
from pathlib import Path
from typing import Protocol

from perf.judge.sampling import Case

START = 0
"""`<|endoftext|>`: the token between the texts that the model was trained on."""
_WORD = re.compile(r"[^\W\d_]\w{3,}")


class Judge(Protocol):
    """What evaluation asks of a language model."""

    @property
    def digest(self) -> str:
        """Tells models apart."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        ...

    def reply_nats(self, context: Sequence[int], reply: Sequence[int]) -> float:
        """Minus the log-probability of a reply behind a context."""
        ...


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of the parts of a question, in the judge's own tokens."""

    chunk: int = 420
    recent: int = 128
    reply: int = 192


@dataclass(slots=True)
class NatsCache:
    """Evaluated replies by digest, in a text file of lines `DIGEST NATS`; without a file in memory alone."""

    path: Path | None = None
    known: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path and self.path.exists():
            text = self.path.read_bytes()
            whole = text.rfind(b"\n") + 1
            if whole < len(text):
                # Half a line of a killed run reads as a wrong number, alone or joined to the next line.
                truncate(self.path, whole)
            lines = (line.split() for line in text[:whole].decode().splitlines())
            self.known.update((key, float(nats)) for key, nats in lines)

    def add(self, key: str, nats: float) -> None:
        """Keep a value, in the file at once."""
        self.known[key] = nats
        if self.path:
            with self.path.open("a") as file:
                file.write(f"{key} {nats!r}\n")


@dataclass(slots=True)
class Evaluator:
    """Asks a judge about cases, each text once."""

    judge: Judge
    cache: NatsCache
    lengths: Lengths = field(default_factory=Lengths)
    asked: int = 0
    """Replies evaluated by this evaluator; the others were known."""
    keys: set[str] = field(default_factory=set)
    """Of the replies that the cases so far rest on."""

    def saved_nats(self, case: Case) -> float:
        """The nats that the body saves on the reply, over its placebo. Two forward passes, or none where known."""
        reply = self.judge.encode(case.reply)[: self.lengths.reply]
        recent = self.judge.encode(case.recent)[-self.lengths.recent :] if self.lengths.recent else []
        body, placebo = (
            self._reply_nats(best_chunk(self.judge, text, case.reply, self.lengths.chunk), recent, reply)
            for text in (case.body.text, case.placebo.text)
        )
        return placebo - body

    def _reply_nats(self, chunk: list[int], recent: list[int], reply: list[int]) -> float:
        gap = self.judge.encode("\n\n")
        context = [START, *chunk, *gap, *recent, *gap]
        question = f"{self.judge.digest} {context} {reply}"
        key = blake2b(question.encode(), digest_size=16).hexdigest()
        self.keys.add(key)
        if key not in self.cache.known:
            self.cache.add(key, self.judge.reply_nats(context, reply))
            self.asked += 1
        return self.cache.known[key]


def best_chunk(judge: Judge, text: str, reply: str, tokens: int) -> list[int]:
    """The run of at most so many tokens that shares most words with a reply, the first of equals.

    Runs overlap by half. The words of the whole reply count, of body and placebo alike.
    """
    ids = judge.encode(text)
    if len(ids) <= tokens:
        return ids
    wanted = set(_WORD.findall(reply))
    starts = [*range(0, len(ids) - tokens, max(tokens // 2, 1)), len(ids) - tokens]

    def overlap(start: int) -> tuple[int, int]:
        return len(wanted.intersection(_WORD.findall(judge.decode(ids[start : start + tokens])))), -start

    best = max(starts, key=overlap)
    return ids[best : best + tokens]
