"""Results at entry: pointers in the place of lines that the window shows already, before a request goes upstream.

    body ──begins as the last list did──▶ tail alone ──┐
         ──else──▶ read whole ─────────────────────────┴─new results──▶ window.enter ──▶ pointers ──splice──▶ the bytes

Only the results of the model's last reply are new to every cache; a result that went upstream whole stays whole, and a
result with pointers keeps them. A daemon that is late or gone costs the saving and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

import msgspec

from ctxgc.adapters.facts.segment_facts import add_facts
from ctxgc.adapters.json_spans import Extent, splice_bytes
from ctxgc.adapters.json_values import encode_json
from ctxgc.adapters.transcripts.segments_json import segment_fields
from ctxgc.core.entry.elisions import ShownLines
from ctxgc.core.segment import Kind, Segment
from ctxgc.gateway.body.list_tail import Tail, elided_spans, entering_calls, read_list_head, read_tail
from ctxgc.gateway.body.request_body import BodyContents
from ctxgc.gateway.body.splice_memo import SpliceMemo
from ctxgc.gateway.daemon_client import VerbCaller
from ctxgc.gateway.editing.request_state import ForwardedEdit, ModelCall
from ctxgc.gateway.editing.stand_ins import elided_results
from ctxgc.gateway.identity.agent_session import AgentSession, Branch, ElidedBody
from ctxgc.gateway.metrics import Counters
from ctxgc.gateway.settings import Settings
from ctxgc.protocol.blocking_client import CallFailed

INLINE_BYTES_MAX = 64 * 1024
"""So short a tail is read within a millisecond: on a busy machine a hop to another thread takes longer."""
HEADS_BYTES_MAX = 128 * 2**20
"""Lists that are kept for the next requests of all branches."""
ENTER_BYTES_MAX = 2 * 2**20
"""New results in one request; more of them enter whole."""


class NewResults(NamedTuple):
    """The tool calls of a list, and those whose results no request has carried yet."""

    calls: Mapping[str, bytes]
    """The digest of each, in order."""
    entering: Sequence[Segment]
    """With their facts."""
    project: str


class EnteredRequest(NamedTuple):
    """A request whose tail is looked at."""

    body: bytes
    edit: ForwardedEdit


class EntryEditor:
    """Shortens new results. Belongs to the gateway's loop."""

    def __init__(
        self,
        daemon: VerbCaller,
        counters: Counters,
        settings: Callable[[], Settings],
        parser: Executor,
        urgent: Executor,
    ) -> None:
        self._daemon = daemon
        self._counters = counters
        self._settings = settings
        self._parser = parser
        self._urgent = urgent
        self._heads: dict[Branch, int] = {}
        """Bytes of each branch's last list, the branch that asked last at the end."""

    async def edit_tail_at_entry(
        self, call: ModelCall, branch: Branch, cut: int, memo: SpliceMemo | None
    ) -> EnteredRequest | None:
        """The call's body with its branch's tombstones and pointers, the new results' among them.

        None where the tail cannot be read alone, and the request has to be read whole.
        """
        head, body = branch.head, call.body
        assert head is not None
        body_before = head.body
        arguments = (body, call.wire, cut, branch.agent, head.project, branch.carried)
        if len(body) - cut <= INLINE_BYTES_MAX:
            tail = read_tail(*arguments)
        else:
            tail = await asyncio.get_running_loop().run_in_executor(self._urgent, read_tail, *arguments)
        memo_end = len(memo.head) if memo else 0
        if tail is None or not _memo_holds_tombstones(branch, tail, memo_end):
            return None
        calls_before = {id_: place.digest for id_, place in head.calls_before(cut).items()}
        if calls_before.keys() & tail.digests.keys():
            return None  # Only the whole list tells the two uses of a call id apart.
        entering = entering_calls(tail.window, branch.carried)
        calls = calls_before | tail.digests
        await self._fetch_pointers(call, branch, NewResults(calls, entering, head.project))
        if branch.head is not head or head.body is not body_before:
            return None  # Another request or answer has changed the list meanwhile: its places are not this body's.
        results = elided_results(branch, tail.window.segments, calls)
        elided = {id_: elided_spans(tail.window, id_, result) for id_, result in results.items()}
        head.advance_to_request(body, tail, elided)
        branch.carried.update(tail.calls)
        self._limit_kept_heads(branch)
        return _splice_elided_results(branch, body, memo)

    async def fetch_pointers_of_contents(self, call: ModelCall, branch: Branch, contents: BodyContents) -> None:
        """Ask for the pointers of the new results of a request that was read whole."""
        all_calls = [one.id for one in contents.window.segments if one.kind is Kind.TOOL_CALL]
        digests = contents.shown_digests
        calls = {id_: digests[id_] for id_ in all_calls if id_ in digests}
        entering = entering_calls(contents.window, branch.carried) if branch.synced_ids else []
        entering = [one for one in entering if one.id in calls]
        ids = {segment.id for segment in entering}
        if ids:
            known = await asyncio.get_running_loop().run_in_executor(
                self._urgent, add_facts, contents.window.segments, contents.project, ids
            )
            entering = [segment for segment in known if segment.id in ids]
        await self._fetch_pointers(call, branch, NewResults(calls, entering, contents.project))
        branch.carried = set(all_calls)

    async def store_list_head(self, branch: Branch, call: ModelCall, contents: BodyContents) -> None:
        """Note the list of a request that was read whole: of the next request only the tail behind it is looked at."""
        is_noted = branch.head is not None and (call.has_entered or branch.head.body is call.body)
        if is_noted or branch.is_barred or contents.obstacle:
            return
        loop = asyncio.get_running_loop()
        head = await loop.run_in_executor(
            self._parser, read_list_head, call.body, call.wire, contents.window, contents.project, contents.digests
        )
        if head is None or branch.is_barred:
            return
        for id_, result in elided_results(branch, contents.window.segments, contents.shown_digests).items():
            head.elided[id_] = elided_spans(contents.window, id_, result)
        branch.head = head
        self._limit_kept_heads(branch)

    def _limit_kept_heads(self, branch: Branch) -> None:
        """Of all branches those that asked least recently lose the list of their last request."""
        self._heads.pop(branch, None)
        self._heads[branch] = len(branch.head.body) if branch.head else 0
        while sum(self._heads.values()) > HEADS_BYTES_MAX and len(self._heads) > 1:
            oldest = next(iter(self._heads))
            del self._heads[oldest]
            oldest.head = None

    async def _fetch_pointers(self, call: ModelCall, branch: Branch, new: NewResults) -> None:
        """Ask the daemon for the pointers of new results, and note them with the branch.

        No longer than the request may be held back, since it arrived (I13).
        """
        records = [encode_json(segment_fields(one)) for one in new.entering]
        if not records or sum(map(len, records)) > ENTER_BYTES_MAX:
            return
        ids = {one.id for one in new.entering}
        others = [id_ for id_ in new.calls if id_ not in ids]
        before = others[-1] if others else None
        params: dict[str, Any] = {
            "session": branch.session_name,
            "project": new.project,
            "new": [msgspec.Raw(record) for record in records],
        }
        wait_s = call.arrived_s + self._settings().wait_s - time.monotonic()
        try:
            asked = self._daemon.call("window.enter", params | ({"after": before} if before else {}), wait_s)
            answer = await asyncio.wait_for(asked, wait_s)
        except (CallFailed, TimeoutError):
            self._counters.late_entries += 1
            return
        # The daemon speaks of the list as last synced: a rewind or another content since then is news to the daemon.
        shown = {id_ for id_, digest in new.calls.items() if id_ in ids or branch.known_digests.get(id_) == digest}
        for id_, runs in answer["elisions"].items():
            # Lines left out at birth have no target: nothing in the list has to stand for them.
            digests = {target: new.calls.get(target, b"") for target in {run[2] for run in runs}}
            if id_ in ids and digests.keys() - {""} <= shown - branch.tombstones.keys() - {id_}:
                lines = tuple(ShownLines(run[0], run[1], run[6], run[2]) for run in runs)
                branch.elided[id_] = ElidedBody(lines, new.calls[id_], digests)
                branch.elisions[id_] = runs
                self._counters.pointers += len(runs)


