"""A heap that counts bodies as evicted for as long as a computation needs that, and as resident again afterwards."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from ctxgc.core.heap import EVICTED, RESIDENT, Heap


@contextmanager
def simulate_eviction(heap: Heap, slots: Collection[int]) -> Iterator[None]:
    """Let the heap count resident bodies as evicted inside the block, which must not wait."""
    for slot in slots:
        heap.set_state(slot, EVICTED)
    try:
        yield
    finally:
        for slot in slots:
            heap.set_state(slot, RESIDENT)
