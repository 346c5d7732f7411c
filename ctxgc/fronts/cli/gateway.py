"""`ctxgc gateway`: run the local server between agents and their models' APIs. An extra: it needs aiohttp."""

from __future__ import annotations

import importlib.util

from ctxgc.fronts.cli.shell import Refused, Shell
from ctxgc.fronts.cli.table import Spec
from ctxgc.protocol.line import CallFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

MODES = ("shadow", "on", "off")


def gateway(shell: Shell, args: argparse.Namespace) -> int:
    """Serve until interrupted. The daemon is started if it may be; without one, requests pass unedited."""
    if importlib.util.find_spec("aiohttp") is None:
        raise Refused("the gateway needs aiohttp", hint="pip install 'ctxgc[gateway]'")
    try:
        shell.connect()
    except CallFailed:
        shell.page.say("no daemon yet: requests pass unedited until there is one", "dim")
    shell.close()
    from ctxgc.fronts.gateway.main import run

    return run(config=args.config, socket=args.socket, host=args.host, port=args.port, mode=args.mode)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="", metavar="ADDRESS", help="loopback address to listen on")
    parser.add_argument("--port", type=int, default=None, metavar="N", help="TCP port to listen on; 0: any free one")
    parser.add_argument("--mode", choices=MODES, default="", help="mode of sessions that the settings do not name")
    parser.add_argument("--config", default="", metavar="FILE", help="configuration file; default: the user's own")


COMMANDS = {
    "gateway": Spec(
        gateway,
        _arguments,
        notes="Modes: shadow computes and journals, on edits requests too, off only passes them on.",
    )
}
