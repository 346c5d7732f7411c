"""The agents whose sessions are known by the agents' own names: the first half of a session's name, `AGENT:SESSION`."""

from __future__ import annotations

CLAUDE_CODE = "claude_code"
CODEX = "codex"
OPENCODE = "opencode"
CLIENT = "client"
"""A program that names its session by the gateway's header, without an agent's name."""

PI = "pi"
QWEN_CODE = "qwen_code"
COPILOT_CLI = "copilot_cli"
AIDER = "aider"
GOOSE = "goose"
CRUSH = "crush"
MINI_SWE_AGENT = "mini_swe_agent"

AGENTS = (CLAUDE_CODE, CODEX, OPENCODE, CLIENT, PI, QWEN_CODE, COPILOT_CLI, AIDER, GOOSE, CRUSH, MINI_SWE_AGENT)
TOOLLESS = (CLIENT, AIDER)
"""Agents whose main conversation may have no tools; a request without tools is a side call of any other agent."""
