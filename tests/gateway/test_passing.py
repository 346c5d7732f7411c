"""What passes through the gateway arrives as it was sent: both ways, faults included."""

import json
import threading
import time

import pytest

from ctxgc.gateway.editing.request_editor import RequestEditor
from tests.gateway.agent import ClaudeAgent
from tests.gateway.stage import CLAUDE, MESSAGES, Stage

ODD = (
    b'{ "model":"m","temperature":1.0,"top_p":1e0,\n "unknown":{"b":1,"a":[null,1E2]},"messages":'
    b'[{"role":"user","content":"\\u00e9\\ud83d\\ude00 \xc3\xa9 \\/"}],"max_tokens":00001}'
)


@pytest.fixture(scope="module")
def stage():
    with Stage(mode="shadow") as made:
        yield made


def test_a_body_with_odd_order_numbers_and_escapes_passes_byte_for_byte(stage):
    stage.send(MESSAGES + "?beta=true", ODD)

    assert stage.upstream.last == ODD
    assert stage.upstream.received[-1].target == "/v1/messages?beta=true"


def test_every_header_passes_but_those_of_the_connection(stage):
    sent = CLAUDE | {
        "anthropic-beta": "a-1,b-2", "X-Odd-Case": "Ü".encode().decode("latin-1"), "accept-encoding": "gzip, br, zstd",
        "te": "trailers", "connection": "x-mine", "x-mine": "hop", "user-agent": "agent/1",
    }  # fmt: skip
    stage.send(MESSAGES, b"{}", sent)

    got = dict(stage.upstream.received[-1].headers)
    expected = {k: v for k, v in sent.items() if k not in ("te", "connection", "x-mine")}
    assert {k: v for k, v in got.items() if k.lower() not in ("host", "content-length")} == expected | {
        "X-Odd-Case": "Ü",
        "accept-encoding": "gzip",
    }


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("gzip, deflate, br, zstd", "gzip, deflate"),
        ("br;q=1.0, gzip;q=0.5, *;q=0.1", "gzip;q=0.5"),
        ("br, zstd", "identity"),
        ("identity", "identity"),
    ],
)
def test_a_reply_is_asked_for_in_a_coding_that_tells_what_it_was_billed(stage, asked, got):
    stage.send(MESSAGES, b"{}", CLAUDE | {"accept-encoding": asked})

    assert dict(stage.upstream.received[-1].headers)["accept-encoding"] == got


def test_what_is_nobodys_is_asked_for_in_any_coding(stage):
    stage.send(MESSAGES, b"{}", {"accept-encoding": "br", "x-api-key": "k"})

    assert dict(stage.upstream.received[-1].headers)["accept-encoding"] == "br"


def test_paths_that_are_no_calls_pass_with_escapes_and_query(stage):
    reply = stage.send("/v1/models/a%2Fb?x=%20&y=%C3", method="GET")

    assert reply.status == 200
    assert stage.upstream.received[-1].target == "/v1/models/a%2Fb?x=%20&y=%C3"
    assert "content-length" not in {name.lower() for name, _ in stage.upstream.received[-1].headers}


def test_a_first_path_element_may_name_the_upstream(stage):
    stage.send("/openai/v1/models", headers={}, method="GET")

    assert stage.upstream.received[-1].target == "/v1/models"


def test_counting_tokens_is_no_call_and_passes(stage):
    calls = stage.counters.calls
    stage.send(MESSAGES + "/count_tokens", ODD)

    assert stage.upstream.last == ODD
    assert stage.counters.calls == calls


def test_status_and_headers_come_back_as_sent_and_nothing_is_added(stage):
    reply = stage.send(MESSAGES, b"{}", CLAUDE | {"x-test": "bare"})

    assert reply.body == b"\x00\xff"
    names = {name for name, _ in reply.headers}
    assert {"X-Odd-Case", "content-encoding", "set-cookie"} <= names
    assert len(reply.headers) == len(names)


def test_redirects_are_the_clients_business(stage):
    reply = stage.send(MESSAGES, b"{}", CLAUDE | {"x-test": "redirects"})

    assert (reply.status, reply.header("location")) == (307, "/elsewhere")


