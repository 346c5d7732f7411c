"""Every command of `ctxgc`: its name, its module, a line of help. The table loads no command's module.

    argv ──▶ find the name in here ──▶ import that one module ──▶ build that one parser ──▶ run

A command's module holds `COMMANDS`, a dictionary of `CommandSpec`s; `main` looks the name up there. The types of
arguments that several commands share stand here too.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from ctxgc.fronts.cli.context import CommandRefused
from ctxgc.protocol.limits import RECALL_TOKENS_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from ctxgc.fronts.cli.context import Shell

PACKAGE = "ctxgc.fronts.cli"
HELP_COLUMNS = 100

KINDS = ("system", "user", "assistant", "thinking", "tool_call", "attachment", "summary", "plan", "other")
STATES = ("resident", "evicted", "departed", "forgotten")
"""Kinds and states of segments, for options that take one."""

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Start here": {
        "demo": ("demo", "collect a sample session, or the transcripts given, in a private daemon"),
        "replay": ("replay", "the cost and the faults of policies on recorded sessions"),
        "up": ("lifecycle", "start the daemon"),
        "down": ("lifecycle", "stop the daemon"),
        "status": ("status", "the daemon, its gateways and the session at hand on one screen, or on one line"),
        "doctor": ("lifecycle", "check folder, socket, stash and ranks; repair a damaged stash"),
    },
    "Agents": {
        "run": ("agents", "start an agent through the gateway: claude, codex, opencode, pi and others"),
        "env": ("agents", "print how `ctxgc run` would start an agent, for a shell to evaluate"),
        "mode": ("mode", "shadow, on or off: how the gateway serves a session or an agent"),
        "install": ("install", "send an agent through the gateway for good: its settings, and services"),
        "uninstall": ("install", "put an agent's settings back as they were"),
        "mcp": ("mcp", "serve search, recall and pins to an agent as tools: an MCP server on stdin and stdout"),
        "hook": ("hook", "carry out an event of an agent's session: follow its transcript, give it its working set"),
        "limit": ("limit", "a size that a session's window is held to"),
        "gateway": ("gateway", "run the local server between agents and their models' APIs; or stop it"),
    },
    "Sessions": {
        "import": ("sessions", "read transcripts: files, or folders of files"),
        "watch": ("sessions", "follow growing transcripts; without a path: list the watches"),
        "sessions": ("sessions", "known sessions, the newest first"),
        "show": ("sessions", "a session's window and its segments, or one segment"),
        "render": ("sessions", "the window as a list of a model API"),
        "export": ("sessions", "write a session whole to a new file, which import brings back"),
    },
    "The window": {
        "add": ("window", "admit text as a segment"),
        "collect": ("window", "get the window under a budget"),
        "why": ("window", "why a segment is in the window, or why the segment left"),
        "pin": ("window", "keep segments: a pin is never evicted"),
        "unpin": ("window", "take pins back"),
        "stash": ("window", "evict segments by hand"),
        "undo": ("window", "take back a collection"),
        "log": ("window", "the journal of collections"),
    },
    "The stash": {
        "search": ("recall", "find segments by words"),
        "recall": ("recall", "bring content back: a segment byte for byte, or excerpts under a budget"),
        "rehydrate": ("recall", "a working set for a new or compacted session, under a budget"),
        "forget": ("recall", "erase segments for good"),
        "backup": ("recall", "write a consistent copy of the stash to a new file"),
    },
    "Plumbing": {
        "call": ("plumbing", "send any verb of the protocol and print its reply"),
        "completion": ("plumbing", "print a completion script for a shell"),
        "version": ("plumbing", "print the version"),
    },
}


class CommandSpec:
    """The parser's builder of a command, and the function that runs the command."""

    __slots__ = ("arguments", "has_session", "literal", "notes", "run", "session_default", "timeout_s")

    def __init__(
        self,
        run: Callable[[Shell, argparse.Namespace], int],
        arguments: Callable[[argparse.ArgumentParser], None] | None = None,
        *,
        has_session: bool | str = False,
        timeout_s: float = 30.0,
        notes: str = "",
        literal: str = "",
    ) -> None:
        self.run = run
        self.arguments = arguments
        self.has_session = bool(has_session)
        self.session_default = has_session if isinstance(has_session, str) else "the newest session of this directory"
        self.timeout_s = timeout_s
        self.notes = notes
        self.literal = literal
        """Put before words that look like options and are none; empty: such words are errors."""


