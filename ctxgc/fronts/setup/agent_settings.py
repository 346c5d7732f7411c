"""The settings by which each agent goes through the gateway for good: the settings of a `ctxgc run`, in the agent's
files.

    Way of `ctxgc run` (variables, words) ──▶ settings.json of Claude Code · config.toml of Codex · opencode.json

So an installation sets every variable that a run sets. A setting that sends the agent elsewhere, or that would make
ours without effect, is a reason to refuse.
"""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ctxgc.config import Config
from ctxgc.fronts.cli.agent_setups import AgentSetup, is_same_upstream
from ctxgc.fronts.cli.agents import AGENTS
from ctxgc.fronts.cli.base_url import gateway_address, prepare_gateway_base_url
from ctxgc.fronts.cli.context import CommandRefused
from ctxgc.fronts.setup import json_edit, toml_edit
from ctxgc.fronts.setup.changes import Change, FileEdit, NewFile, undo_changes
from ctxgc.fronts.setup.files import read_text
from ctxgc.fronts.setup.json_edit import Uneditable
from ctxgc.protocol import discovery

STATUS_LINE = "status --line --stdin"
CODEX_KEY = "openai_base_url"


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of an installation beside the base URL."""

    has_status_line: bool = True
    command: str = "ctxgc"
    """How an agent calls the command."""
    makes_secret: bool = True
    """Whether the gateway's secret is made where there is none; a plan that is only shown has a stand-in."""


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """The edits of an agent's files, and notes for the user."""

    edits: tuple[FileEdit, ...] = ()
    new_files: tuple[NewFile, ...] = ()
    notes: tuple[str, ...] = ()
    needs_gateway: bool = True


def agent_home_folder(environment: Mapping[str, str], variable: str, *usual: str) -> Path:
    """The agent's folder: where its variable says, else below the user's home."""
    own = environment.get(variable, "")
    return Path(own) if own.startswith("/") else Path(discovery.home_folder(environment), *usual)


def _agent_setup(agent: str, config: Config, environment: Mapping[str, str], options: Options) -> AgentSetup:
    base = prepare_gateway_base_url(config, makes_secret=options.makes_secret)
    return AGENTS[agent][1](base, config.gateway, environment)


def text_before_installation(path: Path, standing: list[FileEdit]) -> str:
    """The text of a settings file without an installation of ours. Raises `CommandRefused`."""
    text = read_text(path) or ""
    try:
        for edit in standing:
            if edit.file == str(path) and edit.format != "whole":
                text, _ = undo_changes(text, edit)
        return text
    except Uneditable as error:
        raise CommandRefused(
            f"{path} cannot be changed for you: {error}", kind="config", hint="mend it first"
        ) from None


def claude_gateway_plan(
    config: Config, environment: Mapping[str, str], options: Options, standing: list[FileEdit]
) -> AgentPlan:
    """Claude Code: variables under `env` of the settings, and the status line."""
    path = agent_home_folder(environment, "CLAUDE_CONFIG_DIR", ".claude") / "settings.json"
    settings = parse_json_settings(path, text_before_installation(path, standing))
    own = settings.get("env", {})
    own = {name: str(value) for name, value in own.items()} if isinstance(own, dict) else {}
    way = _agent_setup("claude", config, {**environment, **own}, options)
    variables = {**_settings_variables(way), **way.variables}
    changes = [Change(("env", name), json.dumps(value)) for name, value in variables.items() if own.get(name) != value]
    notes = []
    if options.has_status_line and "statusLine" not in settings:
        line = {"type": "command", "command": f"{shlex.quote(options.command)} {STATUS_LINE}"}
        changes.append(Change(("statusLine",), json.dumps(line)))
    elif options.has_status_line:
        notes.append(f"your status line stays; `{options.command} {STATUS_LINE}` prints the one of ctxgc")
    return AgentPlan((FileEdit(str(path), "json", tuple(changes)),), notes=tuple(notes))


def _settings_variables(way: AgentSetup) -> dict[str, str]:
    """Variables that a run gives by `--settings`."""
    given = next((word for flag, word in pairwise(way.words) if flag == "--settings"), "{}")
    return dict(json.loads(given).get("env", {}))


