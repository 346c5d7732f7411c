"""Demand and its cover are what their definitions say."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.segment import Kind
from ctxgc.replay.demand import (
    ALL,
    RESULTS,
    EvictionScope,
    Want,
    code_words_without_folders,
    demand_of,
    distinctive_lines,
    greedy_cover,
    output_of,
    used_segments,
)
from tests.effort import effort
from tests.replay.episodes import asked, episode_of, episodes, few, free_turns, result, said, scopes, sized

provider_sets = st.sets(st.integers(0, 4), min_size=1, max_size=3).map(lambda found: tuple(sorted(found)))
wants = st.lists(st.builds(Want, st.sampled_from([1, 1, 2]), provider_sets), max_size=8)


def cover_by_definition(wants, resident=frozenset()):
    """Largest covered weight first, tie newest, while what is uncovered and what is picked weigh 2."""
    missing = [want for want in wants if not set(want.providers) & resident]
    picks = []
    while sum(want.weight for want in missing) >= 2:
        weight, best = max(
            (sum(want.weight for want in missing if provider in want.providers), provider)
            for want in missing
            for provider in want.providers
        )
        if weight < 2:
            break
        picks.append(best)
        missing = [want for want in missing if best not in want.providers]
    return picks


@given(wants, st.none() | st.frozensets(st.integers(0, 4)))
@effort(150)
def test_the_cover_is_the_greedy_one_of_the_definition(wants, resident):
    picks = greedy_cover(wants, resident.__contains__ if resident is not None else None)

    assert picks == cover_by_definition(wants, resident or frozenset())


@given(wants, st.frozensets(st.integers(0, 4)))
def test_no_resident_segment_faults_and_none_faults_twice(wants, resident):
    picks = greedy_cover(wants, resident.__contains__)

    assert not resident & set(picks)
    assert len(picks) == len(set(picks))


@given(wants)
def test_whoever_holds_all_uses_has_no_fault(wants):
    uses = set(greedy_cover(wants, None))

    assert greedy_cover(wants, uses.__contains__) == []


@given(wants)
def test_a_touched_segment_is_the_newest_to_hold_two_rare_words_or_a_line(wants):
    for provider in range(5):
        newest = sum(want.weight for want in wants if max(want.providers) == provider)

        assert (provider in used_segments(wants)) == (newest >= 2)


@given(episodes(), scopes)
@few
def test_a_placebo_of_itself_demands_what_the_episode_does(episode, scope):
    own = [output_of(turn) for turn in episode.turns]

    assert demand_of(episode, scope, own) == demand_of(episode, scope)


@given(episodes(), episodes(session="other"), scopes)
@few
def test_a_placebo_asks_for_nothing_that_it_does_not_say(episode, other, scope):
    outputs = [output_of(turn) for turn in other.turns]

    for number, found in enumerate(demand_of(episode, scope, outputs).wants):
        output = outputs[number % len(outputs)]
        assert {want.text for want in found} <= {*output.words, *output.edit_lines}


@given(episodes(), scopes)
@few
def test_providers_come_before_the_turn_that_asks(episode, scope):
    demand = demand_of(episode, scope)
    seen: set[str] = set()

    for turn, found in zip(episode.turns, demand.wants, strict=True):
        seen.update(sized.segment.id for sized in turn.before)
        assert {demand.ids[provider] for want in found for provider in want.providers} <= seen
        seen.update(sized.segment.id for sized in turn.reply)


def story(*, holders=1, fixed="", says="so code_word_a and code_word_b", at=3):
    """`holders` results hold two words; a user may have said one; at turn 3 the model says both."""
    turns = free_turns(at + 1)
    turns[0].reply += [result(f"r{n}", 0, "code_word_a code_word_b", 500) for n in range(holders)]
    if fixed:
        turns[1].before.append(asked(1, fixed))
    turns[at].reply[0] = said(at, says)
    return episode_of(*turns)


def asked_words(episode, scope=RESULTS, at=3):
    return [want.text for want in demand_of(episode, scope).wants[at]]


def test_a_rare_word_is_demand_with_those_that_hold_it_as_providers():
    for holders in (1, 3):
        found = demand_of(story(holders=holders), RESULTS).wants[3]

        assert found == tuple(Want(1, tuple(range(holders)), word) for word in ("code_word_a", "code_word_b"))


def test_a_word_that_four_hold_is_not_rare():
    assert asked_words(story(holders=4)) == []


def test_a_word_that_stays_in_the_prompt_anyway_is_no_demand():
    assert asked_words(story(fixed="look at code_word_a")) == ["code_word_b"]


def test_what_the_model_said_itself_stays_in_the_prompt():
    episode = story(at=4)
    episode.turns[2].reply[0] = said(2, "code_word_a code_word_b")

    assert asked_words(episode, at=2) == ["code_word_a", "code_word_b"]
    assert asked_words(episode, at=4) == []


def test_a_body_that_the_host_cleared_provides_nothing():
    episode = story(holders=2)
    episode.turns[2].cleared.append("r1")

    assert [want.providers for want in demand_of(episode, RESULTS).wants[3]] == [(0,), (0,)]


def test_a_quoted_line_weighs_two_and_may_have_many_providers():
    line = "return the_total_sum(of_all)"
    turns = free_turns(3)
    turns[0].reply += [result(f"r{n}", 0, f"   12→    {line}  ", 500) for n in range(5)]
    turns[2].reply.append(result("edit", 2, "done", 5, edit_sources=(f"  {line}\nshort",)))

    assert demand_of(episode_of(*turns), RESULTS).wants[2] == (Want(2, (0, 1, 2, 3, 4), line),)


def test_a_call_is_read_as_it_was_meant_not_as_it_was_escaped():
    """Escaped, the second line's first word would begin with the n of its line break."""
    episode = story()
    skeleton = b'{"call_id":"call_77_ab","name":"Bash","input":{"command":"echo\\ncode_word_a"}}'
    plain = sized("bash", Kind.TOOL_CALL, 3, ("result", "", 0))
    episode.turns[3].reply = [replace(plain, segment=replace(plain.segment, skeleton=skeleton))]

    assert asked_words(episode) == ["code_word_a"]
    assert "call_77_ab" not in output_of(episode.turns[3]).words


def test_old_inputs_and_thinking_provide_only_where_they_may_go():
    turns = free_turns(3)
    turns[0].reply += [
        sized("write", Kind.TOOL_CALL, 0, ("input.content", "code_word_a", 300), ("result", "ok", 5)),
        sized("thought", Kind.THINKING, 0, ("thinking", "code_word_b", 300)),
    ]
    turns[2].reply[0] = said(2, "code_word_a code_word_b")
    episode = episode_of(*turns)

    assert asked_words(episode, RESULTS, 2) == []
    assert asked_words(episode, EvictionScope(inputs=True), 2) == ["code_word_a"]
    assert asked_words(episode, ALL, 2) == ["code_word_a", "code_word_b"]


def test_a_path_stands_for_its_base_name():
    assert code_words_without_folders("see /home/some_user/deep-dir/my_file.py") == ("my_file",)


def test_plain_words_are_no_code_words():
    assert code_words_without_folders("Nothing HERE counts, but camelCase word2go and snake_case do: tiny_") == (
        "camelCase",
        "word2go",
        "snake_case",
    )


def test_a_line_is_stripped_of_its_number_and_long_enough():
    assert distinctive_lines("  7→    sixteen characters\n8: fifteen_chars_x") == ["sixteen characters"]
