"""JSON with places: whatever is read lies where it is said to lie."""

import json
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ctxgc.adapters.json_spans import Extent, JsonText, read_json, splice_bytes
from ctxgc.core.errors import BadTranscript
from tests.contracts.conversations import TEXT, odd_json

KEYS = st.text(st.characters(codec="utf-8"), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | TEXT | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def rebuilt(text, extent):
    """The value, read part by part through extents."""
    first = text.first_byte(extent)
    if first == b"{":
        return {key: rebuilt(text, part) for key, part in text.members(extent).items()}
    if first == b"[":
        return [rebuilt(text, part) for part in text.elements(extent)]
    return text.value(extent)


@given(VALUES, st.integers(0, 2**32))
def test_reading_by_places_gives_the_value_however_it_is_written(value, seed):
    written = f" {odd_json(value, Random(seed))}\n".encode()

    found = read_json(written, lambda text: rebuilt(text, text.extent))

    assert found == json.loads(written)


@given(st.binary(max_size=60) | st.text('{}[]",:\\u0d8 1e9', max_size=40).map(str.encode))
@example(b'""\x0b')
@example(b"\x0c[]")
def test_garbled_bytes_raise_bad_transcript_and_nothing_else(data):
    try:
        read_json(data, lambda text: rebuilt(text, text.extent))
    except BadTranscript:
        return

    json.loads(data)


@pytest.mark.parametrize(
    "written", [b'{"a":1,"a":2}', b'{"a":[1],"a":[1]}', b'{"a":1,"b":2,"a":34}', b'{"\\u0061":1,"a":1}']
)
def test_an_object_that_names_a_key_twice_is_refused_since_nobody_knows_which_counts(written):
    with pytest.raises(BadTranscript):
        read_json(written, lambda text: text.members(text.extent))


def test_an_escaped_lone_surrogate_survives_and_moves_no_place():
    written = b'[{"k":"\\ud800x"},"\\ud83d\\ude00","\\\\ud800"]'

    first, *others = read_json(written, lambda text: rebuilt(text, text.extent))

    assert first == {"k": "\ud800x"}
    assert others == ["\U0001f600", "\\ud800"]


@pytest.mark.parametrize("written", [b"[NaN]", b'["\\ud800", NaN]', b'["\\ud800", 1e999]', b"[1e999]", b"[" * 10**5])
def test_what_python_takes_and_json_does_not_is_refused(written):
    with pytest.raises(BadTranscript):
        read_json(written, lambda text: [text.value(part) for part in text.elements(text.extent)])


def test_splicing_copies_what_is_not_edited_and_nothing_to_edit_is_the_same_object():
    data = b"0123456789"

    out = splice_bytes(data, [(Extent(7, 9), b"B"), (Extent(0, 2), b"AAA")])

    assert out == b"AAA23456B9"
    assert splice_bytes(data, []) is data


def test_a_text_that_is_not_utf8_passes_as_long_as_nobody_reads_it():
    text = JsonText(b'{"seen":1,"unseen":"\xff"}')

    fields = text.members(text.extent)

    assert text.value(fields["seen"]) == 1
    with pytest.raises(BadTranscript):
        text.value(fields["unseen"])
