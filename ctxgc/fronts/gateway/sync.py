"""What the daemon is told of a session, and what it answers: `window.sync`, after the request went out.

    call ──parse (worker)──▶ thread ──newest wins──▶ window.sync ──▶ tombstones in force ──▶ a new memo
                                        ▲    │ ids, what is new, what the last reply cost
                                        └────┘ one at a time for each thread

Nothing here holds a request up, unless the editor asks for it: when the cache has gone cold, or a session is met for
the first time. Whatever fails is counted, and leaves what was in force in force.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence, Set
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ctxgc.adapters.contract import Tombstone, WireWindow
from ctxgc.adapters.rendering import encode_json
from ctxgc.adapters.segments_json import segment_fields
from ctxgc.adapters.window_builder import INPUT_SPAN
from ctxgc.core.bounds import drop_oldest
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Segment, Status
from ctxgc.fronts.gateway.body import Asked, read_body
from ctxgc.fronts.gateway.counts import Counts, Reason
from ctxgc.fronts.gateway.editing import Evicted, edited
from ctxgc.fronts.gateway.identity import Identity
from ctxgc.fronts.gateway.link import Daemon
from ctxgc.fronts.gateway.settings import Settings
from ctxgc.fronts.gateway.sieve import TOOL_NAME
from ctxgc.fronts.gateway.threads import FAMILIES_MAX, Family, Reply, Thread
from ctxgc.protocol.line import CallFailed, TimedOut, Unreachable

SYNC_TIMEOUT_S = 30.0
ACQUAINT_TIMEOUT_S = 5.0
NEW_BYTES_MAX = 2 * 2**20
"""Of new segments in one sync; more go in further ones, so that no line is longer than the daemon takes."""
TRIES_MAX = 3
IDS_MAX = 10_000
NEWEST_MAX = 100
HEAD_START_S = 0.2
"""A reply that has begun by then is let pass first; parsing would delay its first byte."""
WAITING_MAX = 256
"""Calls whose windows wait to be parsed; the daemon is not told of one more."""

COMMAND = "ctxgc recall"
"""What tombstones name as the way back."""

_log = logging.getLogger("ctxgc.gateway")


@dataclass(slots=True, eq=False)
class Call:
    """One request to a model that has an identity, from its arrival until the daemon knows of it."""

    family: Family
    wire: str
    parts: Sequence[bytes]
    """The body as it was read."""
    mode: str
    reply: Reply = field(default_factory=Reply)
    waits: bool = False
    """The request is held back for the daemon's answer, which applies to it already."""
    edited: frozenset[str] = frozenset()
    """Ids whose tombstones stood in it as it was sent on."""
    asked: Asked | None = None
    thread: Thread | None = None
    is_cold: bool = False
    """After a pause longer than the provider keeps its cache."""
    is_placed: asyncio.Event = field(default_factory=asyncio.Event)
    """Its thread is known, or why it cannot be."""
    is_sent: asyncio.Event = field(default_factory=asyncio.Event)
    """`edited` is final."""
    is_told: asyncio.Event = field(default_factory=asyncio.Event)
    """The daemon has answered, or will not."""
    failure: Reason | None = None

    @property
    def body(self) -> bytes:
        """The body in one piece. Joining is kept off the loop, where a megabyte would be felt."""
        if len(self.parts) != 1:
            self.parts = [b"".join(self.parts)]
        return self.parts[0]


