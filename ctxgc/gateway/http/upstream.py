"""The way to the upstreams: an agent's request goes on unchanged, but for the headers of its own connection.

    method, headers, query ──as they came──▶ upstream ──▶ ClientResponse, its body still to be read

Connecting has a time-out. There are no other time-outs, no retries, no cookies, no redirects, no decoding.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from enum import Enum
from urllib.request import getproxies, proxy_bypass

from aiohttp import ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, hdrs, web
from yarl import URL

from ctxgc.gateway.billing.usage import READABLE
from ctxgc.gateway.http.header_lines import HOP_BY_HOP, copy_headers
from ctxgc.gateway.identity.headers import SESSION_HEADER
from ctxgc.gateway.loopback import is_loopback_host
from ctxgc.protocol.gateway_headers import WINDOW_HEADER

HEADER_BYTES_MAX = 256 * 2**10
WRITE_BYTES = 256 * 2**10
IDLE_S = 15.0
"""Upstreams hang up on connections that idle longer; a request sent at that moment would be lost."""
CONNECT_S = 30.0

_NOT_FORWARDED = HOP_BY_HOP | {"host", "expect", "content-length", SESSION_HEADER, WINDOW_HEADER}
_NOT_ADDED = (hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE)


class Accepts(Enum):
    """Codings in which a reply may come."""

    ANY = "those that the agent takes"
    READABLE = "those of the agent's in which the bill can be read: there is no brotli here, and no zstd"


class Upstreams:
    """Sends requests on. Belongs to the loop of the client session.

    Proxies are those of the environment at the start: a look through the whole environment would cost a request more
    than its connection.
    """

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._proxies = getproxies()

    async def send_request(
        self,
        request: web.Request,
        url: str,
        body: bytes | AsyncIterator[bytes],
        length: int | None,
        *,
        accepts: Accepts = Accepts.ANY,
    ) -> ClientResponse:
        """Send a request on with the body, and ask for a reply in the codings.

        The reply returns as soon as its headers are there. Raises the exceptions of aiohttp.
        """
        headers = copy_headers(request.raw_headers, _NOT_FORWARDED)
        for name in _split_header_values(request.headers.getall(hdrs.CONNECTION, [])):
            headers.popall(name, None)
        if length is not None and request.body_exists:
            headers[hdrs.CONTENT_LENGTH] = str(length)
        if accepts is Accepts.READABLE and (accepted := headers.getall(hdrs.ACCEPT_ENCODING, None)):
            spelling = next(name for name in headers if name.lower() == "accept-encoding")
            headers[spelling] = _readable_codings(accepted)
        target = URL(url, encoded=True)
        return await self._session.request(
            request.method,
            target,
            headers=headers,
            data=(_stream_slices(body) if isinstance(body, bytes) else body)
            if request.body_exists and length != 0
            else None,
            allow_redirects=False,
            proxy=_proxy_for(target, self._proxies),
        )


def client_session() -> ClientSession:
    """The connections to the upstreams."""
    return ClientSession(
        connector=TCPConnector(limit=0, keepalive_timeout=IDLE_S),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_NOT_ADDED,
        timeout=ClientTimeout(total=None, sock_connect=CONNECT_S),
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
    )


def _readable_codings(accepted: list[str]) -> str:
    """Codings, with weights, that the agent takes and `usage.py` reads."""
    readable = [
        coding for coding in _split_header_values(accepted) if coding.partition(";")[0].strip().lower() in READABLE
    ]
    return ", ".join(readable) or "identity"


def _split_header_values(values: list[str]) -> list[str]:
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


async def _stream_slices(body: bytes) -> AsyncIterator[bytes]:
    for part in _slices_of_body(body):
        yield part


def _slices_of_body(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), WRITE_BYTES):
        yield body[start : start + WRITE_BYTES]


def _proxy_for(url: URL, proxies: Mapping[str, str]) -> str | None:
    """The proxy for this URL, in the choice of the APIs' own clients; `None` to this machine."""
    # Not `trust_env`: the library would take passwords from ~/.netrc too, and put one on a request without a key.
    host = url.raw_host or ""
    proxy = proxies.get(url.scheme)
    return proxy if proxy and not is_loopback_host(host) and not proxy_bypass(host) else None
