"""Whose request it is decides where it goes: a key reaches its own provider or nobody."""

import pytest

from ctxgc.gateway.http.routes import find_route
from ctxgc.gateway.settings import UPSTREAMS

OPENAIS, ANTHROPICS = {"authorization": "Bearer sk-proj-1"}, {"authorization": "Bearer sk-ant-oat01-1"}
UNKNOWN = {"authorization": "Bearer made-by-a-proxy"}


def way(target, headers=UNKNOWN, method="POST"):
    return find_route(method, target, headers, UPSTREAMS)


@pytest.mark.parametrize(
    ("target", "headers", "upstream", "wire"),
    [
        ("/v1/messages?beta=true", UNKNOWN, "anthropic", "anthropic_messages"),
        ("/v1/messages/count_tokens", UNKNOWN, "anthropic", ""),
        ("/v1/chat/completions", UNKNOWN, "openai", "openai_chat"),
        ("/responses", UNKNOWN, "openai", "openai_responses"),
        ("/v1/responses/r1/cancel", UNKNOWN, "openai", ""),
        ("/v1/models", {"x-api-key": "k"}, "anthropic", ""),
        ("/v1/models", OPENAIS, "openai", ""),
        ("/api/oauth/profile", ANTHROPICS, "anthropic", ""),
        ("/anthropic/v1/chat/completions", UNKNOWN, "anthropic", "openai_chat"),
    ],
)
def test_a_request_goes_where_its_path_or_its_headers_say(target, headers, upstream, wire):
    found = way(target, headers)

    assert (found.upstream, found.format) == (upstream, wire)
    assert found.url == UPSTREAMS[upstream] + target.removeprefix("/anthropic")


@pytest.mark.parametrize(
    ("base", "target", "url"),
    [
        ("https://o.example/api/v1", "/openai/v1/chat/completions", "https://o.example/api/v1/chat/completions"),
        ("https://o.example/api/v1/", "/openai/v1/responses?x=/v1/", "https://o.example/api/v1/responses?x=/v1/"),
        ("https://o.example/api/v1", "/openai/responses", "https://o.example/api/v1/responses"),
        ("https://o.example/api/v1", "/openai/v1beta/x", "https://o.example/api/v1/v1beta/x"),
        ("https://o.example/api/v1/v1x", "/openai/v1/models", "https://o.example/api/v1/v1x/v1/models"),
        ("https://o.example/api/v1", "/openai/v1", "https://o.example/api/v1"),
        ("https://o.example/api/v1", "/openai/v1?limit=1", "https://o.example/api/v1?limit=1"),
        ("https://o.example/api/v1/", "/openai//v1/responses", "https://o.example/api/v1/responses"),
        ("https://o.example", "/openai//chat/completions", "https://o.example/chat/completions"),
        ("https://o.example", "/openai/v1/v1/x", "https://o.example/v1/v1/x"),
    ],
)
def test_a_version_in_the_upstreams_address_is_not_written_twice(base, target, url):
    assert find_route("POST", target, UNKNOWN, {"openai": base}).url == url
    assert find_route("POST", target.replace("openai", "anthropic"), UNKNOWN, {"anthropic": base}).url == url


def test_a_login_of_chatgpt_has_an_upstream_of_its_own():
    found = way("/chatgpt/responses", {"authorization": "Bearer eyJ", "chatgpt-account-id": "a"})

    assert found.url == "https://chatgpt.com/backend-api/codex/responses"
    assert (found.format, found.upstream) == ("openai_responses", "chatgpt")


@pytest.mark.parametrize("target", ["/v1/threads/t/messages", "/v1/conversations/c/messages"])
def test_a_path_that_ends_like_a_call_is_not_taken_for_one_of_another_provider(target):
    assert way(target)[:3] == (UPSTREAMS["openai"] + target, "", "openai")


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/v1/threads/t/messages", ANTHROPICS),
        ("/v1/responses", {"x-api-key": "k"}),
        ("/v1/messages", OPENAIS),
        ("/v1/models", OPENAIS | {"anthropic-version": "1"}),
    ],
)
def test_a_key_is_sent_nowhere_where_path_and_headers_disagree(target, headers):
    assert way(target, headers).url == ""


@pytest.mark.parametrize(("method", "target"), [("HEAD", "/"), ("GET", "/v1/models"), ("POST", "/api/event_logging")])
def test_a_key_that_does_not_say_whose_it_is_goes_nowhere_on_a_path_that_does_not_either(method, target):
    assert way(target, UNKNOWN, method).url == ""
    assert "/anthropic or /openai" in way(target, {}, method).why


@pytest.mark.parametrize("target", ["/anthropic", "/anthropic/", "/anthropic?x=1"])
def test_the_root_of_a_named_upstream_is_its_root(target):
    query = target.partition("?")[1] + target.partition("?")[2]

    assert way(target, {}, "HEAD").url == UPSTREAMS["anthropic"] + "/" + query


@pytest.mark.parametrize("target", ["*", "evil.example:443", "http://evil.example/x", "/openaix/v1/models"])
def test_what_is_no_path_of_an_api_has_no_way(target):
    assert way(target).url == ""
