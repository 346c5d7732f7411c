"""`ctxgc run` and `ctxgc env`: an agent whose calls go through the gateway. No file of the agent's is changed.

    run   agent there? ─▶ daemon up ─▶ gateway up, in the mode asked ─▶ become the agent
    env   the same variables and words, for a shell to evaluate; starts nothing

An agent's `AgentSetup`: variables for the process, and words before the agent's own arguments. The base URL names the
upstream, so that no request with the agent's key can go to another upstream.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from secrets import token_hex
from typing import NamedTuple

from ctxgc.fronts.cli import agent_setups, gateway_status, limit, own_base_urls
from ctxgc.fronts.cli.agent_setups import AgentSetup
from ctxgc.fronts.cli.base_url import gateway_address, prepare_gateway_base_url
from ctxgc.fronts.cli.commands import CommandSpec
from ctxgc.fronts.cli.configuration import load_config_or_refuse
from ctxgc.fronts.cli.context import CommandRefused, Shell, refuse_usage
from ctxgc.fronts.cli.gateway_processes import start_gateway
from ctxgc.gateway.secret import PATH_PREFIX
from ctxgc.protocol.agents import (
    AIDER,
    CLAUDE_CODE,
    CLIENT,
    CODEX,
    COPILOT_CLI,
    CRUSH,
    GOOSE,
    MINI_SWE_AGENT,
    OPENCODE,
    PI,
    QWEN_CODE,
)

_SESSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ctxgc.config_sections import GatewayConfig


AGENTS: dict[str, tuple[str, Callable[[str, GatewayConfig, Mapping[str, str]], AgentSetup]]] = {
    "claude": (CLAUDE_CODE, agent_setups.claude_setup),
    "codex": (CODEX, agent_setups.codex_setup),
    "opencode": (OPENCODE, agent_setups.opencode_setup),
    "pi": (PI, agent_setups.pi_setup),
    "qwen": (QWEN_CODE, agent_setups.provider_variables_setup),
    "copilot": (COPILOT_CLI, agent_setups.copilot_setup),
    "aider": (AIDER, agent_setups.provider_variables_setup),
    "goose": (GOOSE, agent_setups.goose_setup),
    "crush": (CRUSH, agent_setups.crush_setup),
    "mini": (MINI_SWE_AGENT, agent_setups.provider_variables_setup),
}
"""By program name: the source of the agent's sessions, and the way."""
SELF_NAMED = frozenset({CLAUDE_CODE, CODEX, OPENCODE})
"""Agents that name their sessions in each request; the path of the base URL names the others'."""


class AgentStart(NamedTuple):
    """The needs of `ctxgc run` to start a program."""

    program: str
    source: str
    url: str
    """The gateway's address."""
    secret: str
    way: AgentSetup


