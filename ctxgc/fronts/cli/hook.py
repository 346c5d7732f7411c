"""`ctxgc hook`: what an agent calls at the events of its session. It never fails, and never holds the agent up.

    stdin: the agent's JSON ──▶ its transcript is followed from now on
                            ──session start, compaction──▶ the working set, as context for the model
                            ──prompt, if asked for──▶ segments worth recalling

Where no daemon listens, a daemon is late, or the input is not understood, the hook prints nothing and exits 0. A daemon
that is away is started, and not waited for. The whole of an event is enough: an agent may leave the stream open.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
import time

from ctxgc.fronts.cli.commands import CommandSpec, parse_frame_tokens
from ctxgc.protocol import discovery
from ctxgc.protocol.agents import CLAUDE_CODE, CODEX, OPENCODE
from ctxgc.protocol.blocking_client import CallFailed, LineClient, TimedOut, Unreachable
from ctxgc.protocol.limits import OFFER_TOKENS_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ctxgc.fronts.cli.context import Shell
    from ctxgc.protocol.replies.daemon import WatchReply
    from ctxgc.protocol.replies.sessions import SessionsReply, ShowReply
    from ctxgc.protocol.replies.stash import RehydrateReply, SearchReply

SOURCES = {"claude": CLAUDE_CODE, "codex": CODEX, "opencode": OPENCODE}
INPUT_BYTES_MAX = 2**22
INPUT_S = 0.5
"""After so long without a whole event, the event is what came so far."""
CALL_S = 0.05
"""For all calls of following a transcript together, and for each other call."""
WORKING_SET_S = 0.5
"""The agent is about to ask its model: a working set is worth half a second, and has taken 20 ms."""
BUDGET_TOKENS = 2000
FRESH_SOURCES = ("startup", "compact")
"""Starts of a session at which the model knows nothing of what was before; `resume` has it all, `clear` is meant."""
SUGGESTED_MAX = 3
PROMPT_CHARS_MAX = 2000
SESSIONS_LOOKED_AT = 5
IDLE_S = 86_400.0


def hook(shell: Shell, args: argparse.Namespace) -> int:
    """Carry out one event. Always 0."""
    if sys.stdin is None:  # Closed.
        return 0
    try:
        event = _read_event(sys.stdin.fileno())
        client = _connect_or_spawn_daemon(args.socket, spawns=not args.no_spawn)
        if not isinstance(event, dict) or client is None:
            return 0
        with client:
            text = _HookEvent(client, SOURCES[args.agent], event).handle(args.budget, suggests=args.suggest)
    except (CallFailed, OSError, ValueError, RecursionError):
        return 0
    if text:
        said = {"hookEventName": event["hook_event_name"], "additionalContext": text}
        shell.print_json({"hookSpecificOutput": said})
    return 0


def _read_event(number: int) -> Any:
    """The value on a stream, as soon as the value is whole. Raises `ValueError`."""
    data, gives_up_at = bytearray(), time.monotonic() + INPUT_S
    while len(data) < INPUT_BYTES_MAX and _has_input_within(number, gives_up_at - time.monotonic()):
        part = os.read(number, INPUT_BYTES_MAX - len(data))
        data += part
        if not part:
            break
        if data.rstrip().endswith(b"}") and not _has_input_within(number, 0):
            try:
                return json.loads(data)
            except ValueError:
                continue
    return json.loads(data)


def _has_input_within(number: int, seconds: float) -> bool:
    return bool(select.select([number], [], [], max(0.0, seconds))[0])


def _connect_or_spawn_daemon(flag: str, *, spawns: bool) -> LineClient | None:
    """A connection to the daemon; `None` where no daemon listens, and then a daemon is on its way."""
    for path in discovery.candidate_sockets(flag, os.environ):
        client = LineClient(path, CALL_S)
        try:
            client.connect()
        except Unreachable:
            continue
        return client
    if spawns and not discovery.unreachable_daemon_sentence(os.environ):
        words = [sys.executable, "-m", "ctxgc.fronts.cli.main", "up", *(["--socket", flag] if flag else [])]
        files = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
        os.posix_spawn(words[0], words, os.environ, file_actions=files, setsid=True)
    return None


class _HookEvent:
    """One event of an agent's session."""

    def __init__(self, client: LineClient, source: str, event: dict[str, Any]) -> None:
        self._client = client
        self._source = source
        self._name = _text_member(event, "hook_event_name")
        self._session = _text_member(event, "session_id")
        self._folder = _text_member(event, "cwd")
        self._transcript = _text_member(event, "transcript_path")
        self._start = _text_member(event, "source")
        self._prompt = _text_member(event, "prompt")[:PROMPT_CHARS_MAX]
        self._follows_until = time.monotonic() + CALL_S

    def handle(self, budget_tokens: int, *, suggests: bool) -> str:
        """Follow the transcript; what the model is to read, empty for nothing. Raises `CallFailed`."""
        try:
            self._follow_transcript()
        except CallFailed as failure:
            if isinstance(failure, Unreachable | TimedOut):
                raise
        if self._name == "SessionStart" and self._start in FRESH_SOURCES:
            return self._rehydrate(budget_tokens)
        if self._name == "UserPromptSubmit" and suggests and self._prompt:
            return self._suggest_segments()
        return ""

    def _follow_transcript(self) -> None:
        """Have the daemon read the transcript as it grows. A session behind the gateway is known without."""
        if not os.path.isabs(self._transcript) or self._is_behind_gateway():
            return
        try:
            self._call_before_deadline("watch.add", path=self._transcript)
        except CallFailed as failure:
            if failure.kind != "busy":
                raise
            for path in self._idle_transcripts_to_unwatch():
                self._call_before_deadline("watch.remove", path=path)
            self._call_before_deadline("watch.add", path=self._transcript)

    def _call_before_deadline(self, method: str, **params: str) -> Any:
        """A call of following: many stale transcripts take no longer than one."""
        return self._client.call(method, params, max(0.001, self._follows_until - time.monotonic()))

    def _is_behind_gateway(self) -> bool:
        try:
            shown: ShowReply = self._call_before_deadline("session.show", session=self._session_name())
        except CallFailed as failure:
            if failure.kind != "not_found":
                raise
            return False
        return bool(shown.gateway)

    def _idle_transcripts_to_unwatch(self) -> list[str]:
        """Other followed transcripts without growth for a day, which no user keeps followed."""
        stale = list(self._idle_watched_transcripts())
        kept = _configured_watch_paths() if stale else frozenset()
        return [] if kept is None else [path for path in stale if path not in kept]

    def _idle_watched_transcripts(self) -> Iterator[str]:
        folder = os.path.dirname(self._transcript)
        reply: WatchReply = self._call_before_deadline("watch.list")
        for watched in reply.watched:
            path = watched.path
            is_log = os.path.dirname(os.path.dirname(path)) == os.path.dirname(folder) and os.path.isfile(path)
            if is_log and time.time() - os.path.getmtime(path) > IDLE_S:
                yield path

    def _session_name(self) -> str:
        return f"{self._source}:{self._session}"

    def _rehydrate(self, budget_tokens: int) -> str:
        name = self._session_name() if self._start == "compact" else self._previous_session()
        if not name:
            return ""
        is_compact = self._start == "compact"
        room = max(1, budget_tokens - OFFER_TOKENS_MAX) if is_compact else budget_tokens
        # The transcript says of a compaction only after the hook: to the daemon nothing has left the window yet.
        params = {"session": name, "budget_tokens": room, "is_compacting": is_compact}
        reply: RehydrateReply = self._client.call("session.rehydrate", params, WORKING_SET_S)
        offer = reply.offer if is_compact else ""
        return "\n".join(filter(None, [reply.text.rstrip("\n"), offer]))

    def _previous_session(self) -> str:
        """The previous session in the very same folder; empty without a previous session."""
        if not os.path.isabs(self._folder):
            return ""
        params = {"project": self._folder, "limit": SESSIONS_LOOKED_AT}
        reply: SessionsReply = self._client.call("session.list", params)
        names = (row.session for row in reply.sessions if not row.parent)
        return next((name for name in names if name != self._session_name()), "")

    def _suggest_segments(self) -> str:
        """Names of evicted and departed segments with the prompt's words; no text of the segments."""
        import shlex

        from ctxgc.core.frame import Block, DataLine, render_frame

        params = {
            "query": self._prompt,
            "project": self._folder,
            "states": ["evicted", "departed"],
            "limit": SUGGESTED_MAX,
        }
        if not os.path.isabs(self._folder):
            return ""
        reply: SearchReply = self._client.call("stash.search", params)
        # An id or a name may hold any text, and a model may hand the line to a shell.
        lines = [
            f"{hit.label}: {shlex.join(['ctxgc', 'recall', hit.id, '--session', hit.session])}" for hit in reply.hits
        ]
        data = tuple(DataLine(number, line) for number, line in enumerate(lines, 1))
        return render_frame([Block(title="worth recalling", facts=(self._folder,), lines=data)]) if data else ""


def _configured_watch_paths() -> frozenset[str] | None:
    """The paths of `ctxgc watch --keep`; `None` where the configuration cannot be read."""
    from ctxgc.config import BadConfig, load_config  # Slow to import, and seldom needed.

    try:
        return frozenset(map(str, load_config(None, os.environ).watch.paths))
    except BadConfig:
        return None


def _text_member(event: dict[str, Any], name: str) -> str:
    value = event.get(name)
    return value if isinstance(value, str) else ""


def _add_hook_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agent", choices=sorted(SOURCES), required=True, help="whose hook this is")
    parser.add_argument(
        "--budget",
        metavar="N",
        type=parse_frame_tokens,
        default=BUDGET_TOKENS,
        help=f"a working set has at most this many raw tokens; default: {BUDGET_TOKENS}",
    )
    parser.add_argument("--suggest", action="store_true", help="name segments that have the words of a prompt")


NOTES = "An agent calls this with an event as JSON on stdin; `ctxgc install AGENT --hooks` has it do so."
COMMANDS = {"hook": CommandSpec(hook, _add_hook_arguments, notes=NOTES)}
