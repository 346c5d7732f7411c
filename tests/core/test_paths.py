"""The path index answers as a slow search through all uses would."""

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core import paths as paths_module
from ctxgc.core.paths import PathIndex
from ctxgc.core.segment import LINE_MAX, Access, PathUse

USES = st.builds(
    lambda access, first, more: PathUse("/a.py", access, first, min(first + more, LINE_MAX)),
    st.sampled_from([Access.READ, Access.READ, *Access]),
    st.integers(1, 12),
    st.one_of(st.integers(0, 12), st.just(LINE_MAX)),
)
HISTORIES = st.lists(USES, max_size=16)


def slow_superseded(alive: set[tuple[int, PathUse]], changes: list[int], use: PathUse, slot: int):
    """The definition: covered, or half shown again with the newest change in between."""
    for old, was in sorted(alive):
        is_covered = use.first_line <= was.first_line and was.last_line <= use.last_line
        length = was.last_line - was.first_line + 1
        shown = min(use.last_line, was.last_line) - max(use.first_line, was.first_line) + 1
        is_changed = bool(changes) and old < max(changes) < slot
        if is_covered:
            yield old, "superseded_read"
        elif is_changed and was.last_line < LINE_MAX and shown * 2 >= length:
            yield old, "stale_read"


@given(HISTORIES)
def test_superseded_reads_are_those_of_the_definition_each_once(history):
    index, alive, changes = PathIndex(), set(), []
    for slot, use in enumerate(history):
        expected = list(slow_superseded(alive, changes, use, slot)) if use.access is Access.READ else []

        found = index.take_superseded_reads(use, slot) if use.access is Access.READ else []

        assert found == expected
        gone = {old for old, _ in found}
        alive = {(old, was) for old, was in alive if old not in gone}
        index.record_use(use, slot, slot)
        if use.access is Access.READ:
            alive.add((slot, use))
        elif use.access is not Access.MENTION:
            changes.append(slot)


@given(HISTORIES, USES, st.integers(0, 16))
def test_the_newest_holder_is_the_newest_use_that_shares_a_line(history, use, before):
    index = PathIndex()
    for slot, past in enumerate(history):
        index.record_use(past, slot, slot)

    holders = [
        slot
        for slot, past in enumerate(history[:before])
        if past.access is not Access.MENTION and past.first_line <= use.last_line and use.first_line <= past.last_line
    ]

    assert index.newest_use_slot(use, before) == max(holders, default=-1)


@given(HISTORIES)
def test_reads_come_newest_first(history):
    index = PathIndex()
    for slot, use in enumerate(history):
        index.record_use(use, slot, slot)

    newest_first = [slot for slot, use in reversed(list(enumerate(history))) if use.access is Access.READ]

    assert list(index.reader_slots("/a.py")) == newest_first


def test_after_a_change_half_of_the_lines_shown_again_are_enough_and_fewer_are_not():
    for first, found in ((6, [(0, "stale_read")]), (7, [])):
        index = PathIndex()
        index.record_use(PathUse("/a.py", Access.READ, 1, 10), 0, 0)
        index.record_use(PathUse("/a.py", Access.EDIT), 1, 1)

        assert index.take_superseded_reads(PathUse("/a.py", Access.READ, first, 20), 2) == found


def test_an_older_call_that_completes_late_takes_no_younger_read_out_of_the_index():
    index = PathIndex()
    use = PathUse("/a.py", Access.READ)
    index.record_use(use, 5, 1)

    assert index.take_superseded_reads(use, 4) == []
    assert index.take_superseded_reads(use, 6) == [(5, "superseded_read")]


def test_uses_and_paths_stay_within_their_bounds_I12(monkeypatch):
    monkeypatch.setattr(paths_module, "USES_PER_PATH_MAX", 8)
    monkeypatch.setattr(paths_module, "PATHS_MAX", 16)
    index = PathIndex()

    for slot in range(200):
        index.record_use(PathUse("/often.py", Access.READ, slot + 1, slot + 1), slot, slot)
        index.record_use(PathUse(f"/{slot}.py", Access.READ), slot, slot)

        assert len(index.histories) <= 16
        assert all(len(history.uses) <= 8 >= len(history.uncovered) for history in index.histories.values())


@given(st.permutations(range(6)), st.lists(st.sets(st.sampled_from(["/a", "/b"])), min_size=6, max_size=6))
def test_how_well_known_a_file_was_does_not_depend_on_the_order_of_the_answers(order, files):
    index, found = PathIndex(), {}
    for slot in order:
        for named, number in index.record_naming(
            slot, [PathUse(path, Access.MENTION) for path in sorted(files[slot])]
        ).items():
            found[named] = max(number, found.get(named, 0))

    for slot, paths in enumerate(files):
        assert found[slot] == max((sum(path in files[old] for old in range(slot)) for path in paths), default=0)
