"""The daemon's window of each branch, kept in step with the agent's: `window.sync`, after the request went out.

    call ──parse (worker)──▶ branch ──newest wins──▶ window.sync ──▶ tombstones in force ──▶ a new memo
                                        ▲    │ ids, new segments, the bill of the last reply
                                        └────┘ one at a time for each branch

A sync holds no request up, unless the editor asks for a wait: when the cache is cold, or when a session is new to the
gateway. A failure is counted, and tombstones in force stay in force.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Set
from concurrent.futures import Executor
from typing import Any, NamedTuple

from ctxgc.core.bounded_dict import drop_oldest_entries
from ctxgc.core.errors import BadTranscript
from ctxgc.gateway.body.content_coding import BadCoding, BodyTooLong
from ctxgc.gateway.body.prompt_layout import prompt_of_layout
from ctxgc.gateway.body.request_body import BodyContents, edit_obstacle, read_body
from ctxgc.gateway.body.splice_memo import EvictedBody, SplicedRequest, splice_edits
from ctxgc.gateway.byte_budget import BudgetShare, ByteBudget
from ctxgc.gateway.daemon_client import VerbCaller
from ctxgc.gateway.editing.entry import EntryEditor, adopt_origin_elisions
from ctxgc.gateway.editing.request_state import ModelCall, Placement
from ctxgc.gateway.editing.stand_ins import apply_elided_results, stand_ins_of_contents
from ctxgc.gateway.editing.sync_records import (
    late_edit_of_call,
    record_batches,
    sendable_segments,
    tombstones_of_answer,
    window_sync_params,
)
from ctxgc.gateway.identity.agent_session import SESSIONS_MAX, AgentSession, Branch, is_side_call
from ctxgc.gateway.identity.headers import Identity
from ctxgc.gateway.metrics import Counters, Reason
from ctxgc.gateway.settings import Settings
from ctxgc.protocol.blocking_client import CallFailed, TimedOut, Unreachable

SYNC_TIMEOUT_S = 30.0
FETCH_TIMEOUT_S = 5.0
TRIES_MAX = 3
IDS_MAX = 10_000
NEWEST_MAX = 100
HEAD_START_S = 0.2
"""Seconds for which parsing waits for the beginning of the reply: parsing would delay the first byte."""
WAITING_MAX = 256
"""Calls whose windows wait to be parsed; the daemon does not get a call beyond them."""
BACKLOG_BYTES_MAX = 128 * 2**20
"""Bytes of bodies that wait for the daemon; the daemon does not get a call beyond them."""

_log = logging.getLogger("ctxgc.gateway")


class BacklogFull(Exception):
    """A body, decoded, does not fit into the backlog."""


class Workers(NamedTuple):
    """Threads and tasks for the work beside the loop."""

    parser: Executor
    urgent: Executor
    """Parses requests that are held back: behind other requests they would come too late."""
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    """Begins a task of the gateway's task group."""


