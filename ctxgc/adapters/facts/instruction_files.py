"""Files of standing instructions: such a text, shown beside a prompt, is an instruction and no attachment."""

from __future__ import annotations

_NAMES = frozenset(
    {"claude.md", "claude.local.md", "agents.md", "agents.override.md", "agent.md", "gemini.md", "qwen.md", "memory.md"}
    | {".cursorrules", ".windsurfrules", ".clinerules", "copilot-instructions.md"}
)
_FOLDERS = ("/.claude/rules/", "/.cursor/rules/", "/.github/instructions/", "/.clinerules/")


def is_instruction_file(path: str) -> bool:
    """Whether agents read this file as standing instructions, by its name or folder."""
    path = "/" + path.replace("\\", "/").lower()
    return path.rpartition("/")[2] in _NAMES or any(folder in path for folder in _FOLDERS)
