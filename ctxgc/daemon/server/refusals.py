"""The client's view of an exception: its own error, or `internal` for a bug of the daemon."""

from __future__ import annotations

import logging
import traceback

import msgspec

from ctxgc.core.errors import BadParams, CtxgcError, translate_os_error

_log = logging.getLogger("ctxgc.daemon")


def error_for_client(method: str, error: Exception) -> CtxgcError:
    """The error that the client is told: its own, or `internal` for a bug of the daemon."""
    if isinstance(error, CtxgcError):
        return error
    if isinstance(error, RecursionError):
        return BadParams("params are nested too deeply")
    if isinstance(error, msgspec.DecodeError):
        return BadParams(f"bad params: {error}")
    if isinstance(error, OSError):
        return translate_os_error(error, method)
    # The message of a foreign exception may quote what was being worked on: a session's text is never logged.
    traces = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s failed with %s\n%s", method, type(error).__qualname__, traces)
    return CtxgcError(f"{method} failed inside the daemon", hint="its log says where")
