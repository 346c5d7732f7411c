"""The codec: the same requests however a stream is cut, and one clear refusal for each kind of bad input."""

import json
import os
import random
import time
import tracemalloc
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.errors import CtxgcError, NotFound
from ctxgc.protocol.codec import (
    Batch,
    Decoder,
    LineSplitter,
    Refusal,
    Request,
    append_result,
    decode_message,
    encode_error,
    encode_request,
)
from ctxgc.protocol.limits import BAD_LINES_MAX, BATCH_MAX, FRAME_BYTES_DEFAULT
from tests.effort import effort

GOOD = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{}}\n'
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda v: st.lists(v) | st.dictionaries(st.text(), v),
)
leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
calls = st.tuples(
    st.integers(-(2**53), 2**53) | st.text(max_size=64), st.text(max_size=64), st.dictionaries(st.text(), leaves)
)


def plain(each):
    """A each as a value that compares."""
    if isinstance(each, Request):
        return (each.id, each.method, json.loads(bytes(each.params)))
    if isinstance(each, Batch):
        return [plain(item) for item in each.items]
    return (each.id, each.error.number, str(each.error), each.closes)


def decode(stream: bytes, cuts=()):
    decoder = Decoder()
    places = sorted({0, len(stream), *cuts})
    return [each for a, b in pairwise(places) for each in decoder.feed(stream[a:b])]


def with_peak(act):
    """What `act` gives, and the most memory it held."""
    tracemalloc.start()
    try:
        return act(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refusal(line: bytes) -> Refusal:
    [each] = decode(line)
    assert isinstance(each, Refusal)
    return each


@given(st.lists(calls, max_size=5), st.data())
def test_requests_survive_any_cut_of_the_stream(sent, data):
    stream = b"".join(encode_request(*call) for call in sent)
    cuts = data.draw(st.sets(st.integers(0, len(stream))))

    received = [plain(each) for each in decode(stream, cuts)]

    assert received == [(id, method, params) for id, method, params in sent]


@given(
    st.lists(
        st.sampled_from([GOOD, b"\n", b"nonsense\n", b"[1]\n", b"GET / HTTP/1.1\n", b"\xff\n", b"{", b'"a":1}\n'])
    ),
    st.data(),
)
def test_a_bad_stream_is_refused_alike_however_it_is_cut(lines, data):
    stream = b"".join(lines)
    cuts = data.draw(st.sets(st.integers(0, len(stream))))

    assert [plain(f) for f in decode(stream, cuts)] == [plain(f) for f in decode(stream)]


def test_every_byte_alone_gives_the_frames_of_the_whole():
    stream = GOOD * 3 + b"nonsense\n" + GOOD

    assert [plain(f) for f in decode(stream, range(len(stream)))] == [plain(f) for f in decode(stream)]


def test_an_unparsable_line_is_refused_and_the_next_one_served():
    first, second = decode(b"nonsense\n" + GOOD)

    assert (first.error.number, first.closes) == (-32700, False)
    assert second.method == "ping"


def test_sixteen_unparsable_lines_in_a_row_close_the_connection():
    decoded = decode(b"nonsense\n" * (BAD_LINES_MAX + 5) + GOOD)

    assert [each.closes for each in decoded] == [False] * (BAD_LINES_MAX - 1) + [True]


def test_a_good_line_between_bad_ones_starts_the_count_anew():
    decoded = decode((b"nonsense\n" * (BAD_LINES_MAX - 1) + GOOD) * 3)

    assert not any(isinstance(each, Refusal) and each.closes for each in decoded)


@pytest.mark.parametrize("ending", [b"", b"\n", b"x" * 100 + b"\n" + GOOD])
def test_a_line_over_the_limit_closes_whether_or_not_it_ends(ending):
    decoder = Decoder(frame_bytes_max=100)

    decoded = [*decoder.feed(GOOD), *decoder.feed(b"x" * 101 + ending), *decoder.feed(GOOD)]

    assert [type(each) for each in decoded] == [Request, Refusal]
    assert (decoded[1].error.number, decoded[1].closes) == (-32011, True)


def test_a_line_of_exactly_the_limit_is_served():
    assert [type(each) for each in Decoder(len(GOOD) - 1).feed(GOOD)] == [Request]


def test_a_line_without_its_newline_is_never_executed():
    assert decode(GOOD.rstrip(b"\n")) == []


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n", b"\x16\x03\x01", b"\xef\xbb\xbf{}", b"\x00"]
)
def test_http_or_binary_first_bytes_are_told_the_protocol_and_closed(first):
    answer = refusal(first)

    assert answer.closes
    assert "ctxgc/1" in str(answer.error)


