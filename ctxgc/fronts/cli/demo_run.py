"""The story a demo tells: sessions come in, are collected, and every claim about them is checked.

paths ─▶ import ─────────────────────▶ daemon        its digests
  └────▶ parse again, here, alone ───▶ expected      our digests
each session:  collect ─▶ list ─▶ compare digests (lost) ─▶ recall what left ─▶ compare bytes (exact)
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import TYPE_CHECKING, Any

from ctxgc.adapters.contract import DAMAGE_KINDS
from ctxgc.fronts.cli import demo_verify, progress
from ctxgc.fronts.cli.demo_verify import ExpectedDigests
from ctxgc.fronts.cli.pieces import piece_bytes, read_pieces
from ctxgc.protocol.blocking_client import CallFailed, LineClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxgc.protocol.replies.daemon import FailedReply, ImportedReply, ImportReply
    from ctxgc.protocol.replies.heap import PlanReply, VictimReply, WhyReply
    from ctxgc.protocol.replies.segments import ContentReply, SegmentReply, SegmentsReply
    from ctxgc.protocol.replies.sessions import ShowReply
    from ctxgc.protocol.replies.stash import SearchReply

PAGE_SEGMENTS = 10_000
BUDGET_SHARE = 3
VICTIMS_SHOWN = 10
SUMS = (
    "segments",
    "skipped_records",
    "unread_records",
    "unread_texts",
    "tokens_before",
    "tokens_after",
    "budget_tokens",
    "evicted",
    "lost",
    "unchecked",
    "recalls_tried",
    "recalls_exact",
)


class DemoRun:
    """A run: the imports, the collections, and the proof that no segment is lost."""

    def __init__(self, client: LineClient, budget_tokens: int | None, bar: progress.ProgressBar) -> None:
        self.client = client
        self.failed: list[FailedReply] = []
        self.reports: dict[str, dict[str, Any]] = {}
        self.victims: list[VictimReply] = []
        self.kinds: dict[str, list[int]] = {}
        """Tokens by kind, `[before, after]`, over all sessions."""
        self.why: WhyReply | None = None
        self.query = ""
        self.hits: SearchReply | None = None
        self._expected = ExpectedDigests()
        self._parents: dict[str, str] = {}
        self._resident: dict[str, int] = {}
        self._budget_tokens = budget_tokens
        self._bar = bar

    def import_files(self, files: list[str]) -> None:
        """Import each file; meanwhile another thread parses the files again, for the list of segments that must be
        there.
        """
        with ThreadPoolExecutor(1) as pool:
            for path in files:
                self._bar.show_note(os.path.basename(path))
                parsed = pool.submit(demo_verify.digest_transcript, path)
                reply: ImportReply = self.client.call("import", {"paths": [path]})
                self.failed += reply.failed
                for session in reply.sessions:
                    self._add_session(session.session, session)
                second = parsed.result()
                for key, segments in second.sessions.items():
                    self._expected.add_digests(key, segments)
                    self._add_session(key)
                if second.unread_texts and reply.sessions:
                    self.reports[reply.sessions[0].session]["unread_texts"] += second.unread_texts
                self._bar.advance(progress.work_bytes(path))

    def _add_session(self, key: str, imported: ImportedReply | None = None) -> None:
        """A session of the files: the daemon's import, or our own parse alone."""
        source, _, session = key.partition(":")
        report = self.reports.setdefault(key, {"source": source, "session": session, **dict.fromkeys(SUMS, 0)})
        self._parents.setdefault(key, "")
        self._resident.setdefault(key, 0)
        if imported is not None:
            report["skipped_records"] += imported.skipped_records
            report["unread_records"] += sum(map(imported.skipped.get, DAMAGE_KINDS, repeat(0)))
            self._parents[key] = imported.parent or self._parents[key]
            self._resident[key] = max(imported.resident_tokens, self._resident[key])

    def collect_and_check_sessions(self, query: str, weight: int) -> None:
        """Collect and check every session; the largest also answers a `why` and a search."""
        largest = max(self._resident, key=lambda key: self._resident[key], default="")
        whole = sum(self._resident.values()) or 1
        for key in list(self.reports):
            self._bar.show_note(f"collect {key}")
            self._collect_and_check_session(key, query, is_shown=key == largest)
            self._bar.advance(weight * self._resident[key] // whole)

    def _collect_and_check_session(self, key: str, query: str, *, is_shown: bool) -> None:
        report = self.reports[key]
        try:
            before: ShowReply = self.client.call("session.show", {"session": key})
        except CallFailed as failure:
            if failure.kind != "not_found":
                raise
            report |= {"protected_by": {}, "held_by": {}, "lost": len(self._expected.digests_of(key)), "children": []}
            return
        budget = self._budget_tokens if self._budget_tokens is not None else before.resident_tokens // BUDGET_SHARE
        plan: PlanReply = self.client.call(
            "heap.collect", {"session": key, "budget_tokens": budget, "unit": "raw", "limit": VICTIMS_SHOWN}
        )
        after: ShowReply = self.client.call("session.show", {"session": key})
        segments = list(self._list_segments(key))
        if is_shown:
            self._ask_why_and_search(key, query, plan, segments)
        self._add_tokens_by_kind(before, after)
        self.victims = _largest_victims([*self.victims, *plan.victims])
        evicted = [segment for segment in segments if segment.state == "evicted"]
        digests = self._expected.digests_of(key)
        report |= {
            "segments": len(segments),
            "tokens_before": plan.before_tokens,
            "tokens_after": plan.after_tokens,
            "budget_tokens": budget,
            "protected_by": plan.protected_by,
            "held_by": plan.held_by,  # The older name, sent for one more version.
            "evicted": plan.evicted,
            "lost": self._expected.count_missing(key, {segment.id: segment.digest for segment in segments}),
            "unchecked": sum(segment.id not in digests for segment in segments),
            "recalls_tried": len(evicted),
            "recalls_exact": self._recall_and_count_exact(key, [one.id for one in evicted]),
            "children": [],
        }

    def _list_segments(self, key: str) -> Iterator[SegmentReply]:
        params = {"session": key, "limit": PAGE_SEGMENTS}
        offset = 0
        while offset >= 0:
            page: SegmentsReply = self.client.call("segment.list", params | {"offset": offset})
            yield from page.segments
            offset = page.next_offset

    def _recall_and_count_exact(self, key: str, ids: list[str]) -> int:
        """Recall every evicted segment, pipelined; the number of exact recalls, by a second parse."""
        exact = 0
        large: list[ContentReply] = []
        calls = (("stash.recall", {"session": key, "id": segment_id}) for segment_id in ids)
        for segment_id, reply in zip(ids, self.client.call_many(calls), strict=True):
            if isinstance(reply, CallFailed) or not reply.recalled:
                continue
            segment: ContentReply = reply.recalled[0]
            if any(piece.next_offset >= 0 for piece in segment.pieces):
                large.append(segment)  # Its further pages are asked for once the pipeline is empty.
                continue
            pieces = [(piece.name, piece_bytes(piece)) for piece in segment.pieces]
            exact += self._expected.is_exact_recall(key, segment_id, pieces)
        for segment in large:
            exact += self._expected.is_exact_recall(
                key, segment.id, _join_pages(read_pieces(self.client.call, segment))
            )
        return exact

    def _ask_why_and_search(self, key: str, query: str, plan: PlanReply, segments: list[SegmentReply]) -> None:
        """Ask for a retaining path and a search, before the recalls."""
        residents = [segment for segment in segments if segment.state == "resident"]
        told = [segment for segment in residents if segment.kind == "tool_call"] or residents
        if told:
            largest = max(told, key=lambda segment: segment.tokens)
            self.why = self.client.call("heap.why", {"session": key, "id": largest.id})
        self.query = query or _longest_label_word(plan.victims)
        if self.query:
            self.hits = self.client.call(
                "stash.search", {"session": key, "query": self.query, "states": ["evicted"], "limit": 3}
            )

    def _add_tokens_by_kind(self, before: ShowReply, after: ShowReply) -> None:
        for at, reply in enumerate((before, after)):
            for kind in reply.kinds:
                self.kinds.setdefault(kind.kind, [0, 0])[at] += kind.resident_tokens

    def nest_side_chain_reports(self) -> list[dict[str, Any]]:
        """Reports of sessions with the reports of side chains as children."""
        for key, parent in self._parents.items():
            if parent in self.reports and self.reports[key] not in self.reports[parent]["children"]:
                self.reports[parent]["children"].append(self.reports[key])
        return [report for key, report in self.reports.items() if self._parents[key] not in self.reports]

    def sum_reports(self) -> dict[str, Any]:
        """The sums over all sessions, side chains included."""
        sums: dict[str, Any] = {name: sum(report[name] for report in self.reports.values()) for name in SUMS}
        protected_by: dict[str, int] = {}
        for report in self.reports.values():
            for root, tokens in report["protected_by"].items():
                protected_by[root] = protected_by.get(root, 0) + tokens
        return {**sums, "protected_by": protected_by, "held_by": protected_by}


def _join_pages(parts: Iterator[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Pages of pieces as whole pieces."""
    pieces: dict[str, list[bytes]] = {}
    for name, data in parts:
        pieces.setdefault(name, []).append(data)
    return [(name, b"".join(pages)) for name, pages in pieces.items()]


def _largest_victims(victims: list[VictimReply]) -> list[VictimReply]:
    return sorted(victims, key=lambda victim: -victim.freed_tokens)[:VICTIMS_SHOWN]


def _longest_label_word(victims: list[VictimReply]) -> str:
    """The longest word of the largest victim's label: the rarest that is known without reading content."""
    for victim in _largest_victims(victims):
        words = "".join(char if char.isalnum() or char == "_" else " " for char in victim.label).split()
        if words:
            return max(words, key=len)
    return ""
