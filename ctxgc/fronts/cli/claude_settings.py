"""Claude Code's own settings files: the base URL of its requests.

    managed ▷ project, local ▷ project ▷ user ──env.NAME──▶ the value that wins over a variable of the process

A value under `env` in a settings file wins over the environment that Claude Code is started with, and `--settings` wins
over every file but the managed file. Files are read and never changed; an unreadable file sets no variable.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

SETTINGS_BYTES_MAX = 2**20
MANAGED = (
    "/etc/claude-code/managed-settings.json",
    "/Library/Application Support/ClaudeCode/managed-settings.json",
)
"""Files of an administrator, which nothing wins over."""


class SettingsValue(NamedTuple):
    """A variable's value in a settings file."""

    value: str
    path: str
    is_managed: bool


def effective_setting(name: str, environment: Mapping[str, str]) -> SettingsValue | None:
    """The value of a variable in the strongest file that sets the variable."""
    for path, is_managed in _settings_files(environment):
        value = _read_variables(path).get(name)
        if isinstance(value, str) and value:
            return SettingsValue(value, path, is_managed)
    return None


def _settings_files(environment: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    yield from ((path, True) for path in MANAGED)
    folder = environment.get("PWD") or os.curdir
    yield os.path.join(folder, ".claude", "settings.local.json"), False
    yield os.path.join(folder, ".claude", "settings.json"), False
    home = environment.get("HOME") or os.path.expanduser("~")
    yield os.path.join(environment.get("CLAUDE_CONFIG_DIR") or os.path.join(home, ".claude"), "settings.json"), False


def _read_variables(path: str) -> Mapping[str, object]:
    try:
        with open(path, "rb") as file:
            settings = json.loads(file.read(SETTINGS_BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return {}
    variables = settings.get("env") if isinstance(settings, dict) else None
    return variables if isinstance(variables, dict) else {}
