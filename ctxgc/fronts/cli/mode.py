"""`ctxgc mode`: the gateway's mode for a session or an agent, switched while the gateway runs.

    [gateway.modes] of the configuration ──one line set or taken out──▶ written in one step ──▶ the gateway reads it

The file is the only truth: a gateway that starts tomorrow finds the same modes. The file is edited as text, so that
comments and order survive, and only where the new file, read again, differs in that mode alone.
"""

from __future__ import annotations

import os
import re

from ctxgc.fronts.cli.commands import CommandSpec
from ctxgc.fronts.cli.configuration import load_config_or_refuse
from ctxgc.fronts.cli.context import WATCHED_HINT, CommandRefused, Shell, is_only_observed, refuse_usage
from ctxgc.fronts.cli.terminal import printable_line
from ctxgc.fronts.setup.files import read_text, write_text
from ctxgc.fronts.setup.toml_edit import MODES_HEAD, edit_mode, mode_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from pathlib import Path
    from typing import Any

    from ctxgc.config import Config
    from ctxgc.protocol.replies.sessions import ShowReply

MODES = ("shadow", "on", "off")
UNSET = "unset"
AGENT = re.compile(r"[a-z][a-z0-9_]{0,31}")

MEANINGS = {
    "shadow": "collections are decided and journalled, and no request is edited",
    "on": "evicted bodies leave the requests",
    "off": "requests only pass through",
}


def mode(shell: Shell, args: argparse.Namespace) -> int:
    """Say the mode in force for a session or an agent, after setting a given mode."""
    from pathlib import Path

    from ctxgc.config import config_path

    if args.agent and (args.session or not AGENT.fullmatch(args.agent)):
        refuse_usage("an agent is named as in `claude_code`, and not together with a session")
    path = Path(args.config) if args.config else config_path(os.environ)
    name, is_watched = (_agent_source(shell, args.agent), False) if args.agent else _main_session_and_is_observed(shell)
    if args.mode:
        _write_mode(path, name, "" if args.mode == UNSET else args.mode)
    reply = _mode_in_force(load_config_or_refuse(path if args.config else None), name)
    reply["changed"] = f"{name}: {reply['mode']}, by {reply['by']}"
    if args.mode:
        reply["next"] = "from the session's next request on; a gateway that runs reads it within a second"
    if is_watched:
        reply["next"] = f"a mode has no effect yet: {WATCHED_HINT}"

    def print_page(page: Any) -> None:
        page.print_line(
            f"{printable_line(name)}: {reply['mode']}  ({MEANINGS[reply['mode']]}; by {printable_line(reply['by'])})"
        )
        if "next" in reply:
            page.print_line(reply["next"], "yellow" if is_watched else "dim")

    return shell.print_reply(reply, print_page)


def _agent_source(shell: Shell, name: str) -> str:
    """The source of an agent's sessions, by source or program. Raises `CommandRefused` for an unknown name.

    A program with the gateway's header is known by its sessions.
    """
    from ctxgc.config_sections import similar_agent
    from ctxgc.fronts.cli.agents import AGENTS as PROGRAMS
    from ctxgc.protocol.agents import AGENTS

    source = PROGRAMS[name][0] if name in PROGRAMS else name
    if source in AGENTS or shell.has_session(source=source):
        return source
    meant = similar_agent(name)
    hint = f"did you mean `{meant}`?" if meant else f"there are {', '.join(AGENTS)}, and those `ctxgc sessions` lists"
    raise CommandRefused(f"no agent is called {name!r}", kind="usage", hint=hint)


def _main_session_and_is_observed(shell: Shell) -> tuple[str, bool]:
    """The name of the session meant, and whether ctxgc only watches it.

    Sub-agents are served as their parent session.
    """
    reply: ShowReply = shell.call("session.show", shell.session_params())
    main = reply.session.partition("/")[0]
    name = reply.session if main.endswith(":") else main  # `client:/home/me/src` is named after a folder.
    return name, is_only_observed(reply)


def _mode_in_force(config: Config, name: str) -> dict[str, Any]:
    """The mode of a name and the key that sets the mode: the name's own, the agent's, or the general key."""
    ours = config.gateway
    for key in (name, name.partition(":")[0]):
        if key in ours.modes:
            return {"name": name, "mode": ours.modes[key], "by": f"gateway.modes.{key}"}
    return {"name": name, "mode": ours.mode, "by": "gateway.mode, unless the gateway was started with --mode"}


def _write_mode(path: Path, name: str, wanted: str) -> None:
    """Set a mode in the file, or remove the mode where `wanted` is empty."""
    text = read_text(path) or ""
    fresh = edit_mode(text, name, wanted)
    if fresh is None:
        do = f"write {mode_line(name, wanted)}" if wanted else f"take {name} out"
        raise CommandRefused(
            f"{path} is not laid out so that one mode in it can be changed for you", kind="config",
            hint=f"{do} under {MODES_HEAD} by hand",
        )  # fmt: skip
    if fresh != text:
        write_text(path, fresh)


def _add_mode_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "mode", nargs="?", choices=(*MODES, UNSET), metavar="MODE",
        help="shadow, on, off, or unset: the agent's mode, or the general mode; default: print the mode in force",
    )  # fmt: skip
    parser.add_argument(
        "--agent", default="", metavar="A", help="every session of claude_code (or claude), codex, opencode, …"
    )
    parser.add_argument("--config", default="", metavar="FILE", help="the gateway's configuration file")


COMMANDS = {"mode": CommandSpec(mode, _add_mode_arguments, has_session=True)}
