"""Commands for programs and shells: any verb, completions, the version."""

from __future__ import annotations

import json
import sys

from ctxgc import __version__
from ctxgc.fronts.cli import terminal
from ctxgc.fronts.cli.commands import CommandSpec
from ctxgc.fronts.cli.context import Shell, refuse_usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLE = """for example: ctxgc call segment.list '{"limit": 3}'"""
SHELLS = ("bash", "zsh", "fish")


def _add_call_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", metavar="METHOD", help="a verb: heap.plan, stats, …; rpc.discover lists them")
    parser.add_argument(
        "params", nargs="?", default="{}", metavar="JSON", help="its params, an object; `-` reads them from stdin"
    )


def call(shell: Shell, args: argparse.Namespace) -> int:
    """Send a verb, print its reply: indented for a person, a line for a program."""
    text = sys.stdin.read() if args.params == "-" else args.params
    try:
        params = json.loads(text)
        json.dumps(params, allow_nan=False)  # Python reads NaN and 1e999; nobody could send them.
    except ValueError as fault:
        refuse_usage(f"the params are not JSON: {fault}", EXAMPLE)
    except RecursionError:
        refuse_usage("the params are nested too deeply", EXAMPLE)
    if not isinstance(params, dict):
        refuse_usage("the params must be a JSON object", EXAMPLE)
    reply = shell.call(args.method, params)
    if args.json or not shell.page.is_terminal:
        shell.print_json(reply)
    else:
        shell.page.print_line(terminal.printable_text(json.dumps(reply, indent=2, ensure_ascii=False)))
    return 0


def _add_completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="for which shell")


def completion(shell: Shell, args: argparse.Namespace) -> int:
    """Print a completion script; the script never asks the daemon."""
    from ctxgc.fronts.cli.completion import completion_script

    text = completion_script(args.shell)
    return shell.print_reply({"shell": args.shell, "script": text}, lambda page: page.print_line(text.rstrip()))


def version(shell: Shell, args: argparse.Namespace) -> int:
    """Print this command's version."""
    return shell.print_reply({"version": __version__}, lambda page: page.print_line(f"ctxgc {__version__}"))


COMMANDS = {
    "call": CommandSpec(call, _add_call_arguments),
    "completion": CommandSpec(completion, _add_completion_arguments, notes='bash: eval "$(ctxgc completion bash)"'),
    "version": CommandSpec(version),
}
