"""The page on growth and its drawings say what their evidence says."""

import json

import pytest

from ctxgc.core.heap import Now
from perf import growth_page, neighbours
from perf.growth_prose import page
from perf.heaps import SEGMENTS_PER_TURN, session_like


def evidence():
    return json.loads(growth_page.EVIDENCE.read_text())


def test_the_page_and_its_drawings_are_written_from_their_evidence():
    assert growth_page.PAGE.read_text() == page(evidence())
    for name, drawing in growth_page.drawings(evidence()).items():
        assert growth_page.PAGE.with_name(name).read_text() == drawing, name
        assert f"]({name})" in growth_page.PAGE.read_text()
        assert "http" not in drawing.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_the_evidence_reaches_from_ten_thousand_to_a_million_segments_and_names_no_machine():
    numbers, runs = evidence()["numbers"], evidence()["runs"]

    assert {"10000", "100000", "1000000"} <= runs["core"].keys()
    assert {"10000", "100000"} <= runs["wake"].keys()
    assert set(growth_page.TIMES) <= numbers.keys()
    assert evidence().keys() == {"cores", "python", "runs", "numbers"}
    assert all(low <= middle <= high for by_size in numbers.values() for middle, low, high in by_size.values())


def test_a_measurement_of_one_size_leaves_the_other_numbers_as_they_are():
    told = {"runs": {}, "numbers": {"turn_p50_ms": {"10000": [1, 1, 1], "100000": [2, 2, 2]}}}

    growth_page.take(told, "core", 100_000, {"turn_p50_ms": [5.0, 3.0, 4.0]})

    assert told["numbers"]["turn_p50_ms"] == {"10000": [1, 1, 1], "100000": [4.0, 3.0, 5.0]}
    assert told["runs"]["core"]["100000"]["rounds"] == 3


@pytest.mark.slow
def test_every_neighbour_finds_the_bodies_of_the_plan():
    heap, paths = session_like(3_000)

    numbers = neighbours.measure_neighbours(heap, paths, Now(3_000 // SEGMENTS_PER_TURN + 1))

    assert {"plan_cold_30_ms", "sort_ms", "sqlite_exact_30_ms", "sqlite_rekey_ms", "mark_ms"} <= numbers.keys()
