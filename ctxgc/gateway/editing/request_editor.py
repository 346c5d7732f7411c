"""The decision on each request: the bytes that go upstream. HTTP is the server's business; the daemon, the syncer's.

    triage (headers) ──▶ stream: no tombstone is in force, the bytes go on as they come
                     └─▶ hold: read whole ──▶ begins with a branch's memo ──▶ edited head + rest
                                          ──▶ parse, ask the daemon if the cache is cold ──▶ splice
                                                                              at most `wait_s` in all, once `RESUME_S`

The editor fails open: a fault is counted, and the original bytes go upstream (I13).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ctxgc.gateway.body.content_coding import body_coding
from ctxgc.gateway.body.host_edits import may_clear_results
from ctxgc.gateway.body.request_body import EDITED_BYTES_MAX, edit_obstacle, find_cache_key
from ctxgc.gateway.body.splice_memo import OwnBreakpoint, SpliceMemo, splice_edits, splice_from_memo
from ctxgc.gateway.editing.entry import EntryEditor
from ctxgc.gateway.editing.request_state import ForwardedEdit, ModelCall, Placement
from ctxgc.gateway.editing.stand_ins import stand_ins_of_contents
from ctxgc.gateway.editing.window_sync import WindowSyncer
from ctxgc.gateway.identity.agent_session import AgentSession, Branch
from ctxgc.gateway.identity.headers import (
    identity_from_cache_key,
    identity_in_headers_or_path,
    parent_session_in_headers,
    sub_agent_in_headers,
    window_limit_tokens_in_headers,
)
from ctxgc.gateway.metrics import Counters, Reason
from ctxgc.gateway.settings import Settings

RESUME_S = 1.0
"""Seconds for which the first request of a session with evicted bodies may wait after a restart, before I13."""

_log = logging.getLogger("ctxgc.gateway")


class Triage(NamedTuple):
    """The judgement on a call to a model by its headers."""

    wire: str
    session: AgentSession | None
    """None where no header names the session."""
    mode: str
    pass_reason: Reason | None
    """Why the call must pass as it came, if so."""
    holds_body: bool
    """The body must be read whole before it goes upstream."""
    sub_agent: str = ""
    """The sub-agent that asks, if the headers name one."""
    coding: str = ""
    """The content codings of the body; empty for a plain body."""


class UpstreamRequest(NamedTuple):
    """The bytes that go upstream for a call."""

    body: bytes
    call: ModelCall | None
    """The call that the daemon gets, with the bill of its reply; None if it gets none."""
    original: bytes | None = None
    """The agent's own bytes, where the body is edited."""
    own: OwnBreakpoint | None = None
    """The breakpoint of our own in the body."""


class MemoMatch(NamedTuple):
    """A memo with which a body begins, and the memo's branch."""

    branch: Branch
    memo: SpliceMemo


