"""A compressed body is read like a plain one: unedited it goes on as it came, edited in the coding it came in."""

import gzip
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.gateway.body.content_coding import (
    READ_CODINGS,
    BadCoding,
    BodyTooLong,
    body_coding,
    brotli,
    decode_body,
    encode_body,
)
from tests.gateway.agent import ResponsesAgent
from tests.gateway.stage import OPENAI, RESPONSES, ScriptedDaemon, Stage

BOUND = 2**16


def raw_deflate(body):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def stamped_never(body):
    return gzip.compress(body, mtime=0)


PACKERS = {
    "zstd": zstandard.compress, "gzip": stamped_never, "x-gzip": stamped_never, "deflate": zlib.compress,
}  # fmt: skip
if brotli:
    PACKERS["br"] = brotli.compress


@pytest.fixture
def stage():
    with Stage(ScriptedDaemon(lambda ids: [i for i in ids if i.startswith("call_")][:3])) as made:
        yield made


@given(st.binary(max_size=500), st.sampled_from(sorted(READ_CODINGS)))
def test_a_body_comes_back_whole_from_every_coding(body, coding):
    body = body or b"{}"

    assert decode_body(encode_body(body, coding), coding, BOUND) == body
    assert decode_body(PACKERS[coding](body), coding, BOUND) == body


def test_raw_deflate_and_a_second_member_of_gzip_are_read():
    assert decode_body(raw_deflate(b"[1]"), "deflate", BOUND) == b"[1]"
    assert decode_body(gzip.compress(b"[1") + gzip.compress(b"]"), "gzip", BOUND) == b"[1]"
    assert decode_body(zstandard.compress(b"[1") + zstandard.compress(b"]"), "zstd", BOUND) == b"[1]"


@pytest.mark.parametrize("coding", sorted(READ_CODINGS))
def test_a_bomb_is_given_up_at_the_bound(coding):
    bomb = PACKERS[coding](bytes(BOUND + 1))

    assert len(decode_body(PACKERS[coding](bytes(BOUND)), coding, BOUND)) == BOUND
    with pytest.raises(BodyTooLong):
        decode_body(bomb, coding, BOUND)


@pytest.mark.parametrize("coding", sorted(READ_CODINGS))
@pytest.mark.parametrize("body", [b"\x28\xb5\x2f\xfd", b"{}", b"\x1f\x8b"])
def test_a_body_in_another_coding_than_it_says_is_refused_by_name(coding, body):
    with pytest.raises(BadCoding):
        decode_body(body, coding, BOUND)


@pytest.mark.parametrize("coding", sorted(READ_CODINGS))
def test_a_compressed_session_is_collected_like_a_plain_one(stage, coding):
    agent, headers = ResponsesAgent(), OPENAI | {"content-encoding": coding}
    bodies = []
    for number in range(4):
        bodies.append((agent.body(), stage.ask(RESPONSES, PACKERS[coding](agent.body()), headers)))
        agent.run(1, start=number)

    (first, first_got), (last, last_got) = bodies[0], bodies[-1]
    assert first_got == PACKERS[coding](first), "an unedited body goes on as it came"
    plain = decode_body(last_got, coding, 2**25)
    assert b"[evicted" in plain
    assert len(plain) < len(last)
    assert dict(stage.upstream.received[-1].headers)["content-encoding"] == coding
    assert stage.counters.edited


@pytest.mark.parametrize("mode", ["on", "shadow"])
def test_a_bomb_passes_unread_and_is_counted(monkeypatch, mode):
    with Stage(ScriptedDaemon(), mode=mode) as stage:
        for module in ("http.server", "editing.request_state"):
            monkeypatch.setattr(f"ctxgc.gateway.{module}.EDITED_BYTES_MAX", BOUND)
        bomb = zstandard.compress(bytes(BOUND + 1))

        stage.send(RESPONSES, bomb, OPENAI | {"content-encoding": "zstd"})
        stage.settle()

        assert stage.upstream.last == bomb
        assert stage.passed == {"too_large": 1}
        assert stage.counters.untouched == 0


def test_a_compressed_body_in_shadow_is_read_too():
    with Stage(ScriptedDaemon(), mode="shadow") as stage:
        body = zstandard.compress(ResponsesAgent().run(2).body())

        assert stage.ask(RESPONSES, body, OPENAI | {"content-encoding": "zstd"}) == body
        assert stage.counters.syncs == 1
        assert (stage.counters.untouched, stage.passed) == (1, {})


def test_an_edited_body_that_is_refused_goes_again_as_it_came(stage):
    agent, headers = ResponsesAgent().run(4), OPENAI | {"content-encoding": "zstd"}
    stage.ask(RESPONSES, zstandard.compress(agent.body()), headers)
    agent.run(1, start=4)
    body = zstandard.compress(agent.body())

    stage.upstream.script = [400]
    stage.ask(RESPONSES, body, headers)

    assert stage.upstream.last == body
    assert stage.upstream.received[-2].body != body
    assert stage.passed == {"refused": 1}


@pytest.mark.parametrize("coding", ["compress", "gzip, compress", "gzip, gzip, gzip, gzip", "aws-chunked", "; gzip"])
def test_a_coding_that_is_not_read_passes_and_is_counted(stage, coding):
    stage.send(RESPONSES, b"\x0b\x02\x80{}\x03", OPENAI | {"content-encoding": coding})

    assert stage.upstream.last == b"\x0b\x02\x80{}\x03"
    assert stage.passed == {"encoded": 1}


def test_without_the_library_of_brotli_its_bodies_pass(monkeypatch):
    monkeypatch.setattr("ctxgc.gateway.body.content_coding.READ_CODINGS", frozenset({"gzip"}))

    assert (body_coding("br"), body_coding("gzip")) == (None, "gzip")


@given(
    st.lists(st.sampled_from([*sorted(READ_CODINGS), "identity", ""]), max_size=3), st.binary(min_size=1, max_size=99)
)
def test_codings_one_in_the_other_are_taken_off_in_turn(names, plain):
    body = plain
    for name in names:
        body = PACKERS.get(name, bytes)(body)
    coding = body_coding(" , ".join(names).upper())

    assert decode_body(body, coding, BOUND) == plain
    assert decode_body(encode_body(plain, coding), coding, BOUND) == plain


def test_a_session_in_two_codings_is_collected_like_a_plain_one(stage):
    agent, headers = ResponsesAgent(), OPENAI | {"content-encoding": "gzip, zstd"}
    for number in range(4):
        got = stage.ask(RESPONSES, zstandard.compress(gzip.compress(agent.body())), headers)
        agent.run(1, start=number)

    assert b"[evicted" in gzip.decompress(decode_body(got, "zstd", 2**25))


def test_a_websocket_is_told_to_come_by_http(stage):
    reply = stage.send(RESPONSES, headers=OPENAI | {"connection": "upgrade", "upgrade": "websocket"}, method="GET")

    assert reply.status == 426
    assert not stage.upstream.received
