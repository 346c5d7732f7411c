"""The judge's table: means, differences of matched bodies, and intervals that draw whole sessions."""

from dataclasses import replace

import pytest

pytest.importorskip("numpy", reason="numpy is of the extras dev and judge")

from perf.judge.groups import Verdict, differences, interval, lexical, nats_per_1000_tokens, nats_per_body, table
from tests.judge.test_evaluation import case


def verdict(group="shipped", session="s0", nats=1.0, **changes):
    facts = {"pair": "p", "body": "b", "tokens": 500, "age_turns": 20}
    flags = {"is_used": False, "is_used_later": False, "is_used_later_by_placebo": False}
    return Verdict(**({"group": group, "session": session, "nats": nats} | facts | flags | changes))


def test_a_row_says_the_mean_of_a_body_and_of_a_thousand_tokens():
    rows = [verdict(nats=1.0, tokens=500), verdict(nats=5.0, tokens=1500)]

    row = table(rows)["shipped"]

    assert (row["nats"], row["nats_per_1000"], row["tokens"]) == (3.0, 3.0, 1000)


def test_one_body_that_a_reply_copies_does_not_move_the_clipped_mean_by_more_than_its_share():
    rows = [verdict(nats=nats) for nats in (400.0, -90.0, 3.0, 1.0)]

    row = table(rows)["shipped"]

    assert (row["nats"], row["nats_clipped"], row["better_percent"]) == (78.5, 1.0, 75.0)


def test_the_lexical_count_is_of_all_drawn_bodies_and_asks_no_judge():
    row = lexical([case(), replace(case(), is_used_later=True)])["shipped"]

    assert (row["bodies"], row["used_later_percent"], row["used_later_by_placebo_percent"]) == (2, 50.0, 0.0)


def test_the_young_and_the_old_have_rows_of_their_own_and_a_body_of_two_groups_is_one_of_any():
    ages = (14, 15, 40, 41)
    rows = [verdict(age_turns=age, nats=float(age), body=f"b{age}", pair=f"m/{age}") for age in ages]
    shared, other = verdict("lru", age_turns=14, body="b14", pair="m/15"), verdict("kept", age_turns=3, pair="n/1")

    found = table([*rows, shared, other, verdict("unused", age_turns=3)])

    assert {name: row["bodies"] for name, row in found.items()} == {
        "unused": 1, "shipped": 4, "lru": 1, "kept": 1,
        "shipped, young": 1, "any, young": 2, "shipped, middle": 2, "any, middle": 2, "shipped, old": 1, "any, old": 1,
    }  # fmt: skip
    assert (found["shipped, young"]["nats"], found["shipped, old"]["nats"]) == (14.0, 41.0)


def test_a_group_is_held_only_against_the_bodies_that_it_matches():
    rows = [
        verdict(pair="one", nats=2.0, body="x"),
        verdict(pair="two", nats=90.0, body="y"),
        verdict("lru", pair="one", nats=5.0, body="z"),
        verdict("random", pair="one", nats=2.0, body="x"),
        verdict("random", pair="two", nats=91.0, body="v"),
    ]

    found = differences(rows)

    assert (found["lru − shipped"]["pairs"], found["lru − shipped"]["nats"]) == (1, 3.0)
    assert (found["random − shipped"]["nats"], found["random − shipped"]["same_body"]) == (0.5, 1)


def test_what_a_turn_did_not_use_is_held_against_what_it_used():
    found = differences([verdict("used", nats=9.0), verdict("unused", nats=4.0)])

    assert found["unused − used"]["nats"] == -5.0


def test_sessions_are_drawn_whole():
    alike = [verdict(session=f"s{at}", nats=nats) for at in range(6) for nats in (0.0, 10.0)]
    apart = [verdict(session=f"s{at}", nats=10.0 * (at % 2)) for at in range(6) for _ in range(2)]

    assert interval([alike], nats_per_body) == (5.0, 5.0)
    assert table(alike)["shipped"]["nats_interval"] == [5.0, 5.0]
    low, high = interval([apart], nats_per_body)
    assert low < 2.5
    assert high > 7.5


def test_a_paired_interval_draws_the_same_sessions_for_both():
    leads = [verdict(session=f"s{at}", nats=float(at * at)) for at in range(6)]
    rows = [verdict("lru", session=f"s{at}", nats=float(at * at + 1)) for at in range(6)]

    ends = interval([rows, leads], lambda one, other: nats_per_body(one) - nats_per_body(other))

    assert ends == pytest.approx((1.0, 1.0))


def test_two_sessions_give_no_interval():
    assert interval([[verdict(session="a"), verdict(session="b")]], nats_per_1000_tokens) is None
