"""Mark is exactly reachability (I11)."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.mark import mark, path_from_root


@st.composite
def graphs(draw):
    size = draw(st.integers(0, 30))
    refs = [tuple(draw(st.lists(st.integers(0, n - 1), max_size=4))) if n else () for n in range(size)]
    return refs, bytearray(draw(st.lists(st.sampled_from([0, 0, 0, 5]), min_size=size, max_size=size)))


def reachable(refs, roots):
    """The definition, written as slowly as it reads."""
    seen = {slot for slot, root in enumerate(roots) if root}
    while True:
        more = {target for slot in seen for target in refs[slot]} - seen
        if not more:
            return seen
        seen |= more


@given(graphs())
def test_mark_reaches_exactly_what_paths_of_references_reach_I11(graph):
    refs, roots = graph

    marked = mark({slot: of for slot, of in enumerate(refs) if of}, roots)

    assert {slot for slot, bit in enumerate(marked) if bit} == reachable(refs, roots)


@given(graphs())
def test_a_retaining_path_exists_exactly_for_what_is_reached_and_every_step_is_a_reference_I11(graph):
    refs, roots = graph
    live = reachable(refs, roots)

    for goal in range(len(refs)):
        path = path_from_root(refs.__getitem__, roots, goal)

        assert bool(path) == (goal in live)
        if path:
            assert roots[path[0]]
            assert path[-1] == goal
            assert all(b in refs[a] for a, b in itertools.pairwise(path))
