"""`ctxgc run` and `ctxgc env`: an agent whose calls go through the gateway. No file of the agent's is changed.

    run   agent there? ─▶ daemon up ─▶ gateway up, in the mode asked ─▶ become the agent
    env   the same variables and words, for a shell to evaluate; starts nothing

An agent's `AgentSetup`: variables for the process, and words before the agent's own arguments. The base URL names the
upstream, so that no request with the agent's key can go to another upstream.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ctxgc.fronts.cli import agent_setups, gateway_status, limit, own_base_urls
from ctxgc.fronts.cli.agent_setups import AgentSetup
from ctxgc.fronts.cli.base_url import gateway_address, openai_base_url, prepare_gateway_base_url
from ctxgc.fronts.cli.claude_settings import effective_setting
from ctxgc.fronts.cli.codex_login import has_chatgpt_login
from ctxgc.fronts.cli.commands import CommandSpec
from ctxgc.fronts.cli.context import CommandRefused, Shell, refuse_usage
from ctxgc.fronts.cli.own_base_urls import OwnBaseUrl
from ctxgc.fronts.cli.terminal import printable_text
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
from ctxgc.protocol.spawn import LOG_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from subprocess import Popen
    from typing import Any

    from ctxgc.config_sections import GatewayConfig

START_S = 15.0
POLL_S = 0.05
LOG_NAME = "gateway.log"
WORDS_BYTES_MAX = 2000
PROVIDER = "ctxgc"
"""Codex's name for the gateway as a provider."""
ANTHROPIC_URL = "https://api.anthropic.com"
BASE_URL = "ANTHROPIC_BASE_URL"


