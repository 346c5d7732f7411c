"""Laws of shortening in a replay: what a reply needs of hidden lines is counted, paid, and comes back alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.entry.shortening import FITTED, PAGE_LINES, birth_price
from ctxgc.core.pacing.price_profiles import PROFILES
from ctxgc.core.segment import LINE_MAX, Access, Kind, PathUse, Status
from ctxgc.replay.entry import WHOLE, EntryRules
from ctxgc.replay.policies import NoCollection
from ctxgc.replay.session_cache import IDEAL
from ctxgc.replay.simulate import Simulation, play_simulation
from ctxgc.replay.trace import Turn
from tests.effort import effort
from tests.replay.episodes import asked, episode_of, result, said, script, sized

PRICES = PROFILES["cache_5m"]
SHORT = EntryRules(False, birth_price(PRICES, "cache_5m"), replace(FITTED, bias=-100.0))
"""Every page is left out."""
LINES = 400
WHOLE_FILE = (PathUse("/w/long.py", Access.READ),)


def line(n):
    return f"    the tide_of_day_{n} comes in at the quay"


LONG = "\n".join(line(n) for n in range(LINES))


def played(*replies, rules=SHORT, **facts):
    """A run in which the second reply sees a long result, and each later reply says these lines' words."""
    read = result("c1", 1, LONG, 4000, **({"paths": WHOLE_FILE} | facts))
    turns = [Turn(1, before=[asked(0)], reply=[read])]
    turns += [Turn(number, reply=one) for number, one in enumerate(replies, 2)]
    run = Simulation(replace(script(episode_of(*turns)), entry=rules), PRICES, cache=IDEAL)
    play_simulation(run, NoCollection())
    return run


def words(turn, *numbers):
    """Two rare words of each of these lines: what makes a use."""
    return [said(turn, " ".join(f"tide_of_day_{n} tide_of_day_{n + 1}" for n in numbers))]


def test_hidden_lines_cost_nothing_until_they_are_asked_for():
    whole, short = played(words(2, 3), rules=WHOLE), played(words(2, 3))

    assert short.tally.faults == 0
    assert short.tally.cost < whole.tally.cost
    assert short.prompt_tokens < whole.prompt_tokens / 2


def test_a_reply_that_needs_hidden_lines_pays_for_their_page_alone_and_once():
    idle, once, twice = (
        played(words(2, 3), words(3, 3)),
        played(words(2, 200), words(3, 3)),
        played(words(2, 200), words(3, 205)),
    )

    assert (once.tally.faults, once.tally.part_faults) == (1, 1)
    assert once.tally.cost > idle.tally.cost + PRICES.read * idle.prompt_tokens
    assert once.prompt_tokens - idle.prompt_tokens == pytest.approx(4000 * PAGE_LINES / LINES, rel=0.2)
    assert twice.tally.faults == 1


def test_the_pages_of_one_reply_come_back_in_one_further_request():
    one, two, apart = played(words(2, 100)), played(words(2, 100, 250)), played(words(2, 100), words(3, 250))

    assert two.tally.part_faults == apart.tally.part_faults == 2
    assert two.tally.cost - one.tally.cost < one.prompt_tokens * PRICES.read + 4000 * PRICES.write


@given(st.lists(st.lists(st.integers(0, LINES - 2), max_size=3), min_size=1, max_size=5))
@effort(20)
def test_a_page_is_asked_back_at_most_once_and_only_where_a_reply_uses_it(needs):
    run = played(*(words(turn, *numbers) for turn, numbers in enumerate(needs, 2)))

    parts = run.entry.shortened.parts[1]
    needed = {n for numbers in needs for one in numbers for n in (one, one + 1)}
    for part in parts:
        if part.is_back:
            assert needed.intersection(range(part.first, part.first + part.lines))
    assert run.tally.part_faults == sum(part.is_back for part in parts)


@pytest.mark.parametrize(
    "facts",
    [
        {"paths": (PathUse("/w/long.py", Access.READ, 1, LINES),)},
        {"paths": (PathUse("/w/long.py", Access.READ, 5, LINE_MAX),)},
        {"status": Status.ERROR},
    ],
)
def test_a_ranged_read_and_a_failure_stay_whole(facts):
    assert played(words(2, 200), **facts).entry.shortened.parts == {}


def test_what_is_asked_for_again_stays_whole():
    again = sized("c2", Kind.TOOL_CALL, 2, ("result", LONG, 4000), paths=WHOLE_FILE)

    run = played([again], words(3, 200))

    assert set(run.entry.shortened.parts) == {1}


def test_a_later_read_of_hidden_lines_is_a_reading_again():
    ranged = result("c2", 2, line(150), 20, paths=(PathUse("/w/long.py", Access.READ, 150, 160),))
    shown = result("c2", 2, line(5), 20, paths=(PathUse("/w/long.py", Access.READ, 5, 9),))

    assert played([ranged], words(3, 3)).tally.explicit_part_faults == 1
    assert played([shown], words(3, 3)).tally.explicit_part_faults == 0
