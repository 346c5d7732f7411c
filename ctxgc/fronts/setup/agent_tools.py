"""The settings by which an agent has ctxgc's tools and tells ctxgc of its work: the MCP server, the hooks.

    mcp     the server's entry, and `/ctxgc` where the agent reads commands from files
    hooks   `ctxgc hook` at the events of a session, behind what the user has there

Neither needs the gateway.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctxgc.fronts.cli.context import CommandRefused
from ctxgc.fronts.setup.agent_settings import (
    AgentPlan,
    Options,
    agent_home_folder,
    parse_json_settings,
    text_before_installation,
)
from ctxgc.fronts.setup.changes import Change, FileEdit, is_unchanged, new_file, read_text
from ctxgc.fronts.setup.toml_edit import encode_toml_value
from ctxgc.protocol import discovery

SERVER = "ctxgc"
HOOK_S = 5
"""After so long an agent gives a hook up; a hook gives up by itself long before."""
EVENTS = {
    "SessionStart": "",
    "UserPromptSubmit": "",
    "PostToolUse": "*",
    "PreCompact": "",
}
"""Events that hooks are for, each with the matcher that it takes."""
HANDED_ON = ["XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "CTXGC_SOCKET", "CTXGC_DAEMON__STATE_DIR"]
"""Variables that lead to the daemon. Codex hands a server none that its settings do not name."""
COMMAND_TEXT = """---
description: What left the context: status, recall WORDS, pin WORDS
---
Use the tools of the MCP server `ctxgc`. What is asked: $ARGUMENTS

- nothing, or `status`: call `status` and show its lines.
- `recall WORDS`: find the words with `search`, bring the best hit back with `recall`, and go on with it.
- `pin WORDS`: find the words with `search`, keep the best hit with `pin`, and name it.
"""


def mcp_plan(agent: str, environment: Mapping[str, str], options: Options, standing: list[FileEdit]) -> AgentPlan:
    """The edits that give an agent the MCP server."""
    command = [options.command, "mcp"]
    if agent == "codex":
        path = agent_home_folder(environment, "CODEX_HOME", ".codex") / "config.toml"
        block = "\n".join(
            [
                f"[mcp_servers.{SERVER}]",
                f"command = {encode_toml_value(command[0])}",
                f"args = {encode_toml_value(command[1:])}",
                f"env_vars = {encode_toml_value(HANDED_ON)}",
                "",
            ]
        )
        return AgentPlan((FileEdit(str(path), "toml", (Change(("mcp_servers", SERVER), block),)),), needs_gateway=False)
    if agent == "claude":
        path = _claude_json_path(environment)
        # Loaded always: Claude Code then waits for the server, and shows its model the tools that tombstones name.
        server: dict[str, Any] = {"type": "stdio", "command": command[0], "args": command[1:], "alwaysLoad": True}
        place = ("mcpServers", SERVER)
        commands = agent_home_folder(environment, "CLAUDE_CONFIG_DIR", ".claude") / "commands"
    else:
        folder = agent_home_folder(environment, "XDG_CONFIG_HOME", ".config") / "opencode"
        names = ("opencode.jsonc", "opencode.json")
        path = folder / next((name for name in names if (folder / name).exists()), names[-1])
        server = {"type": "local", "command": command, "enabled": True}
        place = ("mcp", SERVER)
        commands = folder / "command"
    settings = parse_json_settings(path, text_before_installation(path, standing))
    present = settings.get(place[0], {})
    if isinstance(present, dict) and present.get(SERVER, server) != server:
        raise CommandRefused(
            f"{path} has a server `{SERVER}` of yours", kind="config", hint=f"take {'.'.join(place)} out first"
        )
    edit = FileEdit(str(path), "json", (Change(place, json.dumps(server)),))
    return AgentPlan((edit,), **_slash_command_file(commands / "ctxgc.md", standing), needs_gateway=False)


def _claude_json_path(environment: Mapping[str, str]) -> Path:
    """Claude Code's file of MCP servers: beside the settings folder, or in the folder of the variable."""
    own = environment.get("CLAUDE_CONFIG_DIR", "")
    return (Path(own) if own.startswith("/") else Path(discovery.home_folder(environment))) / ".claude.json"


def _slash_command_file(path: Path, standing: list[FileEdit]) -> dict[str, Any]:
    """The file of `/ctxgc`; a note instead where the user has such a file."""
    present = read_text(path)
    if present not in (None, COMMAND_TEXT) and not is_unchanged(path, standing):
        return {"notes": (f"{path} is yours and stays as it is",)}
    return {"new_files": (new_file(path, COMMAND_TEXT),)}


def hooks_plan(agent: str, environment: Mapping[str, str], options: Options, standing: list[FileEdit]) -> AgentPlan:
    """The edits that have an agent call `ctxgc hook`. Raises `CommandRefused` for an agent without served hooks."""
    if agent == "opencode":
        raise CommandRefused(
            "OpenCode's hooks, which belong to plugins, are not served yet",
            kind="usage",
            hint="`ctxgc install opencode --plugin` tells ctxgc of its sessions",
        )
    variable, usual, name = {
        "claude": ("CLAUDE_CONFIG_DIR", ".claude", "settings.json"),
        "codex": ("CODEX_HOME", ".codex", "hooks.json"),
    }[agent]
    path = agent_home_folder(environment, variable, usual) / name
    present = parse_json_settings(path, text_before_installation(path, standing)).get("hooks", {})
    changes = []
    for event, matcher in EVENTS.items():
        own = {"type": "command", "command": f"{shlex.quote(options.command)} hook --agent {agent}", "timeout": HOOK_S}
        group: dict[str, Any] = {**({"matcher": matcher} if matcher else {}), "hooks": [own]}
        if isinstance(present, dict) and not isinstance(present.get(event, []), list):
            raise CommandRefused(f"{path}: hooks.{event} is no list", kind="config", hint="mend it first")
        changes.append(Change(("hooks", event), json.dumps(group), is_item=True))
    notes = ("Codex asks once whether it may run these hooks",) if agent == "codex" else ()
    return AgentPlan((FileEdit(str(path), "json", tuple(changes)),), notes=notes, needs_gateway=False)


def installed_parts(standing: list[FileEdit]) -> set[str]:
    """The standing parts of an installation, by their settings."""
    parts = {"mcpServers": "mcp", "mcp_servers": "mcp", "mcp": "mcp", "hooks": "hooks"}
    found = {parts.get(change.path[0], "gateway") for edit in standing for change in edit.changes}
    return found | {"plugin" for edit in standing if edit.file.endswith("plugins/ctxgc.ts")}


def join_plans(plans: list[AgentPlan]) -> AgentPlan:
    """The plans of several parts as one: a file in two plans is edited once."""
    edits: dict[str, FileEdit] = {}
    for plan in plans:
        for edit in plan.edits:
            known = edits.get(edit.file)
            edits[edit.file] = (
                edit if known is None else FileEdit(edit.file, edit.format, (*known.changes, *edit.changes))
            )
    return AgentPlan(
        tuple(edits.values()),
        tuple(file for plan in plans for file in plan.new_files),
        tuple(note for plan in plans for note in plan.notes),
        any(plan.needs_gateway for plan in plans),
    )
