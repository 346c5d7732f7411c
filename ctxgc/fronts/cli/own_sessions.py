"""Where the user's own sessions are: Claude Code's and Codex's, in the folders that these agents are told to use.

The command looks into the folders only when asked.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDERS = (
    ("CLAUDE_CONFIG_DIR", ".claude", "projects"),
    ("CODEX_HOME", ".codex", "sessions"),
)
"""For each agent: the variable of its home, the default home, and the folder of sessions in the home."""


def session_folders(environment: Mapping[str, str]) -> list[str]:
    """The folders of the user's own sessions, existing or not."""
    home = environment.get("HOME") or os.path.expanduser("~")
    return [
        os.path.join(os.path.abspath(environment.get(variable) or os.path.join(home, usual)), sessions)
        for variable, usual, sessions in FOLDERS
    ]


def folder_as_typed(folder: str, environment: Mapping[str, str]) -> str:
    """A folder as a person types the path: `~/.claude/projects`; quoted where a shell would change the word."""
    import shlex

    home = (environment.get("HOME") or os.path.expanduser("~")).rstrip("/")
    below = folder.removeprefix(home)
    if folder.startswith(f"{home}/") and shlex.quote(below) == below:
        return f"~{below}"
    return shlex.quote(folder)
