"""`ctxgc mcp`: the MCP server that an agent starts, over stdin and stdout."""

from __future__ import annotations

import argparse
import os
import sys
import time

from ctxgc.fronts.cli.commands import CommandSpec
from ctxgc.fronts.cli.context import CommandRefused, Shell
from ctxgc.protocol.blocking_client import TimedOut, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ctxgc.fronts.mcp.server import Handlers

CALL_S = 20.0
HTTP_OK, HTTP_ACCEPTED, HTTP_BAD_REQUEST = 200, 202, 400
RETRY_PAUSES_S = (0.0, 0.1, 0.3)


class DaemonLink:
    """Calls to the daemon for as long as the agent runs: a daemon that was restarted is connected to again. Mutable."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def call(self, method: str, params: dict[str, Any]) -> Any:
        """The daemon's reply. Raises `CallFailed`."""
        for pause_s in RETRY_PAUSES_S:
            try:
                return self._shell.call(method, params)
            except TimedOut:
                self._shell.close()
                raise
            except Unreachable:
                if not self._shell.is_connected:
                    raise
                # Reads and pins may be asked for twice; a daemon that dies takes connections for a moment longer.
                self._shell.close()
                time.sleep(pause_s)
        return self._shell.call(method, params)


def mcp(shell: Shell, args: argparse.Namespace) -> int:
    """Serve one agent until the stream ends."""
    from ctxgc.fronts.mcp.scope import Scope
    from ctxgc.fronts.mcp.server import McpServer

    if args.url:
        return _print_url(shell)
    if sys.stdin is None:  # Closed: a client that has left already.
        return 0
    if sys.stdin.isatty():
        sys.stderr.write("ctxgc mcp: an agent starts this server; `ctxgc install AGENT --mcp` has it do so\n")
    call = DaemonLink(shell).call
    scope = Scope(call, _working_folder(), os.environ)

    def load() -> Handlers:
        from ctxgc.fronts.mcp.handlers import method_handlers

        return method_handlers(call, scope)

    McpServer(load, scope).serve(sys.stdin.buffer, sys.stdout.buffer)
    return 0


def _working_folder() -> str:
    """The folder in which the agent started the server; the root, which few sessions are of, where that is gone."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


def serve_message(args: argparse.Namespace, word: str, folder: str, version: str, body: bytes) -> tuple[int, bytes]:
    """Status and reply to one message of a client over HTTP, whose project is this folder.

    400 for a version that the server does not know. Raises `PermissionError` where the word is not the folder's.
    """
    from ctxgc.fronts.mcp.handlers import method_handlers
    from ctxgc.fronts.mcp.project_token import is_project_token
    from ctxgc.fronts.mcp.rpc import INVALID_REQUEST, VERSIONS, BadMessage, encode_line, error_reply
    from ctxgc.fronts.mcp.scope import Scope
    from ctxgc.fronts.mcp.server import McpServer

    if not is_project_token(word, _ensure_mcp_secret(args.config), folder):
        raise PermissionError(folder)
    if version and version not in VERSIONS:
        known = f"the header names a version that this server does not know; there are {', '.join(VERSIONS)}"
        return HTTP_BAD_REQUEST, encode_line(error_reply(None, BadMessage(INVALID_REQUEST, known)))
    shell = Shell(args)
    try:
        call = DaemonLink(shell).call
        scope = Scope(call, folder, {})
        reply = McpServer(lambda: method_handlers(call, scope), scope, version).answer_line(body)
    finally:
        shell.close()
    return http_reply(reply)


def http_reply(reply: dict[str, Any] | list[dict[str, Any]] | None) -> tuple[int, bytes]:
    """A reply's status and body: 202 where no reply is due, 400 for what is no message."""
    from ctxgc.fronts.mcp.rpc import encode_line

    if reply is None:
        return HTTP_ACCEPTED, b""
    is_message = isinstance(reply, list) or reply["id"] is not None
    return HTTP_OK if is_message else HTTP_BAD_REQUEST, encode_line(reply)


def _ensure_mcp_secret(config: str) -> str:
    """The MCP server's own secret, made if there is none. Raises `PermissionError` where none can be kept."""
    from pathlib import Path

    from ctxgc.config import BadConfig, load_config
    from ctxgc.fronts.mcp.project_token import SECRET_NAME
    from ctxgc.protocol.secret_file import ensure_secret

    try:
        return ensure_secret(
            str(load_config(Path(config) if config else None, os.environ).daemon.lock_dir), SECRET_NAME
        )
    except (BadConfig, OSError) as error:
        raise PermissionError(str(error)) from None


def _print_url(shell: Shell) -> int:
    """Print the URL of the working folder's tools at the gateway."""
    from urllib.parse import quote

    from ctxgc.fronts.cli.base_url import gateway_address, prepare_gateway_base_url
    from ctxgc.fronts.cli.configuration import load_config_or_refuse
    from ctxgc.fronts.mcp.project_token import project_token

    config = load_config_or_refuse()
    try:
        secret = _ensure_mcp_secret("")
    except PermissionError as error:
        raise CommandRefused(str(error), kind="config") from None
    # Linux knows the user of a connection: the gateway's own secret then needs to stand in no client's settings.
    is_known = sys.platform == "linux" and config.gateway.auth == "auto"
    base = gateway_address(config.gateway) if is_known else prepare_gateway_base_url(config)
    folder = shell.directory_params()["cwd"]
    url = f"{base}/mcp/{project_token(secret, folder)}{quote(folder)}"
    return shell.print_reply({"url": url}, lambda page: page.print_line(url))


def _add_mcp_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", action="store_true", help="print the address of this folder's tools at the gateway, and serve nothing"
    )


NOTES = "An agent starts the server; `ctxgc install AGENT --mcp` writes the server into the agent's settings."
COMMANDS = {"mcp": CommandSpec(mcp, _add_mcp_arguments, timeout_s=CALL_S, notes=NOTES)}
