"""How long does liveness pause a session, and what does it decide?  Run: python -m perf.bench_mark

    mark/10k …      a mark over a heap where every reference is a client's word, the worst there is, beside the same
                    scan in C; and the liveness of the same heap as sessions have it
    mark/decides    plans on the recorded sessions below $CTXGC_CORPUS: victims that are needed later, and plans that
                    change, with liveness, without, and with a random class

At 10 000 slots the C scan runs in the processor's cache, at less than half a nanosecond a reference;
`c_ratio_of_iterating` is the time that Python takes to look at the same references and do nothing. Without a C compiler
the ratios are left out. Counted beside the time: how often a reference is looked at, of those that reached slots hold.
Once is enough.
"""

import ctypes
import shutil
import subprocess
import sys
import tempfile
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, compress
from pathlib import Path

from ctxgc.core.heap import Heap, Now
from ctxgc.core.liveness import find_liveness
from ctxgc.core.mark import mark
from ctxgc.core.roots import find_roots
from ctxgc.core.rules import Rules
from perf.deciding import decides
from perf.heaps import SEGMENTS_PER_TURN, session_like
from perf.record import Number, best_s, record

SOURCE = Path(__file__).with_name("mark_scan.c")
SIZES = {"10k": 10_000, "100k": 100_000, "1M": 1_000_000}

Scan = Callable[..., None]


def main(argv: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scan = compiled(Path(folder))
        for name, segments in SIZES.items():
            record(f"mark/{name}", measured(segments, scan))
    record("mark/decides", decides())


def measured(segments: int, scan: Scan | None) -> dict[str, Number]:
    heap, paths = session_like(segments)
    now = Now(segments // SEGMENTS_PER_TURN + 1)
    roots = find_roots(heap, paths, now, Rules())
    refs = {slot: targets for slot, targets in enumerate(heap.refs) if targets}
    reached = mark(refs, roots)
    repeats = 15 if segments < 500_000 else 5
    mark_s = best_s(lambda: mark(refs, roots), repeats)
    numbers: dict[str, Number] = {
        "mark_ms": mark_s * 1e3,
        **counted(heap.refs, roots),
        "reached_slots": sum(reached),
        "liveness_ms": best_s(lambda: find_liveness(heap, paths, roots), repeats) * 1e3,
        "roots_ms": best_s(lambda: find_roots(heap, paths, now, Rules()), repeats) * 1e3,
    }
    if scan is None:
        return numbers | {"c_ratio": "no C compiler here, so nothing to compare with"}
    c_s, c_reached = in_c(scan, heap, roots, repeats)
    assert c_reached == reached, "both scans must reach the same"
    iterate_s = best_s(lambda: deque(chain.from_iterable(compress(heap.refs, reached)), 0), repeats)
    return numbers | {"c_ms": c_s * 1e3, "c_ratio": mark_s / c_s, "c_ratio_of_iterating": iterate_s / c_s}


class Counted(tuple[int, ...]):
    """A slot's references, which note how many of them were handed out."""

    seen = 0

    def __iter__(self) -> Iterator[int]:
        for target in super().__iter__():
            Counted.seen += 1
            yield target


def counted(refs: Sequence[tuple[int, ...]], roots: bytearray) -> dict[str, Number]:
    """How often a mark looks at a reference, and how many there are to look at."""
    Counted.seen = 0
    reached = mark({slot: Counted(each) for slot, each in enumerate(refs) if each}, roots)
    there = sum(map(len, compress(refs, reached)))
    return {"references": there, "visits": Counted.seen, "visits_per_reference": Counted.seen / max(there, 1)}


def compiled(folder: Path) -> Scan | None:
    """The C scan, or None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "mark_scan.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    scan: Scan = ctypes.CDLL(str(library)).mark_scan
    return scan


def in_c(scan: Scan, heap: Heap, roots: bytearray, repeats: int) -> tuple[float, bytearray]:
    """(seconds, reached) of the C scan on the heap's graph; filling in the roots is not counted."""
    start, target = array("I", [0]), array("I")
    for refs in heap.refs:
        target.extend(refs)
        start.append(len(target))
    at_start, at_target = ((ctypes.c_uint32 * max(len(a), 1)).from_buffer(a) for a in (start, target))
    first = bytearray(map(bool, roots))
    best = float("inf")
    for _ in range(repeats):
        reached = bytearray(first)
        at_reached = (ctypes.c_uint8 * len(reached)).from_buffer(reached)
        best = min(
            best, best_s(lambda buffer=at_reached: scan(ctypes.c_size_t(len(heap)), at_start, at_target, buffer), 1)
        )
        del at_reached
    return best, reached


if __name__ == "__main__":
    main(sys.argv[1:])