def claude_setup(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> AgentSetup:
    """Claude Code: its base URL. The agent's key, or login, goes along.

    Behind a base URL other than its maker's, Claude Code turns its search for tools off and assumes a smaller window:
    both are set right, unless the user set them.
    """
    for name in ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY"):
        own = environment.get(name) or getattr(effective_setting(name, environment), "value", "")
        if own not in ("", "0", "false"):
            raise CommandRefused(f"{name} is set: Claude Code then does not speak to an API that the gateway knows")
    upstream = gateway.upstream_anthropic
    agent_setups.require_same_upstream_for_variables(agent_setups.ANTHROPIC, [BASE_URL], url, gateway, environment)
    wanted = {"ENABLE_TOOL_SEARCH": "true"}
    if not upstream or upstream.rstrip("/").removesuffix("/v1") == ANTHROPIC_URL:
        wanted |= {"_CLAUDE_CODE_ASSUME_FIRST_PARTY_BASE_URL": "1"}
    ours = {name: value for name, value in wanted.items() if name not in environment}
    address = f"{url}/anthropic"
    return AgentSetup({BASE_URL: address} | ours, _claude_settings_arguments(address, environment, url, gateway))


def _claude_settings_arguments(
    address: str, environment: Mapping[str, str], url: str, gateway: GatewayConfig
) -> tuple[str, ...]:
    """Arguments that win over a base URL in Claude Code's settings files; none without such a file."""
    own = effective_setting(BASE_URL, environment)
    if own is None or own.value.rstrip("/") == address:
        return ()
    if own.is_managed:
        raise CommandRefused(
            f"{BASE_URL} is {printable_text(own.value)} in {printable_text(own.path)}, which nothing wins over",
            kind="config",
            hint="whoever manages that file decides where Claude Code sends",
        )
    own_url = OwnBaseUrl(agent_setups.ANTHROPIC, own.value, f"{BASE_URL} in {own.path}")
    agent_setups.require_same_upstream(own_url, url, gateway)
    return ("--settings", json.dumps({"env": {BASE_URL: address}}))


def codex_setup(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> AgentSetup:
    """Codex: a provider for this run alone, with Codex's own login, over HTTP (the WebSocket cannot be read).

    A ChatGPT login goes to ChatGPT's address: the API does not take such a login, and no other server may see the
    login.
    """
    is_chatgpt = has_chatgpt_login(environment)
    if not is_chatgpt:
        agent_setups.require_same_upstream_for_variables(
            agent_setups.OPENAI, ["OPENAI_BASE_URL"], url, gateway, environment
        )
    provider = {
        "name": '"OpenAI"',  # By this name it sends what it sends to its own provider.
        "base_url": json.dumps(f"{url}/chatgpt" if is_chatgpt else openai_base_url(url, gateway)),
        "wire_api": '"responses"',
        "requires_openai_auth": "true",
        "supports_websockets": "false",
    }
    table = ", ".join(f"{key} = {value}" for key, value in provider.items())
    return AgentSetup({}, ("-c", f'model_provider="{PROVIDER}"', "-c", f"model_providers.{PROVIDER}={{{table}}}"))


def opencode_setup(url: str, gateway: GatewayConfig, environment: Mapping[str, str]) -> AgentSetup:
    """OpenCode: base URLs of the providers `anthropic` and `openai`, laid over OpenCode's configuration."""
    content = environment.get("OPENCODE_CONFIG_CONTENT", "") or "{}"
    try:
        config = json.loads(content)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise CommandRefused("OPENCODE_CONFIG_CONTENT is set to what is not a JSON object", hint="unset it, or mend it")
    for provider, name in ((agent_setups.ANTHROPIC, BASE_URL), (agent_setups.OPENAI, "OPENAI_BASE_URL")):
        agent_setups.require_same_upstream_for_variables(provider, [name], url, gateway, environment)
    bases = {"anthropic": f"{url}/anthropic/v1", "openai": openai_base_url(url, gateway)}
    ours = {"provider": {name: {"options": {"baseURL": base}} for name, base in bases.items()}}
    return AgentSetup({"OPENCODE_CONFIG_CONTENT": json.dumps(_merge_config(config, ours))})


AGENTS: dict[str, tuple[str, Callable[[str, GatewayConfig, Mapping[str, str]], AgentSetup]]] = {
    "claude": (CLAUDE_CODE, claude_setup),
    "codex": (CODEX, codex_setup),
    "opencode": (OPENCODE, opencode_setup),
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


def _merge_config(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge_config(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


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
    status = _serving_gateway_status(start) or _start_gateway(start, socket, args)
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
    return AgentSetup(variables, (*way.words, *limit.limit_arguments(agent, PROVIDER, size)))


def _gateway_warning(start: AgentStart) -> str:
    """A sentence about the gateway there, with the next step; empty for a gateway that serves.

    Raises `CommandRefused` for a program that is no gateway of this user's: such a program must not get the secret,
    which lies in the output of `env`.
    """
    from ctxgc.fronts.cli.gateway import INSTALL_HINT, has_aiohttp

    if status := _serving_gateway_status(start):
        return gateway_status.other_build_warning(start.url, status)
    if not has_aiohttp():
        missing = f"and aiohttp, which it needs, is missing ({INSTALL_HINT})"
    else:
        missing = "`ctxgc gateway` starts one"
    return f"no gateway serves at {start.url}, {missing}: until then {start.program} reaches no model this way"


def _prepare_start(agent: str, name: str) -> AgentStart:
    """The gateway's address, and the agent's way to it; a session named `name`, or a fresh one."""
    from ctxgc.config import BadConfig, load_config

    source, way = AGENTS.get(agent, (CLIENT, agent_setups.provider_variables_setup))
    if name and source in SELF_NAMED:
        refuse_usage(f"{agent} names its sessions itself: --name is for other agents")
    if name and not agent_setups.NAME.fullmatch(name):
        refuse_usage(f"{name!r} is no name of a session: letters, digits, `.`, `_`, `-`, at most 128")
    try:
        config = load_config(None, os.environ)
    except BadConfig as error:
        raise CommandRefused(str(error), kind="config") from None
    base = prepare_gateway_base_url(config)
    secret = base.rpartition(PATH_PREFIX)[2]
    if source not in SELF_NAMED:
        session = name or agent_setups.fresh_session_name(os.path.basename(agent))
        base += f"/s/{session}" if source == CLIENT else f"/s/{source}:{session}"
    _refuse_conflicting_base_urls(agent, base, config.gateway, os.environ)
    return AgentStart(agent, source, gateway_address(config.gateway), secret, way(base, config.gateway, os.environ))


def _serving_gateway_status(start: AgentStart) -> dict[str, Any] | None:
    return gateway_status.fetch_own_status(start.url, start.secret)


def _start_gateway(start: AgentStart, socket: str, args: argparse.Namespace) -> dict[str, Any]:
    """Start a gateway that outlives the command; the gateway's status."""
    import subprocess

    from ctxgc.fronts.cli.gateway import require_aiohttp

    url = start.url
    if args.no_spawn:
        raise CommandRefused(f"no gateway serves at {url}", kind="unreachable", hint="`ctxgc gateway` serves there")
    require_aiohttp()
    command = [sys.executable, "-m", "ctxgc.fronts.cli.main", "gateway", "--socket", socket]
    command += ["--mode", args.mode] if args.mode else []
    log_path = os.path.join(os.path.dirname(socket), LOG_NAME)
    log = os.open(log_path, LOG_FLAGS, 0o600)
    try:
        child = subprocess.Popen(  # noqa: S603 (our own program)
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    finally:
        os.close(log)
    status = _wait_for_gateway(start, child, log_path)
    sys.stderr.write(f"ctxgc: started the gateway at {url}, pid {child.pid}, mode {status['mode']}; log {log_path}\n")
    sys.stderr.write("       it goes on when the agent has ended; `ctxgc gateway --stop` ends it\n")
    return status


def _wait_for_gateway(start: AgentStart, child: Popen[bytes], log_path: str) -> dict[str, Any]:
    gives_up_at = time.monotonic() + START_S
    while True:
        # Where two start at once one of them finds the port taken and goes; the other serves both.
        is_gone = child.poll() is not None
        status = _serving_gateway_status(start)
        if status is not None:
            return status
        if is_gone or time.monotonic() > gives_up_at:
            raise CommandRefused(
                f"the gateway did not start: {_last_log_line(log_path)}", kind="unreachable", hint=log_path
            )
        time.sleep(POLL_S)


def _last_log_line(log_path: str) -> str:
    with open(log_path, "rb") as log:
        lines = log.read(WORDS_BYTES_MAX).decode("utf-8", "replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")


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
        "--window", type=limit.parse_window_size, default=0, metavar="SIZE",
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
