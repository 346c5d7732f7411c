"""`ctxgc mode`: the gateway's mode for a session or an agent, switched while the gateway runs.

    [gateway.modes] of the configuration ──one line set or taken out──▶ written in one step ──▶ the gateway reads it

The file is the only truth: a gateway that starts tomorrow finds the same modes. The file is edited as text, so that
comments and order survive, and only where the new file, read again, differs in that mode alone.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib

from ctxgc.fronts.cli.commands import CommandSpec
from ctxgc.fronts.cli.context import WATCHED_HINT, CommandRefused, Shell, is_only_observed, refuse_usage
from ctxgc.fronts.cli.terminal import printable_line
from ctxgc.fronts.setup.toml_edit import encode_toml_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from pathlib import Path
    from typing import Any

    from ctxgc.config import Config
    from ctxgc.protocol.replies.sessions import ShowReply

MODES = ("shadow", "on", "off")
UNSET = "unset"
SECTION = "[gateway.modes]"
AGENT = re.compile(r"[a-z][a-z0-9_]{0,31}")
BARE = re.compile(r"[A-Za-z0-9_-]+")

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
    name, is_watched = (_agent_source(shell, args.agent), False) if args.agent else _main_session(shell)
    if args.mode:
        _write_mode(path, name, "" if args.mode == UNSET else args.mode)
    reply = _mode_in_force(_load_config(path, is_given=bool(args.config)), name)
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


def _main_session(shell: Shell) -> tuple[str, bool]:
    """The name of the session meant, and whether ctxgc only watches it.

    Sub-agents are served as their parent session.
    """
    reply: ShowReply = shell.call("session.show", shell.session_params())
    main = reply.session.partition("/")[0]
    name = reply.session if main.endswith(":") else main  # `client:/home/me/src` is named after a folder.
    return name, is_only_observed(reply)


def _load_config(path: Path, *, is_given: bool) -> Config:
    from ctxgc.config import BadConfig, load_config

    try:
        return load_config(path if is_given else None, os.environ)
    except BadConfig as error:
        raise CommandRefused(str(error), kind="config") from None


def _mode_in_force(config: Config, name: str) -> dict[str, Any]:
    """The mode of a name and the key that sets the mode: the name's own, the agent's, or the general key."""
    ours = config.gateway
    for key in (name, name.partition(":")[0]):
        if key in ours.modes:
            return {"name": name, "mode": ours.modes[key], "by": f"gateway.modes.{key}"}
    return {"name": name, "mode": ours.mode, "by": "gateway.mode, unless the gateway was started with --mode"}


def _write_mode(path: Path, name: str, wanted: str) -> None:
    """Set a mode in the file, or remove the mode where `wanted` is empty."""
    target = path.resolve()  # A link stays a link.
    try:
        text = target.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise CommandRefused(f"{path}: cannot be read: {error}", kind="config") from None
    fresh = edit_mode(text, name, wanted)
    if fresh is None:
        do = f"write {_mode_line(name, wanted)}" if wanted else f"take {name} out"
        raise CommandRefused(
            f"{path} is not laid out so that one mode in it can be changed for you", kind="config",
            hint=f"{do} under {SECTION} by hand",
        )  # fmt: skip
    if fresh == text:
        return
    try:
        replace_file(target, fresh)
    except OSError as error:
        raise CommandRefused(f"{path}: cannot be written: {error}", kind="config") from None


def edit_mode(text: str, name: str, wanted: str) -> str | None:
    """The TOML text with that mode set, or taken out; `None` where no line of its own can set the mode."""
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    gateway = expected.setdefault("gateway", {})
    modes = gateway.setdefault("modes", {}) if isinstance(gateway, dict) else None
    if not isinstance(modes, dict):
        return None
    if modes.get(name, "") == wanted:
        return text
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    heads = [at for at, line in enumerate(lines) if line.split("#")[0].strip() == SECTION]
    if not heads:
        lines += ["\n"] * bool(lines) + [f"{SECTION}\n"]
        heads = [len(lines) - 1]
    spellings = (json.dumps(name), encode_toml_value(name), f"'{name}'", name)
    own = re.compile(rf"\s*(?:{'|'.join(map(re.escape, spellings))})\s*=")
    start = heads[0] + 1
    end = next((at for at in range(start, len(lines)) if lines[at].lstrip().startswith("[")), len(lines))
    lines[start:end] = [line for line in lines[start:end] if not own.match(line)]
    if wanted:
        lines.insert(start, _mode_line(name, wanted) + "\n")
        modes[name] = wanted
    else:
        modes.pop(name, None)
    fresh = "".join(lines)
    try:
        return fresh if tomllib.loads(fresh) == expected else None
    except tomllib.TOMLDecodeError:
        return None


def _mode_line(name: str, wanted: str) -> str:
    key = name if BARE.fullmatch(name) else encode_toml_value(name)
    return f'{key} = "{wanted}"'


def replace_file(path: Path, text: str) -> None:
    """Write the file in a single step, with its rights: a reader meets the old file or the new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rights = path.stat().st_mode & 0o777 if path.exists() else 0o600
    handle, scratch = tempfile.mkstemp(prefix=".config-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), rights)
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise


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
