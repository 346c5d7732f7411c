"""How long does one mark pause a session, by heap size, and beside the same scan in C?  Run: python -m perf.bench_mark

The goal is at most 40 times the C scan. Without a C compiler the ratio is left out, and the numbers say so.
"""

import ctypes
import shutil
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable
from pathlib import Path

from ctxgc.core.heap import Heap, Now
from ctxgc.core.mark import mark
from ctxgc.core.policy import Rules
from ctxgc.core.roots import find_roots
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


def measured(segments: int, scan: Scan | None) -> dict[str, Number]:
    heap, paths = session_like(segments)
    now = Now(segments // SEGMENTS_PER_TURN + 1)
    roots = find_roots(heap, paths, now, Rules())
    reached = mark(heap.refs, roots)
    repeats = 15 if segments < 500_000 else 5
    mark_s = best_s(lambda: mark(heap.refs, roots), repeats)
    numbers: dict[str, Number] = {
        "mark_ms": mark_s * 1e3,
        "scanned_slots": len(heap),
        "references": sum(map(len, heap.refs)),
        "reached_slots": sum(reached),
        "roots_ms": best_s(lambda: find_roots(heap, paths, now, Rules()), repeats) * 1e3,
    }
    if scan is None:
        return numbers | {"c_ratio": "no C compiler here, so nothing to compare with"}
    c_s, c_reached = in_c(scan, heap, roots, repeats)
    assert c_reached == reached, "both scans must reach the same"
    return numbers | {"c_ms": c_s * 1e3, "c_ratio": mark_s / c_s}


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
