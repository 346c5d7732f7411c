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
from collections.abc import Callable, Coroutine, Set
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import msgspec

from ctxgc.adapters.contract import Tombstone, WireWindow
from ctxgc.adapters.transcripts.segments_json import segment_fields
from ctxgc.adapters.wire.rendering import encode_json
from ctxgc.core.bounded_dict import drop_oldest
from ctxgc.core.errors import BadTranscript
from ctxgc.core.pacer import PROFILES
from ctxgc.core.segment import Segment, Status
from ctxgc.gateway.daemon_client import Daemon
from ctxgc.gateway.editing.request_body import Asked, forbidden, read_body
from ctxgc.gateway.editing.request_state import Call, Placed
from ctxgc.gateway.editing.splice_memo import Evicted, edited
from ctxgc.gateway.identity.agent_session import FAMILIES_MAX, Family, Reply, Thread
from ctxgc.gateway.identity.headers import Identity
from ctxgc.gateway.metrics import Counts, Reason
from ctxgc.gateway.recall.reply_filter import TOOL_NAME
from ctxgc.gateway.settings import Settings
from ctxgc.protocol.blocking_client import CallFailed, TimedOut, Unreachable
from ctxgc.protocol.limits import FRAME_BYTES_DEFAULT

SYNC_TIMEOUT_S = 30.0
ACQUAINT_TIMEOUT_S = 5.0
NEW_BYTES_MAX = 2 * 2**20
"""Of new segments in one sync; more go in further ones, so that no line is longer than the daemon takes."""
RECORD_BYTES_MAX = FRAME_BYTES_DEFAULT - 2**20
"""What one segment may take of a line. A longer one (a document of many megabytes) is not told: it is never out, and
the bill counts it with what is hidden."""
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
        """Have the daemon told of this call: at once if it is held back, else when its reply has begun."""
        if self._waiting >= WAITING_MAX:
            call.fail(Reason.OWN_LATE)
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
            if not call.is_held:
                await _until(call.reply.began, HEAD_START_S)
            await self._place(call)
        except BadTranscript:
            call.fail(await self._why_not(call))
        except CallFailed as failure:
            self._failed(call, failure)
        except Exception:
            _log.exception("a request could not be read; it passes unedited")
            call.fail(Reason.OWN_FAULT)
        finally:
            self._waiting -= 1

    async def _why_not(self, call: Call) -> Reason:
        """Why a body cannot be read: most often a part of it is kept by the server, or managed there."""
        allowed = self._settings().context_edits_allowed
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, forbidden, call.body, allowed) or Reason.NOT_UNDERSTOOD

    async def _place(self, call: Call) -> None:
        """Find the call's thread, and let its worker go on with it."""
        # Both at once: a request that is held back waits for the longer of the two.
        for failure in await asyncio.gather(self._read(call), self._acquaint(call.family), return_exceptions=True):
            if failure is not None:
                raise failure
        asked = call.asked
        assert asked is not None
        thread = call.family.thread_of(asked, call.side)
        now_s = time.monotonic()
        ttl_s = PROFILES[asked.profile].ttl_s if asked.profile else self._settings().cache_ttl_s
        # What is cached was written by the request before this one. Where that was served by another, it was as this.
        thread.cache_ttl_s = ttl_s if thread.cache_ttl_s is None else thread.cache_ttl_s
        is_cold = thread.is_cold(now_s)
        thread.asked_s, thread.cache_ttl_s = now_s, ttl_s
        mode = "shadow" if asked.forbids or thread.is_barred else call.mode
        # Whoever is held back has waited long enough, unless the daemon's word may change this very request.
        waits = call.is_held and (is_cold or not thread.ids)
        call.is_placed.set(Placed(thread, mode, is_cold, waits))
        if (passed := self._newest.pop(thread, None)) is not None:
            self._counts.replaced_syncs += 1
            passed.is_told.set(None)
        self._newest[thread] = call
        if thread not in self._busy:
            self._busy.add(thread)
            self._spawn(self._serve(thread))

    async def _read(self, call: Call) -> None:
        allowed = self._settings().context_edits_allowed
        worker = self._urgent if call.is_held else self._worker
        asked = await asyncio.get_running_loop().run_in_executor(worker, _read, call, allowed)
        call.is_read.set(asked)

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
        family.is_resumed = any(row["state"] == "evicted" for row in known["segments"])
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
                    call.fail(Reason.OWN_FAULT)
        finally:
            self._busy.discard(thread)
        self._part(thread)

    async def _sync(self, thread: Thread, call: Call) -> None:
        asked, placed = call.asked, call.is_placed.now
        assert asked is not None
        assert isinstance(placed, Placed)
        spans = asked.window.spans
        told = await asyncio.get_running_loop().run_in_executor(self._worker, _tellable, asked.window)
        ids = [segment.id for segment in told]
        params: dict[str, Any] = {
            "session": thread.key,
            "model": asked.model,
            "project": asked.project,
            "parent": thread.parent or call.family.parent,
            "format": call.wire,
            "ids": ids,
            "digests": [asked.digests[id_].hex() for id_ in ids],
            "can_recall": asked.can_recall or _has_tool(call),
            "fixed": [s.id for s in told if s.id not in spans and s.status is not Status.PENDING],
            "usage": _usage(thread.reply),
            # In shadow nothing is edited, so that nothing need wait for it either.
            "is_cold": placed.is_cold and (placed.waits or placed.mode == "shadow"),
        }
        if asked.profile:
            params["profile"] = asked.profile
        if placed.mode != thread.asked_mode:
            params["mode"] = placed.mode  # Told when it changes, so that the daemon may be told another in between.
        if not placed.waits:
            params["edited"] = sorted(await _edited_ids(call))
        self._counts.syncs += 1
        answer = await self._told(call.family, thread, params, asked)
        self.trouble = None
        # The reply to this window is what the next sync will tell of.
        thread.reply = call.reply
        thread.asked_mode = placed.mode
        thread.ids = tuple(ids)
        thread.known = asked.digests
        await self._take(thread, call, asked, answer)
        call.family.is_resumed &= bool(thread.parent)
        call.is_told.set(None)

    async def _told(self, family: Family, thread: Thread, params: dict[str, Any], asked: Asked) -> dict[str, Any]:
        """Send what the daemon may not have, then the window; its answer. It asks for what it misses still."""
        loop = asyncio.get_running_loop()
        missing = {id_ for id_ in params["ids"] if thread.known.get(id_) != asked.digests[id_]}
        if not thread.ids and not thread.parent:
            missing -= family.known_ids or set()  # Met for the first time here, but not there.
        said: set[str] = set()
        for _ in range(TRIES_MAX):
            loads = await loop.run_in_executor(self._worker, _loads, asked.window, missing)
            for load in loads[:-1]:
                ahead = {"session": thread.key, "format": params["format"], "new": load}
                await self._link.call("window.sync", ahead, SYNC_TIMEOUT_S)
            params["new"] = loads[-1]
            answer: dict[str, Any] = await self._link.call("window.sync", params, SYNC_TIMEOUT_S)
            params["usage"] = None  # It is told once.
            said |= missing
            missing = set(answer["unknown"])
            if not missing:
                # An id is in conflict in each answer; it is counted when what it stands for is told.
                self._counts.conflicts += len(said.intersection(answer["conflicts"]))
                return answer
        raise CallFailed("conflict", 0, "the daemon asks for the same segments again and again")

    async def _take(self, thread: Thread, call: Call, asked: Asked, answer: dict[str, Any]) -> None:
        """Remember what is evicted now, and make the memo for the next request."""
        plan = answer["plan"]
        if plan is not None:
            self._counts.collections += answer["mode"] == "on"
            self._counts.would_free_tokens += plan["freed_tokens"] * (answer["mode"] == "shadow")
        tombstones = {
            id_: Evicted(Tombstone(_way_back(call, said["text"]), said["marker"]), asked.digests[id_])
            for id_, said in answer["evicted"].items()
            if id_ in asked.digests
        }
        if answer["mode"] != "on" or thread.is_barred:
            tombstones = {}
        if tombstones == thread.tombstones:
            return
        loop = asyncio.get_running_loop()
        _, memo = await loop.run_in_executor(self._worker, edited, call.body, call.wire, asked, tombstones)
        thread.tombstones, thread.memo = tombstones, memo

    def _failed(self, call: Call, failure: CallFailed) -> None:
        self._counts.sync_failures += 1
        self.trouble = _reason(failure)
        call.fail(self.trouble)


