"""Lessons of faults: a session that faults more than expected has higher odds, and calms with time."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.pacing.fault_lessons import FADE_TURNS, TOOLS_MAX, FaultCounts, FaultLessons

SUMS = st.floats(0, 1000)
COUNTS = st.builds(FaultCounts, SUMS, SUMS)
NAMES = ["", "Read", "Bash"]
LESSONS = st.builds(FaultLessons, COUNTS, st.dictionaries(st.sampled_from(NAMES), COUNTS))
BODIES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, len(NAMES) - 1)), max_size=6)


@given(LESSONS, BODIES)
def test_faults_only_raise_the_chances_and_keep_the_order_of_a_tools_bodies(lessons, bodies):
    chances, tools = [chance for chance, _ in bodies], [tool for _, tool in bodies]

    corrected = lessons.correct_chances(chances, tools, NAMES)

    assert all(chance <= found + 1e-12 and 0 <= found <= 1 for chance, found in zip(chances, corrected, strict=True))
    for tool in range(len(NAMES)):
        own = sorted((chance, found) for chance, at, found in zip(chances, tools, corrected, strict=True) if at == tool)
        assert all(a[1] <= b[1] + 1e-12 for a, b in itertools.pairwise(own))


@given(SUMS, SUMS)
def test_a_session_that_faults_as_expected_or_less_is_judged_as_before(expected, less):
    counts = FaultCounts(expected, min(less, expected))

    assert FaultLessons(counts, {"Read": counts}).correct_chances([0.1, 0.5], [0, 1], NAMES) == [0.1, 0.5]


@given(SUMS)
def test_each_fault_raises_the_odds_and_each_expected_fault_takes_its_part_back(expected):
    counts = FaultCounts(expected, expected)
    lessons = FaultLessons(counts, {"Read": counts})

    assert lessons.after_fault("Read").tool_odds_factor("Read") > lessons.tool_odds_factor("Read") == 1.0
    assert lessons.after_fault("Read").after_collection({"Read": 1.0}).tool_odds_factor("Read") == pytest.approx(1.0)


def test_a_fault_weighs_most_on_the_bodies_of_its_tool():
    lessons = FaultLessons().after_fault("Read")

    assert (lessons.tool_odds_factor("Read"), lessons.tool_odds_factor("Bash")) == (4.0, 2.0)
    assert lessons.correct_chances([0.5, 0.5], [1, 2], NAMES) == [pytest.approx(0.8), pytest.approx(2 / 3)]
    assert lessons.strongest_lesson == ("Read", 4.0)


def test_a_read_again_teaches_half_of_a_recall_since_agents_also_read_again_what_they_see():
    assert FaultLessons().after_reread("Read").session.observed == 0.5
    assert FaultLessons().after_reread("Read").after_reread("Read") == FaultLessons().after_fault("Read")


def test_the_tool_with_the_fewest_faults_makes_room_for_a_new_one_I12():
    lessons = FaultLessons().after_fault("often").after_fault("often")
    for number in range(TOOLS_MAX + 9):
        lessons = lessons.after_fault(f"tool{number}").after_turns(1)

    assert len(lessons.by_tool) == TOOLS_MAX
    assert {"often", f"tool{TOOLS_MAX + 8}"} <= lessons.by_tool.keys()
    assert "tool0" not in lessons.by_tool
    assert lessons.of_tools(["often"]).by_tool == {"often": lessons.by_tool["often"]}


@given(SUMS, st.integers(0, 300), st.integers(0, 300))
def test_a_fault_counts_half_after_its_time_however_often_the_clock_is_read(observed, first, second):
    counts = FaultCounts(0.0, observed)
    lessons = FaultLessons(counts, {"Read": counts})

    half = lessons.after_turns(FADE_TURNS)
    assert half.session.observed == half.by_tool["Read"].observed == pytest.approx(observed / 2)
    twice, once = lessons.after_turns(first).after_turns(second), lessons.after_turns(first + second)
    assert twice.session.observed == pytest.approx(once.session.observed)
