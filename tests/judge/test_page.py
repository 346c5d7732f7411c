"""The page on the judge says what its evidence says, and the evidence names no session."""

import json

import pytest

pytest.importorskip("numpy", reason="numpy is of the extras dev and judge")

from perf.judge import page
from perf.judge.groups import differences, lexical, table
from tests.judge.test_evaluation import case
from tests.judge.test_groups import verdict


def evidence():
    return json.loads(page.EVIDENCE.read_text())


def test_the_tables_of_the_page_are_made_from_its_evidence():
    assert page.PAGE.read_text() == page.with_tables(page.PAGE.read_text(), evidence())


def test_the_evidence_holds_no_single_body_and_names_no_session():
    numbers = evidence()

    assert set(numbers) == {
        "table",
        "differences",
        "lexical",
        "seed",
        "wall_s",
        "replies",
        "asked",
        "lengths",
        "moments",
    }
    assert "/" not in json.dumps(numbers)


def test_a_page_without_places_for_its_tables_is_refused():
    with pytest.raises(ValueError, match="tables"):
        page.with_tables("# The judge", evidence())


def test_a_table_has_each_number_with_its_interval_and_none_where_sessions_are_too_few():
    rows = [verdict(session=f"s{at}", nats=2.0) for at in range(3)]
    numbers = {"table": table(rows), "differences": differences([*rows[:1], verdict("lru", nats=1.0)])}

    text = page.tables(numbers | {"lexical": lexical([case()])})

    assert (
        "| shipped | 3 | 3 | 500 | 20 | 2.0 [2.0, 2.0] | 2.0 [2.0, 2.0] | 4.0 [4.0, 4.0] | 100.0 [100.0, 100.0] |"
        in text
    )
    assert "| lru − shipped | 1 | 0 | -1.0 | -1.0 | -2.0 | 0.0 |" in text
