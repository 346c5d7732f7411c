"""Names and digests: equal for the same thing, different for different things (I15, I9)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.segment import (
    DIGEST_BYTES,
    Address,
    EdgeKind,
    Kind,
    Piece,
    Role,
    SessionKey,
    base_id,
    content_digest,
    legacy_session_number,
    parse_address,
    text_bytes,
    text_id,
    tool_call_id,
)

CONTENTS = st.tuples(
    st.binary(max_size=6),
    st.lists(st.builds(Piece, st.sampled_from(["result", "text", "a", "ab"]), st.binary(max_size=4)), max_size=3),
)
CALLS = st.tuples(st.text("ab~1", max_size=5), st.integers(1, 30))


@given(CONTENTS, CONTENTS)
def test_digests_are_equal_exactly_when_contents_are_I9(one, other):
    assert (content_digest(*one) == content_digest(*other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((b"ab", []), (b"a", [Piece("b", b"")])),
        ((b"", [Piece("a", b"bc")]), (b"", [Piece("ab", b"c")])),
        ((b"", [Piece("a", b"b"), Piece("a", b"c")]), (b"", [Piece("a", b"bc")])),
        ((b"", [Piece("a", b"\0")]), (b"", [Piece("a", b"")])),
    ],
)
def test_moving_a_byte_across_a_seam_changes_the_digest(one, other):
    assert content_digest(*one) != content_digest(*other)


def test_a_digest_is_a_promise_to_every_stash_ever_written():
    assert len(content_digest(b"{}", [])) == DIGEST_BYTES
    assert content_digest(b"{}", [Piece("text", b"hello")]).hex() == "054563e20844d201d8cc85dde5fafda4"


@given(CALLS, CALLS)
def test_two_exchanges_share_an_id_only_if_call_and_ordinal_are_the_same_I15(one, other):
    assert (tool_call_id(*one) == tool_call_id(*other)) == (one == other)


def test_the_first_use_of_a_call_id_keeps_it():
    assert tool_call_id("toolu_1", 1) == "toolu_1"
    assert tool_call_id("toolu_1", 2) == "toolu_1~2"


@given(st.binary(max_size=30), st.text(" \t\n", max_size=3), st.integers(1, 3))
def test_a_text_is_named_alike_however_its_channel_pads_it(text, space, ordinal):
    padded = space.encode() + text + space.encode()

    assert text_id(Role.USER, Kind.USER, padded, ordinal) == text_id(Role.USER, Kind.USER, text, ordinal)


def test_kind_text_and_ordinal_tell_texts_apart():
    ids = {
        text_id(role, kind, text, ordinal)
        for role, kind in ((Role.USER, Kind.USER), (Role.ASSISTANT, Kind.ASSISTANT), (Role.ASSISTANT, Kind.THINKING))
        for text in (b"one", b"two")
        for ordinal in (1, 2)
    }

    assert len(ids) == 12


@given(st.text(st.characters()))
def test_text_survives_as_bytes_lone_surrogates_and_nul_too_I9(text):
    assert Piece("text", text_bytes(text)).text == text


@given(st.binary(max_size=20))
def test_bytes_that_are_no_text_still_read_as_some(data):
    assert isinstance(Piece("text", data).text, str)


def test_the_numbers_of_edges_are_stored_and_never_change():
    assert [(kind.name, kind.value) for kind in EdgeKind] == [
        ("PARENT", 1),
        ("REPLACES", 2),
        ("EDIT_SOURCE", 3),
        ("IDENTIFIER", 4),
        ("CHAIN", 5),
        ("GIVEN", 6),
        ("RECALLS", 9),
        ("PATH_LINE", 10),
        ("PATH_SPOKEN", 11),
        ("PLAN_ITEM", 12),
        ("DEFINITION", 13),
    ]


def test_sessions_of_two_agents_with_one_id_are_two_sessions_I15():
    assert SessionKey("claude_code", "1") != SessionKey("codex", "1")
    assert str(SessionKey("codex", "1")) == "codex:1"


NAMES = st.text(max_size=30)


@given(NAMES, NAMES)
def test_a_sessions_number_has_nine_digits_and_is_the_same_for_good(source, name):
    number = legacy_session_number(SessionKey(source, name))

    assert 10**8 <= number < 10**9
    assert legacy_session_number(SessionKey("claude_code", "0b3c")) == 743863814


@given(st.integers(10**8, 10**9 - 1), st.integers(0, 2**31))
def test_an_address_reads_back_as_what_it_names(number, seq):
    assert parse_address(str(Address(number, seq))) == Address(number, seq)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1-2",
        "123456789",
        "123456789-",
        "-5",
        "023456789-5",
        "123456789-5-6",
        "1234567890-5",
        "123456789.5",
        "12345678٩-5",
    ],
)
def test_what_is_no_address_is_none(text):
    assert parse_address(text) is None


@given(st.text("ab~1", max_size=5), st.integers(1, 30))
def test_the_ordinal_of_an_id_comes_off_whatever_the_host_calls_its_calls(call_id, ordinal):
    assert base_id(tool_call_id(call_id, ordinal)) == call_id
