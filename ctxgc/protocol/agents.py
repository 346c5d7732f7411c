"""The agents whose sessions are known by the agents' own names: the first half of a session's name, `AGENT:SESSION`."""

from __future__ import annotations

CLAUDE_CODE = "claude_code"
CODEX = "codex"
OPENCODE = "opencode"
CLIENT = "client"
"""A program that names its session by the gateway's header, without an agent's name."""

AGENTS = (CLAUDE_CODE, CODEX, OPENCODE, CLIENT)