def _way_back(call: Call, tombstone: str) -> str:
    """A tombstone's text, naming our tool where the model has it and not the command."""
    return tombstone.replace(COMMAND, TOOL_NAME, 1) if _has_tool(call) else tombstone


def _has_tool(call: Call) -> bool:
    return bool(call.family.has_recall_tool and call.asked is not None and call.asked.tools)


def _read(call: Call, edits_allowed: Set[str]) -> Asked:
    return read_body(call.body, call.wire, edits_allowed, call.family.identity.agent)


def _tellable(window: WireWindow) -> list[Segment]:
    """The segments that fit into a line each. Only what may be too long is written to find out."""
    return [
        segment
        for segment in window.segments
        # A byte of text is six of JSON at most.
        if 6 * (len(segment.skeleton) + sum(len(piece.data) for piece in segment.body)) < RECORD_BYTES_MAX
        or len(_record(segment, window)) < RECORD_BYTES_MAX
    ]


def _loads(window: WireWindow, missing: set[str]) -> list[list[msgspec.Raw]]:
    """The missing segments as JSON, in window order, in loads that fit into one line each; at least one load.

    The last one, which goes with all the ids, is never long.
    """
    loads: list[list[msgspec.Raw]] = [[]]
    load_bytes = 0
    for segment in window.segments:
        if segment.id not in missing:
            continue
        record = _record(segment, window)
        load_bytes += len(record)
        if load_bytes > NEW_BYTES_MAX and loads[-1]:
            loads.append([])
            load_bytes = len(record)
        loads[-1].append(msgspec.Raw(record))
    return [*loads, []] if load_bytes > NEW_BYTES_MAX else loads


def _record(segment: Segment, window: WireWindow) -> bytes:
    fixed = sorted(window.fixed(segment))
    return encode_json(segment_fields(segment) | ({"fixed": fixed} if fixed else {}))


def _usage(reply: Reply | None) -> dict[str, int] | None:
    return dict(reply.usage._asdict()) if reply is not None and reply.usage is not None else None


def _reason(failure: CallFailed) -> Reason:
    if isinstance(failure, TimedOut):
        return Reason.DAEMON_LATE
    return Reason.DAEMON_GONE if isinstance(failure, Unreachable) else Reason.DAEMON_FAILED


async def _edited_ids(call: Call) -> frozenset[str]:
    """What is out of the request as it is sent on: nothing, if that is not decided in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(HEAD_START_S):
            await call.is_sent.wait()
    return call.edited


async def _until(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for the event, and not for longer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