@pytest.mark.parametrize("opening", [b'{"method":"x","params":{"a":', b"", b'{"id":', b'[{"method":'])
def test_deep_nesting_is_refused_and_the_connection_stays(opening):
    for depth in (2000, 1_000_000):
        answer = refusal(opening + b"[" * depth + b"]" * depth + b"}\n")

        assert (answer.error.number, answer.closes) == (-32700, False)


@pytest.mark.parametrize(
    "value",
    [
        b"NaN",
        b"Infinity",
        rb'"\ud800"',
        rb'"\udc00 tail of some length"',
        rb'"\ud800A"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\n"',
        b"1,",
        b"01",
    ],
)
@pytest.mark.parametrize(
    "shape", [b'{"id":1,"method":"x","params":{"a":%b}}\n', b'[{"id":1,"method":"x","params":{"a":%b}}]\n']
)
def test_what_is_not_json_in_params_is_refused_before_any_verb_sees_it(shape, value):
    decoded = decode(shape.replace(b"%b", value))

    assert decoded
    assert {each.error.number for each in decoded} == {-32700}


@pytest.mark.parametrize(
    ("line", "id", "number"),
    [
        (b'{"id":7}', 7, -32600),
        (b'{"id":7,"method":5}', 7, -32600),
        (b'{"id":7,"method":"x","jsonrpc":"1.0"}', 7, -32600),
        (b'{"id":7,"method":"x","deadline_ms":-1}', 7, -32600),
        (b'{"id":"s","method":"x","params":[1]}', "s", -32602),
        (b'{"id":"s","method":"x","params":null}', "s", -32602),
        (b'{"id":null,"method":"x"}', None, -32600),
        (b'{"id":1.5,"method":"x"}', None, -32600),
        (b'{"id":true,"method":"x"}', None, -32600),
        (b'{"id":"' + b"i" * 65 + b'","method":"x"}', None, -32600),
        (b'{"id":9007199254740993,"method":"x"}', None, -32600),
        (b"5", None, -32600),
        (b"[]", None, -32600),
        (b"[" + b"1," * BATCH_MAX + b"1]", None, -32600),
    ],
)
def test_json_that_is_no_request_is_refused_under_its_id_if_that_is_sound(line, id, number):
    answer = refusal(line + b"\n")

    assert (answer.id, answer.error.number, answer.closes) == (id, number, False)


def test_a_batch_keeps_its_good_requests_beside_its_bad_ones():
    [batch] = decode(b'[{"id":1,"method":"a"},{"method":"b"},5,{"id":2}]\n')

    assert [type(item) for item in batch.items] == [Request, Request, Refusal, Refusal]


def test_a_batch_of_the_allowed_length_is_taken():
    [batch] = decode(b"[" + b",".join([GOOD.strip()] * BATCH_MAX) + b"]\n")

    assert len(batch.items) == BATCH_MAX


