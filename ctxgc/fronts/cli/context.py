"""The tools of a command: the daemon, the session meant, and the ways to answer.

The first call opens the connection. A daemon is started where none listens, unless `--no-spawn` or the command itself
says otherwise. A failure becomes a sentence and its next step on stderr, and an exit code.
"""

from __future__ import annotations

import json
import os
import sys

from ctxgc.fronts.cli import terminal
from ctxgc.protocol import blocking_client, discovery
from ctxgc.protocol.agents import CLAUDE_CODE, CODEX
from ctxgc.protocol.spawn import ensure_daemon

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn, Protocol

    from ctxgc.protocol.replies.sessions import SessionsReply, ShowReply

    class ChangedReply(Protocol):
        """A reply to a mutation."""

        @property
        def changed(self) -> str | None:
            """The mutation's change, in a sentence."""


EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 69
EXIT_BUSY = 75
EXIT_CONFIG = 78

EXITS = {
    "usage": EXIT_USAGE,
    "unreachable": EXIT_UNREACHABLE,
    "shutting_down": EXIT_UNREACHABLE,
    "busy": EXIT_BUSY,
    "deadline": EXIT_BUSY,
    "slow_consumer": EXIT_BUSY,
    "config": EXIT_CONFIG,
}
"""Exit code by the kind of a failure; any other kind is a refusal."""


OUT_OF_REACH_HINT = "end it with `kill` and its pid where it was started; the next command starts another"

WATCHED_HINT = "ctxgc only watches this session; `ctxgc run AGENT` sends an agent through the gateway"
SESSION_VARIABLES = ((CLAUDE_CODE, "CLAUDE_CODE_SESSION_ID"), (CODEX, "CODEX_THREAD_ID"))
"""By source: the variable in which an agent tells its commands the session."""


def is_only_observed(show: ShowReply) -> bool:
    """Whether neither the gateway nor a client has a hand in the session's requests, so that no mode has an effect."""
    return show.rendered_by == "agent" and not show.gateway


def agent_window_tokens(reply: ShowReply) -> int:
    """Billed tokens of the agent's requests: a collection of a watched session takes no body out."""
    if is_only_observed(reply):
        return terminal.Billing(reply).billed_window_tokens(reply.resident_tokens + reply.freed_tokens)
    return reply.billed_tokens


