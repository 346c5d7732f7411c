"""How much memory does a tracked segment take?  Run: python -m perf.bench_heap

Heap columns apart from the id map (ids and their slots) and from the reference index, which hold text of their own
length. The goal is at most 250 bytes for the columns, references included.
"""

import gc
import sys
import tracemalloc
from random import Random

from ctxgc.core.reference import ReferenceIndex
from ctxgc.core.segment import Access, Kind, PathUse, Piece, Role, Segment
from perf.heaps import session_like
from perf.record import record
from perf.texts import code_like

SEGMENTS = 100_000
INDEXED_SEGMENTS = 5_000


def main(argv: list[str]) -> None:
    gc.collect()
    tracemalloc.start()
    heap, paths = session_like(SEGMENTS)
    gc.collect()
    everything = traced()
    heap.window()
    del paths
    gc.collect()
    path_index = everything - traced()
    without_paths = traced()
    heap.ids, heap.slot_of = [], {}
    gc.collect()
    # References share the slot numbers of the id map; those it held alone are freed with it.
    columns = traced()
    heap.refs, heap.ref_kinds = [], []
    gc.collect()
    record(
        "heap/100k",
        {
            "columns_bytes": columns / SEGMENTS,
            "of_these_references_bytes": (columns - traced()) / SEGMENTS,
            "id_map_bytes": (without_paths - columns) / SEGMENTS,
            "path_index_bytes": path_index / SEGMENTS,
        },
    )
    del heap
    gc.collect()
    record("heap/reference_index", indexed())
    tracemalloc.stop()


def traced() -> int:
    return tracemalloc.get_traced_memory()[0]


def indexed() -> dict[str, float]:
    """The reference index of segments that read 2 kB of code each, words and lines included."""
    random = Random(3)
    text = code_like(2_000_000, seed=3)
    before = traced()
    index = ReferenceIndex()
    for number in range(INDEXED_SEGMENTS):
        at = random.randrange(len(text) - 2_000)
        segment = Segment(
            id=f"s{number}",
            kind=Kind.TOOL_CALL,
            role=Role.ASSISTANT,
            place=number,
            born_turn=number,
            tool="Read",
            paths=(PathUse(f"/src/{random.randrange(300)}.py", Access.READ),),
            body=(Piece("result", text[at : at + 2_000]),),
        )
        index.add_paths(number, segment)
        index.add_words(number, segment)
    gc.collect()
    return {"bytes": (traced() - before) / INDEXED_SEGMENTS, **index.table_sizes()}


if __name__ == "__main__":
    main(sys.argv[1:])
