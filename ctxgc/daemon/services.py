"""The objects that verbs work with, of a single daemon: built once, by hand, in `main.py`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple

from ctxgc.config import Config
from ctxgc.core.pacing.pacer import PacerRules
from ctxgc.daemon.events import Events
from ctxgc.daemon.sessions.content_cache import ContentCache
from ctxgc.daemon.sessions.entry_index import EntryIndexes
from ctxgc.daemon.sessions.intake import Intake
from ctxgc.daemon.sessions.registry import Registry
from ctxgc.stash.contract import Stash

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")


@dataclass(slots=True)
class Services:
    """A daemon's objects. Each object is the only writer of its own state; the bundle owns no state."""

    config: Config
    stash: Stash
    registry: Registry
    contents: ContentCache
    intake: Intake
    entries: EntryIndexes
    events: Events
    pacer: PacerRules
    worker: Executor
    """One thread for work that is heavy on the processor: parsing, redacting, counting."""
    clock: Callable[[], float] = time.time
    started_s: float = field(default_factory=time.time)
    has_forgotten: asyncio.Event = field(default_factory=asyncio.Event)
    """Something was forgotten since freed memory was last overwritten."""
    caches: list[Callable[[], None]] = field(default_factory=list)
    """A function for each cache of replies, which empties the cache."""
    counts: Counter[str] = field(default_factory=Counter)
    """`collections`, `faults`, `imports`: since the start, for `stats`."""


async def run_on_worker(
    services: Services, function: Callable[[*_Arguments], _Result], *arguments: *_Arguments
) -> _Result:
    """Run a function that is heavy on the processor beside the loop."""
    return await asyncio.get_running_loop().run_in_executor(services.worker, function, *arguments)
