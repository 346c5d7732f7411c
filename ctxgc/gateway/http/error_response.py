"""An error of the gateway's own, in the shape that both APIs use."""

from __future__ import annotations

from aiohttp import web


def error_response(status: int, kind: str, why: str) -> web.Response:
    """The response that says `why`; `kind` is the API's type of the error."""
    fault = {"type": kind, "message": f"ctxgc gateway: {why}"}
    return web.json_response({"type": "error", "error": fault}, status=status)
