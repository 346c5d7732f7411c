"""The guard at the gateway's door: programs of this machine may ask, and no page in a browser.

    page of a site ──its own name as the host (rebinding)──▶ 403
                   ──`Origin`, or `Sec-Fetch-Site` of a page──▶ 403
    agent ─────────▶ served

The gateway listens on the loopback alone, but a browser runs there too, and sends the requests of pages. Agents send
neither `Origin` nor `Sec-Fetch-Site`; a browser cannot leave those headers out where a page asks across sites.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Set

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ctxgc.gateway.http.error_response import error_response
from ctxgc.gateway.http.tools_endpoint import TOOLS_PREFIX
from ctxgc.gateway.loopback import is_loopback_host

_HOST = re.compile(r"(\[(?P<in_brackets>[^]]+)\]|(?P<bare>[^][:]+))(:[0-9]+)?")
NO_SITE = "none"
"""The value of `Sec-Fetch-Site` for an address that the user typed."""


def origin_middleware(hosts_allowed: Callable[[], Set[str]]) -> Middleware:
    """Serve requests of programs; `hosts_allowed` are names of this machine beside the loopback's."""

    @web.middleware
    async def guard_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        hosts = request.headers.getall("host", [])
        if len(hosts) != 1 or not (names_this_machine(hosts[0]) or _host_name(hosts[0]) in hosts_allowed()):
            return _refusal_response("it serves its own machine; `gateway.hosts_allowed` may give it another name")
        # Clients of the tools may name the server's own origin, as the protocol has it. No page is of that origin.
        own = {f"http://{hosts[0]}"} if request.path.startswith(TOOLS_PREFIX) else set()
        is_page = not own.issuperset(request.headers.getall("origin", []))
        if is_page or request.headers.get("sec-fetch-site", NO_SITE) != NO_SITE:
            return _refusal_response("it serves no page of a browser")
        return await handler(request)

    return guard_request


def names_this_machine(host: str) -> bool:
    """Whether a `Host` header, with a port or without, names the loopback: by its address, or as `localhost`."""
    return is_loopback_host(_host_name(host))


def _host_name(host: str) -> str:
    """The name in a `Host` header, without port and brackets."""
    found = _HOST.fullmatch(host.strip().lower())
    return (found["in_brackets"] or found["bare"]) if found else ""


def _refusal_response(why: str) -> web.Response:
    return error_response(web.HTTPForbidden.status_code, "permission_error", why)