class CommandRefused(Exception):
    """The command itself says no, before or after the daemon was asked: a kind, a sentence, a next step."""

    def __init__(self, text: str, *, kind: str = "refused", hint: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.hint = hint


class Shell:
    """A run of the command. `call` asks the daemon; `answer` prints the reply."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.page = terminal.Page(sys.stdout)
        self.path = ""
        self._client: blocking_client.LineClient | None = None

    def call(self, method: str, params: dict[str, Any], *, spawn: bool = True) -> Any:
        """The daemon's reply. The reader names the type, and a test holds the reader to the verb's row.

        Raises `CallFailed`; starts the daemon first where needed and allowed.
        """
        return self.connect(spawn=spawn).call(method, params)

    def connect(self, *, spawn: bool = True) -> blocking_client.LineClient:
        """The connection, opened once: to the running daemon, wherever the daemon listens, or to a daemon started
        now."""
        if self._client is None:
            try:
                self._client = self._connect_to_first(discovery.candidate_sockets(self.args.socket, os.environ))
            except blocking_client.Unreachable:
                if not spawn or self.args.no_spawn:
                    self.refuse_unreachable_daemon()
                    raise
                usual = discovery.socket_path(self.args.socket, os.environ)
                ensure_daemon(usual)
                self._client = self._connect_to_first([usual])
        return self._client

    @property
    def is_connected(self) -> bool:
        """Whether a connection was opened and not yet closed from this end."""
        return self._client is not None

    def _connect_to_first(self, paths: Iterable[str]) -> blocking_client.LineClient:
        """A connection to the first socket that answers. Raises the failure of the first."""
        missing: blocking_client.Unreachable | None = None
        for path in paths:
            client = blocking_client.LineClient(path, self.args.timeout)
            try:
                client.connect()
            except blocking_client.Unreachable as failure:
                missing = missing or failure
            else:
                self.path = path
                return client
        assert missing is not None
        raise missing

    def refuse_unreachable_daemon(self) -> None:
        """Raise Unreachable where a daemon of ours runs beyond reach: a second daemon would be refused."""
        asked = discovery.is_socket_explicit(self.args.socket, os.environ)
        daemon_path = "" if asked else discovery.unreachable_daemon_sentence(os.environ)
        if daemon_path:
            raise blocking_client.Unreachable(daemon_path, OUT_OF_REACH_HINT)

    def session_params(self) -> dict[str, str]:
        """The params that name a session: the `--session` option, the agent's own session, or this directory's newest.

        A model may run `ctxgc recall '#7'`, and two agents may work in one directory.
        """
        if self.args.session:
            return {"session": self.args.session}
        for source, variable in SESSION_VARIABLES:
            if os.environ.get(variable) and self._has_session_named(named := f"{source}:{os.environ[variable]}"):
                return {"session": named}
        return self.directory_params()

    def directory_params(self) -> dict[str, str]:
        """The working directory, as a param."""
        try:
            return {"cwd": os.getcwd()}
        except FileNotFoundError:
            raise CommandRefused("the working directory is gone", hint="`--session S` names a session") from None

    def has_session(self, **filters: str) -> bool:
        """Whether the daemon lists a session for these filters of `session.list`."""
        reply: SessionsReply = self.call("session.list", {**filters, "limit": 1})
        return bool(reply.sessions)

    def _has_session_named(self, session: str) -> bool:
        """Whether the daemon has this session; an agent without a watched session counts as none."""
        try:
            self.call("segment.list", {"session": session, "limit": 1})
        except blocking_client.CallFailed as failure:
            if failure.kind in ("not_found", "bad_params"):
                return False
            raise
        return True

    def print_reply(self, reply: Any, show: Callable[[terminal.Page], None]) -> int:
        """Print a reply: unchanged with `--json`, else by `show`. 0."""
        if self.args.json:
            self.print_json(reply)
        else:
            show(self.page)
        return 0

    def print_json(self, reply: Any) -> None:
        """A JSON object on a line. ASCII survives any locale and a lone surrogate."""
        sys.stdout.write(json.dumps(reply, separators=(",", ":")) + "\n")

    def print_change(self, reply: ChangedReply) -> int:
        """Answer a mutation: the change, and the next step if there is a next step."""
        return self.print_reply(reply, lambda page: print_change(page, reply))

    def print_failure(self, failure: blocking_client.CallFailed | CommandRefused) -> int:
        """Print the error and the next step; the exit code."""
        sys.stdout.flush()
        text = terminal.printable_text(str(failure)).rstrip()
        if self.args.json:
            error = {"kind": failure.kind, "message": str(failure), "hint": failure.hint}
            self.print_json({"error": error})
        sys.stderr.write(f"ctxgc: {text}\n")
        if failure.hint:
            sys.stderr.write(f"       {terminal.printable_text(failure.hint)}\n")
        return EXITS.get(failure.kind, EXIT_REFUSED)

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.close()
            self._client = None


def print_change(page: terminal.Page, reply: ChangedReply, hint: str | None = None) -> None:
    """The sentence of a mutation's reply, and its next step or the page's own."""
    page.print_line(terminal.printable_line(reply.changed or ""))
    if hint := hint or getattr(reply, "next", None):
        page.print_line(terminal.printable_line(hint), "dim")


def refuse_usage(text: str, hint: str = "") -> NoReturn:
    """Raise `CommandRefused` of kind `usage`: these arguments contradict each other."""
    raise CommandRefused(text, kind="usage", hint=hint)
