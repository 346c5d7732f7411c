"""Lines: linear in the bytes, bounded in memory, and indifferent to packing."""

import gzip
import zlib
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.transcripts.inflater import INFLATE_BYTES, Inflater
from ctxgc.adapters.transcripts.jsonl import JsonLines, LineTranscript, inflate_head


def inflate(*chunks):
    inflater = Inflater()
    return b"".join(plain for chunk in chunks for plain in inflater.feed(chunk)), inflater


@given(st.lists(st.binary(max_size=20)), st.sets(st.integers(0, 200), max_size=12))
def test_lines_are_those_of_a_split_however_the_bytes_are_cut(parts, cuts):
    whole = b"\n".join(parts)
    lines = JsonLines()

    found = [line for a, b in pairwise(sorted({0, len(whole), *cuts})) for line in lines.feed(whole[a:b])]

    assert [*found, lines.tail()] == whole.split(b"\n")


def test_a_line_beyond_the_bound_is_counted_dropped_as_it_arrives_and_its_neighbours_stay():
    lines = JsonLines(line_bytes_max=10)

    found = [line for chunk in (b"ab\n", b"x" * 6, b"x" * 6, b"x" * 6, b"\ncd\n") for line in lines.feed(chunk)]

    assert found == [b"ab", b"cd"]
    assert lines.too_long == 1


def test_a_too_long_line_is_not_held_in_memory():
    lines = JsonLines(line_bytes_max=10)

    list(lines.feed(b"y" * 8))
    list(lines.feed(b"y" * 8))

    assert lines.tail() == b""


def test_a_long_line_in_many_chunks_is_joined_once():
    class Chunk(bytes):
        def __add__(self, other):
            raise AssertionError("chunks must not be concatenated one by one")

    lines = JsonLines()

    found = [line for chunk in [*[Chunk(b"z")] * 10_000, b"\n"] for line in lines.feed(chunk)]

    assert found == [b"z" * 10_000]


@given(st.binary(max_size=200), st.sets(st.integers(0, 400), max_size=8))
def test_packed_bytes_come_out_plain_and_plain_ones_as_they_are(plain, cuts):
    packed = gzip.compress(plain[:100]) + gzip.compress(plain[100:])
    pieces = [packed[a:b] for a, b in pairwise(sorted({0, len(packed), *cuts}))]

    assert inflate(*pieces)[0] == plain
    assert inflate(b"{" + plain)[0] == b"{" + plain


def test_a_small_file_that_unpacks_to_much_is_held_in_bounded_pieces():
    bomb = gzip.compress(b"0" * (5 * INFLATE_BYTES))

    sizes = [len(plain) for plain in Inflater().feed(bomb)]

    assert max(sizes) <= INFLATE_BYTES
    assert sum(sizes) == 5 * INFLATE_BYTES


def test_a_damaged_gzip_ends_the_stream_and_says_so():
    packed = gzip.compress(bytes(range(256)) * 40)

    plain, inflater = inflate(packed[:60] + b"\xff\xff\xff" + packed[63:], packed)

    assert inflater.is_damaged
    assert (bytes(range(256)) * 40).startswith(plain)


def test_zeros_after_a_gzip_are_no_damage():
    plain, inflater = inflate(gzip.compress(b"a") + b"\0" * 50)

    assert (plain, inflater.is_damaged) == (b"a", False)


def test_the_head_of_a_packed_file_needs_only_its_first_bytes():
    packed = zlib.compress(b"line\n" * 10_000, wbits=31)

    assert inflate_head(packed[: len(packed) // 2], size=10) == b"line\nline\n"


class Echo(LineTranscript):
    """A format whose records are words in braces."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def _read_record(self, line):
        is_whole = line.startswith(b"{") and line.endswith(b"}")
        if is_whole:
            self.seen.append(line)
        return is_whole


def test_a_last_record_without_newline_counts_once():
    echo = Echo()

    echo.feed(b"{a}\n{b}")
    echo.finish()
    echo.finish()
    echo.feed(b"\n{c}\n")

    assert (echo.seen, echo.records) == ([b"{a}", b"{b}", b"{c}"], 3)


def test_half_a_record_at_the_end_is_counted_as_truncated_until_it_goes_on():
    echo = Echo()

    echo.feed(b"{a")
    echo.finish()
    was_truncated = echo.skipped["truncated"]
    echo.feed(b"b}\n")

    assert (was_truncated, echo.seen, dict(echo.skipped)) == (1, [b"{ab}"], {})


def test_kinds_of_skipped_records_are_bounded_in_number_and_length():
    echo = Echo()

    for number in range(1000):
        echo._skip_record(f"{number}" * 100)

    assert len(echo.skipped) <= 65
    assert max(map(len, echo.skipped)) <= 48
    assert sum(echo.skipped.values()) == 1000
