"""Whose request it is: the agent's own name for the session, or nothing. Never guessed.

    header or field of the agent ──▶ Identity(agent, session)      no strong one: the request passes unedited

A session guessed from how a list begins, or from the key that pays, mixes two chats sooner or later; so only what the
client itself sends as its session's id counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from ctxgc.protocol.agents import CLAUDE_CODE, CLIENT, CODEX, OPENCODE

SESSION_HEADER = "x-ctxgc-session"
"""The header by which any client may name its session: `ID`, or `AGENT:ID`."""

_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_OPENCODE = re.compile(r"ses_[A-Za-z0-9]{16,64}")
_AGENT = re.compile(r"[a-z][a-z0-9_]{0,31}")

_PARENTS = {OPENCODE: "x-parent-session-id", CODEX: "x-codex-parent-thread-id"}


class Identity(NamedTuple):
    """One session of one agent, as the agent names it."""

    agent: str
    session: str


def identity_of(headers: Mapping[str, str]) -> Identity | None:
    """What the headers say. `headers` finds names in any case."""
    agent, colon, session = headers.get(SESSION_HEADER, "").rpartition(":")
    identity = _valid_identity(agent if colon else CLIENT, session)
    if identity:
        return identity
    for agent, read in _READERS:
        if identity := _valid_identity(agent, read(headers)):
            return identity
    return None


def parent_of(identity: Identity, headers: Mapping[str, str]) -> str:
    """The session of the same agent that started this one, if its headers say so; empty else."""
    parent = _valid_identity(identity.agent, headers.get(_PARENTS.get(identity.agent, ""), ""))
    return parent.session if parent and parent != identity else ""


def sub_agent_of(identity: Identity, headers: Mapping[str, str]) -> str:
    """Which sub-agent asks under its session's own id, as Claude Code and its transcripts name it; empty: none does."""
    sub_agent = _valid_identity(CLAUDE_CODE, headers.get("x-claude-code-agent-id", ""))
    return sub_agent.session if sub_agent and identity.agent == CLAUDE_CODE else ""


def identity_from_cache_key(wire: str, cache_key: str) -> Identity | None:
    """Codex's `prompt_cache_key` is its session's id. Other clients share a key between chats: only a UUID counts."""
    return Identity(CODEX, cache_key) if wire == "openai_responses" and _UUID.fullmatch(cache_key) else None


def _valid_identity(agent: str, session: str) -> Identity | None:
    # A slash stands between a session and its sub-agents, and a colon before the session: neither may be in a name.
    return Identity(agent, session) if _AGENT.fullmatch(agent) and _SESSION.fullmatch(session) else None


def _claude_code(headers: Mapping[str, str]) -> str:
    return headers.get("x-claude-code-session-id", "")


def _opencode(headers: Mapping[str, str]) -> str:
    """Its own service is told by one header, all other providers by another, which is not its own alone."""
    affinity = headers.get("x-session-affinity", "")
    return headers.get("x-opencode-session") or (affinity if _OPENCODE.fullmatch(affinity) else "")


def _codex(headers: Mapping[str, str]) -> str:
    """Its turn's metadata is a JSON object in a header; older versions name the session in a header of its own."""
    try:
        metadata = msgspec.json.decode(headers.get("x-codex-turn-metadata", "{}"))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        metadata = {}
    identity = metadata.get("session_id") if isinstance(metadata, dict) else None
    if isinstance(identity, str):
        return identity
    older = headers.get("session_id") or headers.get("session-id") or headers.get("conversation_id") or ""
    return older if _UUID.fullmatch(older) else ""


_READERS: tuple[tuple[str, Callable[[Mapping[str, str]], str]], ...] = (
    (CLAUDE_CODE, _claude_code),
    (OPENCODE, _opencode),
    (CODEX, _codex),
)