class RequestEditor:
    """Decides on every call. Belongs to a single loop; raises no error."""

    def __init__(
        self, syncer: WindowSyncer, entry: EntryEditor, counters: Counters, settings: Callable[[], Settings]
    ) -> None:
        self._syncer = syncer
        self._entry = entry
        self._counters = counters
        self._settings = settings

    def triage_call(self, wire: str, headers: Mapping[str, str], length: int, path_session: str = "") -> Triage:
        """Judge a call by its headers, the session in its path, and the length of its body, 0 if unknown."""
        try:
            return self._triage_by_headers(wire, headers, length, path_session)
        except Exception:
            _log.exception("a request could not be judged; it passes as it came")
            return Triage(wire, None, "", Reason.OWN_FAULT, holds_body=False)

    def _triage_by_headers(self, wire: str, headers: Mapping[str, str], length: int, path_session: str) -> Triage:
        coding = body_coding(headers.get("content-encoding", ""))
        if coding is None:
            return Triage(wire, None, "", Reason.ENCODED, holds_body=False)
        if length > EDITED_BYTES_MAX:
            return Triage(wire, None, "", Reason.TOO_LARGE, holds_body=False)
        identity = identity_in_headers_or_path(headers, path_session)
        if identity is None:
            is_in_body = wire == "openai_responses"
            reason = None if is_in_body else Reason.NO_IDENTITY
            return Triage(wire, None, "", reason, holds_body=is_in_body, coding=coding)
        session = self._syncer.find_or_open_session(identity)
        session.window_max_tokens = window_limit_tokens_in_headers(headers)
        session.parent = parent_session_in_headers(identity, headers) or session.parent
        triage = self._triage_session(wire, session)
        return triage._replace(sub_agent=sub_agent_in_headers(identity, headers), coding=coding)

    def _triage_session(self, wire: str, session: AgentSession) -> Triage:
        mode = self._settings().mode_of_session(*session.identity)
        if mode == "off":
            return Triage(wire, session, mode, Reason.MODE_OFF, holds_body=False)
        is_new = session.known_ids is None
        # In shadow nothing is edited, even while tombstones from mode `on` are in force or arrive late.
        is_edited = (
            session.has_stand_ins
            or session.may_miss_host_cache
            or self._settings().can_edit_at_entry(session.identity.agent)
        )
        holds_body = mode == "on" and (is_new or is_edited or session.is_cold(time.monotonic()))
        return Triage(wire, session, mode, None, holds_body)

    def sync_streamed_request(self, triage: Triage, parts: Sequence[bytes] | None) -> ModelCall | None:
        """The call whose body has streamed upstream; None for a body too long to be kept."""
        try:
            return self._sync_unedited_request(triage, parts)
        except Exception:
            _log.exception("a request that passed as it came was not recorded for the daemon")
            self._counters.count_unedited_call(Reason.OWN_FAULT)
            return None

    def _sync_unedited_request(self, triage: Triage, parts: Sequence[bytes] | None) -> ModelCall | None:
        if triage.pass_reason is not None or parts is None or triage.session is None:
            self._counters.count_unedited_call(
                triage.pass_reason or (Reason.TOO_LARGE if parts is None else Reason.NO_IDENTITY)
            )
            return None
        call = self._new_call(triage, triage.session, parts, is_held_back=False)
        trouble = self._syncer.trouble if triage.mode == "on" else None
        self._count_untouched_or_unedited_call(trouble)
        call.is_untouched = trouble is None
        call.is_sent.set(ForwardedEdit())
        self._syncer.start_sync(call)
        return call

    async def edit_request(self, triage: Triage, body: bytes) -> UpstreamRequest:
        """The bytes to send for a body that is held. Returns within `wait_s`, or `RESUME_S`, in every case."""
        call = None
        try:
            triage = triage if triage.session is not None else self._triage_by_cache_key(triage, body)
            if triage.session is None or triage.pass_reason or not triage.holds_body:
                return UpstreamRequest(body, self._sync_unedited_request(triage, [body]))
            # What the server will clear is told by the whole body alone.
            clears = may_clear_results(body)
            entry = None if clears else self._match_list(triage.session, body)
            obstacle = edit_obstacle(body, self._settings().context_edits_allowed, entry[1] if entry else 0)
            match = self._match_memo(triage.session, body, obstacle)
            entry = entry if entry and self._can_edit_tail_alone(entry[0], match, obstacle) else None
            call = self._new_call(triage, triage.session, [body], is_held_back=False)
            entered = await self._edit_at_entry(call, entry, match) if entry else None
            # A memo without every elided result would send one whole that went upstream with pointers before.
            elided = match.branch.elided.keys() if match else set[str]()
            is_all = match is not None and elided <= match.memo.elided and not (clears and elided)
            call.has_entered = entered is not None
            call.is_held_back = entered is None and not is_all  # The sync reads such a request at once.
            self._syncer.start_sync(call)
            if entered is not None:
                outgoing, edit = entered
            else:
                outgoing, edit = (
                    self._edit_from_memo(call, match) if match and is_all else await self._edit_from_contents(call)
                )
        except Exception:
            _log.exception("a request could not be edited; it passes as it came")
            self._counters.count_unedited_call(Reason.OWN_FAULT)
            outgoing, edit = UpstreamRequest(body, call), ForwardedEdit()
        if call is not None:
            call.is_sent.set(edit)
        return outgoing

    def _triage_by_cache_key(self, triage: Triage, body: bytes) -> Triage:
        """Judge a call by the cache key in its plain body, where the headers name no session."""
        identity = identity_from_cache_key(triage.wire, find_cache_key(body))
        if identity is None:
            return triage._replace(pass_reason=Reason.NO_IDENTITY)
        return self._triage_session(triage.wire, self._syncer.find_or_open_session(identity))

    def _new_call(
        self, triage: Triage, session: AgentSession, parts: Sequence[bytes], *, is_held_back: bool
    ) -> ModelCall:
        return ModelCall(
            session=session,
            wire=triage.wire,
            parts=parts,
            mode=triage.mode,
            coding=triage.coding,
            sub_agent=triage.sub_agent,
            is_held_back=is_held_back,
        )

    def _match_memo(
        self, session: AgentSession, body: bytes, obstacle: Reason | None, *, even_if_cold: bool = False
    ) -> MemoMatch | None:
        """The memo by which this body can be edited without another look at the body."""
        branch = session.find_memo_branch(body)
        if branch is None or branch.memo is None:
            return None
        if obstacle is Reason.PREVIOUS_RESPONSE:
            return None
        # Beside another hand in the window bodies that are out stay out, and no breakpoint of ours stands.
        memo = branch.memo.without_breakpoint() if obstacle else branch.memo
        if even_if_cold:
            return MemoMatch(branch, memo)
        keeps_breakpoint = obstacle is not None or memo.keeps_breakpoint(body)
        return MemoMatch(branch, memo) if keeps_breakpoint and not branch.is_cache_cold(time.monotonic()) else None

    def _match_list(self, session: AgentSession, body: bytes) -> tuple[Branch, int] | None:
        """The branch whose last list the body continues, and from where on; None where no result may be shortened."""
        references = self._settings().can_edit_at_entry(session.identity.agent)
        return session.find_list_match(body) if references else None

    def _can_edit_tail_alone(self, branch: Branch, match: MemoMatch | None, obstacle: Reason | None) -> bool:
        """Whether the tail of a body that continues a branch's last list is all there is to look at."""
        # Where the host may miss its own cache, a breakpoint of ours is due, and its place is found in the whole
        # request.
        if obstacle or branch.is_barred or branch.may_miss_host_cache or branch.is_cache_cold(time.monotonic()):
            return False
        # Tombstones in force that no memo carries need the whole body to be read.
        return match.branch is branch if match else not branch.tombstones

    async def _edit_at_entry(
        self, call: ModelCall, entry: tuple[Branch, int], match: MemoMatch | None
    ) -> tuple[UpstreamRequest, ForwardedEdit] | None:
        """The call with the pointers of its new results, beside what stands in it already; None: read it whole."""
        branch, cut = entry
        try:
            entered = await self._entry.edit_tail_at_entry(call, branch, cut, match.memo if match else None)
        except Exception:
            _log.exception("the tail of a request could not be read alone; the request is read whole")
            return None
        if entered is None:
            return None
        if entered.body is call.body:
            self._count_untouched_or_unedited_call(None)
            return UpstreamRequest(call.body, call), entered.edit
        self._counters.edited_from_prefix += match is not None
        return self._finish_edited_request(call, entered.body, entered.edit)

    def _edit_from_memo(self, call: ModelCall, match: MemoMatch) -> tuple[UpstreamRequest, ForwardedEdit]:
        """The call, edited by its branch's memo."""
        edited = splice_from_memo(match.memo, call.body)
        assert edited is not None
        self._counters.edited_from_prefix += 1
        edit = ForwardedEdit(match.memo.ids, match.branch, edited[1], match.memo.elided)
        return self._finish_edited_request(call, edited[0], edit)

    async def _edit_from_contents(self, call: ModelCall) -> tuple[UpstreamRequest, ForwardedEdit]:
        """The call, edited by its own contents, even where the daemon is late or gone."""
        reason = await self._wait_for_decision(call)
        contents, placement = call.contents, call.is_placed.value
        if contents is None or not isinstance(placement, Placement):
            # The parser is late, or failed: tombstones in force stay in force where that needs no parsing.
            obstacle = edit_obstacle(call.body, self._settings().context_edits_allowed)
            if (match := self._match_memo(call.session, call.body, obstacle, even_if_cold=True)) is not None:
                return self._edit_from_memo(call, match)
        else:
            # Beside another hand in the window nothing more leaves; bodies that are out stay out (I14).
            reason = contents.obstacle or reason
            branch = placement.branch
            has_breakpoint = placement.mode == "on" and not contents.obstacle
            placer = branch.cache.make_breakpoint_placer(time.monotonic()) if has_breakpoint else None
            if placement.mode == "on" and not contents.obstacle and self._settings().can_edit_at_entry(branch.agent):
                await self._entry.fetch_pointers_of_contents(call, branch, contents)
            stand_ins = stand_ins_of_contents(branch, contents, branch.tombstones)
            body, memo, own, elided = splice_edits(call.body, call.wire, contents, stand_ins, placer)
            if memo is not None or elided:
                branch.store_memo(memo)
                ids = memo.ids if memo else frozenset[str]()
                return self._finish_edited_request(call, body, ForwardedEdit(ids, branch, own, elided))
            if own is not None:
                self._count_untouched_or_unedited_call(reason)
                return UpstreamRequest(body, call, call.body, own), ForwardedEdit(frozenset(), branch, own)
        if reason is Reason.DAEMON_LATE and contents is not None and not contents.has_replies:
            reason = None  # The first request of a conversation: no body can have left it yet.
        self._count_untouched_or_unedited_call(reason)
        return UpstreamRequest(call.body, call), ForwardedEdit()

    def _finish_edited_request(
        self, call: ModelCall, body: bytes, edit: ForwardedEdit
    ) -> tuple[UpstreamRequest, ForwardedEdit]:
        self._counters.edited += 1
        self._counters.kept_out_bytes += len(call.body) - len(body)
        return UpstreamRequest(body, call, call.body, edit.own), edit

    def _count_untouched_or_unedited_call(self, reason: Reason | None) -> None:
        """Count a call that passes unedited."""
        if reason is not None:
            self._counters.count_unedited_call(reason)
        else:
            self._counters.untouched += 1

    async def _wait_for_decision(self, call: ModelCall) -> Reason | None:
        """Wait for all steps that may change the call; the reason, if a step fails or takes too long.

        The first request of a session with evicted bodies, after the gateway began, may wait longer: a whole request
        followed by an edited one would pay for two rewrites of the cache, which take longer still (I14).
        """
        wait_s = self._settings().wait_s
        for patience_s in (wait_s, max(RESUME_S - wait_s, 0.0)):
            try:
                async with asyncio.timeout(patience_s):
                    placement = await call.is_placed.wait()
                    if not isinstance(placement, Placement):
                        return placement
                    return await call.is_synced.wait() if placement.waits else None
            except TimeoutError:
                if not call.session.is_resumed:
                    break
        return Reason.DAEMON_LATE if call.contents is not None else Reason.OWN_LATE
