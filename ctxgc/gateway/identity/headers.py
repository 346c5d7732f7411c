"""The session of a request: the agent's own name for the session, or none. Never a guess.

    header or field of the agent ──▶ Identity(agent, session)      without a strong name the request passes unedited

A guess by the beginning of a list, or by the key that pays, mixes two chats sooner or later; so only an id that the
client itself sends for its session counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from ctxgc.protocol.agents import CLAUDE_CODE, CLIENT, CODEX, OPENCODE, PI
from ctxgc.protocol.gateway_headers import WINDOW_HEADER

SESSION_HEADER = "x-ctxgc-session"
"""The header by which any client may name its session: `ID`, or `AGENT:ID`."""

_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SIZE = re.compile(r"[1-9][0-9]{0,11}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_OPENCODE = re.compile(r"ses_[A-Za-z0-9]{16,64}")
_AGENT = re.compile(r"[a-z][a-z0-9_]{0,31}")

_PARENTS = {OPENCODE: "x-parent-session-id", CODEX: "x-codex-parent-thread-id"}


class Identity(NamedTuple):
    """A session of an agent, under the agent's own name."""

    agent: str
    session: str


def identity_in_headers_or_path(headers: Mapping[str, str], path_session: str = "") -> Identity | None:
    """The session that a request names; `None` without a name. `headers` finds names in any case.

    The user's own words come first, the header's before the path's: an agent's header may look like another agent's.
    """
    for name in (headers.get(SESSION_HEADER, ""), path_session):
        agent, colon, session = name.rpartition(":")
        if identity := _valid_identity(agent if colon else CLIENT, session):
            return identity
    for agent, read in _READERS:
        if identity := _valid_identity(agent, read(headers)):
            return identity
    return None


def window_limit_tokens_in_headers(headers: Mapping[str, str]) -> int:
    """The run's limit of the window, in billed tokens; 0 without a limit in the headers."""
    size = headers.get(WINDOW_HEADER, "")
    return int(size) if _SIZE.fullmatch(size) else 0


def parent_session_in_headers(identity: Identity, headers: Mapping[str, str]) -> str:
    """The session of the same agent that started this session, if the headers name the parent; empty else."""
    parent = _valid_identity(identity.agent, headers.get(_PARENTS.get(identity.agent, ""), ""))
    return parent.session if parent and parent != identity else ""


def sub_agent_in_headers(identity: Identity, headers: Mapping[str, str]) -> str:
    """The sub-agent that asks under its session's id, named as in Claude Code's transcripts; empty: no sub-agent."""
    sub_agent = _valid_identity(CLAUDE_CODE, headers.get("x-claude-code-agent-id", ""))
    return sub_agent.session if sub_agent and identity.agent == CLAUDE_CODE else ""


def identity_from_cache_key(wire: str, cache_key: str) -> Identity | None:
    """The session by Codex's `prompt_cache_key`. Other clients share a key between chats: only a UUID counts."""
    return Identity(CODEX, cache_key) if wire == "openai_responses" and _UUID.fullmatch(cache_key) else None


def _valid_identity(agent: str, session: str) -> Identity | None:
    # A slash separates a session from its sub-agents, and a colon the agent from the session: names hold neither.
    return Identity(agent, session) if _AGENT.fullmatch(agent) and _SESSION.fullmatch(session) else None


def _claude_code_session(headers: Mapping[str, str]) -> str:
    return headers.get("x-claude-code-session-id", "")


def _opencode_session(headers: Mapping[str, str]) -> str:
    """OpenCode sends a header to its own service and another header, which other clients send too, to other
    providers."""
    affinity = headers.get("x-session-affinity", "")
    return headers.get("x-opencode-session") or (affinity if _OPENCODE.fullmatch(affinity) else "")


def _codex_session(headers: Mapping[str, str]) -> str:
    """Codex sends a turn's metadata as JSON in a header; older versions have a header for the session alone.

    A sub-agent asks under the root's session and has a thread of its own; the rollout has the thread's name.
    """
    try:
        metadata = msgspec.json.decode(headers.get("x-codex-turn-metadata", "{}"))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        metadata = {}
    names = [metadata.get(name) for name in ("thread_id", "session_id")] if isinstance(metadata, dict) else []
    if identity := next((name for name in names if isinstance(name, str) and name), ""):
        return identity
    older = headers.get("session_id") or headers.get("session-id") or headers.get("conversation_id") or ""
    is_library = headers.get("user-agent", "").startswith("OpenAI/")  # Codex has a client of its own.
    return older if _UUID.fullmatch(older) and not is_library else ""


def _pi_session(headers: Mapping[str, str]) -> str:
    """Pi sends its session twice over OpenAI's library; Codex, whose headers have the same names, names itself."""
    session, agent = headers.get("session_id", ""), headers.get("originator", "") + headers.get("user-agent", "")
    is_pi = _UUID.fullmatch(session) and session == headers.get("x-client-request-id") and "codex" not in agent.lower()
    return session if is_pi else ""


_READERS: tuple[tuple[str, Callable[[Mapping[str, str]], str]], ...] = (
    (CLAUDE_CODE, _claude_code_session),
    (OPENCODE, _opencode_session),
    (PI, _pi_session),
    (CODEX, _codex_session),
)
