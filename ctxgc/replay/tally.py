"""A policy's outcome on an episode: bill, faults, windows and costs by turn."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class Fault:
    """A page fault: the missing segment, the turn, and the reason of its eviction."""

    turn: int
    segment: str
    reason: str
    size_tokens: int
    age_turns: int
    gone_turn: int = -1
    """When it was evicted."""


@dataclass(slots=True)
class PolicyCounts:
    """A policy's bill and faults, added up over requests."""

    cost: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt tokens, read from the provider's cache."""
    faults: int = 0
    part_faults: int = 0
    """Of the faults, those of lines that a result left out at birth."""
    explicit_faults: int = 0
    """Reads of lines whose newest segment is out, where an edit counts as a segment of every line."""
    view_faults: int = 0
    """Reads of lines whose newest view is out: what an edit does not show, no edit serves."""
    explicit_part_faults: int = 0
    """Reads of lines that the newest reading had left out at birth."""
    evictions: int = 0
    collections: int = 0
    uses: int = 0

    def add_counts(self, other: PolicyCounts) -> None:
        """Add each count of another sum."""
        for count in fields(PolicyCounts):
            setattr(self, count.name, getattr(self, count.name) + getattr(other, count.name))


@dataclass(slots=True)
class Tally(PolicyCounts):
    """A policy's tally on an episode."""

    turns: int = 0
    window: list[int] = field(default_factory=list)
    """Prompt tokens by turn."""
    costs: list[float] = field(default_factory=list)
    """What the requests up to each turn's cost together, its recalls included."""
    reread_slots: list[int] = field(default_factory=list)
    """The evicted view of each read that counts as a view's fault, in order."""
    worst: list[Fault] = field(default_factory=list)
