"""`ctxgc gateway`: run the local server between agents and their models' APIs. An extra: it needs aiohttp."""

from __future__ import annotations

import argparse
import importlib.util

from ctxgc.fronts.cli.shell import Refused, Shell
from ctxgc.fronts.cli.table import Spec
from ctxgc.protocol.line import CallFailed

MODES = ("shadow", "on", "off")
PORT_MAX = 65535
INSTALL_HINT = "in the checkout of ctxgc: pip install '.[gateway]', or pipx install --force '.[gateway]'"
"""Not `ctxgc[gateway]`: no index has it, and anyone could put something there under this name."""


def gateway(shell: Shell, args: argparse.Namespace) -> int:
    """Serve until interrupted. The daemon is started if it may be; without one, requests pass unedited."""
    require_library()
    try:
        shell.connect()
    except CallFailed:
        shell.page.say("no daemon yet: requests pass unedited until there is one", "dim")
    shell.close()
    from ctxgc.config import BadConfig
    from ctxgc.fronts.gateway.main import CannotListen, run

    try:
        return run(config=args.config, socket=args.socket, host=args.host, port=args.port, mode=args.mode)
    except BadConfig as error:
        raise Refused(str(error), kind="config") from None
    except CannotListen as error:
        raise Refused(str(error), kind="busy") from None


def has_library() -> bool:
    """Whether the gateway's extra is installed."""
    return importlib.util.find_spec("aiohttp") is not None


def require_library() -> None:
    """Raise `Refused` where the gateway's extra is not installed."""
    if not has_library():
        raise Refused("the gateway needs aiohttp", hint=INSTALL_HINT)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= PORT_MAX):
        raise argparse.ArgumentTypeError(f"{text!r} is no TCP port, which is a number from 0 to {PORT_MAX}")
    return int(text)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="", metavar="ADDRESS", help="loopback address to listen on")
    parser.add_argument("--port", type=_port, default=None, metavar="N", help="TCP port to listen on; 0: any free one")
    parser.add_argument("--mode", choices=MODES, default="", help="mode of sessions that the settings do not name")
    parser.add_argument("--config", default="", metavar="FILE", help="configuration file; default: the user's own")


COMMANDS = {
    "gateway": Spec(
        gateway,
        _arguments,
        notes="Modes: shadow computes and journals, on edits requests too, off only passes them on.",
    )
}