def adopt_origin_elisions(branch: Branch, contents: BodyContents, sessions: Iterable[AgentSession]) -> None:
    """Take over the pointers of the session that a new session was forked from: the same results, under the same ids.

    The provider has cached them so; the fork's first request is read as that session's would be.
    """
    if branch.synced_ids:
        return
    known = [session for session in sessions if session.identity.agent == branch.agent]
    for other in (other for session in known for other in session.branches.values()):
        for id_, runs in other.elisions.items():
            elided = other.elided.get(id_)
            if elided is None or contents.digests.get(id_) != elided.digest:
                continue
            if elided.runs_with_targets(contents.digests) == elided.runs:
                branch.elisions[id_] = runs


def _memo_holds_tombstones(branch: Branch, tail: Tail, memo_end: int) -> bool:
    """Whether the memo holds every tombstone of the branch: the tail alone would show a body that is out."""
    evicted = tail.digests.keys() & branch.tombstones.keys() & tail.window.spans.keys()
    return not any(tail.window.spans[id_][-1].end > memo_end for id_ in evicted)


def _splice_elided_results(branch: Branch, body: bytes, memo: SpliceMemo | None) -> EnteredRequest:
    """The body with the memo's tombstones and breakpoint, and with every elided result behind them."""
    head = branch.head
    assert head is not None
    if memo is not None and memo.own is not None and not memo.keeps_breakpoint(body):
        memo = memo.without_breakpoint()
    start, edited_head = (len(memo.head), memo.edited_head) if memo else (0, b"")
    edits = [
        (Extent(elided.place.start - start, elided.place.end - start), elided.text)
        for spans in head.elided.values()
        for elided in spans
        if elided.place.start >= start
    ]
    rest = splice_bytes(body[start:] if start else body, edits)
    shown = frozenset(head.elided) | (memo.elided if memo else frozenset())
    edit = ForwardedEdit(memo.ids if memo else frozenset(), branch, memo.own if memo else None, shown)
    return EnteredRequest(edited_head + rest if memo else rest, edit)