def codex_gateway_plan(
    config: Config, environment: Mapping[str, str], options: Options, standing: list[FileEdit]
) -> AgentPlan:
    """Codex: the base URL of the configured provider, so that Codex's list of sessions stays whole."""
    path = agent_home_folder(environment, "CODEX_HOME", ".codex") / "config.toml"
    try:
        settings = toml_edit.parse_toml(text_before_installation(path, standing))
    except Uneditable as error:
        raise CommandRefused(
            f"{path} cannot be changed for you: {error}", kind="config", hint="mend it first"
        ) from None
    profile = settings.get("profiles", {}).get(settings.get("profile", ""), {})
    provider = profile.get("model_provider") or settings.get("model_provider") or "openai"
    if provider != "openai":
        raise CommandRefused(
            f"{path} names a provider of its own, `{provider}`: `{CODEX_KEY}` would have no effect", kind="config",
            hint=f"set `base_url` of [model_providers.{provider}] to the gateway by hand, or take `model_provider` out",
        )  # fmt: skip
    own = settings.get(CODEX_KEY)
    own_base = {"OPENAI_BASE_URL": own} if isinstance(own, str) else {}
    way = _agent_setup("codex", config, {**environment, **own_base}, options)
    words = tomllib.loads("\n".join(word for flag, word in pairwise(way.words) if flag == "-c"))
    base = words["model_providers"][words["model_provider"]]["base_url"]
    note = "a change of Codex's login, from a key to ChatGPT or back, needs `ctxgc install codex` again"
    return AgentPlan((FileEdit(str(path), "toml", (Change((CODEX_KEY,), base),)),), notes=(note,))


def opencode_gateway_plan(
    config: Config, environment: Mapping[str, str], options: Options, standing: list[FileEdit]
) -> AgentPlan:
    """OpenCode: base URLs of its providers `anthropic` and `openai`."""
    folder = agent_home_folder(environment, "XDG_CONFIG_HOME", ".config") / "opencode"
    names = ("opencode.jsonc", "opencode.json")
    path = folder / next((name for name in names if (folder / name).exists()), names[-1])
    settings = parse_json_settings(path, text_before_installation(path, standing))
    way = _agent_setup("opencode", config, {"OPENCODE_CONFIG_CONTENT": ""}, options)
    overlay = json.loads(way.variables["OPENCODE_CONFIG_CONTENT"])
    changes = []
    for provider, value in overlay["provider"].items():
        for name, base in value["options"].items():
            place = ("provider", provider, "options", name)
            _require_replaceable_url(path, settings, place, config)
            changes.append(Change(place, json.dumps(base)))
    return AgentPlan((FileEdit(str(path), "json", tuple(changes)),))


def _require_replaceable_url(path: Path, settings: dict[str, Any], place: tuple[str, ...], config: Config) -> None:
    """Refuse to replace an address to which the gateway would not send; `place` names the provider second."""
    value: Any = settings
    for key in place:
        value = value.get(key) if isinstance(value, dict) else None
    address = gateway_address(config.gateway)
    if value is None or (isinstance(value, str) and is_same_upstream(value, place[1], address, config.gateway)):
        return
    raise CommandRefused(
        f"{path} sets {'.'.join(place)} to another address", kind="config",
        hint=f"set `upstream_{place[1]}` under [gateway] to that address, or take it out",
    )  # fmt: skip


def parse_json_settings(path: Path, text: str) -> dict[str, Any]:
    """The values of a settings file; empty for an empty file. Raises `CommandRefused`."""
    if json_edit.is_blank(text):
        return {}
    try:
        json_edit.parse_nodes(text)
        value = json_edit.decode_json(text)
    except Uneditable as error:
        raise CommandRefused(
            f"{path} cannot be changed for you: {error}", kind="config", hint="mend it first"
        ) from None
    return dict(value)


PLANS: dict[str, Callable[[Config, Mapping[str, str], Options, list[FileEdit]], AgentPlan]] = {
    "claude": claude_gateway_plan,
    "codex": codex_gateway_plan,
    "opencode": opencode_gateway_plan,
}
"""By the name of the agent's program."""
