"""A stash's health: the status at any moment, and the result of an examination for damage."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class StashStatus:
    """Counts and health. `erasures_pending` counts forgotten segments and sessions whose bytes may be on disk."""

    path: str
    bytes_on_disk: int
    is_read_only: bool
    read_only_reason: str
    read_only_hint: str
    maintenance_error: str
    segments: int = 0
    sessions: int = 0
    erasures_pending: int = 0
    schema_version: int = 0
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Examination:
    """The result of an examination. `troubles` are sentences, the first few of each sort."""

    bodies: int
    """Bodies read."""
    bodies_damaged: int
    troubles: tuple[str, ...]
    skipped: str = ""
    """What was not looked at, for want of time."""

    @property
    def is_sound(self) -> bool:
        """Whether the examination met no damage."""
        return not self.troubles
