"""`ctxgc limit` and `ctxgc run --window`: a size that a window is held to, for a session or for a run.

    run --window 60k ──a header of each request──▶ gateway ──window.sync──▶ the limit of the run
    limit 60k        ──session.set──────────────────────────────────────▶ the limit of the session, before the run's

The pacer holds a limit by batches: no body leaves before the limit is reached, and then the window goes down to the low
watermark (`pacer.low_ratio`), so that the prompt cache breaks rarely.
"""

from __future__ import annotations

import argparse
import json
import sys

from ctxgc.core.display_texts import tokens_text
from ctxgc.fronts.cli import terminal
from ctxgc.fronts.cli.commands import CommandSpec, parse_tokens
from ctxgc.fronts.cli.context import WATCHED_HINT, CommandRefused, Shell, agent_window_tokens, is_only_observed
from ctxgc.fronts.cli.terminal import printable_line
from ctxgc.protocol.gateway_headers import WINDOW_HEADER
from ctxgc.protocol.limits import NO_LIMIT_TOKENS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxgc.protocol.replies.heap import PlanReply
    from ctxgc.protocol.replies.sessions import SessionReply, ShowReply

OFF, UNSET = "off", "unset"
WINDOW_TOKENS_MIN = 8_000
"""A smaller window would not hold the instructions and tools that any coding agent sends with each request."""
AGENTS = ("claude", "codex", "opencode")
"""Agents that send a header of the user's with each request."""
CLAUDE_HEADERS = "ANTHROPIC_CUSTOM_HEADERS"
OPENCODE_CONFIG = "OPENCODE_CONFIG_CONTENT"


def parse_window_tokens(text: str) -> int:
    """A size for a window, as an argument: large enough for any agent at all."""
    size = parse_tokens(text)
    if size < WINDOW_TOKENS_MIN:
        least = f"the least is {WINDOW_TOKENS_MIN // 1000}k"
        raise argparse.ArgumentTypeError(
            f"a window of {text} tokens does not hold an agent's own instructions and tools; {least}"
        )
    return size


def limit_variables(
    agent: str, variables: Mapping[str, str], environment: Mapping[str, str], size: int
) -> dict[str, str]:
    """The variables of an agent's process with the limit's header for the gateway, where variables carry headers."""
    merged = dict(variables)
    if agent == "claude":
        own = variables.get(CLAUDE_HEADERS) or environment.get(CLAUDE_HEADERS, "")
        merged[CLAUDE_HEADERS] = "\n".join([*own.splitlines(), f"{WINDOW_HEADER}: {size}"])
    if agent == "opencode":
        config = json.loads(variables[OPENCODE_CONFIG])
        for provider in config["provider"].values():
            if "baseURL" in provider.get("options", {}):
                provider["options"].setdefault("headers", {})[WINDOW_HEADER] = str(size)
        merged[OPENCODE_CONFIG] = json.dumps(config)
    return merged


def limit_arguments(agent: str, provider: str, size: int) -> tuple[str, ...]:
    """The arguments of an agent's command that add the header, where arguments carry headers."""
    if agent != "codex":
        return ()
    return ("-c", f'model_providers.{provider}.http_headers={{"{WINDOW_HEADER}" = "{size}"}}')


def warn_of_ineffective_limit(mode: str, size: int) -> None:
    """Say that a limit has no effect where the gateway does not edit."""
    if mode != "on":
        why = f"the gateway serves this agent in mode {mode}"
        sys.stderr.write(f"ctxgc: {why}: no window is held to {tokens_text(size)}; `ctxgc mode on` switches it on\n")


def limit(shell: Shell, args: argparse.Namespace) -> int:
    """Set a session's limit, take the limit away, or say the limit in force."""
    if args.size is None:
        shown: ShowReply = shell.call("session.show", shell.session_params())
        return shell.print_reply(shown, lambda page: _print_limit(page, shown))
    size = {OFF: NO_LIMIT_TOKENS, UNSET: 0}.get(args.size) if isinstance(args.size, str) else args.size
    if isinstance(args.size, int) and not args.force:
        _require_feasible_limit(shell, args.size)
    reply: SessionReply = shell.call("session.set", {**shell.session_params(), "window_max_tokens": size})
    show: ShowReply = shell.call("session.show", {"session": reply.session})
    return shell.print_reply(show, lambda page: _print_limit(page, show))


def _require_feasible_limit(shell: Shell, size: int) -> None:
    """Raise `CommandRefused` where the protected part of a window exceeds the limit, and name the protections."""
    reply: PlanReply = shell.call("heap.plan", {**shell.session_params(), "budget_tokens": size, "limit": 0})
    if reply.protected_by:
        raise CommandRefused(
            f"a window of {tokens_text(size)} tokens is too small: {tokens_text(reply.after_tokens)} is protected: "
            f"{terminal.protections_in_words(reply.protected_by)}",
            hint=f"a limit above {tokens_text(reply.after_tokens)}, {_protection_hints(reply.protected_by)}or --force",
        )


def _protection_hints(protected_by: Mapping[str, int]) -> str:
    """A person's ways out of protections that end: pins, and the grace of recalled segments."""
    pins = "fewer pins, " if "pinned" in protected_by else ""
    return pins + ("some turns' wait for recently recalled segments to be free, " if "recalled" in protected_by else "")


def _print_limit(page: terminal.Page, show: ShowReply) -> None:
    size = show.next_collection.limit_tokens
    if not size:
        page.print_line(
            f"{printable_line(show.session)}: no limit; the window has {tokens_text(agent_window_tokens(show))} tokens"
        )
        return
    window = tokens_text(agent_window_tokens(show))
    page.print_line(f"{printable_line(show.session)}: {tokens_text(size)} tokens; the window has {window} now")
    page.print_line(printable_line(show.next_collection.words), "dim")
    if is_only_observed(show):
        page.print_line(f"a limit holds nothing yet: {WATCHED_HINT}", "yellow")
    elif (show.gateway or show.rendered_by) in ("shadow", "off", "agent"):
        page.print_line("nothing leaves this session's requests in this mode; `ctxgc mode on` switches it on", "yellow")


def _parse_limit(text: str) -> int | str:
    return text if text in (OFF, UNSET) else parse_window_tokens(text)


def _add_limit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "size", nargs="?", type=_parse_limit, metavar="SIZE",
        help="tokens of the whole window, 60000 or 60k; off: no limit; unset: as the run or the configuration says; "
        "default: say what is in force",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="even if what must stay is larger than that")


COMMANDS = {"limit": CommandSpec(limit, _add_limit_arguments, has_session=True)}
