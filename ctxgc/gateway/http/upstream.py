"""The way to the upstreams: an agent's request goes on as it came, but for what belongs to its own connection.

    method, headers, query ──as they came──▶ upstream ──▶ ClientResponse, its body still to be read

No time-outs but that of connecting, no retries, no cookies, no redirects, no decoding.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Set
from enum import Enum
from urllib.request import getproxies, proxy_bypass

from aiohttp import ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, hdrs, web
from multidict import CIMultiDict
from yarl import URL

from ctxgc.gateway.billing.usage import READABLE
from ctxgc.gateway.identity.headers import SESSION_HEADER
from ctxgc.gateway.loopback import is_local

HEADER_BYTES_MAX = 256 * 2**10
WRITE_BYTES = 256 * 2**10
IDLE_S = 15.0
"""Upstreams hang up on connections that idle longer; a request sent into that would be lost."""
CONNECT_S = 30.0

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NOT_FORWARDED = HOP_BY_HOP | {"host", "expect", "content-length", SESSION_HEADER}
_NOT_ADDED = (hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE)


class Accepts(Enum):
    """In what codings a reply may come."""

    ANY = "what the agent takes"
    READABLE = "of those, what tells us what it was billed: there is no brotli here, and no zstd"
    PLAIN = "none: it will be looked into before it is passed on"


class Upstreams:
    """Sends requests on. Belongs to the loop that made its session.

    The proxies are those that the environment names when it is made: to look through all of it costs a request more
    than to find its connection.
    """

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._proxies = getproxies()

    async def send(
        self,
        request: web.Request,
        url: str,
        body: bytes | AsyncIterator[bytes],
        length: int | None,
        *,
        accepts: Accepts = Accepts.ANY,
    ) -> ClientResponse:
        """Send a request on with this body, and ask for its reply in these codings.

        The reply comes back as soon as its headers are there. Raises what aiohttp raises.
        """
        headers = copied_headers(request.raw_headers, _NOT_FORWARDED)
        for name in _split_values(request.headers.getall(hdrs.CONNECTION, [])):
            headers.popall(name, None)
        if length is not None and request.body_exists:
            headers[hdrs.CONTENT_LENGTH] = str(length)
        if accepts is Accepts.PLAIN:
            headers[hdrs.ACCEPT_ENCODING] = "identity"
        elif accepts is Accepts.READABLE and (accepted := headers.getall(hdrs.ACCEPT_ENCODING, None)):
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
            proxy=_proxy_to(target, self._proxies),
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


def copied_headers(raw: Iterable[tuple[bytes, bytes]], dropped: Set[str]) -> CIMultiDict[str]:
    """Headers as they came, in order and spelling, without these.

    A name that comes twice is spelt as it was the first time: the library takes another spelling for a new value. It
    writes UTF-8 alone, so a value that is none is passed on as the characters that it is in Latin-1.
    """
    spelling: dict[str, str] = {}
    found: CIMultiDict[str] = CIMultiDict()
    for name, value in raw:
        written = name.decode("latin-1")
        if written.lower() not in dropped:
            found.add(spelling.setdefault(written.lower(), written), _header_text(value))
    return found


def _readable_codings(accepted: list[str]) -> str:
    """Of the codings that an agent takes, with their weights, those that `usage.py` reads."""
    readable = [one for one in _split_values(accepted) if one.partition(";")[0].strip().lower() in READABLE]
    return ", ".join(readable) or "identity"


def _header_text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _split_values(values: list[str]) -> list[str]:
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


async def _stream_slices(body: bytes) -> AsyncIterator[bytes]:
    for part in _slices(body):
        yield part


def _slices(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), WRITE_BYTES):
        yield body[start : start + WRITE_BYTES]


def _proxy_to(url: URL, proxies: Mapping[str, str]) -> str | None:
    """Of these proxies the one for this URL, as the APIs' own clients take it; none to this machine."""
    # Not `trust_env`: that takes passwords from ~/.netrc too, and would put one on a request without any of its own.
    host = url.raw_host or ""
    proxy = proxies.get(url.scheme)
    return proxy if proxy and not is_local(host) and not proxy_bypass(host) else None
