"""`ctxgc gateway`: run the local server between agents and their models' APIs, or stop the server. A run needs
aiohttp."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

from ctxgc.fronts.cli import gateway_processes, gateway_status
from ctxgc.fronts.cli.commands import CommandSpec
from ctxgc.fronts.cli.context import EXIT_BUSY, CommandRefused, Shell, refuse_usage
from ctxgc.fronts.cli.gateway_processes import require_aiohttp
from ctxgc.fronts.cli.terminal import printable_line
from ctxgc.gateway import pidfile
from ctxgc.protocol.blocking_client import CallFailed
from ctxgc.protocol.discovery import state_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctxgc.fronts.cli.terminal import Page

MODES = ("shadow", "on", "off")
PORT_MAX = 65535


def gateway(shell: Shell, args: argparse.Namespace) -> int:
    """Serve until interrupted. The daemon is started where allowed; without a daemon, requests pass unedited."""
    if args.stop:
        return _stop_gateways_and_report(shell, args)
    require_aiohttp()
    from ctxgc.config import BadConfig
    from ctxgc.fronts.cli.mcp import serve_message
    from ctxgc.gateway.main import CannotListen, require_valid_settings, run_gateway

    try:
        # Before the daemon: a daemon that fails over the same configuration would be named as the trouble.
        require_valid_settings(config=args.config, host=args.host, port=args.port, mode=args.mode)
        try:
            shell.connect()
        except CallFailed:
            shell.page.print_line("no daemon yet: requests pass unedited until there is one", "dim")
        shell.close()
        return run_gateway(
            config=args.config,
            socket=args.socket,
            host=args.host,
            port=args.port,
            mode=args.mode,
            serve_tools=partial(serve_message, args),
        )
    except BadConfig as error:
        raise CommandRefused(str(error), kind="config") from None
    except CannotListen as error:
        hint = "`ctxgc status` shows the gateways that run; `--port N` takes another port"
        raise CommandRefused(str(error), kind="busy", hint=hint) from None


def _stop_gateways_and_report(shell: Shell, args: argparse.Namespace) -> int:
    """Stop every gateway of the state folder, or the gateway on a port; fine if there is none."""
    from ctxgc.config import BadConfig, load_config

    if args.host or args.mode:
        refuse_usage("--stop goes with --port, or alone", "`ctxgc status` lists the gateways that run")
    try:
        config = load_config(Path(args.config) if args.config else None, os.environ)
        folder = str(config.daemon.lock_dir)
    except BadConfig:  # To stop what runs needs no configuration, least of all one that is broken.
        config, folder = None, state_folder(os.environ)
    ends = "" if args.port is None else f":{args.port}"
    meant = [gateway for gateway in pidfile.running_gateways(folder) if gateway.url.endswith(ends)]
    if not meant and config is not None:
        _refuse_foreign_gateway(f"http://{config.gateway.host}:{args.port or config.gateway.port}", folder)
    gone = gateway_processes.stop_gateways(meant, args.timeout)
    left = [process for process in meant if process not in gone]

    def print_page(page: Page) -> None:
        for process in meant:
            ended = "is still finishing" if process in left else "has stopped"
            page.print_line(f"the gateway at {printable_line(process.url)} (pid {process.pid}) {ended}")
        if not meant:
            page.print_line("no gateway runs" + (f" on port {args.port}" if ends else ""))

    shell.print_reply(
        {"stopped": gateway_status.gateways_as_json(gone), "finishing": gateway_status.gateways_as_json(left)},
        print_page,
    )
    return EXIT_BUSY if left else 0


def _refuse_foreign_gateway(url: str, folder: str) -> None:
    """Raise `CommandRefused` where a gateway serves without a file in this folder."""
    try:
        gateway_status.fetch_status(url)
    except gateway_status.StatusRefused:
        pass  # Only a gateway refuses so; the secret of this folder would not open another folder's.
    except (OSError, ValueError):
        return
    raise CommandRefused(
        f"the gateway at {url} is none of the state folder {folder}", hint="stop it where, and as whom, it was started"
    )


def _parse_port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= PORT_MAX):
        raise argparse.ArgumentTypeError(f"{text!r} is no TCP port, which is a number from 0 to {PORT_MAX}")
    return int(text)


def _add_gateway_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stop", action="store_true", help="stop running gateways; with --port: the gateway there")
    parser.add_argument("--host", default="", metavar="ADDRESS", help="loopback address to listen on")
    parser.add_argument(
        "--port", type=_parse_port, default=None, metavar="N", help="TCP port to listen on; 0: any free port"
    )
    parser.add_argument("--mode", choices=MODES, default="", help="mode of sessions that the settings do not name")
    parser.add_argument("--config", default="", metavar="FILE", help="configuration file; default: the user's own")


COMMANDS = {
    "gateway": CommandSpec(
        gateway,
        _add_gateway_arguments,
        notes="Modes: shadow computes and journals, on edits requests too, off only passes them on.",
    )
}