class WindowSyncer:
    """Keeps the daemon's windows in step with the agents'. Belongs to a single loop."""

    def __init__(
        self,
        daemon: VerbCaller,
        counters: Counters,
        settings: Callable[[], Settings],
        workers: Workers,
        entry: EntryEditor,
    ) -> None:
        self._daemon = daemon
        self._counters = counters
        self._settings = settings
        self._workers = workers
        self._entry = entry
        self._sessions: dict[Identity, AgentSession] = {}
        self._newest: dict[Branch, ModelCall] = {}
        """The newest call of each branch that waits for its sync."""
        self._busy: set[Branch] = set()
        self._waiting = 0
        self._backlog = ByteBudget(BACKLOG_BYTES_MAX)
        """Bodies of calls that the daemon is still to get: a slow daemon must not fill the gateway."""
        self.trouble: Reason | None = None
        """Why the last sync failed; None after an answer of the daemon."""

    @property
    def is_idle(self) -> bool:
        """Whether the daemon has every call."""
        return not self._waiting and not self._busy

    def find_or_open_session(self, identity: Identity) -> AgentSession:
        """The session of this id. Sessions that asked least recently are forgotten."""
        session = self._sessions.pop(identity, None) or AgentSession(identity)
        self._sessions[identity] = session
        drop_oldest_entries(self._sessions, SESSIONS_MAX)
        return session

    def start_sync(self, call: ModelCall) -> None:
        """Sync this call with the daemon: at once if the call is held back, else when its reply has begun."""
        share = BudgetShare(self._backlog)
        if self._waiting >= WAITING_MAX or not share.reserve(call.size):
            call.fail(Reason.OWN_LATE)
            return
        self._waiting += 1
        self._workers.spawn(_release_share_after_sync(call, share))
        self._workers.spawn(self._queue_call_for_sync(call, share))

    def report_off_sessions(self) -> None:
        """Tell the daemon the sessions in mode `off`: no request of these is synced any more."""
        for session in self._sessions.values():
            for branch in session.branches.values():
                self._report_branch_if_off(branch)

    def _report_branch_if_off(self, branch: Branch) -> None:
        is_off = self._settings().mode_of_session(branch.agent, branch.name) == "off"
        # A sync under way still carries the mode before; `_drain_branch` looks again at its end.
        if is_off and branch not in self._busy and branch.synced_mode not in ("", "off"):
            branch.synced_mode = "off"
            self._workers.spawn(self._sync_mode_off(branch))

    async def _sync_mode_off(self, branch: Branch) -> None:
        params = {"session": branch.session_name, "format": "anthropic_messages", "new": [], "mode": "off"}
        try:
            await self._daemon.call("window.sync", params, SYNC_TIMEOUT_S)
        except CallFailed:
            self._counters.sync_failures += 1  # The session's next request carries the mode again.

    async def _queue_call_for_sync(self, call: ModelCall, share: BudgetShare) -> None:
        try:
            if not call.is_held_back:
                await call.reply.wait_until_begun(HEAD_START_S)
            await self._place_call_on_branch(call, share)
        except BacklogFull:
            self._fail_unsynced_call(call, Reason.OWN_LATE)
        except BodyTooLong:
            self._fail_unsynced_call(call, Reason.TOO_LARGE)
        except BadCoding:
            self._fail_unsynced_call(call, Reason.ENCODED)
        except BadTranscript:
            self._fail_unsynced_call(call, await self._find_reading_obstacle(call))
        except CallFailed as failure:
            self._fail_sync(call, failure)
        except Exception:
            _log.exception("a request could not be read; it passes unedited")
            self._fail_unsynced_call(call, Reason.OWN_FAULT)
        finally:
            self._waiting -= 1

    def _fail_unsynced_call(self, call: ModelCall, reason: Reason) -> None:
        """End a call that the daemon does not get, counted under its reason even if its body streamed by before."""
        call.fail(reason)
        self._recount_call_if_untouched(call, reason)
        if reason is not Reason.SIDE_CALL:
            self._record_outcome_of_call(call, reason)

    def _record_outcome_of_call(self, call: ModelCall, reason: Reason | None) -> None:
        branch = call.branch
        name = branch.session_name if branch else "{}:{}".format(*call.session.identity)
        self._counters.record_sync_outcome(name, reason)

    def _recount_call_if_untouched(self, call: ModelCall, reason: Reason) -> None:
        """Count a call under this reason, if the call was counted as having nothing to edit."""
        if call.is_untouched:
            call.is_untouched = False
            self._counters.recount_untouched_call(reason)

    async def _find_reading_obstacle(self, call: ModelCall) -> Reason:
        """Why a body cannot be read: most often the server keeps or manages a part of the window."""
        allowed, loop = self._settings().context_edits_allowed, asyncio.get_running_loop()
        obstacle = await loop.run_in_executor(self._workers.parser, edit_obstacle, call.body, allowed)
        return obstacle or Reason.NOT_UNDERSTOOD

    async def _place_call_on_branch(self, call: ModelCall, share: BudgetShare) -> None:
        """Find the call's branch, and let the branch's task go on with the call."""
        # Both at once: a request that is held back waits for the slower of the two.
        for failure in await asyncio.gather(
            self._read_body_in_worker(call, share), self._fetch_session_state(call.session), return_exceptions=True
        ):
            if failure is not None:
                raise failure
        contents = call.contents
        assert contents is not None
        if is_side_call(contents, call.session.identity):
            self._fail_unsynced_call(call, Reason.SIDE_CALL)
            return
        branch = call.session.find_or_open_branch(contents, call.sub_agent)
        adopt_origin_elisions(branch, contents, self._sessions.values())
        now_s = time.monotonic()
        ttl_s = self._settings().cache_life_s(contents.profile)
        # The request before this one wrote the cache; its time to live, if another gateway served it, was the same.
        branch.cache_ttl_s = ttl_s if branch.cache_ttl_s is None else branch.cache_ttl_s
        is_cold = branch.is_cache_cold(now_s)
        branch.last_request_s, branch.cache_ttl_s = now_s, ttl_s
        mode = "shadow" if branch.is_barred else call.mode
        if contents.obstacle:
            self._recount_call_if_untouched(call, contents.obstacle)
        # A request that is held back goes on now, unless the daemon's answer may change this very request.
        waits = call.is_held_back and (is_cold or not branch.synced_ids)
        call.is_placed.set(Placement(branch, mode, is_cold, waits))
        if (replaced_call := self._newest.pop(branch, None)) is not None:
            self._counters.replaced_syncs += 1
            replaced_call.is_synced.set(None)
        self._newest[branch] = call
        if branch not in self._busy:
            self._busy.add(branch)
            self._workers.spawn(self._drain_branch(branch))

    async def _read_body_in_worker(self, call: ModelCall, share: BudgetShare) -> None:
        allowed = self._settings().context_edits_allowed
        worker = self._workers.urgent if call.is_held_back else self._workers.parser
        contents = await asyncio.get_running_loop().run_in_executor(worker, _read_call_body, call, allowed)
        contents = contents._replace(project=contents.project or call.session.project)
        if not share.reserve(call.size - share.size):  # The plain body has taken the place of a compressed one.
            call.drop_body()
            raise BacklogFull
        call.is_read.set(contents)

    async def _fetch_session_state(self, session: AgentSession) -> None:
        """Ask the daemon once for the session's known segments, and the time of its last sync."""
        if session.known_ids is not None:
            return
        agent = session.identity.agent
        name = "{}:{}".format(*session.identity)
        newest = await self._daemon.call("session.list", {"source": agent, "limit": NEWEST_MAX}, FETCH_TIMEOUT_S)
        last_sync_s = next((row["updated_s"] for row in newest["sessions"] if row["session"] == name), 0.0)
        # A session that is resumed after a night has a cold cache, whichever gateway served it yesterday.
        session.last_sync_s = time.monotonic() - max(time.time() - last_sync_s, 0.0) if last_sync_s else 0.0
        try:
            known = await self._daemon.call("segment.list", {"session": name, "limit": IDS_MAX}, FETCH_TIMEOUT_S)
        except CallFailed as failure:
            if failure.kind != "not_found":
                raise
            known = {"segments": []}
        session.is_resumed = any(row["state"] == "evicted" for row in known["segments"])
        session.known_ids = frozenset(row["id"] for row in known["segments"])

    async def _drain_branch(self, branch: Branch) -> None:
        """Sync this branch until no newer call waits."""
        try:
            while (call := self._newest.pop(branch, None)) is not None:
                try:
                    await self._sync_branch(branch, call)
                except CallFailed as failure:
                    self._fail_sync(call, failure)
                except Exception:
                    _log.exception("session %s could not be synced", branch.session_name)
                    self._counters.sync_failures += 1
                    call.fail(Reason.OWN_FAULT)
        finally:
            self._busy.discard(branch)
        self._report_branch_if_off(branch)

    async def _sync_branch(self, branch: Branch, call: ModelCall) -> None:
        contents, placement = call.contents, call.is_placed.value
        assert contents is not None
        assert isinstance(placement, Placement)
        sendable = await asyncio.get_running_loop().run_in_executor(
            self._workers.parser, sendable_segments, contents.window
        )
        ids = [segment.id for segment in sendable]
        edited = None if placement.waits else sorted(await call.wait_for_edited_ids(HEAD_START_S))
        branch.carried.update(ids)
        if not placement.waits:  # Before the daemon answers, which may take longer than the agent.
            await self._store_list_head_for_entry(branch, call, contents)
        branch.update_charges_writes()
        params = window_sync_params(branch, call, placement, sendable, edited) | {
            "can_recall": contents.can_recall or bool(contents.recall_tool)
        }
        self._counters.syncs += 1
        answer = await self._send_window(call.session, branch, params, contents)
        self.trouble = None
        tombstones = self._receive_tombstones(branch, contents, answer)
        has_new_lines = apply_elided_results(branch, contents, answer)
        if placement.waits:
            # The answer is for this very request: what is noted of the request is what the editor makes of it.
            has_new, branch.tombstones = tombstones != branch.tombstones, tombstones
            call.is_synced.set(None)
            await call.wait_for_edited_ids(HEAD_START_S)
        else:
            has_new = tombstones != branch.tombstones
        if contents.layout is not None:
            prompt = prompt_of_layout(
                contents.layout,
                contents.window,
                contents.digests,
                call.edited_ids,
                call.own_breakpoint,
                elided=call.elided_ids,
            )
            branch.cache.record_request(prompt, contents.model, call.arrived_s, call.reply)
        branch.late_edit = late_edit_of_call(call, params)
        # The next sync carries the bill of the reply to this window.
        branch.reply = call.reply
        branch.synced_mode = placement.mode
        branch.synced_ids = tuple(ids)
        branch.known_digests = contents.digests
        await self._store_tombstones_and_memo(branch, call, tombstones, has_new=has_new or has_new_lines)
        await self._store_list_head_for_entry(branch, call, contents)
        call.session.is_resumed &= bool(branch.parent)
        self._record_outcome_of_call(call, None)
        call.is_synced.set(None)

    async def _send_window(
        self, session: AgentSession, branch: Branch, params: dict[str, Any], contents: BodyContents
    ) -> dict[str, Any]:
        """Send segments that the daemon may lack, then the window; its answer, which may ask for more segments."""
        loop = asyncio.get_running_loop()
        missing = {id_ for id_ in params["ids"] if branch.known_digests.get(id_) != contents.digests[id_]}
        if not branch.synced_ids and not branch.parent:
            missing -= session.known_ids or set()  # New to this gateway, and known to the daemon.
        sent_ids: set[str] = set()
        for _ in range(TRIES_MAX):
            batches = await loop.run_in_executor(
                self._workers.parser, record_batches, contents.window, missing, contents.project, branch.elisions
            )
            for batch in batches[:-1]:
                ahead = {name: params[name] for name in ("session", "format", "mode")} | {"new": batch}
                await self._daemon.call("window.sync", ahead, SYNC_TIMEOUT_S)
            params["new"] = batches[-1]
            answer: dict[str, Any] = await self._daemon.call("window.sync", params, SYNC_TIMEOUT_S)
            params["usage"] = None  # A bill counts once.
            sent_ids |= missing
            missing = set(answer["unknown"])
            if not missing:
                # An id stays in conflict in each answer; a conflict is counted when the content under the id is sent.
                self._counters.conflicts += len(sent_ids.intersection(answer["conflicts"]))
                return answer
        raise CallFailed("conflict", 0, "the daemon asks for the same segments again and again")

    def _receive_tombstones(
        self, branch: Branch, contents: BodyContents, answer: dict[str, Any]
    ) -> dict[str, EvictedBody]:
        """The tombstones in force from this answer on, its plan counted."""
        if (plan := answer["plan"]) is not None:
            self._counters.collections += answer["mode"] == "on"
            self._counters.would_free_tokens += plan["freed_tokens"] * (answer["mode"] == "shadow")
        return {} if branch.is_barred else tombstones_of_answer(contents, answer)

    async def _store_tombstones_and_memo(
        self, branch: Branch, call: ModelCall, tombstones: dict[str, EvictedBody], *, has_new: bool
    ) -> None:
        """Keep the tombstones in force, and make the memo for the next request."""
        contents = call.contents
        assert contents is not None
        tombstones = {} if branch.is_barred else tombstones
        placer = branch.cache.next_breakpoint_placer(time.monotonic()) if tombstones and not contents.obstacle else None
        if not has_new and (not tombstones or (placer is None and branch.memo is not None)):
            return
        loop = asyncio.get_running_loop()
        memo, stand_ins = branch.memo, stand_ins_of_contents(branch, contents, tombstones)
        spliced: SplicedRequest = await loop.run_in_executor(
            self._workers.parser, splice_edits, call.body, call.wire, contents, stand_ins, placer
        )
        if not branch.is_barred and (has_new or branch.memo is memo):  # Else a later request has a longer memo.
            branch.tombstones = tombstones
            branch.store_memo(spliced.memo)

    async def _store_list_head_for_entry(self, branch: Branch, call: ModelCall, contents: BodyContents) -> None:
        if call.mode == "on" and self._settings().can_edit_at_entry(branch.agent):
            await self._entry.store_list_head(branch, call, contents)

    def _fail_sync(self, call: ModelCall, failure: CallFailed) -> None:
        self._counters.sync_failures += 1
        self.trouble = _failure_reason(failure)
        call.fail(self.trouble)
        self._record_outcome_of_call(call, self.trouble)


async def _release_share_after_sync(call: ModelCall, share: BudgetShare) -> None:
    """Count the call's body out of the backlog, once the daemon has the call or is not to get the call."""
    try:
        await call.is_synced.wait()
    finally:
        share.release()


def _read_call_body(call: ModelCall, edits_allowed: Set[str]) -> BodyContents:
    return read_body(call.body, call.wire, edits_allowed, call.session.identity.agent)


def _failure_reason(failure: CallFailed) -> Reason:
    if isinstance(failure, TimedOut):
        return Reason.DAEMON_LATE
    return Reason.DAEMON_GONE if isinstance(failure, Unreachable) else Reason.DAEMON_FAILED
