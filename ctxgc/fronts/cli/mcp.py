"""`ctxgc mcp`: the MCP server that an agent starts, over stdin and stdout."""

from __future__ import annotations

import argparse
import os
import sys

from ctxgc.fronts.cli.commands import Spec
from ctxgc.fronts.cli.context import Shell
from ctxgc.protocol.blocking_client import TimedOut, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ctxgc.fronts.mcp.server import Handlers

CALL_S = 20.0


class Daemon:
    """Calls to the daemon for as long as the agent runs: a daemon that was restarted is connected to again. Mutable."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def call(self, method: str, params: dict[str, Any]) -> Any:
        """The daemon's reply. Raises `CallFailed`."""
        try:
            return self._shell.call(method, params)
        except TimedOut:
            self._shell.close()
            raise
        except Unreachable:
            self._shell.close()
            return self._shell.call(method, params)  # Reads and pins may be asked for twice.


def mcp(shell: Shell, args: argparse.Namespace) -> int:
    """Serve one agent until its stream ends."""
    from ctxgc.fronts.mcp.scope import Scope
    from ctxgc.fronts.mcp.server import McpServer

    if sys.stdin.isatty():
        sys.stderr.write("ctxgc mcp: an agent starts this server; `ctxgc install AGENT --mcp` has it do so\n")
    call = Daemon(shell).call
    scope = Scope(call, os.getcwd(), os.environ)

    def load() -> Handlers:
        from ctxgc.fronts.mcp.handlers import handlers

        return handlers(call, scope)

    McpServer(load, scope).serve(sys.stdin.buffer, sys.stdout.buffer)
    return 0


NOTES = "An agent starts the server; `ctxgc install AGENT --mcp` writes the server into the agent's settings."
COMMANDS = {"mcp": Spec(mcp, timeout_s=CALL_S, notes=NOTES)}
