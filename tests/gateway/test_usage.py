"""What a reply cost, read from any cut of any stream."""

import gzip
import json
import zlib
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
    return scanner.take_usage()


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
    assert scanner.take_usage() is None


START = {"type": "message_start", "message": {"usage": {"input_tokens": 10, "cache_read_input_tokens": 900,
         "cache_creation_input_tokens": 50, "output_tokens": 1}}}  # fmt: skip
ZEROS = {"type": "message_delta", "usage": {"input_tokens": 0, "cache_read_input_tokens": 0,
         "cache_creation_input_tokens": 0, "output_tokens": 77}}  # fmt: skip
PROMPT = {"prompt_tokens": 1000, "completion_tokens": 7}

DIALECTS = {
    "zeros in a later event": ([START, ZEROS], ReplyUsage(10, 900, 50, 77)),
    "zeros in an earlier event": ([ZEROS | {"type": "x"}, START], ReplyUsage(10, 900, 50, 1)),
    "zeros within details": (
        [
            {"usage": PROMPT | {"prompt_tokens_details": {"cached_tokens": 400}}},
            {"usage": PROMPT | {"prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0}}},
        ],
        ReplyUsage(600, 400, 0, 7),
    ),
    "Moonshot's choice": (
        [{"choices": [{"index": 0, "usage": PROMPT | {"cached_tokens": 300}}]}],
        ReplyUsage(700, 300, 0, 7),
    ),
    "Moonshot's top": ([{"usage": PROMPT | {"cached_tokens": 300}}], ReplyUsage(700, 300, 0, 7)),
    "DeepSeek": (
        [{"usage": PROMPT | {"prompt_cache_hit_tokens": 800, "prompt_cache_miss_tokens": 200}}],
        ReplyUsage(200, 800, 0, 7),
    ),
    "OpenRouter": (
        [{"usage": PROMPT | {"prompt_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 500}}}],
        ReplyUsage(200, 300, 500, 7),
    ),
    "Responses that write": (
        [
            {
                "type": "response.completed",
                "response": {
                    "usage": {
                        "input_tokens": 1000,
                        "input_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 500},
                        "output_tokens": 7,
                    }
                },
            }
        ],
        ReplyUsage(200, 300, 500, 7),
    ),
    "a proxy before Anthropic": (
        [{"usage": PROMPT | {"cache_read_input_tokens": 300, "cache_creation_input_tokens": 500}}],
        ReplyUsage(200, 300, 500, 7),
    ),
    "vLLM": ([{"usage": PROMPT | {"num_cached_tokens": 300}}], ReplyUsage(700, 300, 0, 7)),
    "Groq's own part": (
        [{"choices": [], "x_groq": {"usage": PROMPT | {"prompt_tokens_details": {"cached_tokens": 300}}}}],
        ReplyUsage(700, 300, 0, 7),
    ),
    "whole numbers with a point": (
        [{"usage": {"prompt_tokens": 1000.0, "completion_tokens": 7.0, "cached_tokens": 300.0}}],
        ReplyUsage(700, 300, 0, 7),
    ),
    "a write by lives without their sum": (
        [
            {
                "message": {
                    "usage": {
                        "input_tokens": 200,
                        "cache_read_input_tokens": 300,
                        "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 100},
                        "output_tokens": 7,
                    }
                }
            },
            {"usage": {"cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}}},
        ],
        ReplyUsage(200, 300, 500, 7),
    ),
    "usage null until the last": ([{"usage": None}, {"usage": PROMPT}], ReplyUsage(1000, 0, 0, 7)),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_bill_is_read_in_every_dialect(dialect):
    events, usage = DIALECTS[dialect]
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)

    assert read("text/event-stream", [stream, b"data: [DONE]\n\n"]) == usage


@pytest.mark.parametrize(
    "spelling",
    [
        lambda data: b"data: " + data + b"\r\r",
        lambda data: b"event: x\rdata:" + data + b"\r\r",
        lambda data: b"data: " + data.replace(b": {", b":\ndata: {") + b"\n\n",
        lambda data: b"data: " + data.replace(b": {", b":\rdata: {") + b"\r\r",
        lambda data: b"data: " + data + b"\n",
        lambda data: b"data: " + data + b"\r\n",
        lambda data: b"data: " + data + b"\r",
    ],
)
@given(cut=st.integers(0, 300))
def test_a_bill_is_read_from_every_spelling_of_a_stream(spelling, cut):
    stream = b"".join(spelling(json.dumps(event).encode()) for event in (START, {"type": "ping"}, ZEROS))

    assert read("text/event-stream", [stream[:cut], stream[cut:]]) == ReplyUsage(10, 900, 50, 77)


def test_a_long_stream_without_empty_lines_is_read_line_by_line(monkeypatch):
    monkeypatch.setattr(module, "EVENT_BYTES_MAX", 1000)
    parts = [b"data: " + json.dumps(event).encode() + b"\n" for event in (START, *[{"x": "y" * 90}] * 50, ZEROS)]

    assert read("text/event-stream", parts) == ReplyUsage(10, 900, 50, 77)


def raw_deflate(body):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


CODINGS = {
    "one member": ("gzip", lambda body: gzip.compress(body)),
    "two members": ("gzip", lambda body: gzip.compress(body[:50]) + gzip.compress(body[50:])),
    "x-gzip": ("x-gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
}


@pytest.mark.parametrize("name", CODINGS)
@given(cut=st.integers(0, 400))
def test_a_bill_is_read_through_every_compression(name, cut):
    coding, packed = CODINGS[name]
    body = packed(json.dumps({"usage": PROMPT, "id": "r"}).encode())

    assert read("application/json", [body[:cut], body[cut:]], coding) == ReplyUsage(1000, 0, 0, 7)
