"""Views: which segment shows a line as the line is, whatever order segments arrive, leave and return in."""

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core import paths as paths_module
from ctxgc.core.paths import PathHistory, PathIndex, is_view
from ctxgc.core.segment import LINE_MAX, Access, PathUse

LINES = 12
RANGES = st.tuples(st.integers(1, LINES), st.integers(1, LINES)).map(sorted)
USES = st.builds(
    lambda path, access, lines: PathUse(path, access, *lines),
    st.sampled_from(["/a.py", "/b.py"]),
    st.sampled_from(list(Access)),
    st.one_of(RANGES, st.just((1, LINE_MAX))),
)
STEPS = st.lists(st.tuples(USES, st.booleans()), max_size=10)


def views_of(uses, outside):
    """The definition: the newest view inside the window of each line, and edits without a range that none shows."""
    current = set()
    inside = [(slot, use) for slot, use in uses if slot not in outside and use.access is not Access.MENTION]
    for path in {use.path for _, use in inside}:
        here = [(slot, use) for slot, use in inside if use.path == path]
        for line in (*range(1, LINES + 1), LINE_MAX):
            views = [s for s, use in here if is_view(use) and use.first_line <= line <= use.last_line]
            current |= {max(views)} if views else set()
        for slot, edit in here:
            if not is_view(edit):
                current |= set() if any(s > slot and is_view(use) for s, use in here) else {slot}
    return current


@given(STEPS, st.randoms(use_true_random=False))
def test_current_are_the_newest_views_of_lines_in_any_order_of_arrival(steps, chance):
    uses = [(slot, use) for slot, (use, _) in enumerate(steps)]
    paths = PathIndex()
    for slot, use in chance.sample(uses, len(uses)):
        paths.record_use(use, slot, slot)

    assert set(paths.current) == views_of(uses, set())


@given(STEPS, st.sets(st.integers(0, 9)))
def test_what_left_the_window_shows_nothing_until_it_returns(steps, back):
    uses = [(slot, use) for slot, (use, _) in enumerate(steps)]
    outside = {slot for slot, (_, is_outside) in enumerate(steps) if is_outside}
    departed, woken = PathIndex(), PathIndex()
    for slot, use in uses:
        departed.record_use(use, slot, slot)
        woken.record_use(use, slot, slot, is_outside=slot in outside)
    departed.set_slots_outside(outside, is_outside=True)

    assert departed.current == woken.current
    assert set(woken.current) == views_of(uses, outside)

    woken.set_slots_outside(back, is_outside=False)
    assert set(woken.current) == views_of(uses, outside - back)


@given(STEPS, USES, st.integers(0, 10), st.randoms(use_true_random=False))
def test_the_newest_view_shows_a_line_of_the_range_and_no_later_use_does(steps, asked, before, chance):
    uses = [(slot, use) for slot, (use, _) in enumerate(steps)]
    paths = PathIndex()
    for slot, use in chance.sample(uses, len(uses)):
        paths.record_use(use, slot, slot)

    shown = [
        slot
        for slot, use in uses
        if use.path == asked.path
        and slot < before
        and is_view(use)
        and use.first_line <= asked.last_line
        and asked.first_line <= use.last_line
    ]
    assert paths.newest_slot_with_view(asked, before) == max(shown, default=-1)


@given(STEPS)
def test_the_lines_of_what_is_current_are_disjoint_and_its_own(steps):
    paths = PathIndex()
    for slot, (use, _) in enumerate(steps):
        paths.record_use(use, slot, slot)

    for slot in paths.current:
        lines = paths.current_ranges(slot)
        assert len(lines) + len(paths.files_with_unseen_edits(slot)) == paths.current[slot]
        for path, first, last in lines:
            assert path == steps[slot][0].path
            assert steps[slot][0].first_line <= first <= last <= steps[slot][0].last_line


@given(STEPS)
def test_a_bound_on_uses_bounds_what_is_shown_and_leaves_no_trace_of_a_departure(steps):
    with patch.object(paths_module, "USES_PER_PATH_MAX", 3):
        paths = PathIndex()
        for slot, (use, _) in enumerate(steps):
            paths.record_use(use, slot, slot)
        before = dict(paths.current)
        paths.set_slots_outside(range(len(steps)), is_outside=True)
        assert not paths.current
        paths.set_slots_outside(range(len(steps)), is_outside=False)

    assert paths.current == before
    assert all(len(set(history.current_slots())) <= 3 for history in paths.histories.values())


def test_a_path_that_leaves_the_index_is_found_no_more_and_shows_nothing():
    paths = PathIndex()
    with patch.object(paths_module, "PATHS_MAX", 2):
        for slot, name in enumerate("abc"):
            paths.record_use(PathUse(f"/w/{name}.py", Access.READ), slot, slot)

    assert [paths.known_path(f"{name}.py") for name in "abc"] == ["", "/w/b.py", "/w/c.py"]
    assert set(paths.current) == {1, 2}


def test_many_uses_of_a_file_cost_no_more_each_than_a_few(monkeypatch):
    looked_at = []
    original = PathHistory.record_view

    def counting(self, use):
        changes = original(self, use)
        looked_at.append(len(changes))
        return changes

    monkeypatch.setattr(PathHistory, "record_view", counting)
    paths = PathIndex()
    for slot in range(2000):
        paths.record_use(PathUse("/a.py", Access.READ, 3 * slot + 1, 3 * slot + 2), slot, slot)
    for slot in range(2000, 4000):
        paths.record_use(PathUse("/a.py", Access.EDIT), slot, slot)

    assert max(looked_at) == 1
