"""The gateway's log: sentences of ctxgc, kinds of exceptions, and places in the code. No key, no text.

    ctxgc's record ─────▶ its sentence ┐
    a library's record ─▶ its place    ├─▶ the kinds of its exceptions and their places, never their messages
    a fault of the loop ──────────────┘

Libraries quote the input of a failure in their messages: a header line with its key, a piece of a body. So messages of
exceptions and of libraries are left out wholesale, instead of searched for secrets.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from types import TracebackType
from typing import Any

from ctxgc.core.redaction.redact import redact_text

OURS = "ctxgc"

_log = logging.getLogger("ctxgc.gateway")

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class DiscreetFormatter(logging.Formatter):
    """Formats records without any part of a request."""

    def format(self, record: logging.LogRecord) -> str:
        """A sentence, then the exceptions."""
        is_ours = record.name.partition(".")[0] == OURS
        said = redact_text(record.getMessage()) if is_ours else f"{record.name} at {record.pathname}:{record.lineno}"
        raised = self.formatException(record.exc_info) if record.exc_info else ""
        return f"{record.levelname} {said}" + (f"\n{raised}" if raised else "")

    def formatException(self, ei: _Raised) -> str:
        """The kinds of an exception and of its causes, each with its traceback."""
        lines: list[str] = []
        error, seen = ei[1], set[int]()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            lines += [*traceback.format_tb(error.__traceback__), f"{type(error).__qualname__}\n"]
            for one in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
                lines.append(self.formatException((type(one), one, None)) + "\n")
            error = error.__cause__ or error.__context__
        return "".join(lines).rstrip()


def configure_log() -> None:
    """Write the process's log to stderr, without any part of a request."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(DiscreetFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def log_loop_fault(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an exception that no task took: the loop's own message would show the objects at hand."""
    _log.error("a task or callback failed", exc_info=context.get("exception"))