def test_an_array_of_millions_is_refused_without_building_it():
    line = b"[" + b"1," * (FRAME_BYTES_DEFAULT // 2 - 2) + b"1]\n"

    answer, peak_bytes = with_peak(lambda: refusal(line))

    assert answer.error.number == -32600
    assert peak_bytes < 3 * len(line)


def test_a_line_that_comes_in_tiny_reads_costs_its_bytes_and_not_an_object_each():
    stream = b'{"method":"x","params":{"a":"' + b"x" * 200_000 + b'"}}\n'

    decoder = Decoder()

    frame_count, peak_bytes = with_peak(
        lambda: sum(len(decoder.feed(stream[at : at + 3])) for at in range(0, len(stream), 3))
    )

    assert frame_count == 1
    assert peak_bytes < 5 * len(stream)


def test_the_start_of_an_unfinished_line_is_not_joined_again_at_every_read():
    lines = LineSplitter()
    for _ in range(100):
        lines.feed(b"x" * 10_000)

    assert [len(chunk) for chunk in lines._chunks] == [10_000] * 100
    assert lines.feed(b"\n") == [b"x" * 1_000_000]


def answer_line(id, value):
    out = bytearray()
    append_result(out, id, value)
    return bytes(out)


@given(st.integers(-(2**53), 2**53) | st.text(max_size=64), json_values)
def test_an_answer_reads_back_as_what_was_answered(id, value):
    line = answer_line(id, value)

    message = decode_message(line)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert message.id == id
    assert msgspec.json.decode(message.result) == value


def test_an_encoded_result_is_sent_as_it_is():
    assert answer_line(1, b'{"a":1}') == b'{"jsonrpc":"2.0","id":1,"result":{"a":1}}\n'


def test_an_answer_that_cannot_be_encoded_leaves_no_half_line():
    out = bytearray(b"before\n")

    with pytest.raises(UnicodeEncodeError):
        append_result(out, 1, {"a": "x" * 1000, "b": "\ud800"})

    assert out == b"before\n"


def test_an_error_carries_number_kind_field_and_next_step():
    error = json.loads(encode_error(3, NotFound("no segment", hint="list them", field="id")))

    assert error["error"] == {
        "code": -32003,
        "message": "no segment",
        "data": {"kind": "not_found", "retryable": False, "field": "id", "hint": "list them"},
    }


def test_an_error_that_quotes_a_file_name_which_is_not_text_still_goes_out():
    assert b"\\\\udcff" in encode_error(None, CtxgcError("no file \udcff"))


SEEDS = [
    GOOD,
    b'[{"id":1,"method":"a","params":{"x":[1,2.5e3,"\\u00e9"]}},{"method":"b"}]\n',
    b'{"id":"\xc3\xa9","method":"m","deadline_ms":5}\n',
]


def mutated(chance: random.Random) -> bytes:
    stream = bytearray(b"".join(chance.choices(SEEDS, k=chance.randint(1, 4))))
    for _ in range(chance.randint(0, 8)):
        place = chance.randrange(len(stream))
        match chance.randrange(4):
            case 0:
                stream[place] = chance.randrange(256)
            case 1:
                del stream[place : place + chance.randint(1, 8)]
            case 2:
                stream[place:place] = chance.randbytes(chance.randint(1, 4))
            case 3:
                stream[place:place] = chance.choice(
                    [b"[", b"{", b'"', b"\n", b"\\ud800", b"NaN", b"1e999"]
                ) * chance.choice([1, 2, 1500])
        stream = stream or bytearray(b"\n")
    return bytes(stream)


@pytest.mark.slow
def test_no_bytes_make_the_decoder_raise_or_depend_on_the_cut():
    ends_at_s = time.monotonic() + float(os.environ.get("CTXGC_FUZZ_S", "20"))
    seed = 0
    while time.monotonic() < ends_at_s:
        seed += 1
        chance = random.Random(seed)
        stream = mutated(chance)
        cuts = [chance.randrange(len(stream) + 1) for _ in range(chance.randint(0, 6))]

        whole, cut = decode(stream), decode(stream, cuts)

        assert [plain(f) for f in whole] == [plain(f) for f in cut], f"seed {seed}"
        assert not any(isinstance(f, Refusal) and f.closes for f in whole[:-1]), f"seed {seed}"


@effort(300)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_never_raise(stream):
    for each in decode(stream):
        assert isinstance(each, Request | Batch | Refusal)