class _Parser(argparse.ArgumentParser):
    """Refuses as every command does: a sentence and the next step, or JSON."""

    def error(self, text: str) -> NoReturn:
        """The arguments make no sense. Raises `CommandRefused`."""
        raise CommandRefused(text, kind="usage", hint=f"`{self.prog} --help` says what it takes")

    def print_help(self, file: Any = None) -> None:
        """The help asked for. Unlike the parent's method, this method raises where the stream cannot be written."""
        (file or sys.stdout).write(self.format_help())


class _Formatter(argparse.HelpFormatter):
    """Help of a fixed width. To ask the terminal, argparse would load shutil and three compression libraries."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=HELP_COLUMNS)


def command_names() -> list[str]:
    """All commands, in the order of the help."""
    return [name for group in GROUPS.values() for name in group]


def command_help(name: str) -> str:
    """A command's help, on a line."""
    return next(group[name][1] for group in GROUPS.values() if name in group)


def load_command(name: str) -> CommandSpec:
    """The command's `CommandSpec`; imports its module and no other."""
    module = next(group[name][0] for group in GROUPS.values() if name in group)
    spec: CommandSpec = importlib.import_module(f"{PACKAGE}.{module}").COMMANDS[name]
    return spec


def build_parser(name: str, spec: CommandSpec) -> argparse.ArgumentParser:
    """The parser of a command: its own arguments, then the arguments of every command."""
    parser = _Parser(
        prog=f"ctxgc {name}", description=_help_sentence(name), epilog=spec.notes or None, formatter_class=_Formatter
    )
    if spec.arguments is not None:
        spec.arguments(parser)
    if spec.has_session:
        parser.add_argument(
            "--session",
            metavar="S",
            default="",
            help=f"SOURCE:SESSION, a session id or a prefix of an id; default: {spec.session_default}",
        )
    every = parser.add_argument_group("every command")
    every.add_argument("--json", action="store_true", help="print the daemon's reply as one JSON object")
    every.add_argument("--socket", metavar="PATH", default="", help="the daemon's socket; default: $CTXGC_SOCKET")
    every.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_parse_seconds,
        default=spec.timeout_s,
        help=f"give up waiting for a reply after this long; default: {spec.timeout_s:g}",
    )
    every.add_argument("--no-spawn", action="store_true", help="do not start the daemon if none runs")
    return parser


def escape_literal_words(parser: argparse.ArgumentParser, spec: CommandSpec, argv: list[str]) -> list[str]:
    """The words of a command, with a prefix before words that only look like options."""
    if not spec.literal:
        return argv
    options = [option for action in parser._actions for option in action.option_strings]

    def is_option(word: str) -> bool:
        name = word.partition("=")[0]
        return name in options or (word.startswith("--") and any(option.startswith(name) for option in options))

    guarded: list[str] = []
    is_value = False
    for at, word in enumerate(argv):
        if word == "--":
            return [*guarded, *(spec.literal + text for text in argv[at + 1 :])]
        is_text = word.startswith("-") and len(word) > 1 and not is_value and not is_option(word)
        guarded.append(spec.literal + word if is_text else word)
        is_value = _is_option_with_value(parser, word)
    return guarded


def _is_option_with_value(parser: argparse.ArgumentParser, word: str) -> bool:
    return any(word in action.option_strings and action.nargs != 0 for action in parser._actions)


def _help_sentence(name: str) -> str:
    text = command_help(name)
    return text[0].upper() + text[1:] + "."


def current_kind_name(text: str) -> str:
    """The kind of this name. `exchange`, the older name of a tool call, is taken for one more version."""
    return "tool_call" if text == "exchange" else text


def parse_positive_number(text: str) -> int:
    """A number of things to list."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def parse_count(text: str) -> int:
    """A number of things to list or to pass over."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def parse_tokens(text: str) -> int:
    """`40000`, `40k` or `1.5m` as a number of tokens."""
    scale = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    try:
        value = float(text[:-1] if scale > 1 else text.replace("_", "").replace(",", "")) * scale
    except ValueError:
        value = -1
    if not 0 <= value <= 2**40:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens, as 40000 or 40k is")
    return int(value)


def parse_frame_tokens(text: str) -> int:
    """A frame's budget: no frame is greater than the protocol's bound, so that a greater budget asks for that."""
    return min(parse_tokens(text), RECALL_TOKENS_MAX)


def _parse_seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value
