"""The settings by which an agent has ctxgc's tools and tells ctxgc of its work: the MCP server, the hooks, the plugin.

    mcp      the server's entry, and `/ctxgc` where the agent reads commands from files
    hooks    `ctxgc hook` at the events of a session, behind what the user has there; in OpenCode the plugin's notes
    plugin   OpenCode's sessions without the gateway

None of these needs the gateway.
"""

from __future__ import annotations

import json
import re
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
from ctxgc.fronts.setup.changes import Change, FileEdit, new_file
from ctxgc.fronts.setup.files import read_text
from ctxgc.fronts.setup.packaged import PLUGIN, PLUGIN_NOTES, packaged_text
from ctxgc.fronts.setup.records import is_file_unchanged
from ctxgc.fronts.setup.toml_edit import encode_toml_value

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
_INSTALLED_LINE = re.compile(r"^(const INSTALLED = )\{.*\}$", re.MULTILINE)
"""The plugin's line of settings."""
_COMMAND_HEAD = """---
description: "What left the context: status, recall WORDS, pin WORDS"
---
Use the tools of the MCP server `ctxgc`. What is asked: $ARGUMENTS
"""
_SKILL_HEAD = """---
name: ctxgc
description: "What left the context: status, recall WORDS, pin WORDS. For a message that names $ctxgc."
---
Use the tools of the MCP server `ctxgc`. What is asked stands behind `$ctxgc` in the user's message:
"""
_COMMAND_BODY = """
- nothing, or `status`: call `status` and show its lines.
- `recall WORDS`: find the words with `search`, bring the best hit back with `recall`, and go on with it.
- `pin WORDS`: find the words with `search`, keep the best hit with `pin`, and name it.
"""
COMMAND_TEXT, SKILL_TEXT = _COMMAND_HEAD + _COMMAND_BODY, _SKILL_HEAD + _COMMAND_BODY
"""`/ctxgc` of Claude Code, OpenCode, and Codex before 0.117, as `/prompts:ctxgc`; `$ctxgc` of Codex since."""


def mcp_plan(agent: str, environment: Mapping[str, str], options: Options, standing: list[FileEdit]) -> AgentPlan:
    """The edits that give an agent the MCP server."""
    command = [options.command, "mcp"]
    if agent == "codex":
        folder = agent_home_folder(environment, "CODEX_HOME", ".codex")
        path = folder / "config.toml"
        block = "\n".join(
            [
                f"[mcp_servers.{SERVER}]",
                f"command = {encode_toml_value(command[0])}",
                f"args = {encode_toml_value(command[1:])}",
                f"env_vars = {encode_toml_value(HANDED_ON)}",
                "",
            ]
        )
        edit = FileEdit(str(path), "toml", (Change(("mcp_servers", SERVER), block),))
        texts = {folder / "skills" / "ctxgc" / "SKILL.md": SKILL_TEXT, folder / "prompts" / "ctxgc.md": COMMAND_TEXT}
        return AgentPlan((edit,), **_command_file_fields(texts, standing), needs_gateway=False)
    if agent == "claude":
        # Beside the settings folder, but in the folder that the variable names.
        path = agent_home_folder(environment, "CLAUDE_CONFIG_DIR") / ".claude.json"
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
    return AgentPlan(
        (edit,), **_command_file_fields({commands / "ctxgc.md": COMMAND_TEXT}, standing), needs_gateway=False
    )


def _command_file_fields(texts: Mapping[Path, str], standing: list[FileEdit]) -> dict[str, Any]:
    """The files by which an agent knows `/ctxgc`; a note instead of each that the user has."""
    kept = [path for path, text in texts.items() if _is_users_file(path, text, standing)]
    return {
        "new_files": tuple(new_file(path, text) for path, text in texts.items() if path not in kept),
        "notes": tuple(f"{path} is yours and stays as it is" for path in kept),
    }


def _is_users_file(path: Path, text: str, standing: list[FileEdit]) -> bool:
    """Whether the user has a file in place of this text, which no installation wrote."""
    return read_text(path) not in (None, text) and not is_file_unchanged(path, standing)


def hooks_plan(agent: str, environment: Mapping[str, str], options: Options, standing: list[FileEdit]) -> AgentPlan:
    """The edits that have Claude Code or Codex call `ctxgc hook`."""
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


def plugin_plan(
    environment: Mapping[str, str], options: Options, standing: list[FileEdit], *, collects: bool, has_hooks: bool
) -> AgentPlan:
    """OpenCode's plugin. `collects`: no gateway tells ctxgc of the sessions; `has_hooks`: the model gets notes."""
    folder = agent_home_folder(environment, "XDG_CONFIG_HOME", ".config") / "opencode" / "plugins"
    text = packaged_text(PLUGIN)
    if has_hooks:
        settings = {"collects": collects, "hooks": has_hooks, "command": options.command}
        text, count = _INSTALLED_LINE.subn(lambda found: f"{found[1]}{json.dumps(settings)}", text)
        if count != 1:
            raise CommandRefused(
                "the plugin of this installation lacks its line of settings", hint="install ctxgc again"
            )
    texts = {folder / "ctxgc.ts": text}
    if has_hooks:
        texts[folder / "ctxgc" / "notes.ts"] = packaged_text(PLUGIN_NOTES)
    for path, fresh in texts.items():
        if _is_users_file(path, fresh, standing):
            raise CommandRefused(f"{path} is there already, and is not of this version", hint="take it away first")
    notes = ("the plugin begins in shadow: CTXGC_OPENCODE_MODE=on switches it on",) if collects else ()
    return AgentPlan(
        new_files=tuple(new_file(path, fresh) for path, fresh in texts.items()), notes=notes, needs_gateway=False
    )


def installed_parts(standing: list[FileEdit]) -> set[str]:
    """The parts of an installation that stand, by the settings that they set and the files that they wrote."""
    parts = {"mcpServers": "mcp", "mcp_servers": "mcp", "mcp": "mcp", "hooks": "hooks"}
    found = {parts.get(change.path[0], "gateway") for edit in standing for change in edit.changes}
    if any(edit.file.endswith("plugins/ctxgc/notes.ts") for edit in standing):
        return found | {"hooks"}  # The plugin is there for them, whether or not a gateway is.
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