@pytest.mark.parametrize(("behaviour", "status"), [("limited", 429), ("overloaded", 529)])
def test_an_upstreams_refusal_reaches_the_client_as_it_was_sent(stage, behaviour, status):
    reply = stage.send(MESSAGES, b"{}", CLAUDE | {"x-test": behaviour})

    assert reply.status == status
    assert json.loads(reply.body)["error"]["message"]
    assert reply.header("retry-after") == ("17" if status == 429 else None)


def test_utf_8_cut_at_every_byte_comes_back_whole(stage):
    text = 'data: {"t":"é😀\\n"}\n\n'.encode() * 20

    assert stage.send(MESSAGES, text, CLAUDE | {"x-test": "drips"}).body == text


def received_until_closed(connection):
    parts = []
    while data := connection.recv(65536):
        parts.append(data)
    return b"".join(parts)


def head(body, **headers):
    lines = [f"POST {MESSAGES} HTTP/1.1", "host: localhost", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (CLAUDE | headers).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_a_stream_that_breaks_off_upstream_breaks_off_here_with_all_it_had(stage):
    with stage.raw(head(b"{}", **{"x-test": "breaks"})) as connection:
        got = received_until_closed(connection)

    assert b"event: ping" in got
    assert not got.endswith(b"0\r\n\r\n"), "a broken stream must not look as if it had ended"


def test_an_upstream_that_dies_before_it_answers_is_no_empty_200(stage):
    with stage.raw(head(b"{}", **{"x-test": "dies"})) as connection:
        got = received_until_closed(connection)

    assert got == b""


def test_an_agent_that_hangs_up_ends_the_reply_upstream(stage):
    connection = stage.raw(head(b"{}", **{"x-test": "stalls"}))
    got = b""
    while b"ping" not in got:
        got += connection.recv(1000)
    connection.close()

    stage.until(stage.upstream.hung_up.is_set)


def test_an_upstream_that_is_not_there_is_said_so_in_the_apis_own_shape():
    with Stage(mode="shadow") as stage:
        stage.running.settings.upstreams["anthropic"] = "http://127.0.0.1:9"
        reply = stage.send(MESSAGES, b"{}")

    assert reply.status == 502
    assert json.loads(reply.body)["error"]["type"] == "api_error"


def test_the_first_event_of_a_stream_does_not_wait_for_the_second(stage):
    started_s = time.monotonic()
    with stage.raw(head(b"{}", **{"x-test": "stalls"})) as connection:
        got = b""
        while b"ping" not in got:
            got += connection.recv(1000)

    assert time.monotonic() - started_s < 1.0


def test_the_first_bytes_of_a_reply_wait_for_nothing_that_the_gateway_does_for_itself(monkeypatch):
    came, seen, record = threading.Event(), [], RequestEditor.sync_streamed_request

    def waits(editor, triage, parts):
        seen.append(came.wait(2.0))
        return record(editor, triage, parts)

    monkeypatch.setattr(RequestEditor, "sync_streamed_request", waits)
    # On a stage of its own: on another the call of the test before may begin only now, and wait for these bytes.
    with Stage(mode="shadow") as stage, stage.raw(head(b"{}", **{"x-test": "stalls"})) as connection:
        got = b""
        while b"ping" not in got:
            got += connection.recv(1000)
        came.set()
        stage.until(lambda: seen)

    assert all(seen)


def test_keys_and_texts_are_never_logged(stage, caplog):
    caplog.set_level(0)
    body = ClaudeAgent("a very private prompt").run(2).body()

    stage.send(MESSAGES, body[:-1], CLAUDE | {"x-test": "limited"})
    stage.ask(MESSAGES, body)

    assert "sk-secret" not in caplog.text
    assert "private" not in caplog.text


def test_what_the_gateway_did_is_told_as_numbers(stage):
    reply = stage.send("/ctxgc/status", headers={}, method="GET")

    assert json.loads(reply.body)["mode"] == "shadow"