def _refuse_conflicting_base_urls(agent: str, url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> None:
    """Refuse to lay the gateway over a base URL in the agent's own files that leads elsewhere."""
    if agent not in own_base_urls.READERS:
        return
    for own in own_base_urls.READERS[agent](environment):
        # An installation of ours leads Codex to the route of the login it then had: a run leads to that of today's.
        is_ours = agent == "codex" and agent_setups.is_same_upstream(own.url, agent_setups.CHATGPT, url, gateway)
        if not is_ours:
            agent_setups.require_same_upstream(own, url, gateway)


def run(shell: Shell, args: argparse.Namespace) -> int:
    """Start daemon and gateway where needed and become the agent; returns only where that fails."""
    import shutil

    program = shutil.which(args.agent)
    if program is None:
        raise CommandRefused(f"there is no program `{args.agent}` on the path", hint="install the agent first")
    start = _prepare_start(args.agent, args.name)
    if "--settings" in start.way.words and any(word.partition("=")[0] == "--settings" for word in args.arguments):
        raise CommandRefused(
            "--settings is given, and a settings file of Claude Code has a base URL that ctxgc must win over by it",
            hint="take ANTHROPIC_BASE_URL out of that file, or --settings out of this command",
        )
    if args.window:
        start = start._replace(way=_setup_with_limit_header(args.agent, start.way, args.window))
    shell.connect()
    socket = shell.path
    shell.close()  # The daemon must not serve a connection that the agent would inherit.
    status = _serving_gateway_status(start)
    if status is None:
        if args.no_spawn:
            hint = "`ctxgc gateway` serves there"
            raise CommandRefused(f"no gateway serves at {start.url}", kind="unreachable", hint=hint)
        status = start_gateway(start.url, start.secret, socket, args.mode)
    if warning := gateway_status.other_build_warning(start.url, status):
        sys.stderr.write(f"ctxgc: {warning}\n")
    mode = status["modes"].get(start.source, status["mode"])
    if args.mode and mode != args.mode:
        raise CommandRefused(
            f"the gateway at {start.url} serves {start.source} in mode {mode}",
            hint=f"`ctxgc mode {args.mode} --agent {start.source}` switches it while it runs",
        )
    if args.window:
        limit.warn_of_ineffective_limit(mode, args.window)
    words = [program, *start.way.words, *args.arguments]
    sys.stdout.flush()
    os.execve(program, words, {**os.environ, **start.way.variables})  # noqa: S606 (the program that the user named)


def env(shell: Shell, args: argparse.Namespace) -> int:
    """Print the settings that send the agent through the gateway."""
    start = _prepare_start(args.agent, args.name)
    if missing := _gateway_warning(start):  # Not on stdout, which a shell evaluates.
        sys.stderr.write(f"ctxgc: {missing}\n")
    way = start.way
    if args.json:
        shell.print_json({"variables": dict(way.variables), "words": way.words})
        return 0
    for name, value in way.variables.items():
        print(f"export {name}={shlex.quote(value)}")
    if way.words:
        print(f"alias {args.agent}={shlex.quote(shlex.join([args.agent, *way.words]))}")
    return 0


def _setup_with_limit_header(agent: str, way: AgentSetup, size: int) -> AgentSetup:
    """The way with the header that says the limit of this run to the gateway. Raises `CommandRefused`."""
    if agent not in limit.AGENTS:
        names = ", ".join(limit.AGENTS)
        raise CommandRefused(
            f"--window is for {names}", kind="usage", hint="`ctxgc limit` holds a session while it runs"
        )
    variables = limit.limit_variables(agent, way.variables, os.environ, size)
    return AgentSetup(variables, (*way.words, *limit.limit_arguments(agent, agent_setups.PROVIDER, size)))


def _gateway_warning(start: AgentStart) -> str:
    """A sentence about the gateway there, with the next step; empty for a gateway that serves.

    Raises `CommandRefused` for a program that is no gateway of this user's: such a program must not get the secret,
    which lies in the output of `env`.
    """
    from ctxgc.fronts.cli.gateway_processes import INSTALL_HINT, has_aiohttp

    if status := _serving_gateway_status(start):
        return gateway_status.other_build_warning(start.url, status)
    if not has_aiohttp():
        missing = f"and aiohttp, which it needs, is missing ({INSTALL_HINT})"
    else:
        missing = "`ctxgc gateway` starts one"
    return f"no gateway serves at {start.url}, {missing}: until then {start.program} reaches no model this way"


def _fresh_session_name(program: str) -> str:
    """The name of a session that begins now."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", program).strip("._-")[:64] or "session"
    return f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}-{token_hex(2)}"


def _prepare_start(agent: str, name: str) -> AgentStart:
    """The gateway's address, and the agent's way to it; a session named `name`, or a fresh one."""
    source, way = AGENTS.get(agent, (CLIENT, agent_setups.provider_variables_setup))
    if name and source in SELF_NAMED:
        refuse_usage(f"{agent} names its sessions itself: --name is for other agents")
    if name and not _SESSION_NAME.fullmatch(name):
        refuse_usage(f"{name!r} is no name of a session: letters, digits, `.`, `_`, `-`, at most 128")
    config = load_config_or_refuse()
    base = prepare_gateway_base_url(config)
    secret = base.rpartition(PATH_PREFIX)[2]
    if source not in SELF_NAMED:
        session = name or _fresh_session_name(os.path.basename(agent))
        base += f"/s/{session}" if source == CLIENT else f"/s/{source}:{session}"
    _refuse_conflicting_base_urls(agent, base, config.gateway, os.environ)
    return AgentStart(agent, source, gateway_address(config.gateway), secret, way(base, config.gateway, os.environ))


def _serving_gateway_status(start: AgentStart) -> dict[str, Any] | None:
    return gateway_status.fetch_own_status(start.url, start.secret)


def _add_agent_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="", help="of the session; a fresh one if left out")
    parser.add_argument("agent", metavar="AGENT", help=f"{', '.join(AGENTS)}; or any program that takes a base URL")


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    from argparse import REMAINDER

    modes = ("shadow", "on", "off")
    parser.add_argument(
        "--mode",
        choices=modes,
        default="",
        help="mode of a gateway started here; a running gateway must match",
    )
    parser.add_argument(
        "--window", type=limit.parse_window_tokens, default=0, metavar="SIZE",
        help=f"hold the window of this run to so many tokens, 60000 or 60k; for {', '.join(limit.AGENTS)}",
    )  # fmt: skip
    _add_agent_arguments(parser)
    parser.add_argument("arguments", nargs=REMAINDER, metavar="…", help="everything after AGENT is the agent's own")


COMMANDS = {
    "run": CommandSpec(
        run,
        _add_run_arguments,
        notes="Starts the daemon and the gateway where they do not run. Options of ctxgc stand before AGENT.",
    ),
    "env": CommandSpec(
        env,
        _add_agent_arguments,
        notes='Use it as: eval "$(ctxgc env claude)". Starts nothing; makes the gateway\'s secret once.',
    ),
}
