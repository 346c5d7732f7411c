"""The guard of the gateway's user: no request of another user of this machine is served.

    /k/SECRET in the path ──────────────────────────▶ served, and the path goes on without it
    `gateway.auth = "auto"`, and the peer's uid is ours ▶ served
    the secret at another place of the path ─────────▶ 400, for the path goes upstream
    anything else ──────────────────────────────────▶ 403, `/ctxgc/status` too

The loopback is open to every user of a machine, and a gateway speaks for its own user with that user's sessions.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ctxgc.gateway.http.connections import connection_of_request
from ctxgc.gateway.http.error_response import error_response
from ctxgc.gateway.http.request_path import RequestPath, leaks_secret, split_path
from ctxgc.gateway.settings import Settings

PATH = web.RequestKey("path", RequestPath)
"""The parts of the path of a request that is served."""
NOT_THE_OWNER = "the gateway serves its own user; `ctxgc env AGENT` prints the base URL with that user's secret"
NOT_AT_ITS_PLACE = (
    "this path would take the secret upstream; a base URL begins with /k/SECRET, as `ctxgc env AGENT` prints it"
)


def owner_middleware(settings: Callable[[], Settings]) -> Middleware:
    """Serve requests of the gateway's own user."""

    @web.middleware
    async def guard_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection, path = connection_of_request(request), split_path(request.raw_path)
        if connection is not None:
            connection.begin_request()
        try:
            has_secret = matches_secret(path.secret, settings().secret)
            if has_secret and connection is not None:
                connection.prove_owner()
            is_own_peer = settings().auth == "auto" and connection is not None and connection.is_owner
            if not (has_secret or is_own_peer):
                return _refusal_response(web.HTTPForbidden.status_code, "permission_error", NOT_THE_OWNER)
            if leaks_secret(path, settings().secret):
                return _refusal_response(web.HTTPBadRequest.status_code, "invalid_request_error", NOT_AT_ITS_PLACE)
            request[PATH] = path
            return await handler(request)
        finally:
            if connection is not None:
                connection.end_request()

    return guard_request


def matches_secret(word: str, secret: str) -> bool:
    """Whether the word of a path is the secret; never where there is no secret."""
    # Bytes: `compare_digest` refuses text beyond ASCII, which a path may hold.
    return bool(secret) and compare_digest(word.encode("utf-8", "surrogateescape"), secret.encode())


def _refusal_response(status: int, kind: str, why: str) -> web.Response:
    response = error_response(status, kind, why)
    response.force_close()  # The body of a refused request is not read.
    return response
