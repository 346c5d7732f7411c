"""Random heaps and random histories for the property tests."""

from hypothesis import strategies as st

from ctxgc.core.heap import ERRORED, OPAQUE, PENDING, PINNED, Heap, HeapEntry, Now, Proof
from ctxgc.core.paths import PathIndex
from ctxgc.core.rules import Rules
from ctxgc.core.segment import Access, EdgeKind, Kind, PathUse

FLAGS = st.sampled_from([0, 0, 0, 0, PINNED, OPAQUE, PENDING, ERRORED])
TOKENS = st.one_of(st.integers(0, 80), st.integers(0, 5000))
EDGES = st.sampled_from([EdgeKind.GIVEN, EdgeKind.PATH_LINE, EdgeKind.DEFINITION, EdgeKind.REPLACES])
NOW = st.builds(Now, st.integers(0, 40))
RULES = st.builds(
    Rules, recent_turns=st.integers(0, 5), file_turns=st.integers(0, 12), min_gain_tokens=st.integers(0, 60)
)


@st.composite
def entries(draw, number: int) -> HeapEntry:
    return HeapEntry(
        id=f"s{number}",
        kind=draw(st.sampled_from([Kind.TOOL_CALL, Kind.TOOL_CALL, Kind.TOOL_CALL, *Kind])),
        place=draw(st.integers(-50, 50)),
        born_turn=number // 2,
        skeleton_tokens=draw(TOKENS),
        body_tokens=draw(TOKENS),
        tombstone_tokens=draw(st.integers(0, 60)),
        tool=draw(st.sampled_from(["", "Read", "Bash", "TodoWrite"])),
        task=draw(st.sampled_from(["", "", "port"])),
        flags=draw(FLAGS),
        traits=draw(st.integers(0, 255)),
        namings=draw(st.sampled_from([0, 0, 1, 30])),
        importance=draw(st.sampled_from([0.5, 0.5, 0.0, 1.0])),
        state=draw(st.sampled_from([0, 0, 0, 0, 1, 2, 3])),
    )


@st.composite
def heaps(draw, max_size: int = 24) -> tuple[Heap, PathIndex]:
    heap, paths = Heap(), PathIndex()
    for number in range(draw(st.integers(0, max_size))):
        targets = draw(st.lists(st.integers(0, number - 1), max_size=4, unique=True)) if number else []
        slot = heap.admit(draw(entries(number)), [(target, draw(EDGES)) for target in targets])
        if draw(st.booleans()):
            path = draw(st.sampled_from(["/a.py", "/b.py"]))
            paths.record_use(PathUse(path, draw(st.sampled_from(list(Access)))), slot, number // 2)
        if number and draw(st.integers(0, 5)) == 0:
            reason = draw(st.sampled_from(["duplicate", "superseded_read", "failed_then_succeeded"]))
            heap.record_proof(draw(st.integers(0, number - 1)), Proof(reason, slot))
    return heap, paths
