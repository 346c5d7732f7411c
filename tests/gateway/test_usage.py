"""What a reply cost, read from any cut of any stream."""

import gzip
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.gateway.billing import usage as module
from ctxgc.gateway.billing.usage import ReplyUsage, UsageScanner
from tests.gateway.upstream import ANSWERS, EVENTS

COSTS = {
    "anthropic_messages": ReplyUsage(0, 30, 12, 20),
    "openai_chat": ReplyUsage(12, 30, 0, 20),
    "openai_responses": ReplyUsage(12, 30, 0, 9),
}


def read(content_type, parts, encoding=""):
    scanner = UsageScanner(content_type, encoding)
    for part in parts:
        scanner.feed(part)
    return scanner.usage()


@pytest.mark.parametrize("wire", COSTS)
@given(data=st.data())
def test_usage_is_read_from_any_cut_of_a_stream(wire, data):
    stream = b"".join(EVENTS[wire](ANSWERS[wire]("call_1", 1, (30, 12, 0))))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=9)) | {0, len(stream)})

    found = read("text/event-stream; charset=utf-8", [stream[a:b] for a, b in pairwise(cuts)])

    assert found == COSTS[wire]


@pytest.mark.parametrize("wire", COSTS)
def test_usage_is_read_from_a_body_and_from_a_compressed_one(wire):
    body = json.dumps(ANSWERS[wire](None, 1, (30, 12, 0))).encode()

    assert read("application/json", [body[:40], body[40:]]) == COSTS[wire]
    assert read("application/json", [gzip.compress(body)], "gzip") == COSTS[wire]


@given(st.lists(st.binary(max_size=60), max_size=5), st.sampled_from(["", "gzip", "deflate", "br", "zstd"]))
def test_no_bytes_raise_or_teach(parts, encoding):
    assert read("text/event-stream", parts, encoding) is None
    assert read("application/json", parts, encoding) is None


def test_an_event_beyond_the_bound_is_not_kept(monkeypatch):
    monkeypatch.setattr(module, "EVENT_BYTES_MAX", 1000)
    scanner = UsageScanner("text/event-stream")

    for _ in range(3):
        scanner.feed(b"data: " + b"x" * 600)

    assert scanner._events.take_rest() == b""
    assert scanner.usage() is None