class Syncer:
    """Keeps the daemon's windows as the agents' are. Belongs to one loop."""

    def __init__(
        self,
        link: Daemon,
        counts: Counts,
        settings: Callable[[], Settings],
        worker: Executor,
        urgent: Executor,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._link = link
        self._counts = counts
        self._settings = settings
        self._worker = worker
        self._urgent = urgent
        self._spawn = spawn
        self._families: dict[Identity, Family] = {}
        self._newest: dict[Thread, Call] = {}
        """For each thread that is being synced, or waits to be: the call to go on with, if one came since."""
        self._busy: set[Thread] = set()
        self._waiting = 0
        self.trouble: Reason | None = None
        """Why the daemon's last answer was none, if it was none."""

    @property
    def is_idle(self) -> bool:
        """Whether the daemon has been told of everything."""
        return not self._waiting and not self._busy

    def family_of(self, identity: Identity) -> Family:
        """The family of this id, the least recently met ones being forgotten."""
        family = self._families.pop(identity, None) or Family(identity)
        self._families[identity] = family
        drop_oldest(self._families, FAMILIES_MAX)
        return family

    def begin(self, call: Call) -> None:
        """Have the daemon told of this call: at once if it waits, else when its reply has begun."""
        if self._waiting >= WAITING_MAX:
            self._give_up(call, Reason.OWN_LATE)
            return
        self._waiting += 1
        self._spawn(self._learn(call))

    def part(self) -> None:
        """Tell the daemon of the sessions that are only passed on from now: no request of theirs tells it any more."""
        for family in self._families.values():
            for thread in family.threads.values():
                self._part(thread)

    def _part(self, thread: Thread) -> None:
        is_off = self._settings().mode_of(thread.agent, thread.session) == "off"
        # What is under way still tells the mode before; this is looked at again when it has ended.
        if is_off and thread not in self._busy and thread.asked_mode not in ("", "off"):
            thread.asked_mode = "off"
            self._spawn(self._tell_off(thread))

    async def _tell_off(self, thread: Thread) -> None:
        params = {"session": thread.key, "format": "anthropic_messages", "new": [], "mode": "off"}
        try:
            await self._link.call("window.sync", params, SYNC_TIMEOUT_S)
        except CallFailed:
            self._counts.sync_failures += 1  # The mode is told again with its next request, if that is on.

    async def _learn(self, call: Call) -> None:
        try:
            if not call.waits:
                await _until(call.reply.began, HEAD_START_S)
            await self._place(call)
        except BadTranscript:
            self._give_up(call, Reason.NOT_UNDERSTOOD)
        except CallFailed as failure:
            self._failed(call, failure)
        except Exception:
            _log.exception("a request could not be read; it passes unedited")
            self._give_up(call, Reason.OWN_FAULT)
        finally:
            self._waiting -= 1

    async def _place(self, call: Call) -> None:
        """Find the call's thread, and let its worker go on with it."""
        loop = asyncio.get_running_loop()
        allowed = self._settings().context_edits_allowed
        worker = self._urgent if call.waits else self._worker
        call.asked = await loop.run_in_executor(worker, _read, call, allowed)
        await self._acquaint(call.family)
        thread = call.thread = call.family.thread_of(call.asked)
        now = time.monotonic()
        call.is_cold = bool(thread.asked_s) and now - thread.asked_s > self._settings().cache_ttl_s
        thread.asked_s = now
        # Whoever waits has waited for the parsing alone, unless the daemon's word may change this very request.
        call.waits = call.waits and (call.is_cold or not thread.ids)
        if call.asked.forbids:
            call.mode = "shadow"
        call.is_placed.set()
        if (passed := self._newest.pop(thread, None)) is not None:
            self._counts.replaced_syncs += 1
            passed.is_told.set()
        self._newest[thread] = call
        if thread not in self._busy:
            self._busy.add(thread)
            self._spawn(self._serve(thread))

    async def _acquaint(self, family: Family) -> None:
        """Ask the daemon once which segments it knows under the family's own id, and when it last heard of it."""
        if family.known_ids is not None:
            return
        agent, session = family.identity
        name = f"{agent}:{session}"
        newest = await self._link.call("session.list", {"source": agent, "limit": NEWEST_MAX}, ACQUAINT_TIMEOUT_S)
        heard_s = next((row["updated_s"] for row in newest["sessions"] if row["session"] == name), 0.0)
        # A session that was resumed after a night has a cold cache, whoever served it yesterday.
        family.heard_s = time.monotonic() - max(time.time() - heard_s, 0.0) if heard_s else 0.0
        try:
            known = await self._link.call("segment.list", {"session": name, "limit": IDS_MAX}, ACQUAINT_TIMEOUT_S)
        except CallFailed as failure:
            if failure.kind != "not_found":
                raise
            known = {"segments": []}
        family.known_ids = frozenset(row["id"] for row in known["segments"])

    async def _serve(self, thread: Thread) -> None:
        """Sync this thread until nothing newer waits."""
        try:
            while (call := self._newest.pop(thread, None)) is not None:
                try:
                    await self._sync(thread, call)
                except CallFailed as failure:
                    self._failed(call, failure)
                except Exception:
                    _log.exception("session %s could not be synced", thread.key)
                    self._counts.sync_failures += 1
                    self._give_up(call, Reason.OWN_FAULT)
        finally:
            self._busy.discard(thread)
        self._part(thread)

    async def _sync(self, thread: Thread, call: Call) -> None:
        assert call.asked is not None
        spans = call.asked.window.spans
        ids = [segment.id for segment in call.asked.window.segments]
        params: dict[str, Any] = {
            "session": thread.key,
            "model": call.asked.model,
            "project": call.asked.project,
            "parent": thread.parent,
            "format": call.wire,
            "ids": ids,
            "fixed": [s.id for s in call.asked.window.segments if s.id not in spans and s.status is not Status.PENDING],
            "usage": _usage(thread.reply),
            # In shadow nothing is edited, so that nothing need wait for it either.
            "is_cold": call.is_cold and (call.waits or call.mode == "shadow"),
        }
        if call.asked.profile:
            params["profile"] = call.asked.profile
        if call.mode != thread.asked_mode:
            params["mode"] = call.mode  # Told when it changes, so that the daemon may be told another in between.
        if not call.waits:
            await _until(call.is_sent, HEAD_START_S)
            params["edited"] = sorted(call.edited)
        self._counts.syncs += 1
        answer = await self._told(thread, params, call.asked)
        self.trouble = None
        # The reply to this window is what the next sync will tell of.
        thread.reply = call.reply
        thread.asked_mode = call.mode
        thread.ids = tuple(ids)
        thread.known = call.asked.digests
        await self._take(thread, call, answer)
        call.is_told.set()

    async def _told(self, thread: Thread, params: dict[str, Any], asked: Asked) -> dict[str, Any]:
        """Send what the daemon does not have, then the window; its answer."""
        loop = asyncio.get_running_loop()
        missing = {id_ for id_, content in asked.digests.items() if thread.known.get(id_) != content}
        for _ in range(TRIES_MAX):
            loads = await loop.run_in_executor(self._worker, _loads, asked.window, missing)
            for load in loads[:-1]:
                ahead = {"session": thread.key, "format": params["format"], "new": load}
                await self._link.call("window.sync", ahead, SYNC_TIMEOUT_S)
            params["new"] = loads[-1]
            answer: dict[str, Any] = await self._link.call("window.sync", params, SYNC_TIMEOUT_S)
            params["usage"] = None  # It is told once.
            missing = set(answer["unknown"])
            if not missing:
                return answer
        raise CallFailed("conflict", 0, "the daemon asks for the same segments again and again")

    async def _take(self, thread: Thread, call: Call, answer: dict[str, Any]) -> None:
        """Remember what is evicted now, and make the memo for the next request."""
        assert call.asked is not None
        plan = answer["plan"]
        if plan is not None:
            self._counts.collections += answer["mode"] == "on"
            self._counts.would_free_tokens += plan["freed_tokens"] * (answer["mode"] == "shadow")
        tombstones = {
            id_: Evicted(Tombstone(_way_back(call, said["text"]), said["marker"]), call.asked.digests[id_])
            for id_, said in answer["evicted"].items()
            if id_ in call.asked.digests
        }
        if answer["mode"] != "on" or thread.is_barred:
            tombstones = {}
        if tombstones == thread.tombstones:
            return
        loop = asyncio.get_running_loop()
        _, memo = await loop.run_in_executor(self._worker, edited, call.body, call.wire, call.asked, tombstones)
        thread.tombstones, thread.memo = tombstones, memo

    def _failed(self, call: Call, failure: CallFailed) -> None:
        self._counts.sync_failures += 1
        self.trouble = _reason(failure)
        self._give_up(call, self.trouble)

    @staticmethod
    def _give_up(call: Call, reason: Reason) -> None:
        call.failure = reason
        call.is_placed.set()
        call.is_told.set()


def _way_back(call: Call, tombstone: str) -> str:
    """A tombstone's text, naming our tool where the model has it and not the command."""
    has_tool = call.family.has_recall_tool and call.asked is not None and call.asked.tools
    return tombstone.replace(COMMAND, TOOL_NAME, 1) if has_tool else tombstone


def _read(call: Call, edits_allowed: Set[str]) -> Asked:
    return read_body(call.body, call.wire, edits_allowed)


def _loads(window: WireWindow, missing: set[str]) -> list[list[msgspec.Raw]]:
    """The missing segments as JSON, in window order, in loads that fit into one line each; at least one load."""
    loads: list[list[msgspec.Raw]] = [[]]
    load_bytes = 0
    for record in _records(window.segments, window, missing):
        load_bytes += len(record)
        if load_bytes > NEW_BYTES_MAX and loads[-1]:
            loads.append([])
            load_bytes = len(record)
        loads[-1].append(msgspec.Raw(record))
    return loads


def _records(segments: Sequence[Segment], window: WireWindow, missing: set[str]) -> Iterator[bytes]:
    for segment in segments:
        if segment.id in missing:
            editable = {span.piece for span in window.spans.get(segment.id, ())}
            names = [piece.name for piece in segment.body]
            # One span may hold all large inputs of a call, because they lie in one JSON string.
            fixed = [n for n in names if n not in editable and not (INPUT_SPAN in editable and n.startswith("input."))]
            yield encode_json(segment_fields(segment) | ({"fixed": fixed} if fixed else {}))


def _usage(reply: Reply | None) -> dict[str, int] | None:
    return dict(reply.usage._asdict()) if reply is not None and reply.usage is not None else None


def _reason(failure: CallFailed) -> Reason:
    if isinstance(failure, TimedOut):
        return Reason.DAEMON_LATE
    return Reason.DAEMON_GONE if isinstance(failure, Unreachable) else Reason.DAEMON_FAILED


async def _until(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether the event came in time."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
