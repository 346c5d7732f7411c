"""A trace tells a session as a collector would have met it."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.contract import BodiesCleared, ReplyBilled, SegmentAdmitted, WindowReplaced
from ctxgc.core.segment import Access, Departure, Kind, PathUse, Status
from ctxgc.replay.policies import NoCollection
from ctxgc.replay.simulate import simulate_policy
from ctxgc.replay.trace import HIDDEN_DEFAULT_TOKENS, Recorder
from tests.replay.episodes import PRICES, asked, result, said, script


def record(*events):
    recorder = Recorder("claude_code", len, lambda segment, body: 20)
    recorder.record_events(events)
    return recorder.episodes()


def admit(*found):
    return [SegmentAdmitted("s", sized.segment) for sized in found]


def window(*ids):
    return WindowReplaced("s", tuple((id_, place) for place, id_ in enumerate(ids)), Departure.HOST_COMPACTED)


def clear(*ids):
    return BodiesCleared("s", ids, Departure.HOST_CLEARED)


def used(turn, tokens):
    return ReplyBilled("s", turn, "model", 0.0, tokens, 0, 0, 0)


def ids(turn):
    return [sized.segment.id for sized in turn.before], [sized.segment.id for sized in turn.reply]


def test_what_joins_between_two_replies_is_in_the_later_ones_prompt():
    (episode,) = record(*admit(asked(0), said(0, "a"), result("r", 0, "text", 9), asked(1), said(1, "b")))

    assert list(map(ids, episode.turns)) == [(["asked0"], ["said0", "r"]), (["asked1"], ["said1"])]


def test_text_without_a_reply_of_its_own_waits_for_the_next():
    (episode,) = record(*admit(said(0, "a"), asked(1), asked(2), said(2, "b"), asked(3)))

    assert list(map(ids, episode.turns)) == [([], ["said0"]), (["asked1", "asked2"], ["said2"])]


def test_a_call_joins_once_and_only_when_it_is_answered():
    answered = result("r", 0, "text", 9)
    pending = replace(answered, segment=replace(answered.segment, status=Status.PENDING, body=()))

    (episode,) = record(*admit(said(0, "a"), pending, answered, answered, said(1, "b")))

    assert ids(episode.turns[0]) == ([], ["said0", "r"])
    assert episode.turns[0].reply[1].tokens.pieces == (("result", 4),)


def test_an_open_call_is_in_no_prompt_before_its_answer_and_never_without_one():
    late, quick, never = (result(name, 0, "text", 9) for name in ("late", "quick", "never"))
    open_, lost = (
        replace(call, segment=replace(call.segment, status=Status.PENDING, body=())) for call in (late, never)
    )

    (episode,) = record(*admit(said(0, "a"), open_, lost, quick, late, said(1, "b")))

    assert list(map(ids, episode.turns)) == [([], ["said0", "quick", "late"]), ([], ["said1"])]


def test_a_cut_by_the_host_begins_a_new_episode_with_what_it_kept():
    first, second = record(
        *admit(asked(0), said(0, "a"), result("r", 0, "text", 9), said(1, "b")),
        window("asked0", "r"),
        *admit(asked(2), said(2, "c")),
    )

    assert (first.number, second.number) == (0, 1)
    assert list(map(ids, first.turns)) == [(["asked0"], ["said0", "r"]), ([], ["said1"])]
    assert list(map(ids, second.turns)) == [(["asked0", "r", "asked2"], ["said2"])]


def test_a_cut_after_the_last_reply_makes_no_episode():
    episodes = record(*admit(asked(0), said(0, "a")), window("asked0"), *admit(asked(1)))

    assert len(episodes) == 1


def test_a_clear_meets_the_next_request():
    (episode,) = record(*admit(said(0, "a"), result("r", 0, "text", 9)), clear("r"), *admit(asked(1), said(1, "b")))

    assert [turn.cleared for turn in episode.turns] == [[], ["r"]]


def test_a_clear_amid_a_reply_meets_the_request_after_it():
    (episode,) = record(
        *admit(said(0, "a"), result("r", 0, "text", 9), said(1, "b")),
        clear("r"),
        *admit(result("r2", 1, "text", 9), said(2, "c")),
    )

    assert [turn.cleared for turn in episode.turns] == [[], [], ["r"]]


def test_what_was_cleared_stays_so_in_a_new_window():
    _, second = record(
        *admit(said(0, "a"), result("r", 0, "text", 9), said(1, "b")),
        clear("r"),
        window("r"),
        *admit(said(2, "c")),
    )

    assert second.turns[0].cleared == ["r"]
    prompt = second.hidden_tokens + len(b'{"call_id": "r", "name": "Read", "input": {}}') + 20
    assert simulate_policy(script(second), NoCollection(), PRICES).prompt_tokens == prompt


def test_a_turn_is_timed_by_its_first_record_that_says_when():
    times = [said(0, "a"), result("r", 0, "text", 9), result("r2", 0, "text", 9)]
    timed = [
        replace(sized, segment=replace(sized.segment, wall_s=wall_s))
        for sized, wall_s in zip(times, (0.0, 50.0, 40.0), strict=True)
    ]

    (episode,) = record(*admit(*timed))

    assert episode.turns[0].wall_s == 40.0


def test_what_the_bill_knows_beyond_the_transcript_is_hidden():
    (episode,) = record(*admit(asked(0), said(0, "x" * 1000), said(1, "y")), used(0, 5005), used(1, 6007))

    # One billed token a raw one, by how the prompt grew; the first showed the 5 of its question and its braces.
    assert episode.hidden_tokens == 5005 - len("go on") - len("{}")


def test_a_later_word_on_the_same_reply_replaces_the_first():
    (episode,) = record(*admit(asked(0), said(0, "x")), used(0, 100), used(0, 12_007))

    assert episode.hidden_tokens == int(12_007 / 1.2) - len("go on") - len("{}")


def test_without_a_bill_the_hidden_part_is_a_usual_one():
    (episode,) = record(*admit(asked(0), said(0, "x")))

    assert episode.hidden_tokens == HIDDEN_DEFAULT_TOKENS


def test_files_read_again_after_a_cut_are_what_the_host_lost():
    def read(name, turn, path):
        return result(name, turn, "text", 9, paths=(PathUse(path, Access.READ),))

    first, second = record(
        *admit(said(0, "a"), read("r1", 0, "/a"), read("r2", 0, "/b"), said(1, "b")),
        window(),
        *admit(said(2, "c"), read("r3", 2, "/a"), read("r4", 2, "/c")),
    )

    assert (first.lost_reads, first.read_before) == (0, 0)
    assert (second.lost_reads, second.read_before) == (1, 2)


def test_sessions_of_one_transcript_are_told_apart():
    (one,), (other,) = (
        [
            episode
            for episode in record(*admit(said(0, "a")), SegmentAdmitted("t", said(0, "b").segment))
            if episode.session == s
        ]
        for s in "st"
    )

    assert ids(one.turns[0]) == ids(other.turns[0])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.data())
def test_every_segment_before_the_last_reply_is_told_once(kinds, data):
    turn, found = 0, []
    for number, kind in enumerate(kinds):
        make = asked if kind == 0 else said
        sized = make(turn, f"text {number}")
        found.append(replace(sized, segment=replace(sized.segment, id=f"s{number}")))
        turn += kind > 1
    events = admit(*found)
    for _ in range(data.draw(st.integers(0, 2))):
        events.insert(data.draw(st.integers(0, len(events))), events[0])

    told = [id_ for episode in record(*events) for turn in episode.turns for part in ids(turn) for id_ in part]

    last = max((n for n, sized in enumerate(found) if sized.segment.kind is Kind.ASSISTANT), default=-1)
    last_turn = found[last].segment.born_turn
    assert sorted(told) == sorted(
        f"s{n}" for n, s in enumerate(found) if last >= 0 and s.segment.born_turn <= last_turn
    )
